"""When two figures differ."""

from __future__ import annotations

from jaxfn.comparison.constants import (
    CLEARLY_FASTER,
    CLEARLY_LESS_ACCURATE,
    CLEARLY_MORE,
    FEWEST_SAMPLES,
    FEWEST_ULPS,
)
from jaxfn.comparison.figures.accuracy import Error
from jaxfn.comparison.figures.compiled import ProgramFigures
from jaxfn.comparison.figures.records import Pair
from jaxfn.comparison.figures.timing import Timing


def is_same_program(pair: Pair[ProgramFigures]) -> bool:
    """Whether there are two sides, and the compiler made the same of them."""
    if pair.reference is None or pair.rule.fingerprint is None:
        return False
    return pair.rule.fingerprint == pair.reference.fingerprint


def speed_ratio(pair: Pair[Timing]) -> float:
    """How many times as fast the rule is; 1 if the difference is within the spread.

    The spread is the quartiles of the runs: where they overlap, the two count as equal. So they do
    where there are too few runs for a spread.
    """
    if not is_enough(pair):
        return 1.0
    rule, reference = pair.both
    ratio = reference.median / rule.median
    if ratio >= CLEARLY_FASTER and rule.high < reference.low:
        return ratio
    if 1 / ratio >= CLEARLY_FASTER and reference.high < rule.low:
        return ratio
    return 1.0


def is_enough(pair: Pair[Timing]) -> bool:
    """Whether there are enough runs to tell a difference from noise."""
    return min(side.samples for side in pair.sides) >= FEWEST_SAMPLES


def differ(rule: float, reference: float) -> bool:
    """Whether one of two amounts that do not vary from run to run is clearly more."""
    return max(rule, reference) > CLEARLY_MORE * min(rule, reference)


def is_about(ratio: float, other: float) -> bool:
    """Whether a ratio is as near to another as amounts are that do not differ."""
    return 1 / CLEARLY_MORE < ratio / other < CLEARLY_MORE


def accuracy_gap(pair: Pair[Error]) -> float:
    """How many ulps more the rule is wrong by; negative if it is less, 0 if that is no matter."""
    rule, reference = (side.ulps for side in pair.both)
    if rule == reference:  # also where both are infinite
        return 0.0
    gap = rule - reference
    times = max(rule, reference) > CLEARLY_LESS_ACCURATE * min(rule, reference)
    return gap if times and abs(gap) > FEWEST_ULPS else 0.0
