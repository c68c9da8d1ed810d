"""What holds the constants of the layers of precision and of second order in place.

Each decision is asserted on both sides of its threshold, at a few times it and a part of it.
"""

import numpy as np

from jaxfn.verification.evidence.agreement import differs
from jaxfn.verification.layers import precision, second_order, twice
from jaxfn.verification.points.probes import FAR, GIVEN
from tests.jaxfn.verification.synthetic_subject import engine, probe, subject


def _gradients(rule, truth=1.0, plain=None):
    """One element at the given point; the plain operation's is exact if nothing is said of it."""
    nothing = np.zeros(1)
    four = rule, truth, truth if plain is None else plain, truth
    return precision.Gradients(GIVEN, nothing, nothing, *(np.array([one]) for one in four))


def _inaccurate(gradients, dtype=np.float32):
    """Where the usual gradient is 1."""
    return precision._inaccurate(subject(dtype=dtype), gradients, np.ones(1)) is not None


def times_as_plain():
    """The plain operation is off by 0.01, to the other side than the rule."""
    assert not _inaccurate(_gradients(0.96, plain=1.01))
    assert _inaccurate(_gradients(0.75, plain=1.01))


def precision_ulps():
    assert not _inaccurate(_gradients(1 + 6e-7))
    assert _inaccurate(_gradients(1 + 6e-6))


def precision_ulps_warned():
    """Where the usual gradient is 1."""

    def cause(gap):
        found = precision._inaccurate(subject(), _gradients(1 + gap), np.ones(1))
        assert found is not None
        return found[2].name

    assert cause(1.2e-5) == precision.WARNED
    assert cause(8e-5) == "low-precision"


def precision_ulps_low():
    assert not _inaccurate(_gradients(1 + 1.5e-3), np.float16)
    assert _inaccurate(_gradients(1 + 1.2e-2), np.float16)


def vanishing():
    """A gradient of 1 where the exact one is all but zero."""
    assert not _inaccurate(_gradients(1.0, truth=4e-4))
    assert _inaccurate(_gradients(1.0, truth=2.5e-3))


def overflows():
    """An infinite gradient beside the largest number of float32, 3.4e38."""

    def lost(truth):
        return precision._lost(subject(), _gradients(np.inf, truth)) is not None

    assert lost(1e35)
    assert not lost(1e36)


def _vanished(rule, plain):
    return precision._vanished(subject(), _gradients(rule, plain=plain)) is not None


def vanished():
    """The plain operation is exact."""
    assert not _vanished(0.8, plain=1.0)
    assert _vanished(0.0, plain=1.0)


def kept():
    """The rule has lost it all."""
    assert _vanished(0.0, plain=0.95)
    assert not _vanished(0.0, plain=0.5)


def _derivatives(rule, reference=None, gradient=lambda x, g: g, kind=GIVEN):
    """Those of the gradient by argument and cotangent, at the given point and at another of 1."""
    ones, probes = np.ones((2, 1)), [probe(GIVEN, 1.0), probe(kind, 1.0)]
    rows = ones, (), ones, np.array([[0.0, 1.0], [0.0, 1.0]])
    rule = np.array(rule, float)
    reference = None if reference is None else np.array(reference, float)
    return twice.Twice(
        subject(engine(gradient=gradient)), probes, "pull_twice", rows, rule, reference
    )


def twice_the_floors():
    """A gradient that is the cotangent; its derivative by that is 1 and a little."""

    def outcome(gap):
        return twice._by_duality(_derivatives([[0.0, 1 + gap]] * 2), 0)

    assert outcome(6e-6) == "right"
    assert outcome(6e-5) == "wrong"


def nothing_afar():
    """A second derivative of 1 at the given point and of nothing far away."""

    def suspect(far):
        seen = _derivatives([[1.0, 1.0], [far, 0.0]], [[1.0, 1.0], [0.0, 0.0]], kind=FAR)
        return differs(seen.rule, seen.reference, second_order._tolerance(seen, seen.reference))

    assert not suspect(4e-7).any()
    assert suspect(2.5e-6).tolist() == [[False, False], [True, False]]


def still_rises():
    """A gradient that jumps; beside that it rises by 1 over the longest step, 0.1 to both sides."""

    def jumps(height):
        def gradient(x, g):
            return 5 * x + height / 2 * np.sign(x - 1)

        seen = _derivatives([[5.0, 1.0]] * 2, gradient=gradient)
        return twice.by_differences(seen, 0, np.array([True, False])).jumps

    assert not jumps(4e-3)
    assert jumps(2.5e-2)


def narrow_enough():
    """Without a reference, an interval around a slope of 1."""
    assert twice._outcome(1.0, np.nan, 0.98, 1.02, False) == "right"
    assert twice._outcome(1.0, np.nan, 0.9, 1.15, False) == "open"


HELD = {
    "TIMES_AS_PLAIN": times_as_plain,
    "PRECISION_ULPS": precision_ulps,
    "PRECISION_ULPS_WARNED": precision_ulps_warned,
    "PRECISION_ULPS_LOW": precision_ulps_low,
    "VANISHING": vanishing,
    "OVERFLOWS": overflows,
    "VANISHED": vanished,
    "KEPT": kept,
    "TWICE": twice_the_floors,
    "NOTHING_AFAR": nothing_afar,
    "STILL_RISES": still_rises,
    "NARROW_ENOUGH": narrow_enough,
}
