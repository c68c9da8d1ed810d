"""Rounding that the rule alone does: its error jumps along a line on which autodiff is smooth.

A residual that is kept in few bits, or a difference of nearly equal numbers, makes an error that
is a saw-tooth or noise: small, and with many jumps that are as high as the error itself. An error
of the mathematics is smooth, or jumps once where a branch ends.
"""

import numpy as np

from jaxfn.verification.diagnosis.seen import Cause, Seen
from jaxfn.verification.subject.subject import run_rows

POINTS = 1024
LENGTH = 0.25  # of the line to both sides, relative to the element that moves
JUMPS = 6  # so many make a pattern
HIGH = 0.25  # of the range of the error: the height of a jump
SHARE = 0.5  # of the error itself: its range along the line
SMOOTH = 0.05  # of the range of autodiff's gradient: what no jump of it exceeds
SMALL = 0.1  # of the usual gradient: what rounding does not exceed
RANKS = (1.0, 0.9, 0.7, 0.5)  # of the wrong elements whose lines are looked at


def in_steps(seen: Seen) -> Cause | None:
    """The rule's error is that of rounding: along a line it jumps many times, autodiff does not."""
    bad = seen.bad & np.isfinite(seen.rule) & np.isfinite(seen.reference)
    usual = np.abs(seen.reference[np.isfinite(seen.reference)]).max(initial=0)
    gap = np.where(bad, np.abs(seen.rule - seen.reference), 0.0)
    if seen.subject.reference is None or seen.subject.large:
        return None
    if not 0 < gap.max(initial=0) <= SMALL * usual:
        return None
    worst = np.argsort(gap, axis=None)[-int(bad.sum()) :]
    for rank in RANKS:
        item, element = np.unravel_index(worst[int(rank * (len(worst) - 1))], gap.shape)
        jumps = _jumps(seen, int(seen.items[item]), seen.leaf.start + int(element))
        if jumps >= JUMPS:
            text = (
                f"the gradient of {seen.leaf.path} is rounded: along a line on which autodiff is "
                f"smooth the rule's error jumps {jumps} times in {POINTS} points, as where a "
                "residual is kept in few bits, or digits cancel; the largest error is "
                f"{gap.max() / usual:.2g} of the largest gradient"
            )
            return Cause("low-precision", text)
    return None


def _jumps(seen: Seen, item: int, place: int) -> int:
    """How often the error of one element jumps as that element of the point moves; 0 if unclear."""
    subject, found = seen.subject, seen.found
    assert subject.reference is not None
    probe = found.probe_of(item)
    x = np.repeat(probe.x[None], POINTS, axis=0)
    x[:, place] *= 1 + LENGTH * np.linspace(-1, 1, POINTS)
    integers = tuple(np.repeat(part[None], POINTS, axis=0) for part in probe.integers)
    gammas = np.repeat(found.cotangents[[item]], POINTS, axis=0)
    rule, expected = (
        run_rows(engine.pull, x, integers, gammas)[1][:, place]
        for engine in (subject.rule, subject.reference)
    )
    if not (np.isfinite(rule) & np.isfinite(expected)).all():
        return 0
    error = rule - expected
    if np.abs(np.diff(expected)).max() > SMOOTH * np.ptp(expected):
        return 0
    if np.ptp(error) < SHARE * np.abs(error).max():  # it is something else that is wrong
        return 0
    return int((np.abs(np.diff(error)) > HIGH * np.ptp(error)).sum())
