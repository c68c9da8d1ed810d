"""Function values decide where the rule and autodiff of the reference differ.

Autodiff of a forward pass is not always right: it may be nan behind a `where`, lose digits, or
follow another convention at a kink. So an element at which the two differ is judged by the
function's own differences, with their error: they confirm the rule, refute it, or cannot tell.
"""

from dataclasses import replace

import numpy as np

from jaxfn.verification import constants
from jaxfn.verification.evidence.agreement import Comparison, typical_sizes
from jaxfn.verification.evidence.differences import (
    Direction,
    Values,
    coordinate,
    evaluate,
)
from jaxfn.verification.evidence.differentiable import differentiable
from jaxfn.verification.evidence.extremes import digits_lost
from jaxfn.verification.evidence.reservations import (
    KINK,
    OPEN,
    RIGHT,
    WRONG,
    Judgement,
    converged,
    in_range,
    met,
    ties,
    trusted,
    usual,
)
from jaxfn.verification.points.probes import EXTREME, GIVEN, NEAR
from jaxfn.verification.subject.subject import DOUBLE, Subject, run_rows

ELEMENTS_GIVEN, ELEMENTS_MOVED, ELEMENTS_OF_MANY = 24, 6, 2  # judged at the given point, at others
LOOKED_AT_AGAIN, OF_MANY = 40, 4  # elements; of a large function
FINER = 0.03  # times the steps, when an element is looked at again
LAST = 1e-3  # the rank of an unstable element: it is judged after all others
OSCILLATIONS = 16  # points around an extreme one
OSCILLATES_WITHIN = 1e-3  # of the point: how far around


def judge(subject: Subject, found: Comparison) -> list[Judgement]:
    """Judges the elements that differ, the worst ones where there are many."""
    directions, items = [], []
    for probe in np.unique(found.which[found.bad.any(axis=1)]):
        for item, element in _suspects(subject, found, int(probe)):
            directions.append(coordinate(subject, found.probes[probe], element))
            items.append(item)
    first = [
        _judge_element(subject, found, item, values)
        for item, values in zip(items, evaluate(subject, directions), strict=True)
    ]
    judged = _look_again(subject, found, first)
    judged = [_at_a_kink_of_parts(subject, found, one) for one in judged]
    judged = met(subject, found, trusted(found, in_range(subject, found, judged)))
    judged = converged(subject, found, digits_lost(subject, found, judged))
    return judged + ties(subject, found, judged)


def _at_a_kink_of_parts(subject: Subject, found: Comparison, one: Judgement) -> Judgement:
    """An open judgement, refuted where autodiff jumps and the function's values do not.

    Then neither convention of its parts is one of the function's own.
    """
    if one.outcome != OPEN or not found.unstable[one.item, one.element] or subject.has_surrogate:
        return one
    rule = found.rule[one.item, one.element]
    width, middle = one.high - one.low, (one.high + one.low) / 2
    if not width < constants.NARROW_ENOUGH * abs(rule - middle):
        return one
    direction = coordinate(subject, found.probe_of(one.item), one.element)
    smooth = differentiable(subject, found, one.item, direction)
    return replace(one, outcome=WRONG) if smooth else one


def _look_again(subject: Subject, found: Comparison, judged: list[Judgement]) -> list[Judgement]:
    """The judgements with those that speak against the rule, or are open, made again."""
    chosen = [k for k, one in enumerate(judged) if one.outcome in (OPEN, WRONG)]
    chosen = chosen[: OF_MANY if subject.large else LOOKED_AT_AGAIN]
    finer = [
        coordinate(subject, found.probe_of(judged[k].item), judged[k].element, FINER)
        for k in chosen
    ]
    closer = list(judged)
    for k, values in zip(chosen, evaluate(subject, finer), strict=True):
        again = _judge_element(subject, found, judged[k].item, values)
        if again.outcome in (RIGHT, KINK) or judged[k].outcome == OPEN:
            closer[k] = again
    return _look_farther(subject, found, closer, chosen)


def _look_farther(
    subject: Subject, found: Comparison, judged: list[Judgement], chosen: list[int]
) -> list[Judgement]:
    """Longer steps where those in proportion to a tiny element drown in the values' rounding.

    They are as long as the given array is large. What they confirm counts, not what they refute:
    they may reach beyond the part of the domain in which the point lies. A kink that they see is
    one that rounding made of tiny elements: `|x| - 1` ties them all at -1.
    """
    typical = typical_sizes(subject)
    longer: dict[int, Direction] = {}
    for k in chosen:
        one, probe = judged[k], found.probe_of(judged[k].item)
        if one.outcome in (WRONG, OPEN) and not _tells(found, one):
            vector = np.zeros(subject.arguments.size)
            vector[one.element] = typical[one.element]
            if vector[one.element] > constants.TINY_BESIDE * abs(probe.x[one.element]):
                longer[k] = Direction(probe, vector, one.element)
    farther = list(judged)
    for k, values in zip(longer, evaluate(subject, list(longer.values())), strict=True):
        again = _judge_element(subject, found, judged[k].item, values)
        if again.outcome in (RIGHT, KINK):
            farther[k] = again
    return farther


def _tells(found: Comparison, one: Judgement) -> bool:
    """Whether differences are fine enough to tell the rule from the reference."""
    assert found.reference is not None
    gap = abs(found.rule[one.item, one.element] - found.reference[one.item, one.element])
    return bool(one.high - one.low < constants.TELLS * gap)


def _suspects(subject: Subject, found: Comparison, probe: int) -> list[tuple[int, int]]:
    items = found.items_of(probe)
    limit = ELEMENTS_GIVEN if found.probes[probe].kind == GIVEN else ELEMENTS_MOVED
    if subject.large:
        limit = ELEMENTS_OF_MANY
    assert found.reference is not None
    with np.errstate(all="ignore"):
        excess = np.abs(found.rule[items] - found.reference[items]) / found.tolerance[items]
    excess = np.where(found.bad[items], np.where(np.isfinite(excess), excess, np.inf), -1.0)
    settled = np.where(found.unstable[items], np.minimum(excess, LAST), excess)
    excess = np.where(excess > 0, settled, -1.0)
    worst = excess.max(axis=0)
    elements = np.flatnonzero(worst > 0)
    if elements.size > limit:
        half = elements[np.argsort(-worst[elements])[: limit // 2]]
        half = np.union1d(half, _worst_of_each(subject, worst)[:limit])
        others = np.setdiff1d(elements, half)
        rest = subject.rng.choice(others, max(0, limit - half.size), replace=False)
        elements = np.concatenate([half, rest])
    return [(int(items[np.argmax(excess[:, e])]), int(e)) for e in elements]


def _worst_of_each(subject: Subject, excess: np.ndarray) -> np.ndarray:
    """The worst element of each argument that has any: all that are wrong are to be named."""
    worst = [
        leaf.start + int(np.argmax(excess[leaf.part]))
        for leaf in subject.arguments.leaves
        if leaf.size
    ]
    return np.array([element for element in worst if excess[element] > 0], int)


def _judge_element(subject: Subject, found: Comparison, item: int, values: Values) -> Judgement:
    element = values.direction.element
    assert element is not None
    assert found.reference is not None
    step = values.direction.vector[element]
    with np.errstate(all="ignore"):
        low, high, kinked = values.interval(found.cotangents[item])
        low, high = low / step, high / step
        rule, reference = found.rule[item, element], found.reference[item, element]
        tolerance = found.tolerance[item, element]
        margin = max(tolerance, subject.relative_floor * abs(rule))
        expected = low - tolerance <= reference <= high + tolerance
        if not expected and not kinked and _far_off(rule, reference, low, high):
            margin = max(margin, constants.LOOP_MARGIN * abs(rule))
        inside = low - margin <= rule <= high + margin
    outcome = _outcome(subject, found, item, element, (inside, expected, kinked, low, high))
    return Judgement(item, element, outcome, low, high)


def _far_off(rule: float, reference: float, low: float, high: float) -> bool:
    """Whether differences refute the reference by far more than they do the rule.

    So they do autodiff of a bisection, whose values in steps make them less exact than they seem.
    """
    middle = (low + high) / 2
    return abs(reference - middle) > constants.FAR_OFF * abs(rule - middle)


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
    if subject.has_surrogate and subject.stops:  # differences do not see what it stops
        known = False
    unstable = bool(found.unstable[item, element])
    slack = constants.LEAST_RELATIVE * abs(rule)
    near = found.probe_of(item).kind in (GIVEN, NEAR)
    if not np.isfinite(rule) and subject.factorises and not near:
        return OPEN  # of a matrix that the check made singular
    if not np.isfinite(rule) and unstable:
        lost = np.isnan(rule) and _bounded(found, item, element)
        return WRONG if (expected and _moderate(found, low, high)) or lost else OPEN
    if unstable and found.low[item, element] - slack <= rule <= found.high[item, element] + slack:
        return KINK
    flat = known and max(abs(low), abs(high)) < constants.FLAT * abs(rule)
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
    ends = found.low[item, element], found.high[item, element], found.reference[item, element]
    return bool(
        np.isfinite(ends).all()
        and np.abs(ends).max() <= constants.USUAL_BESIDE_A_KINK * usual(found)
    )


def _moderate(found: Comparison, low: float, high: float) -> bool:
    """Whether differences are of a size that says something; where values jump they are not."""
    return bool(
        np.isfinite([low, high]).all() and max(-low, high) <= constants.MODERATE * usual(found)
    )


def _unresolved(subject: Subject, found: Comparison, item: int, element: int) -> bool:
    """Whether at an extreme point the rule is the slope of an oscillation that values do not show.

    A Fresnel integral at 1e6 is computed as its limit; what is missing oscillates with a wavelength
    of 1e-6, and the slope of that is the rule. Its sign changes as the point moves by a part in a
    thousand; at 1e28 it does so between any two floats, whose values would be far apart by it.
    """
    probe = found.probe_of(item)
    size = np.abs(found.rule[found.which == 0]).max(initial=0)
    if (
        probe.kind != EXTREME
        or not abs(found.rule[item, element]) < constants.USUAL_OSCILLATION * size
    ):
        return False
    sizes = np.abs(found.primal[[item, 0]]).max(axis=0)
    values = float(np.abs(found.cotangents[item]) @ sizes)
    spacing = DOUBLE * abs(probe.x[element])
    if abs(found.rule[item, element]) * spacing > values:
        return True
    x = np.repeat(probe.x[None], OSCILLATIONS, axis=0)
    x[:, element] *= 1 + OSCILLATES_WITHIN * subject.rng.uniform(-1, 1, OSCILLATIONS)
    integers = tuple(np.repeat(part[None], OSCILLATIONS, axis=0) for part in probe.integers)
    gammas = np.repeat(found.cotangents[[item]], OSCILLATIONS, axis=0)
    slopes = run_rows(subject.rule.pull, x, integers, gammas)[1][:, element]
    return bool((slopes > 0).any() and (slopes < 0).any())


def _stark(subject: Subject, found: Comparison, item: int, element: int) -> bool:
    """Whether autodiff alone is enough to call the rule wrong: far beyond any rounding."""
    assert found.reference is not None
    rule, reference = found.rule[item, element], found.reference[item, element]
    gap = abs(rule - reference)
    kind = found.probe_of(item).kind
    if kind in (GIVEN, NEAR):
        return bool(gap > constants.STARK_NEAR * found.tolerance[item, element])
    beyond = gap > constants.STARK_AFAR * found.tolerance[item, element]
    return bool(beyond and gap > constants.STARK_SHARE * abs(reference))
