"""What is measured of a function and of what it is compared with.

Takes both functions and their arguments, gives `Figures`: errors, residuals, programs, times.
Must never know what a figure means: no verdicts, no words about them, no pictures.
"""
