"""What holds the constants of differences of function values."""

from types import SimpleNamespace

import jax.numpy as jnp
import numpy as np

from jaxfn.verification.evidence.differences import Direction
from jaxfn.verification.evidence.finite_difference import STEPS, Slopes, slopes
from jaxfn.verification.gradcheck import gradcheck
from jaxfn.verification.layers.differences import _outcome, _wrong_nearby, check_differences
from jaxfn.verification.layers.observed import Observed
from jaxfn.verification.report import FAIL, INCONCLUSIVE, PASS
from tests.jaxfn.verification.held_subject import at_given, compared, one, subject_of

DOUBLE = float(np.finfo(np.float64).eps)


def _along(rise, f0, eps=DOUBLE, jitter=0.0):
    """Slopes of values that rise by as much at each step, and are off by `jitter` beside 0."""
    rise = rise * np.ones(len(STEPS))
    plus, minus = (f0 + sign * rise[:, None] + jitter for sign in (1, -1))
    return slopes(np.array([f0]), plus, minus, eps)


def _known(found):
    return bool(np.isfinite(found.interval()).all())


def difference_safety():
    """Of a slope of 1 with an estimated error of 0.01."""
    value, error = np.array([1.0]), np.array([0.01])
    for end in Slopes(*[value, error] * 3).interval():
        assert 0.04 < abs(end[0] - 1) < 0.25
    assert not _kinked(0.08, 0.01)
    assert _kinked(0.5, 0.01)


def _kinked(gap, error=0.0):
    """Whether slopes of 1 and 1 + gap on the two sides are a kink."""
    ahead, behind, error = np.array([1.0]), np.array([1.0 + gap]), np.array([error])
    return bool(Slopes(ahead, error, ahead, error, behind, error).kinked()[0])


def kink_seen():
    assert not _kinked(4e-7)
    assert _kinked(2.5e-6)


def drowned():
    """Of values that vary by 0.2 about zero: a jitter shows twice in a second difference."""
    assert _known(_along(STEPS, 0.0, jitter=0.004))
    assert not _known(_along(STEPS, 0.0, jitter=0.025))


def noise_seen():
    """Of a value of 1, without a slope beside which noise is little."""
    assert _known(_along(0 * STEPS, 1.0, jitter=2e-7))
    assert not _known(_along(0 * STEPS, 1.0, jitter=1.2e-6))


def noise_ulps():
    """Of values about 1 whose machine epsilon is 1e-3: 2e-3 hides a variation below 2e-2."""
    assert _known(_along(0.25 * STEPS, 1.0, eps=1e-3))
    assert not _known(_along(0.04 * STEPS, 1.0, eps=1e-3))


def contradiction():
    """Of values with a slope of 1 in whose first steps it is another, by so many times the noise.

    The noise is that over the eighth step, the longest with the other slope. Within it the first
    steps are believed, whose own noise is the least.
    """
    eps, first = 1e-9, 7
    noise = 2 * eps / STEPS[first]

    def believed(times):
        slope = np.where(np.arange(len(STEPS)) < first, 1 + times * noise, 1.0)
        low, _ = _along(slope * STEPS, 1.0, eps=eps).interval()
        return low[0] > 1

    assert believed(1.6)
    assert not believed(10)


def jitter():
    """Of noise of 2e-3, which is 0.06 over the step at which it is least."""
    error = _along(STEPS, 1.0, eps=1e-3).central_error[0]
    assert 0.04 < error < 0.3


def _said(slope, low=1.0, high=1.0, **options):
    """What differences between two numbers say of a rule's slope along an element of 1."""
    subject = subject_of(lambda x: 0 * x + slope, **options)
    direction = Direction(at_given(subject), np.ones(1), 0)
    values = SimpleNamespace(direction=direction, interval=lambda gamma: (low, high, False))
    return _outcome(subject, compared(subject), 0, values)[0]


def loop_margin():
    assert _said(1 + 4e-5, loops=True) == "right"
    assert _said(1 + 2.5e-4, loops=True) == "wrong"


def slope_margin():
    assert _said(1 + 4e-7) == "right"
    assert _said(1 + 2.5e-6) == "wrong"


def settled():
    assert _said(1.0, 1 - 4e-3, 1 + 4e-3) == "right"
    assert _said(1.0, 1 - 2.5e-2, 1 + 2.5e-2) == "open"


def unsettled():
    """Of eight elements and all of them together: no value is known where a lost one moves."""
    given = np.arange(1.0, 9.0)

    def verdict(lost):
        value = lambda x: np.where((x != given)[:, :lost].any(1, keepdims=True), np.nan, x)  # noqa: E731
        subject = subject_of(one, value=value, given=given)
        return check_differences(Observed(subject, None, compared(subject))).verdict

    assert verdict(1) == PASS
    assert verdict(8) == INCONCLUSIVE


def wrong_nearby():
    """Of a slope of 1."""

    def wrong(gap):
        subject = subject_of(lambda x: 0 * x + 1 + gap, value=lambda x: x)
        direction = Direction(at_given(subject), np.ones(1), 0)
        return _wrong_nearby(subject, compared(subject), 0, direction)

    assert not wrong(4e-6)
    assert wrong(2.5e-5)


def of_parts():
    """Autodiff at a kink of parts, where a slope of 1 becomes one of -50, or of -500."""
    assert _caught_at_a_kink_of_parts(51.0)
    assert not _caught_at_a_kink_of_parts(501.0)


def _caught_at_a_kink_of_parts(size):
    """Whether a function of slope 1 fails, with parts at 0 whose autodiff is off by the size."""

    def line(x):
        nothing = jnp.where(x > 0, x, 0) - x / 2 - jnp.abs(x) / 2
        return x + size * nothing

    args = (np.zeros(2, np.float32),)
    report = gradcheck(line, args, layers=("differences",), raise_exception=False)
    return report.verdict == FAIL


HELD = {
    "OF_PARTS": of_parts,
    "DIFFERENCE_SAFETY": difference_safety,
    "KINK_SEEN": kink_seen,
    "DROWNED": drowned,
    "NOISE_SEEN": noise_seen,
    "NOISE_ULPS": noise_ulps,
    "CONTRADICTION": contradiction,
    "JITTER": jitter,
    "LOOP_MARGIN": loop_margin,
    "SLOPE_MARGIN": slope_margin,
    "SETTLED": settled,
    "UNSETTLED": unsettled,
    "WRONG_NEARBY": wrong_nearby,
}
