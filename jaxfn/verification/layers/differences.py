"""The rule against finite differences of the function, which share nothing with autodiff."""

from dataclasses import replace

import numpy as np

from jaxfn.verification import constants
from jaxfn.verification.diagnosis.diagnose import Cause, diagnose
from jaxfn.verification.evidence.agreement import Comparison
from jaxfn.verification.evidence.differences import (
    Direction,
    Values,
    coordinate,
    evaluate,
    steps_of,
)
from jaxfn.verification.evidence.differentiable import differentiable
from jaxfn.verification.evidence.judge import WRONG, Judgement
from jaxfn.verification.layers.observed import Observed
from jaxfn.verification.layers.reproduce import pullback
from jaxfn.verification.points.probes import EXTREME, GIVEN, NEAR, SPECIAL
from jaxfn.verification.report import FAIL, INCONCLUSIVE, PASS, SKIPPED, Check
from jaxfn.verification.subject.elements import element_of
from jaxfn.verification.subject.subject import Subject, run_rows

SHOWS = (
    "the gradient is the slope of the function's own values, within the differences' error",
    "errors smaller than that error; points that were not visited",
)
# a cause, of no failure: differences show that autodiff's derivative is no slope of the values
SLOPELESS = "slopeless"
COORDINATES, COORDINATES_ALONE = 64, 512  # elements that are all looked at; without a reference
SOME, SOME_OF_MANY, BESIDE = 16, 3, 8  # elements otherwise; of a large function; at other points
DENSE, DENSE_OF_MANY = 6, 2  # directions that move all elements; of a large function
AT_SPECIAL = 2  # elements at points of special values, where parts of a function have kinks
NAMED = 1e-4  # of the largest slope: what is named as wrong once the layer has failed
LOOKED_AT_AGAIN = 8  # disagreements
AGAIN = 0.41, 0.05  # times the steps of these
NEARBY, AWAY = 2, 1e-3  # points beside one that disagrees, and how far, in steps
STOPPED = (
    "the function calls stop_gradient, or draws from a gamma distribution, so that its derivative, "
    "which the rule gives, is not the slope of its values: no finite differences"
)


def check_differences(observed: Observed) -> Check:
    """Differences along coordinates and dense directions at the given point and some others."""
    subject, found = observed.subject, observed.found
    decided = observed.verdict("autodiff") == PASS
    if subject.has_surrogate:
        return Check("differences", SKIPPED, *SHOWS, detail="the gradient is that of a surrogate")
    if not found.comparable:
        detail = "skipped because the rule follows no derivative at any scale of the cotangent"
        return Check("differences", SKIPPED, *SHOWS, detail=detail)
    directions = _directions(subject, found)
    outcomes, errors, failures = [], [], []
    along_one: list[tuple[int, Values]] = []
    for values in evaluate(subject, directions):
        for item in found.items_of(_index(found, values)):
            outcome, error = _outcome(subject, found, int(item), values)
            outcomes.append(outcome)
            errors.append(error if outcome == "right" else np.inf)
            if values.direction.element is not None and found.which[item] == 0:
                along_one.append((int(item), values))
            if outcome == "wrong":
                failures.append((int(item), values))
    confirmed = _confirmed(subject, found, failures[:LOOKED_AT_AGAIN], decided)
    if isinstance(confirmed, str):
        detail = f"skipped because {STOPPED}"
        return Check(
            "differences", SKIPPED, *SHOWS, detail=detail, cause=SLOPELESS, notes=(STOPPED,)
        )
    known = [e for e in errors if np.isfinite(e)]
    power = float(np.median(known)) if known else None
    if confirmed is not None:
        item, values = confirmed
        failed = _failure(subject, found, item, values, power)
        cause = _cause(subject, found, along_one, (item, values))
        return replace(failed, diagnosis=cause.text, cause=cause.name)
    unsettled = outcomes.count("open")
    if unsettled > constants.UNSETTLED * max(len(outcomes), 1) and not decided:
        text = f"differences do not settle along {unsettled} of {len(outcomes)} directions"
        return Check("differences", INCONCLUSIVE, *SHOWS, power, None, text)
    detail = f"{unsettled} of {len(outcomes)} comparisons undecided" if unsettled else ""
    return Check("differences", PASS, *SHOWS, power, detail=detail)


def _middle(found: Comparison, item: int, values: Values) -> float:
    d = values.direction
    assert d.element is not None
    low, high, _ = values.interval(found.cotangents[item])
    return (low + high) / 2 / d.vector[d.element]


def _cause(
    subject: Subject,
    found: Comparison,
    along_one: list[tuple[int, Values]],
    confirmed: tuple[int, Values],
) -> Cause:
    """The pattern of the differences, with the slopes at the given point as the reference."""
    estimates = np.full(found.rule.shape, np.nan)
    for item, values in along_one:
        estimates[item, values.direction.element] = _middle(found, item, values)
    whole = found.usable & np.isfinite(estimates).all(axis=1) & (found.which == 0)
    gap = np.abs(found.rule - estimates)
    bad = whole[:, None] & (gap > NAMED * np.abs(estimates).max(axis=1, keepdims=True, initial=0))
    wrong = [Judgement(int(i), int(e), WRONG, np.nan, np.nan) for i, e in np.argwhere(bad)]
    if not wrong:
        return _where(subject, found, *confirmed)
    slopes_there = replace(
        found, reference=estimates, usable=whole, bad=bad, unstable=np.zeros_like(bad)
    )
    return diagnose(subject, slopes_there, wrong)


def _where(subject: Subject, found: Comparison, item: int, values: Values) -> Cause:
    """What is wrong with which argument at which point, of a direction that shows no pattern."""
    d = values.direction
    moved = [leaf for leaf in subject.arguments.leaves if d.vector[leaf.part].any()]
    named = ", ".join(leaf.path for leaf in moved)
    slope, (low, high, _) = (
        float(found.rule[item] @ d.vector),
        values.interval(found.cotangents[item]),
    )
    agrees = found.reference is not None and not found.bad[item].any()
    too = " (autodiff of the function gives the same: a kink of its parts?)" if agrees else ""
    if not np.isfinite(slope):
        text = (
            f"the gradient of {named} is {slope} at {d.probe.name}, where the values have a slope"
        )
        return Cause("nan", text + too)
    text = (
        f"the gradient of {named} is wrong at {d.probe.name}: the slope along a direction is "
        f"{slope:.6g} by the rule and {(low + high) / 2:.6g} by the values"
    )
    return Cause("region", text + too)


def _index(found: Comparison, values: Values) -> int:
    return next(i for i, p in enumerate(found.probes) if p is values.direction.probe)


def _directions(subject: Subject, found: Comparison) -> list[Direction]:
    alone = subject.reference is None
    n = subject.arguments.size
    directions: list[Direction] = []
    limit = COORDINATES_ALONE if alone else COORDINATES
    for i, probe in enumerate(found.probes):
        if not found.items_of(i).size or probe.kind == EXTREME:
            continue
        steps = steps_of(subject, probe)
        if not alone and probe.kind == SPECIAL and not subject.large and not subject.composed:
            some = subject.rng.choice(n, min(n, AT_SPECIAL), replace=False)
            directions += [coordinate(subject, probe, int(e)) for e in some]
        if not alone and (
            probe.kind not in (GIVEN, NEAR) or (subject.large and i > (0 if subject.huge else 1))
        ):
            continue
        few = min(n, 0 if subject.huge else SOME_OF_MANY if subject.large else SOME)
        elements = np.arange(n) if n <= limit else subject.rng.choice(n, few, replace=False)
        if probe.kind != GIVEN:
            elements = elements[:BESIDE] if alone else elements[:0]
        directions += [coordinate(subject, probe, int(e)) for e in elements]
        many = DENSE_OF_MANY if subject.large else DENSE
        dense = 1 if n <= limit or subject.huge else many
        for _ in range(dense):
            directions.append(Direction(probe, steps * subject.rng.choice([-1.0, 1.0], n)))
    return directions


def _outcome(subject: Subject, found: Comparison, item: int, values: Values) -> tuple[str, float]:
    """Whether differences along a direction agree with the rule, and their relative error."""
    element, gamma = values.direction.element, found.cotangents[item]
    moved = slice(None) if element is None else slice(element, element + 1)
    vector = values.direction.vector[moved]
    with np.errstate(all="ignore"):
        rule = found.rule[item, moved]
        slope = float(rule @ vector)
        low, high, _ = values.interval(gamma)
        size = float(np.abs(rule) @ np.abs(vector))
        margin = constants.SLOPE_MARGIN * max(size, abs(low + high) / 2)
        if subject.iterates:
            largest = np.abs(found.rule[item]).max(initial=0.0)
            margin = constants.LOOP_MARGIN * max(
                abs(low + high) / 2, largest * np.abs(vector).sum()
            )
        error = ((high - low) / 2 + margin) / abs(slope) if slope else np.inf
    if not np.isfinite([low, high]).all():
        return "open", np.inf
    if np.isfinite(slope) and low - margin <= slope <= high + margin:
        settled = error < constants.SETTLED or size == 0
        return ("right" if settled or abs(slope) < constants.SLOPE_MARGIN * size else "open"), error
    flat = subject.wide and max(-low, high) < constants.FLAT * abs(slope)
    if flat and abs(slope) <= _hidden(subject, found, moved, vector):
        return "open", np.inf
    return "wrong", error


def _hidden(subject: Subject, found: Comparison, moved: slice, vector: np.ndarray) -> float:
    """The slope that rounding hides: values in which a tail is lost are flat."""
    near = [i for i, w in enumerate(found.which) if found.probes[w].kind in (GIVEN, NEAR)]
    usual = np.zeros(subject.arguments.size)
    for leaf in subject.arguments.leaves:
        part = found.rule[near, leaf.part]
        usual[leaf.part] = np.abs(part[np.isfinite(part)]).max(initial=0.0)
    return subject.absolute_floor * float(usual[moved] @ np.abs(vector))


def _confirmed(
    subject: Subject, found: Comparison, failures: list[tuple[int, Values]], decided: bool
) -> tuple[int, Values] | str | None:
    """A disagreement counts if two finer ladders of steps show it too.

    Where the rule agrees with autodiff, or all its elements have been judged, it has to
    show beside the point as well, or the function has to be differentiable at the point: autodiff
    is wrong at a kink of its parts. At points of special values that alone counts.
    """
    for item, values in failures:
        d = values.direction
        again = evaluate(subject, [Direction(d.probe, s * d.vector, d.element) for s in AGAIN])
        if not all(_outcome(subject, found, item, v)[0] == "wrong" for v in again):
            continue
        agree = found.reference is not None and not found.bad[item].any()
        if subject.stops and agree and not _same_forward(subject, found, item, values):
            return SLOPELESS
        if agree and differentiable(subject, found, item, d):
            return item, values
        if d.probe.kind != SPECIAL and (
            found.reference is None
            or (found.bad[item].any() and not decided)
            or _wrong_nearby(subject, found, item, d)
        ):
            return item, values
    return None


def _same_forward(subject: Subject, found: Comparison, item: int, values: Values) -> bool:
    """Whether autodiff in forward mode gives the slope, so that nothing of it is stopped."""
    assert subject.reference is not None
    d, gamma = values.direction, found.cotangents[item]
    low, high, _ = values.interval(gamma)
    try:
        slope = float(subject.reference.tangent(d.probe.x, d.probe.integers, d.vector) @ gamma)
    except (TypeError, NotImplementedError):  # of what has no forward mode
        return False
    margin = constants.SLOPE_MARGIN * abs(slope)
    return bool(low - margin <= slope <= high + margin)


def _wrong_nearby(subject: Subject, found: Comparison, item: int, d: Direction) -> bool:
    """Whether the rule is off beside the point as well.

    Where ties are broken (the middle one of three equal elements that are sorted), a derivative
    may be right that lies between no one-sided ones; beside such a point nothing is tied.
    """
    for _ in range(NEARBY):
        away = AWAY * steps_of(subject, d.probe) * subject.rng.uniform(0.5, 1, d.vector.shape)
        signs = subject.rng.choice([-1.0, 1.0], d.vector.shape)
        probe = replace(d.probe, x=d.probe.x + signs * away)
        (values,) = evaluate(subject, [Direction(probe, AWAY * d.vector)])
        row = (probe.x[None], tuple(p[None] for p in probe.integers), found.cotangents[[item]])
        rule = run_rows(subject.rule.pull, *row)[1][0]
        low, high, _ = values.interval(found.cotangents[item])
        size = float(np.abs(rule) @ np.abs(values.direction.vector))
        slope = float(rule @ values.direction.vector)
        if not (
            np.isfinite([low, high]).all()
            and abs(slope - (low + high) / 2) > (high - low) / 2 + constants.WRONG_NEARBY * size
        ):
            return False
    return True


def _failure(
    subject: Subject, found: Comparison, item: int, values: Values, power: float | None
) -> Check:
    d = values.direction
    low, high, _ = values.interval(found.cotangents[item])
    worst = None
    if d.element is not None:
        expected = found.rule[item].copy()
        expected[d.element] = (low + high) / 2 / d.vector[d.element]
        worst = element_of(subject.arguments, d.element, found.rule[item], expected, d.probe.name)
    slope = float(found.rule[item] @ d.vector)
    text = f"slope {slope:.9g} by the rule, between {low:.9g} and {high:.9g} by differences"
    again = pullback(subject, d.probe, found.cotangents[item], worst)
    return Check("differences", FAIL, *SHOWS, power, worst, text, reproduce=again)
