"""What an error looks like.

Takes the elements that were judged wrong; gives a cause: its name, and a sentence with numbers.
Each pattern is a file of its own, and a line in the table of `diagnose`.
Must never know the verdict's layer: it neither passes nor fails anything.
"""
