"""Derivatives from function values alone, each with an estimate of its own error.

Central differences over a ladder of steps are extrapolated by Richardson's scheme. The error of
an entry of the table is what its neighbours disagree by, plus the noise of the function values
over the step; the noise is measured, not taken from the dtype. The entry with the smallest error
is the estimate, as in Ridders, "Accurate computation of F'(x) and F'(x)F''(x)" (1982).
One-sided differences, extrapolated in the same way, tell a kink from a smooth point.
"""

from dataclasses import dataclass

import numpy as np

from jaxfn.verification import constants

RATIO = 3.0  # of one step to the next
LONGEST, RUNGS = 0.1, 14.0  # the first step, and how many
STEPS = LONGEST * RATIO ** -np.arange(RUNGS)
COLUMNS = 5  # of Richardson's table
# central differences, ahead, behind: by what the first term of the error shrinks with each step,
# and each further term more than the one before
POWERS = np.array([RATIO**2, RATIO, RATIO])
SMALLEST = 3  # steps at which no curvature shows
ROUGH = 6  # the first steps, at which differences may grow with the curvature


@dataclass(frozen=True)
class Slopes:
    """Derivatives along a direction: central and one-sided, each with its estimated error."""

    central: np.ndarray
    central_error: np.ndarray
    ahead: np.ndarray
    ahead_error: np.ndarray
    behind: np.ndarray
    behind_error: np.ndarray

    def interval(self) -> tuple[np.ndarray, np.ndarray]:
        """Lowest and highest value that a derivative may have here, kinks included."""
        low, high = self._hull()
        smooth = np.isfinite(self.central_error) & ~self.kinked()
        margin = constants.DIFFERENCE_SAFETY * self.central_error
        return (
            np.where(smooth, self.central - margin, low),
            np.where(smooth, self.central + margin, high),
        )

    def _hull(self) -> tuple[np.ndarray, np.ndarray]:
        """The one-sided derivatives with their margins; a side that is unknown does not count."""
        safety = constants.DIFFERENCE_SAFETY
        low, high = np.full(self.ahead.shape, np.inf), np.full(self.ahead.shape, -np.inf)
        for side, error in ((self.ahead, self.ahead_error), (self.behind, self.behind_error)):
            known = np.isfinite(error)
            low = np.where(known, np.minimum(low, side - safety * error), low)
            high = np.where(known, np.maximum(high, side + safety * error), high)
        unknown = ~np.isfinite(low)
        return np.where(unknown, -np.inf, low), np.where(unknown, np.inf, high)

    def kinked(self) -> np.ndarray:
        """Where the one-sided derivatives differ by more than their errors explain."""
        gap = np.abs(self.ahead - self.behind)
        errors = self.ahead_error + self.behind_error
        known = np.isfinite(self.ahead) & np.isfinite(self.behind) & np.isfinite(errors)
        clear = gap > constants.DIFFERENCE_SAFETY * errors
        return known & clear & (gap > constants.KINK_SEEN * np.abs(self.ahead))


def slopes(f0: np.ndarray, plus: np.ndarray, minus: np.ndarray, eps: float) -> Slopes:
    """Derivatives of functions whose values are given on a ladder of steps.

    Args:
        f0: the values at the point, `[m]`.
        plus: the values at the point plus `STEPS[j]` times the direction, `[len(STEPS), m]`.
        minus: the same on the other side.
        eps: the machine epsilon of the lowest precision in which the values are computed.
    """
    with np.errstate(all="ignore"):
        noise = noise_of(f0, plus, minus, eps)
        sides = np.abs(np.stack([plus - minus, plus - f0, f0 - minus]))  # of |x|, both sides rise
        variation = np.nan_to_num(sides, nan=0.0, posinf=0.0).max(axis=(0, 1))
        hidden = noise > constants.DROWNED * variation
        hidden &= noise > constants.NOISE_SEEN * np.abs(f0)
        noise = np.where(hidden, np.inf, noise)  # the slope drowns in the jitter
        h = STEPS[:, None]
        columns = [(plus - minus) / (2 * h), (plus - f0) / h, (f0 - minus) / h]
        found = _extrapolated(np.stack(columns, axis=1), noise)
    return Slopes(*(part for side in zip(*found, strict=True) for part in side))


def noise_of(f0: np.ndarray, plus: np.ndarray, minus: np.ndarray, eps: float) -> np.ndarray:
    """How much the values jitter: second differences that no curvature explains.

    Those of values in coarse steps may vanish by chance; then slopes over steps of different
    length tell, which at the smallest steps differ by no curvature either.
    """
    second = np.abs(plus + minus - 2 * f0)
    second = np.where(np.isfinite(second), second, 0.0)
    smallest = second[-SMALLEST:].max(axis=0)
    growing = np.where(second[ROUGH:] >= second[ROUGH - 1 : -1], second[ROUGH:], 0.0).max(axis=0)
    rises = plus[-SMALLEST - 1 :] - minus[-SMALLEST - 1 :]
    uneven = np.abs(rises[:-1] - RATIO * rises[1:]) / 2
    uneven = np.where(np.isfinite(uneven), uneven, 0.0).max(axis=0)
    return np.maximum.reduce([smallest, growing, uneven, constants.NOISE_ULPS * eps * np.abs(f0)])


def _contradicted(column: np.ndarray, jitter: np.ndarray) -> np.ndarray:
    """How far each row is from what all finer rows allow: a chance agreement of two is no limit."""
    allowed = constants.CONTRADICTION * jitter
    low, high = column - allowed, column + allowed
    known = np.isfinite(low)
    low, high = np.where(known, low, -np.inf), np.where(known, high, np.inf)
    low = np.maximum.accumulate(low[::-1], axis=0)[::-1]
    high = np.minimum.accumulate(high[::-1], axis=0)[::-1]
    return np.maximum(low - column, column - high)


def _extrapolated(columns: np.ndarray, noise: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Estimates and errors, `[sides, m]`, of the differences `[len(STEPS), sides, m]`.

    All sides go through the table at once, which for a few values costs as much as one.
    """
    shape = columns.shape[1:]
    column, every = columns.reshape(len(columns), -1), np.arange(int(np.prod(shape)))
    best, error = np.full(every.size, np.nan), np.full(every.size, np.inf)
    jitter = np.tile(noise, len(POWERS)) / STEPS[:, None]
    power = factor = np.repeat(POWERS, shape[1])
    for _ in range(COLUMNS):
        finer = column[1:] + (column[1:] - column[:-1]) / (power - 1)
        gap = np.maximum(np.abs(finer - column[1:]), np.abs(finer - column[:-1]))
        jitter = jitter[1:]
        if len(finer) == 0:
            break
        estimate = np.maximum(gap + constants.JITTER * jitter, _contradicted(finer, jitter))
        estimate = np.where(np.isfinite(estimate), estimate, np.inf)
        row = np.argmin(estimate, axis=0)
        candidate = estimate[row, every]
        better = candidate < error
        best = np.where(better, finer[row, every], best)
        error = np.where(better, candidate, error)
        column, power = finer, power * factor
    return best.reshape(shape), error.reshape(shape)
