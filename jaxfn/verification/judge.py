"""Function values decide where the rule and autodiff of the reference differ.

Autodiff of a forward pass is not always right: it may be nan behind a `where`, lose digits, or
follow another convention at a kink. So an element at which the two differ is judged by the
function's own differences, with their error: they confirm the rule, refute it, or cannot tell.
"""

from dataclasses import dataclass, replace

import numpy as np

from jaxfn.verification.agreement import Comparison, typical_sizes
from jaxfn.verification.differences import Direction, Values, coordinate, evaluate, steps_of
from jaxfn.verification.probes import EXTREME, GIVEN, NEAR
from jaxfn.verification.subject import Subject, run_rows

RIGHT, WRONG, OPEN, KINK = "right", "wrong", "open", "kink"
ELEMENTS_GIVEN, ELEMENTS_MOVED = 24, 6
OSCILLATIONS = 16


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
    _look_farther(subject, found, judged, open_ones)
    judged = _trusted(found, judged)
    return judged + _ties(subject, found, judged)


def _look_farther(
    subject: Subject, found: Comparison, judged: list[Judgement], chosen: list[int]
) -> None:
    """Longer steps where those in proportion to a tiny element drown in the values' rounding.

    They are as long as the given array is large. What they confirm counts, not what they refute:
    they may reach beyond the part of the domain in which the point lies.
    """
    typical = typical_sizes(subject)
    longer: dict[int, Direction] = {}
    for k in chosen:
        one, probe = judged[k], found.probes[found.which[judged[k].item]]
        if one.outcome in (WRONG, OPEN) and not _tells(found, one):
            vector = np.zeros(subject.arguments.size)
            vector[one.element] = typical[one.element]
            if vector[one.element] > 10 * abs(probe.x[one.element]):
                longer[k] = Direction(probe, vector, one.element)
    for k, values in zip(longer, evaluate(subject, list(longer.values())), strict=True):
        again = _judge_element(subject, found, judged[k].item, values)
        if again.outcome == RIGHT:
            judged[k] = again


def _tells(found: Comparison, one: Judgement) -> bool:
    """Whether differences are fine enough to tell the rule from the reference."""
    assert found.reference is not None
    gap = abs(found.rule[one.item, one.element] - found.reference[one.item, one.element])
    return bool(one.high - one.low < 2 * gap)


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
    near = found.probes[found.which[item]].kind in (GIVEN, NEAR)
    if not np.isfinite(rule) and subject.factorises and not near:
        return OPEN  # of a matrix that the check made singular
    if not np.isfinite(rule) and unstable:
        lost = np.isnan(rule) and _bounded(found, item, element)
        return WRONG if (known and expected) or lost else OPEN
    if unstable and found.low[item, element] - slack <= rule <= found.high[item, element] + slack:
        return KINK
    flat = known and max(abs(low), abs(high)) < 1e-9 * abs(rule)
    if flat and _unresolved(subject, found, item, element):
        return OPEN
    if inside and known and kinked:
        return KINK
    if inside and known and not expected:
        return RIGHT
    if not inside and known and (expected or not np.isfinite(reference)):
        return WRONG
    if not np.isfinite(reference):
        return OPEN
    if not np.isfinite(rule):  # away from the given point the function may have no derivative
        return WRONG if near else OPEN
    return WRONG if not unstable and _stark(subject, found, item, element) else OPEN


def _bounded(found: Comparison, item: int, element: int) -> bool:
    """Whether beside a kink autodiff is finite and of the usual size: no reason to be nan there."""
    assert found.reference is not None
    given = found.reference[found.which == 0]
    usual = np.abs(given[np.isfinite(given)]).max(initial=0)
    ends = found.low[item, element], found.high[item, element], found.reference[item, element]
    return bool(np.isfinite(ends).all() and np.abs(ends).max() <= 10 * usual)


def _unresolved(subject: Subject, found: Comparison, item: int, element: int) -> bool:
    """Whether at an extreme point the rule is the slope of an oscillation that values do not show.

    A Fresnel integral at 1e6 is computed as its limit; what is missing oscillates with a wavelength
    of 1e-6, and the slope of that is the rule. Its sign changes as the point moves by a part in a
    thousand; at 1e28 it does so between any two floats, whose values would be far apart by it.
    """
    probe = found.probes[found.which[item]]
    usual = np.abs(found.rule[found.which == 0]).max(initial=0)
    if probe.kind != EXTREME or not abs(found.rule[item, element]) < 10 * usual:
        return False
    sizes = np.abs(found.primal[[item, 0]]).max(axis=0)
    values = float(np.abs(found.cotangents[item]) @ sizes)
    spacing = np.finfo(np.float64).eps * abs(probe.x[element])
    if abs(found.rule[item, element]) * spacing > values:
        return True
    x = np.repeat(probe.x[None], OSCILLATIONS, axis=0)
    x[:, element] *= 1 + 1e-3 * subject.rng.uniform(-1, 1, OSCILLATIONS)
    integers = tuple(np.repeat(part[None], OSCILLATIONS, axis=0) for part in probe.integers)
    gammas = np.repeat(found.cotangents[[item]], OSCILLATIONS, axis=0)
    slopes = run_rows(subject.rule.pull, x, integers, gammas)[1][:, element]
    return bool((slopes > 0).any() and (slopes < 0).any())


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
