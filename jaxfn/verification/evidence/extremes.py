"""Digits that are lost at extreme magnitudes: of a rule that is right otherwise, no error.

At 1e13 one ulp of a float64 is a thousandth, and `1 - tanh(x)²` is rounding alone; what is left of
a gradient is then as large as that rounding makes it. A wrong sign, a nan, or an error that is
larger than rounding at that magnitude is an error there as well.
"""

from dataclasses import replace

import numpy as np

from jaxfn.verification import constants
from jaxfn.verification.evidence.agreement import Comparison, typical_sizes
from jaxfn.verification.evidence.reservations import DIGITS, WRONG, Judgement, usual
from jaxfn.verification.points.probes import EXTREME
from jaxfn.verification.subject.subject import Subject


def digits_lost(subject: Subject, found: Comparison, judged: list[Judgement]) -> list[Judgement]:
    """The judgements, with those errors made `DIGITS` that rounding explains at such magnitudes."""
    return [
        replace(one, outcome=DIGITS)
        if one.outcome == WRONG and _explained(subject, found, one)
        else one
        for one in judged
    ]


def _explained(subject: Subject, found: Comparison, one: Judgement) -> bool:
    assert found.reference is not None
    probe = found.probe_of(one.item)
    largest = np.abs(probe.x).max(initial=0.0)
    rule, expected = _pair(found, one)
    if probe.kind != EXTREME or largest < constants.EXTREME_MAGNITUDE or not np.isfinite(rule):
        return False
    if abs(rule + expected) <= constants.OPPOSITE * abs(expected):
        return False
    ratio = largest / np.median(typical_sizes(subject))
    size = max(usual(found), abs(expected))
    return bool(abs(rule - expected) <= constants.DIGITS_ULPS * subject.eps * ratio * size)


def _pair(found: Comparison, one: Judgement) -> tuple[float, float]:
    """What the rule gives and what is expected."""
    assert found.reference is not None
    expected = found.reference[one.item, one.element]
    if not np.isfinite(expected):
        expected = (one.low + one.high) / 2
    return float(found.rule[one.item, one.element]), float(expected)


def said_of_digits(subject: Subject, found: Comparison, judged: list[Judgement]) -> tuple[str, ...]:
    """A warning for each argument whose gradient loses digits: where, and how much."""
    said = []
    for leaf in subject.arguments.leaves:
        lost = [j for j in judged if leaf.start <= j.element < leaf.start + leaf.size]
        if not lost:
            continue
        from_, worst = (
            min(_magnitude(found, j) for j in lost),
            max(lost, key=lambda j: _error(found, j)),
        )
        rule, expected = _pair(found, worst)
        said.append(
            f"the gradient of {leaf.path} loses its digits at magnitudes from {from_:.0e}: up to "
            f"{rule:.6g} where {expected:.6g} is expected, at {found.probe_of(worst.item).name}"
        )
    return tuple(said)


def _magnitude(found: Comparison, one: Judgement) -> float:
    return float(np.abs(found.probe_of(one.item).x).max())


def _error(found: Comparison, one: Judgement) -> float:
    rule, expected = _pair(found, one)
    return abs(rule - expected)
