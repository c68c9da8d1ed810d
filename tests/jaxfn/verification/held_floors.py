"""What holds the constants of which differences count: ulps, and what rounding explains."""

import numpy as np

from jaxfn.verification.evidence.agreement import differs
from jaxfn.verification.evidence.rounding import shaken
from jaxfn.verification.layers.twice import Twice, nothing
from jaxfn.verification.points.probes import FAR, Probe
from tests.jaxfn.verification.held_subject import agrees, at_given, compared, one, subject_of, zero

HALF, SINGLE, DOUBLE = (float(np.finfo(d).eps) for d in (np.float16, np.float32, np.float64))


def _constant(*gradient):
    """The gradient of a linear function."""
    return lambda x: 0 * x + np.array(gradient)


def given_ulps():
    """Of float32 that is computed in double precision: elsewhere more is allowed already."""
    assert agrees(subject_of(_constant(1 + 3 * SINGLE), one))
    assert not agrees(subject_of(_constant(1 + 20 * SINGLE), one))


def computed_ulps():
    """Of an element; in a gradient the ulps of its leaf are added to them."""
    floor = subject_of(one, one, eps=HALF).relative_floor
    assert not differs(np.array(1 + 6 * HALF), np.array(1.0), np.array(floor))
    assert differs(np.array(1 + 40 * HALF), np.array(1.0), np.array(floor))


def least_relative():
    assert agrees(subject_of(_constant(1 + 4e-10), one, dtype=np.float64))
    assert not agrees(subject_of(_constant(1 + 2.5e-9), one, dtype=np.float64))


def _beside_one(element, **options):
    """Whether an element agrees with zero beside an element of one."""
    two = (1.0, 1.0)
    return agrees(subject_of(_constant(element, 1), _constant(0, 1), given=two, **options))


def leaf_ulps():
    assert _beside_one(25 * SINGLE, wide=False)
    assert not _beside_one(160 * SINGLE, wide=False)


def leaf_ulps_double():
    assert _beside_one(400 * DOUBLE)
    assert not _beside_one(2500 * DOUBLE)


def safety():
    """Of a result that jitters by 1."""
    x = np.ones((1, 1))
    subject = subject_of(one)
    explained = shaken(subject, lambda x, _: np.where(x == 1, 0.0, 1.0), x, x)
    assert not differs(np.full((1, 1), 12.0), zero(x), explained)
    assert differs(np.full((1, 1), 80.0), zero(x), explained)


def cancels():
    """Of terms whose rounding is 128 ulps of the value, 1, in a rule that jitters by far more."""

    def jittering(gap):
        return lambda x: np.where(x == 1, gap, 1.0)

    terms = 128 * DOUBLE
    assert agrees(subject_of(jittering(400 * terms), zero, value=one))
    assert not agrees(subject_of(jittering(2500 * terms), zero, value=one))


def vanishes():
    """Of a value, a cotangent and a weight of 1."""
    subject = subject_of(one, value=one)
    unit = np.ones((1, 1))
    rows = np.ones((1, 1)), (), unit, np.ones((1, 2))
    twice = Twice(subject, [at_given(subject)], "pull_twice", rows, np.zeros((1, 2)), None)
    explained = nothing(twice, np.array([0]))
    assert not differs(4e3 * DOUBLE * unit, zero(unit), explained)
    assert differs(2.5e4 * DOUBLE * unit, zero(unit), explained)


def value_ulps():
    """Of a value and an argument of 1."""
    assert agrees(subject_of(_constant(50 * DOUBLE), zero, value=one))
    assert not agrees(subject_of(_constant(320 * DOUBLE), zero, value=one))


def single_ulps():
    """Of terms that cancel at 1: beside it their difference changes as much as they do."""
    terms = lambda x: x - 1  # noqa: E731
    assert agrees(subject_of(_constant(1.5 * SINGLE), terms))
    assert not agrees(subject_of(_constant(10 * SINGLE), terms))


def single_ulps_afar():
    """Of large terms that cancel at 100, where the usual gradient is 1."""
    terms = lambda x: np.where(x < 50, 1.0, 1e3 * (x - 100))  # noqa: E731

    def agrees_afar(gap):
        subject = subject_of(lambda x: np.where(x < 50, 1.0, gap), terms)
        found = compared(subject, Probe("afar", FAR, np.array([100.0]), ()))
        return not found.bad[-1, 0]

    assert agrees_afar(3 * SINGLE)
    assert not agrees_afar(20 * SINGLE)


def _jumps(reference):
    """Whether the reference is seen to jump where a rule is far from it."""
    return bool(compared(subject_of(_constant(0.5), reference)).unstable[0, 0])


def jump_growth():
    """Of a change by 1 over a move of 4 ulps, and by more over longer ones."""

    def growing(growth):
        def reference(x):
            far = np.abs(x - 1) > 4 * DOUBLE
            return np.where(x == 1, 0.0, np.where(far, growth, 1.0))

        return reference

    assert _jumps(growing(2.0))
    assert not _jumps(growing(10.0))


def jump_seen():
    """Beside a gradient of 1."""
    assert not _jumps(lambda x: np.where(x > 1, 1 + 4e-8, 1.0))
    assert _jumps(lambda x: np.where(x > 1, 1 + 2.5e-7, 1.0))


HELD = {
    "GIVEN_ULPS": given_ulps,
    "COMPUTED_ULPS": computed_ulps,
    "LEAST_RELATIVE": least_relative,
    "LEAF_ULPS": leaf_ulps,
    "LEAF_ULPS_DOUBLE": leaf_ulps_double,
    "SAFETY": safety,
    "CANCELS": cancels,
    "VANISHES": vanishes,
    "VALUE_ULPS": value_ulps,
    "SINGLE_ULPS": single_ulps,
    "SINGLE_ULPS_AFAR": single_ulps_afar,
    "JUMP_GROWTH": jump_growth,
    "JUMP_SEEN": jump_seen,
}
