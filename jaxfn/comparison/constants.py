"""The numbers that decide: what is a difference, how much is measured, how much is shown.

Each has a test that fails if it is ten times larger or smaller.
"""

# What is a difference.

# Times as fast, of medians. Two runs of one program differ by less, on a machine that is idle.
CLEARLY_FASTER = 1.05
# Times as much, of bytes and operations, which do not vary from run to run: alignment and a few
# scalars make less. As near to a half it is said to be one.
CLEARLY_MORE = 1.02
# Of a ratio, its distance from 1 where it is told to three digits: two would say 1 of 1.04.
NEAR_ONE = 0.1
# Units in the last place between two largest errors: rounding alone makes one.
FEWEST_ULPS = 1.0
# Times as large, of two largest errors: another order of summation makes less.
CLEARLY_LESS_ACCURATE = 2.0
# Samples of each program, however slow it is: of fewer the quartiles are no spread to speak of.
FEWEST_SAMPLES = 5

# How much is measured.

# Seconds that a sample lasts at least: of shorter ones much is the clock's and the call's.
SAMPLE_SECONDS = 1e-3
# Calls in one sample: of a program that takes less than 20 µs the dispatch is measured anyhow.
MOST_CALLS = 50
# Times that the stages of compilation are measured, which is enough for quartiles.
MOST_BUILDS = 5
# Builds of both programs take at most so many times the seconds that their runs are given: a
# compilation takes longer than many a run, and there are three figures in it.
BUILD_TIMES_SECONDS = 2.0
# Of gradient descent in the scan over steps. A step must change the arguments, or the compiler
# takes it out of the loop; and must leave them what they are, so that all steps take alike.
DESCENT_RATE = 1e-6

# How much is shown.

# Arrays of one argument by name in a comparison's heading: more do not fit in a line.
MOST_NAMED = 3
# Residuals of one side in the table, the largest.
MOST_LEAVES = 8
# Pairs of bars in the picture of errors, the largest: more cannot be read.
MOST_ERRORS = 12
# Times the longest bar of a median, that the axis of times reaches at most: the whisker of one
# disturbed run is not the picture.
WIDEST_AXIS = 2.2
