"""Where to look.

Takes the subject's arguments, and what the given arrays show of their structure.
Gives points beside the given one and other sizes, and says what all of them have in common.
Must never know what the rule gives there.
"""
