"""What holds the constants in place by which function values judge one element.

Each decision is asserted on both sides of its threshold, at a few times it and a part of it.
"""

from types import SimpleNamespace

import numpy as np

from jaxfn.verification.evidence import extremes, judge, reservations
from jaxfn.verification.evidence.reservations import DIGITS, OPEN, RIGHT, WRONG, Judgement
from jaxfn.verification.points.probes import EXTREME, FAR, GIVEN
from tests.jaxfn.verification.synthetic_subject import Plain, comparison, engine, subject

USUAL = GIVEN, 1.0, 1.0, 1.0  # a gradient of 1 at the given point


def flat():
    """Values at 1e20 that are flat, where those of the rule's slope of 1 would be far apart."""

    def outcome(slope):
        found = comparison(USUAL, (EXTREME, 1e20, 1.0, 1.0))
        return judge._outcome(subject(), found, 1, 0, (False, True, False, slope, slope))

    assert outcome(4e-10) == OPEN
    assert outcome(2.5e-9) == WRONG


def far_off():
    """Differences of exactly 1, and a rule that is off by 0.001."""
    assert judge._far_off(1.001, 1.25, 1.0, 1.0)
    assert not judge._far_off(1.001, 1.04, 1.0, 1.0)


def tells():
    """Rule and reference are 1 apart."""
    found = comparison((GIVEN, 1.0, 1.0, 2.0))
    assert judge._tells(found, Judgement(0, 0, OPEN, 1.0, 2.0))
    assert not judge._tells(found, Judgement(0, 0, OPEN, -1.0, 4.0))


def tiny_beside():
    """An element of an array of ones: longer steps show that its slope is the rule's."""

    def outcome(element):
        found = comparison((GIVEN, element, 1.0, 1.5), tolerance=1e-6)
        drowned = Judgement(0, 0, OPEN, -100.0, 100.0)
        ones = subject(engine(value=lambda x: x))
        return judge._look_farther(ones, found, [drowned], [0])[0].outcome

    assert outcome(0.04) == RIGHT
    assert outcome(0.4) == OPEN


def moderate():
    assert judge._moderate(comparison(USUAL), 0.0, 3e4)
    assert judge._moderate(comparison(USUAL), -3e4, 0.0)
    assert not judge._moderate(comparison(USUAL), 0.0, 3e5)
    assert not judge._moderate(comparison(USUAL), -3e5, 0.0)


def usual_beside_a_kink():
    """Autodiff beside a kink lies between 0 and some number."""
    kink = FAR, 1.0, float("nan"), 1.0
    assert judge._bounded(comparison(USUAL, kink, ends=(0.0, 4.0)), 1, 0)
    assert not judge._bounded(comparison(USUAL, kink, ends=(0.0, 30.0)), 1, 0)


def usual_oscillation():
    """A slope at 1e20, by which two neighbouring floats would have values that are far apart."""

    def unresolved(slope):
        return judge._unresolved(subject(), comparison(USUAL, (EXTREME, 1e20, slope, 0.0)), 1, 0)

    assert unresolved(4.0)
    assert not unresolved(30.0)


def _stark(kind, gap, reference, tolerance):
    found = comparison((kind, 1.0, reference + gap, reference), tolerance=tolerance)
    return judge._stark(subject(), found, 0, 0)


def stark_near():
    assert not _stark(GIVEN, 1.5, reference=100.0, tolerance=1.0)
    assert _stark(GIVEN, 8.0, reference=100.0, tolerance=1.0)


def stark_afar():
    assert not _stark(FAR, 40.0, reference=100.0, tolerance=1.0)
    assert _stark(FAR, 250.0, reference=100.0, tolerance=1.0)


def stark_share():
    """Far above the tolerance, and nearly nothing beside the element."""
    assert not _stark(FAR, 4e-5, reference=1.0, tolerance=1e-9)
    assert _stark(FAR, 2.5e-4, reference=1.0, tolerance=1e-9)


def singular():
    def singular_at(gradient):
        found = comparison(USUAL, (FAR, 1.0, 0.0, gradient))
        return reservations._singular(found, Judgement(1, 0, WRONG, 0.0, 0.0))

    assert not singular_at(4e9)
    assert singular_at(2.5e10)


def right_beside():
    """Beside the point the reference is 1, and the rule larger by a little."""

    def right(gap):
        rule = engine(gradient=lambda x, g: (1 + gap) * g)
        one = Judgement(0, 0, WRONG, 0.0, 0.0)
        return reservations._right_beside(subject(rule), comparison(USUAL), one)

    assert right(4e-6)
    assert not right(2.5e-5)


def _at_an_extreme(x, rule):
    """What becomes of an error there, of an argument of 1 whose gradient is to be 1."""
    found = comparison(USUAL, (EXTREME, x, rule, 1.0))
    wrong = Judgement(1, 0, WRONG, 1.0, 1.0)
    return extremes.digits_lost(subject(), found, [wrong])[0].outcome


def extreme_magnitude():
    assert _at_an_extreme(4e9, 1 + 1e-4) == WRONG
    assert _at_an_extreme(2.5e10, 1 + 1e-4) == DIGITS


def digits_ulps():
    """At 1e12, where an ulp of a double is 2e-4."""
    assert _at_an_extreme(1e12, 1.1) == DIGITS
    assert _at_an_extreme(1e12, 1.6) == WRONG


def opposite():
    """At 1e14, where an ulp is 0.02, and rounding explains whatever is this small."""
    assert _at_an_extreme(1e14, -1 + 4e-4) == WRONG
    assert _at_an_extreme(1e14, -1 + 2.5e-3) == DIGITS


def converged():
    """An iteration that stays at 1 at the given point; at another one it takes one more step."""

    def outcome(change):
        iterating = SimpleNamespace(
            **vars(engine(value=np.ones_like)),
            iterates_for_long=lambda: True,
            longer_value=Plain(lambda x, integers: (1 + change * (x - 1),)),
        )
        found, wrong = comparison(USUAL, (FAR, 2.0, 0.0, 1.0)), Judgement(1, 0, WRONG, 1.0, 1.0)
        return reservations.converged(subject(iterating), found, [wrong])[0].outcome

    assert outcome(4e-7) == WRONG
    assert outcome(2.5e-6) == OPEN


def between():
    """A slope of 1 above the one or below the other end."""
    gradient = direction = comparison(USUAL).rule[0]
    assert reservations._between(gradient, direction, 0.0, 1 - 4e-7)
    assert reservations._between(gradient, direction, 1 + 4e-7, 2.0)
    assert not reservations._between(gradient, direction, 0.0, 1 - 2.5e-6)
    assert not reservations._between(gradient, direction, 1 + 2.5e-6, 2.0)


HELD = {
    "FLAT": flat,
    "FAR_OFF": far_off,
    "TELLS": tells,
    "TINY_BESIDE": tiny_beside,
    "MODERATE": moderate,
    "USUAL_BESIDE_A_KINK": usual_beside_a_kink,
    "USUAL_OSCILLATION": usual_oscillation,
    "STARK_NEAR": stark_near,
    "STARK_AFAR": stark_afar,
    "STARK_SHARE": stark_share,
    "SINGULAR": singular,
    "RIGHT_BESIDE": right_beside,
    "BETWEEN": between,
    "EXTREME_MAGNITUDE": extreme_magnitude,
    "DIGITS_ULPS": digits_ulps,
    "OPPOSITE": opposite,
    "CONVERGED": converged,
}
