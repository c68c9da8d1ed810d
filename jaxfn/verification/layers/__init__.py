"""The questions that `gradcheck` asks.

Each layer takes what was observed so far; gives one `Check` with a verdict of its own.
Must never know the verdict of the whole, nor change what it was given.
"""
