"""What function values say of an element, and where what they say does not count.

Points that the check made may lie outside of what the function is meant for, or where the kinks of
several rules meet; and elements that each are right at a kink may be wrong together.
"""

from dataclasses import dataclass, replace

import numpy as np

from jaxfn.verification import constants
from jaxfn.verification.evidence.agreement import Comparison
from jaxfn.verification.evidence.differences import Direction, Values, evaluate, steps_of
from jaxfn.verification.points.probes import GIVEN, NEAR, SPECIAL, columns_of
from jaxfn.verification.subject.subject import Subject, run_rows

RIGHT, WRONG, OPEN, KINK, DIGITS = "right", "wrong", "open", "kink", "digits lost"
BESIDE = 4  # points a little away, where nothing is tied
AROUND = 64  # points whose gradients are sampled
AWAY = 1e-3  # of the steps: how far away these are
LADDERS = 1.0, 0.03, 1e-3  # of steps: those beyond the scale of the function mislead


@dataclass(frozen=True)
class Judgement:
    """What function values say of one element of the gradient for one cotangent."""

    item: int
    element: int
    outcome: str
    low: float
    high: float


def usual(found: Comparison) -> float:
    """The size of the gradient at the given point."""
    assert found.reference is not None
    given = found.reference[found.which == 0]
    return float(np.abs(given[np.isfinite(given)]).max(initial=0))


def trusted(found: Comparison, judged: list[Judgement]) -> list[Judgement]:
    """Far points do not count where differences refute autodiff at the given one.

    Then the function finds its value by a search or an iteration, which has a range in which it
    works: outside of it neither autodiff nor differences say what the rule should be.
    """
    assert found.reference is not None
    refuted = any(
        j.outcome == RIGHT
        and found.probe_of(j.item).kind == GIVEN
        and np.isfinite(found.reference[j.item, j.element])
        for j in judged
    )
    if not refuted:
        return judged
    near = (GIVEN, NEAR)
    return [j if found.probe_of(j.item).kind in near else replace(j, outcome=OPEN) for j in judged]


def in_range(subject: Subject, found: Comparison, judged: list[Judgement]) -> list[Judgement]:
    """Errors far away count where the value is finite in the arguments' own precision.

    Nor do they where a matrix that the check made is singular but for rounding.
    """
    out = []
    for one in judged:
        probe = found.probe_of(one.item)
        if one.outcome == WRONG and probe.kind not in (GIVEN, NEAR):
            row = (probe.x[None], tuple(p[None] for p in probe.integers))
            finite = np.isfinite(
                run_rows(subject.native.pull, *row, found.cotangents[[one.item]])[0]
            )
            if not finite.all() or (subject.factorises and _singular(found, one)):
                one = replace(one, outcome=OPEN)
        out.append(one)
    return out


def converged(subject: Subject, found: Comparison, judged: list[Judgement]) -> list[Judgement]:
    """Errors where an iteration of a fixed number of steps has not converged do not count.

    Where it has converged at the given point, its rule is that of the limit: elsewhere another
    step may still change the value, and no rule is right.
    """
    places = {one.item for one in judged if one.outcome == WRONG and found.which[one.item] != 0}
    if not places or not subject.values.iterates_for_long():
        return judged
    items = [0, *sorted(places)]
    change = _change_by_a_step(subject, found, items)
    if not change[0] <= constants.CONVERGED:
        return judged
    open_ = {item for item, by in zip(items, change, strict=True) if not by <= constants.CONVERGED}
    return [replace(one, outcome=OPEN) if one.item in open_ else one for one in judged]


def _change_by_a_step(subject: Subject, found: Comparison, items: list[int]) -> np.ndarray:
    """By how much one more step changes the values, relative to their size."""
    x, integers = columns_of([found.probe_of(item) for item in items])
    values = run_rows(subject.values.value, x, integers)[0]
    longer = run_rows(subject.values.longer_value, x, integers)[0]
    with np.errstate(all="ignore"):
        size = np.abs(values).max(axis=1, initial=0.0)
        return np.abs(longer - values).max(axis=1, initial=0.0) / np.where(size > 0, size, 1.0)


def _singular(found: Comparison, one: Judgement) -> bool:
    assert found.reference is not None
    return bool(np.abs(found.reference[one.item]).max() > constants.SINGULAR * usual(found))


def met(subject: Subject, found: Comparison, judged: list[Judgement]) -> list[Judgement]:
    """Errors of a composed function at zeros and ties that the check made, and not beside them.

    There kinks of several rules may meet, each with its own convention: with 0 at 0 for `relu`,
    `relu(x) - relu(-x)` has the derivative 0 at 0, and 1 beside it.
    """
    if not subject.composed:
        return judged
    return [
        replace(j, outcome=OPEN)
        if j.outcome == WRONG
        and found.probe_of(j.item).kind == SPECIAL
        and np.isfinite(found.rule[j.item, j.element])
        and _right_beside(subject, found, j)
        else j
        for j in judged
    ]


def _right_beside(subject: Subject, found: Comparison, one: Judgement) -> bool:
    """Whether rule and autodiff agree a little away from the point, where nothing is tied."""
    assert subject.reference is not None
    probe = found.probe_of(one.item)
    away = AWAY * steps_of(subject, probe)
    noise = subject.rng.uniform(0.5, 1, (BESIDE, away.size))
    noise *= subject.rng.choice([-1.0, 1.0], noise.shape)
    integers = tuple(np.repeat(part[None], BESIDE, axis=0) for part in probe.integers)
    gammas = np.repeat(found.cotangents[[one.item]], BESIDE, axis=0)
    rows = (probe.x + away * noise, integers, gammas)
    rule, reference = (
        run_rows(engine.pull, *rows)[1] for engine in (subject.rule, subject.reference)
    )
    size = np.abs(reference).max(axis=1, keepdims=True, initial=0)
    close = np.abs(rule - reference) <= constants.RIGHT_BESIDE * size
    return bool(close.all())


def ties(subject: Subject, found: Comparison, judged: list[Judgement]) -> list[Judgement]:
    """At kinks, the rule along directions that move all the tied elements together.

    Each element may lie between its one-sided derivatives while their sum does not: a maximum
    that passes the whole cotangent to each of two equal arguments. Where the kinks of several rules
    meet, each with its own convention, not even a right gradient need lie between: this says
    nothing where autodiff does not, nor where moving the inputs put rules onto each other's kinks,
    nor where gradients beside the point have slopes on both sides of the rule's.
    """
    assert found.reference is not None
    kinks = sorted({found.which[j.item] for j in judged if j.outcome == KINK})
    if subject.composed:
        kinks = [probe for probe in kinks if found.probes[probe].kind == GIVEN]
    directions = []
    for probe in kinks:
        steps = steps_of(subject, found.probes[probe])
        together = np.full(steps.shape, np.median(steps))
        for vector in (together, together * subject.rng.uniform(0.5, 1, steps.shape)):
            directions += [Direction(found.probes[probe], s * vector) for s in LADDERS]
    out, seen = [], evaluate(subject, directions)
    for k in range(0, len(seen), len(LADDERS)):
        probe = int(kinks[k // (2 * len(LADDERS))])
        for item in found.items_of(probe):
            ladders = seen[k : k + len(LADDERS)]
            apart = all(_outside(found, int(item), values) for values in ladders)
            if apart and not _among_those_beside(subject, found, int(item), ladders[0].direction):
                element = next(j.element for j in judged if found.which[j.item] == probe)
                low, high, _ = ladders[0].interval(found.cotangents[item])
                out.append(Judgement(int(item), element, WRONG, low, high))
    return out


def _outside(found: Comparison, item: int, values: Values) -> bool:
    """Whether the rule's slope lies outside of the one-sided ones, and autodiff's does not."""
    assert found.reference is not None
    low, high, _ = values.interval(found.cotangents[item])
    vector = values.direction.vector
    return not _between(found.rule[item], vector, low, high) and _between(
        found.reference[item], vector, low, high
    )


def _among_those_beside(
    subject: Subject, found: Comparison, item: int, direction: Direction
) -> bool:
    """Whether the rule's slope lies between those of autodiff's gradients around the point.

    Where a function is not convex, a right element of Clarke's derivative need not lie between the
    one-sided slopes, but it does between these. Samples of gradients are those of Burke, Lewis and
    Overton (2005).
    """
    assert subject.reference is not None
    probe, vector = direction.probe, direction.vector
    away = AWAY * steps_of(subject, probe)
    x = probe.x + away * subject.rng.uniform(-1, 1, (AROUND, away.size))
    integers = tuple(np.repeat(part[None], AROUND, axis=0) for part in probe.integers)
    gammas = np.repeat(found.cotangents[[item]], AROUND, axis=0)
    with np.errstate(all="ignore"):
        slopes = run_rows(subject.reference.pull, x, integers, gammas)[1] @ vector
        low, high = np.fmin.reduce(slopes), np.fmax.reduce(slopes)
    return _between(found.rule[item], vector, float(low), float(high))


def _between(gradient: np.ndarray, direction: np.ndarray, low: float, high: float) -> bool:
    """Whether the slope along the direction lies between, as far as that is known."""
    with np.errstate(all="ignore"):
        slope = float(gradient @ direction)
        margin = constants.BETWEEN * float(np.abs(gradient) @ np.abs(direction))
    if not np.isfinite([low, high, slope]).all():
        return True
    return low - margin <= slope <= high + margin
