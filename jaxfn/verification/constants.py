"""The constants that decide a verdict.

Each has a name, what it means and its unit; `tests/jaxfn/verification/test_constants.py` has for
each a test that fails if it is ten times larger or smaller. An ulp is the machine epsilon times
the size of a number. How much is looked at, and what an error is called, decide no verdict: those
constants stand where they are used.
"""

# Two gradients that differ by less than this agree.
GIVEN_ULPS = 8.0  # of the element, in the arguments' dtype; if double works, in at least float32
COMPUTED_ULPS = 16.0  # of the element, in the lowest precision that rule and reference compute in
LEAST_RELATIVE = 1e-9  # of the element: no difference below it counts, in whatever precision
LEAF_ULPS = 64.0  # of the largest element of a leaf, in the precision that is computed in
LEAF_ULPS_DOUBLE = 1000.0  # the same where that is double: sums of more terms are affordable

# What rounding explains, measured at the point itself.
SAFETY = 30.0  # times the largest of a few changes that were seen
CANCELS = 1e3  # times the rounding of the value, as a slope: a rule that jitters more loses digits
VANISHES = 1e4  # ulps of the value, as a slope: a derivative below that is rounding alone
VALUE_ULPS = 128.0  # of the value over the size of the argument: the slope that they make
SINGLE_ULPS = 4.0  # of single precision by which a constant in rule or reference may be off
SINGLE_ULPS_AFAR = 8.0  # the same, of gradients of the usual size, at points away from the given
JUMP_GROWTH = 4.0  # a change that grows by less than this, over moves 64 times as long, is a jump
JUMP_SEEN = 1e-7  # of the largest gradient: a smaller jump is rounding

# Differences of function values.
DIFFERENCE_SAFETY = 10.0  # times the estimated error of a difference
KINK_SEEN = 1e-6  # of the slope: one-sided slopes that differ by less are one
DROWNED = 0.1  # of the variation of the values: noise above it hides the slope
NOISE_SEEN = 1e-6  # of the value: noise below it hides nothing
NOISE_ULPS = 2.0  # of the value: the least noise that is assumed
CONTRADICTION = 4.0  # times the noise: what a coarser row of a table may differ from a finer one
JITTER = 2.0  # times the noise: what two neighbours of a table may differ by chance
LOOP_MARGIN = 1e-4  # of the slope: an iteration stopped early is this far from an implicit rule
SLOPE_MARGIN = 1e-6  # of the gradient along the direction: a slope this near agrees
SETTLED = 1e-2  # of the slope: differences with a larger error confirm nothing
UNSETTLED = 0.5  # of all directions: where more are undecided, so is the layer
OF_PARTS = 100.0  # times the slope of the values: autodiff at a kink of parts is not off by more
WRONG_NEARBY = 1e-5  # of the gradient: what beside a tie is an error as well

# What function values say of one element.
FLAT = 1e-9  # of the rule's slope: a slope of the values below it may be one that rounding hides
FAR_OFF = 100.0  # times as far from the differences as the rule: so far off is autodiff refuted
TELLS = 2.0  # times the gap of rule and reference: a wider interval does not tell them apart
TINY_BESIDE = 10.0  # times the element: where its array is larger, its steps may be too short
MODERATE = 1e5  # times the usual gradient: a slope above it comes of values that jump
USUAL_BESIDE_A_KINK = 10.0  # times the usual gradient: where autodiff beside it is less is no pole
USUAL_OSCILLATION = 10.0  # times the usual gradient: what a slope that values hide may be
STARK_NEAR = 3.0  # times the tolerance: where differences are silent, autodiff alone decides
STARK_AFAR = 100.0  # the same at points that the check made
STARK_SHARE = 1e-4  # of the element: the least of an error at such a point
SINGULAR = 1e10  # times the usual gradient: so large is that of a matrix that is singular
RIGHT_BESIDE = 1e-5  # of the largest gradient: rule and autodiff agree beside a point
EXTREME_MAGNITUDE = 1e10  # of an element: from here on an argument is plausible no longer
DIGITS_ULPS = 1e3  # of the usual gradient times how much larger the argument is than the given
CONVERGED = 1e-6  # of the value: an iteration that changes it by more in a step goes on
OPPOSITE = 1e-3  # of the expected gradient: as near to minus it, a sign is wrong and no digit lost
BETWEEN = 1e-6  # of the gradient along a direction: as near is between two slopes

# The other layers.
LINEAR_ULPS = 16.0  # of value and gradient: what sums and multiples of cotangents may differ by
OF_A_SUM = 4.0  # times the floors: what two ways to compute one sum may differ by
TRANSFORMED_ULPS = 64.0  # of the value, as a slope, under a transformation
ANOTHER_MAGNITUDE = 1e4  # times the values at the given sizes: such ones stand for infinite ones
TIMES_AS_PLAIN = 8.0  # times the error of the plain operation, in the arguments' own precision
PRECISION_ULPS = 16.0  # of the gradient and of the value, which are allowed beside that
PRECISION_ULPS_WARNED = 256.0  # of the same in single precision: a warning, not yet a failure
PRECISION_ULPS_LOW = 4.0  # the same in half precision
VANISHING = 1e-3  # of the usual gradient: where it is smaller, terms cancel
OVERFLOWS = 1e3  # the largest number over this: gradients above it may overflow on the way
VANISHED = 0.5  # of a single derivative: lost if the rule is off by more
KEPT = 0.125  # of a single derivative: kept if the plain operation is off by less
TWICE = 10.0  # times the floors, for second derivatives
NOTHING_AFAR = 1e-6  # of the usual second derivative, at points away from the given one
STILL_RISES = 1e-2  # of the largest rise over any step: more, over the shortest, is a jump
NARROW_ENOUGH = 0.1  # of the slope: an interval as narrow confirms it without a reference
