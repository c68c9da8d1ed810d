"""From figures to words: which differences are there, and what they are called.

Takes `Figures`, gives sentences, ratios and amounts as people read them.
Must never know how a figure was measured, or how and where the words are shown.
"""
