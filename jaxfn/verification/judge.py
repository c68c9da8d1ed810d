"""Function values decide where the rule and autodiff of the reference differ.

Autodiff of a forward pass is not always right: it may be nan behind a `where`, lose digits, or
follow another convention at a kink. So an element at which the two differ is judged by the
function's own differences, with their error: they confirm the rule, refute it, or cannot tell.
"""

from dataclasses import dataclass, replace

import numpy as np

from jaxfn.verification.agreement import Comparison
from jaxfn.verification.differences import Direction, Values, coordinate, evaluate, steps_of
from jaxfn.verification.probes import GIVEN, NEAR
from jaxfn.verification.subject import Subject

RIGHT, WRONG, OPEN, KINK = "right", "wrong", "open", "kink"
ELEMENTS_GIVEN, ELEMENTS_MOVED = 24, 6


@dataclass(frozen=True)
class Judgement:
    """What function values say of one element of the gradient for one cotangent."""

    item: int
    element: int
    outcome: str
    low: float
    high: float


def judge(subject: Subject, found: Comparison) -> list[Judgement]:
    """Judges the elements that differ, the worst ones where there are many."""
    directions, items = [], []
    for probe in np.unique(found.which[found.bad.any(axis=1)]):
        for item, element in _suspects(subject, found, int(probe)):
            directions.append(coordinate(subject, found.probes[probe], element))
            items.append(item)
    judged = [
        _judge_element(subject, found, item, values)
        for item, values in zip(items, evaluate(subject, directions), strict=True)
    ]
    open_ones = [k for k, one in enumerate(judged) if one.outcome in (OPEN, WRONG)]
    open_ones = open_ones[: 4 if subject.large else 40]
    finer = [
        coordinate(subject, found.probes[found.which[judged[k].item]], judged[k].element, 0.03)
        for k in open_ones
    ]
    for k, values in zip(open_ones, evaluate(subject, finer), strict=True):
        again = _judge_element(subject, found, items[k], values)
        if again.outcome in (RIGHT, KINK) or judged[k].outcome == OPEN:
            judged[k] = again
    judged = _trusted(found, judged)
    return judged + _ties(subject, found, judged)


def _trusted(found: Comparison, judged: list[Judgement]) -> list[Judgement]:
    """Far points do not count where differences refute autodiff at the given one.

    Then the function finds its value by a search or an iteration, which has a range in which it
    works: outside of it neither autodiff nor differences say what the rule should be.
    """
    assert found.reference is not None
    refuted = any(
        j.outcome == RIGHT
        and found.probes[found.which[j.item]].kind == GIVEN
        and np.isfinite(found.reference[j.item, j.element])
        for j in judged
    )
    if not refuted:
        return judged
    near = (GIVEN, NEAR)
    return [
        j if found.probes[found.which[j.item]].kind in near else replace(j, outcome=OPEN)
        for j in judged
    ]


def _suspects(subject: Subject, found: Comparison, probe: int) -> list[tuple[int, int]]:
    items = found.items_of(probe)
    limit = ELEMENTS_GIVEN if found.probes[probe].kind == GIVEN else ELEMENTS_MOVED
    if subject.large:
        limit = 2
    assert found.reference is not None
    with np.errstate(all="ignore"):
        excess = np.abs(found.rule[items] - found.reference[items]) / found.tolerance[items]
    excess = np.where(found.bad[items], np.where(np.isfinite(excess), excess, np.inf), -1.0)
    settled = np.where(found.unstable[items], np.minimum(excess, 1e-3), excess)
    excess = np.where(excess > 0, settled, -1.0)
    worst = excess.max(axis=0)
    elements = np.flatnonzero(worst > 0)
    if elements.size > limit:
        half = elements[np.argsort(-worst[elements])[: limit // 2]]
        rest = subject.rng.choice(np.setdiff1d(elements, half), limit - half.size, replace=False)
        elements = np.concatenate([half, rest])
    return [(int(items[np.argmax(excess[:, e])]), int(e)) for e in elements]


def _judge_element(subject: Subject, found: Comparison, item: int, values: Values) -> Judgement:
    element = values.direction.element
    assert element is not None
    assert found.reference is not None
    step = values.direction.vector[element]
    with np.errstate(all="ignore"):
        low, high, kinked = values.interval(found.cotangents[item])
        low, high = low / step, high / step
        rule, reference = found.rule[item, element], found.reference[item, element]
        margin = max(found.tolerance[item, element], 1e-9 * abs(rule))
        inside = low - margin <= rule <= high + margin
        expected = low - margin <= reference <= high + margin
    outcome = _outcome(subject, found, item, element, (inside, expected, kinked, low, high))
    return Judgement(item, element, outcome, low, high)


def _outcome(
    subject: Subject,
    found: Comparison,
    item: int,
    element: int,
    seen: tuple[bool, bool, bool, float, float],
) -> str:
    inside, expected, kinked, low, high = seen
    assert found.reference is not None
    rule, reference = found.rule[item, element], found.reference[item, element]
    known = np.isfinite(low) and np.isfinite(high)
    unstable = bool(found.unstable[item, element])
    slack = 1e-9 * abs(rule)
    if not np.isfinite(rule) and unstable:
        return WRONG if known and expected else OPEN
    if unstable and found.low[item, element] - slack <= rule <= found.high[item, element] + slack:
        return KINK
    if inside and known and kinked:
        return KINK
    if inside and known and not expected:
        return RIGHT
    if not inside and known and (expected or not np.isfinite(reference)):
        return WRONG
    if not np.isfinite(reference):
        return OPEN
    if not np.isfinite(rule):
        return WRONG
    return WRONG if not unstable and _stark(subject, found, item, element) else OPEN


def _stark(subject: Subject, found: Comparison, item: int, element: int) -> bool:
    """Whether autodiff alone is enough to call the rule wrong: far beyond any rounding."""
    assert found.reference is not None
    rule, reference = found.rule[item, element], found.reference[item, element]
    gap = abs(rule - reference)
    kind = found.probes[found.which[item]].kind
    if kind in (GIVEN, NEAR):
        return bool(gap > 3 * found.tolerance[item, element])
    return bool(gap > 100 * found.tolerance[item, element] and gap > 1e-4 * abs(reference))


def _ties(subject: Subject, found: Comparison, judged: list[Judgement]) -> list[Judgement]:
    """At kinks, the rule along directions that move all the tied elements together.

    Each element may lie between its one-sided derivatives while their sum does not: a maximum
    that passes the whole cotangent to each of two equal arguments. Where the kinks of several rules
    meet, each with its own convention, not even a right gradient need lie between: this says
    nothing where autodiff does not, nor where moving the inputs put rules onto each other's kinks.
    """
    assert found.reference is not None
    kinks = sorted({found.which[j.item] for j in judged if j.outcome == KINK})
    if subject.composed:
        kinks = [probe for probe in kinks if found.probes[probe].kind == GIVEN]
    directions = []
    for probe in kinks:
        steps = steps_of(subject, found.probes[probe])
        together = np.full(steps.shape, np.median(steps))
        directions.append(Direction(found.probes[probe], together))
        directions.append(
            Direction(found.probes[probe], together * subject.rng.uniform(0.5, 1, steps.shape))
        )
    out = []
    for k, values in enumerate(evaluate(subject, directions)):
        for item in found.items_of(int(kinks[k // 2])):
            low, high, _ = values.interval(found.cotangents[item])
            outside = not _between(found.rule[item], values.direction.vector, low, high)
            if outside and _between(found.reference[item], values.direction.vector, low, high):
                element = next(j.element for j in judged if found.which[j.item] == kinks[k // 2])
                out.append(Judgement(int(item), element, WRONG, low, high))
    return out


def _between(gradient: np.ndarray, direction: np.ndarray, low: float, high: float) -> bool:
    """Whether the slope along the direction lies between, as far as that is known."""
    with np.errstate(all="ignore"):
        slope = float(gradient @ direction)
        margin = 1e-6 * float(np.abs(gradient) @ np.abs(direction))
    if not np.isfinite([low, high, slope]).all():
        return True
    return low - margin <= slope <= high + margin
