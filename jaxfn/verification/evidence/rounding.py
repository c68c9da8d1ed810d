"""How far rounding alone moves a result: a smaller difference is evidence of nothing.

Where terms cancel, what is left of a gradient is the rounding of the terms, which may be far above
an ulp of what is left. Neither its own size nor that of its neighbours tells how large it is, but
the result itself does: it jitters by as much when all that it is made of moves by a few ulps.
"""

from collections.abc import Callable

import numpy as np

from jaxfn.verification import constants
from jaxfn.verification.subject.subject import Subject

SAMPLES, FEW = 8, 2  # moves; of a large function
LONGER = 1 / 4  # of a cotangent: a longer move of it
ULPS = 4  # that points and cotangents move by


def shaken(
    subject: Subject,
    evaluate: Callable[[np.ndarray, np.ndarray], np.ndarray],
    x: np.ndarray,
    cotangents: np.ndarray,
) -> np.ndarray:
    """The most, by element and with a margin, that rounding explains.

    Points and cotangents move by a few ulps. Where the result is linear in the cotangents, its
    second difference over a longer move is rounding alone, too: a softmax that is 1 but for a few
    ulps rounds alike at all cotangents that are near each other.

    Args:
        subject: what is under test.
        evaluate: the result at points and cotangents.
        x: the points.
        cotangents: the cotangents at each of them.
    """
    rng, base = subject.rng, evaluate(x, cotangents)
    moved = np.zeros_like(base)
    for _ in range(samples_of(subject)):
        near = (a * (1 + ULPS * subject.eps * _signed(rng, a.shape)) for a in (x, cotangents))
        moved = np.maximum(moved, change(evaluate(*near), base))
        if subject.linear:
            longer = LONGER * cotangents * _signed(rng, cotangents.shape)
            ends = [evaluate(x, cotangents + s * longer) for s in (1, -1)]
            moved = np.maximum(moved, change(ends[0] + ends[1], 2 * base))
    return constants.SAFETY * moved


def samples_of(subject: Subject) -> int:
    """How many moves are worth their time."""
    return FEW if subject.large else SAMPLES


def _signed(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Between a half and one, of either sign: were all alike, a ratio would not see them."""
    return rng.uniform(0.5, 1, shape) * rng.choice([-1.0, 1.0], shape)


def change(moved: np.ndarray, base: np.ndarray) -> np.ndarray:
    """The distance of each element; zero where one of them is not finite."""
    with np.errstate(all="ignore"):
        distance = np.abs(moved - base)
    return np.where(np.isfinite(distance), distance, 0.0)
