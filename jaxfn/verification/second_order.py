"""The derivative of the rule itself, by reverse over reverse."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from jaxfn.verification.agreement import Comparison, differs, typical_sizes
from jaxfn.verification.coordinates import Leaf
from jaxfn.verification.differences import LOOP_MARGIN, Direction, evaluate, steps_of
from jaxfn.verification.elements import element_of, leaf_element
from jaxfn.verification.probes import FAR, GIVEN, NEAR, SPECIAL, ZEROS, Probe
from jaxfn.verification.programs import Engine
from jaxfn.verification.report import FAIL, INCONCLUSIVE, PASS, SKIPPED, Check, Element
from jaxfn.verification.setup import line
from jaxfn.verification.subject import Subject, columns_of, run_rows

SHOWS = (
    "the gradient of the gradient agrees, with respect to arguments and cotangent",
    "third and higher derivatives",
)
SAMPLES = 2
CAUSE = "second-order"
WRONG = "the gradient is right, its own derivative is not"
LOST = (
    "the gradient and its derivative are right, but not the derivative of the value that the "
    "forward rule returns, as jax.grad of a function of jax.value_and_grad takes it"
)


@dataclass(frozen=True)
class Twice:
    """The derivatives of primal and gradient at some probes, `[items, inputs + outputs]`.

    Those by the arguments stand before those by the cotangent. `rows` are points, integer
    arguments, cotangents, and the weights of what is differentiated; `program` is the engines'
    program that makes the derivatives from them.
    """

    subject: Subject
    probes: list[Probe]
    program: str
    rows: tuple[np.ndarray, tuple[np.ndarray, ...], np.ndarray, np.ndarray]
    rule: np.ndarray
    reference: np.ndarray | None

    def evaluated(self, engine: Engine, rows: tuple[Any, ...]) -> np.ndarray:
        """The derivatives that an engine gives at other rows."""
        return np.concatenate(run_rows(getattr(engine, self.program), *rows), axis=1)


def check_second_order(subject: Subject, found: Comparison) -> Check:
    """Reverse over reverse of the rule against that of the reference, and against differences."""
    probes = _points(subject, found, found.doubtful)
    trusted = any(p.kind in (GIVEN, NEAR) for p in probes)
    if not trusted:  # autodiff is wrong about the first order already
        probes = [p for p in _points(subject, found, set()) if p.kind == NEAR]
    if not probes:
        detail = "skipped because there is no point at which the gradients are settled"
        return Check("second order", SKIPPED, *SHOWS, detail=detail)
    probes = [probe for probe in probes for _ in range(1 if subject.huge else SAMPLES)]
    rows = _rows(subject, probes)
    try:
        program, rule = _twice(subject, rows)
    except Exception as error:  # a rule need not be differentiable twice; the reason is reported
        return Check("second order", SKIPPED, *SHOWS, detail=f"skipped because {line(error)}")
    reference = None
    if subject.reference is not None and trusted:
        try:
            twice = getattr(subject.reference, program)
            reference = np.concatenate(run_rows(twice, *rows), axis=1)
        except Exception as error:  # then differences of the rule decide alone
            subject.notes.append(f"second order rests on finite differences alone: {line(error)}")
    return _decide(Twice(subject, probes, program, rows, rule, reference))


def _rows(subject: Subject, probes: list[Probe]) -> tuple[Any, ...]:
    """Points, cotangents, and weights of the primal and of the gradient that they give."""
    x, integers = columns_of(probes)
    m, n, rng = subject.rule.size, subject.arguments.size, subject.rng
    gammas = rng.standard_normal((len(probes), m)).astype(np.float32).astype(np.float64)
    weights = rng.standard_normal((len(probes), m + n)).astype(np.float32).astype(np.float64)
    return x, integers, subject.cotangent_scale * gammas, weights


def _twice(subject: Subject, rows: tuple[Any, ...]) -> tuple[str, np.ndarray]:
    """The derivative of primal and gradient, or of the gradient alone where that is all there is.

    A surrogate's primal has another derivative than the function's, so has that of a function that
    stops gradients, and a forward rule that iterates may have none.
    """
    if not subject.has_surrogate and not subject.slopeless:
        try:
            return "pull_twice", np.concatenate(run_rows(subject.rule.pull_twice, *rows), axis=1)
        except Exception as error:  # the gradient alone may still be differentiable
            subject.notes.append(f"second order of the gradient alone: {line(error)}")
    rows[3][:, : subject.rule.size] = 0.0
    alone = run_rows(subject.rule.gradient_twice, *rows)
    return "gradient_twice", np.concatenate(alone, axis=1)


def _points(subject: Subject, found: Comparison, doubtful: set[int]) -> list[Probe]:
    usable = {i for i in found.which[found.usable]}
    # where the gradients differ (a kink, or autodiff is nan) their derivatives need not agree
    usable -= doubtful
    near = [p for i, p in enumerate(subject.probes) if i in usable and p.kind in (GIVEN, NEAR)]
    far = [p for i, p in enumerate(subject.probes) if i in usable and p.kind == FAR]
    most = 1 if subject.huge else 2 if subject.large else 6
    zeros = [p for i, p in enumerate(subject.probes) if i in usable and p.name == ZEROS]
    return near[:most] + far[: 0 if subject.huge else most] + zeros[: 0 if subject.large else 1]


def _decide(twice: Twice) -> Check:
    reference = twice.reference
    if reference is None:
        return _by_differences_alone(twice)
    tolerance = _tolerance(twice, reference)
    suspects = differs(twice.rule, reference, tolerance)
    power = _power(reference, tolerance, suspects)
    if not suspects.any():
        return Check("second order", PASS, *SHOWS, power)
    order = np.argsort(-suspects.any(axis=1).astype(int), kind="stable")[:6]
    for i in map(int, order):
        seen = _by_differences(twice, i, suspects[i])
        if twice.probes[i].kind == SPECIAL:  # a convention at a kink, but nan is none
            lost = suspects[i] & ~np.isfinite(twice.rule[i]) & np.isfinite(reference[i])
            if lost.any() and not seen.jumps:
                return _failure(twice, i, lost, reference[i], power)
            continue
        stark = seen.outcome == "open" and twice.probes[i].kind == GIVEN
        stark &= bool(np.isfinite(reference[i, suspects[i]]).any()) and not seen.jumps
        if (seen.outcome == "wrong" or stark) and suspects[i].any():
            expected = np.where(np.isfinite(reference[i]), reference[i], seen.slopes)
            return _failure(twice, i, suspects[i], expected, power)
    return Check("second order", PASS, *SHOWS, power)


def _by_differences_alone(twice: Twice) -> Check:
    """The verdict where the reference has no second derivative."""
    near = [i for i, probe in enumerate(twice.probes) if probe.kind in (GIVEN, NEAR)][:4]
    nothing = np.zeros(twice.rule.shape[1], bool)
    found = {i: _by_differences(twice, i, nothing) for i in near}
    for i, seen in found.items():
        if seen.outcome == "wrong":
            return _failure(twice, i, seen.wrong, seen.slopes, None)
    if found and all(seen.outcome == "open" for seen in found.values()):
        return Check("second order", INCONCLUSIVE, *SHOWS, None, None, "differences do not settle")
    return Check("second order", PASS, *SHOWS, None)


def _failure(
    twice: Twice, item: int, suspects: np.ndarray, expected: np.ndarray, power: float | None
) -> Check:
    worst = _worst(twice, item, suspects, expected)
    if _primal_alone(twice):
        said = f"wrong at second order only: {LOST}"
        return Check("second order", FAIL, *SHOWS, power, worst, LOST, said, CAUSE)
    said = f"wrong at second order only: {WRONG}; a residual may be cut off by stop_gradient"
    return Check("second order", FAIL, *SHOWS, power, worst, WRONG, said, CAUSE)


def _primal_alone(twice: Twice) -> bool:
    """Whether nothing is wrong any more when the derivative of the primal is left out."""
    if twice.program != "pull_twice":
        return False
    *rows, weights = twice.rows
    weights = weights.copy()
    weights[:, : twice.subject.rule.size] = 0.0
    alone = replace(twice, program="gradient_twice", rows=(*rows, weights), reference=None)
    alone = replace(alone, rule=alone.evaluated(twice.subject.rule, alone.rows))
    if twice.reference is not None and twice.subject.reference is not None:
        reference = alone.evaluated(twice.subject.reference, alone.rows)
        alone = replace(alone, reference=reference)
    return _decide(alone).verdict != FAIL


def _power(reference: np.ndarray, tolerance: np.ndarray, suspects: np.ndarray) -> float | None:
    with np.errstate(all="ignore"):
        size = np.abs(reference)
        large = (size > 1e-3 * size.max(axis=1, keepdims=True, initial=0)) & ~suspects
    return float(np.median(tolerance[large] / size[large])) if large.any() else None


def _tolerance(twice: Twice, reference: np.ndarray) -> np.ndarray:
    """Rounding: ulps, and how far the derivatives move when the point moves by a few ulps."""
    subject = twice.subject
    assert subject.reference is not None
    with np.errstate(all="ignore"):
        finite = np.where(np.isfinite(reference), np.abs(reference), 0.0)
        scale = np.zeros_like(finite)
        for part in _parts(subject):
            scale[:, part] = finite[:, part].max(axis=1, keepdims=True, initial=0)
        tolerance = 10 * subject.relative_floor * finite + 10 * subject.absolute_floor * scale
        near = np.array([probe.kind in (GIVEN, NEAR) for probe in twice.probes])
        if near.any():  # what is nothing beside the usual size is the rounding of larger terms
            tolerance[~near] += 1e-6 * np.median(scale[near], axis=0)
            tolerance[near, : subject.arguments.size] += _cancelling(twice, near)
        bad = differs(twice.rule, reference, tolerance).any(axis=1)
        if bad.any():
            x, integers, *others = twice.rows
            part = tuple(p[bad] for p in integers)
            spread = np.zeros_like(reference[bad])
            for _ in range(2):
                noise = subject.rng.choice([-1.0, 1.0], x[bad].shape)
                moved = (x[bad] * (1 + 4 * subject.eps * noise), part, *(o[bad] for o in others))
                for engine, base in ((subject.rule, twice.rule), (subject.reference, reference)):
                    spread = np.fmax(spread, np.abs(twice.evaluated(engine, moved) - base[bad]))
            tolerance[bad] += 30 * np.where(np.isfinite(spread), spread, 0)
    return tolerance


def _cancelling(twice: Twice, near: np.ndarray) -> np.ndarray:
    """The second derivatives that rounding of the values makes, where terms cancel."""
    subject = twice.subject
    x, integers, gammas, weights = twice.rows
    values = run_rows(subject.rule.value, x[near], tuple(p[near] for p in integers))[0]
    size = np.linalg.norm(np.nan_to_num(values * gammas[near]), axis=1)
    size *= np.linalg.norm(weights[near, subject.rule.size :], axis=1)
    return 1e4 * subject.eps * size[:, None] / typical_sizes(subject) ** 2


def _parts(subject: Subject) -> list[slice]:
    """The arguments' leaves, and the cotangent behind them."""
    n = subject.arguments.size
    return [*(leaf.part for leaf in subject.arguments.leaves), slice(n, None)]


@dataclass(frozen=True)
class Seen:
    """What differences say of some derivatives of one item.

    `wrong` marks those that they refute, `slopes` are the differences themselves; `jumps` says
    that the gradient does: at a kink it has no derivative.
    """

    outcome: str
    wrong: np.ndarray
    slopes: np.ndarray
    jumps: bool = False


def _by_differences(twice: Twice, item: int, suspects: np.ndarray) -> Seen:
    """Whether differences of the rule's own gradient confirm its derivative."""
    subject, probe = twice.subject, twice.probes[item]
    n = subject.arguments.size
    gamma, weight = twice.rows[2][item], twice.rows[3][item]
    elements = np.flatnonzero(suspects[:n])
    wrong, slopes = np.zeros(suspects.shape, bool), np.full(suspects.shape, np.nan)
    if suspects.any() and elements.size == 0:
        outcome = _by_duality(twice, item) if subject.linear else "open"
        return Seen(outcome, suspects, slopes)
    elements = elements if elements.size else np.arange(n)
    chosen = subject.rng.choice(elements, min(4, elements.size), replace=False)
    rule = twice.rule[item]
    steps = steps_of(subject, probe)
    directions = [Direction(probe, steps * np.eye(1, n, e)[0], int(e), gamma) for e in chosen]
    outcomes, jumps = [], False
    for e, values in zip(chosen, evaluate(subject, directions), strict=True):
        with np.errstate(all="ignore"):
            rise = np.abs((values.plus - values.minus) @ weight)
            jumps |= bool(rise[-1] > 1e-2 * rise.max())
            low, high, kinked = values.interval(weight)
            slope = rule[e] * steps[e]
            other = np.nan if twice.reference is None else twice.reference[item, e] * steps[e]
            size = np.abs(rule[:n] * steps).max()
            margin = 10 * subject.relative_floor * abs(slope) + 10 * subject.absolute_floor * size
            margin += LOOP_MARGIN * size if subject.iterates else 0.0
            outcomes.append(_outcome(slope, other, low - margin, high + margin, kinked))
            wrong[e], slopes[e] = outcomes[-1] == "wrong", (low + high) / 2 / steps[e]
    outcome = "wrong" if "wrong" in outcomes else "open" if "open" in outcomes else "right"
    return Seen(outcome, wrong, slopes, jumps)


def _by_duality(twice: Twice, item: int) -> str:
    """Whether the derivative by the cotangent is the rule itself: `⟨Ju, g⟩ = ⟨u, r(x, g)⟩`."""
    subject = twice.subject
    x, integers, _, weights = twice.rows
    n, m = subject.arguments.size, subject.rule.size
    other = subject.rng.standard_normal((1, m))
    row = (x[[item]], tuple(p[[item]] for p in integers), other)
    pulled = run_rows(subject.rule.pull, *row)[1][0]
    u, forward = weights[item, m:], twice.rule[item, n:]
    size = np.abs(pulled) @ np.abs(u) + np.abs(forward) @ np.abs(other[0])
    gap = abs(float(pulled @ u - forward @ other[0]))
    return "right" if gap <= 10 * subject.relative_floor * size else "wrong"


def _outcome(slope: float, other: float, low: float, high: float, kinked: bool) -> str:
    if not np.isfinite([low, high]).all():
        return "open"
    if not low <= slope <= high:
        return "wrong"
    if kinked:  # any derivative between the one-sided ones is right
        return "right"
    excludes = not low <= other <= high if np.isfinite(other) else high - low < 0.1 * abs(slope)
    return "right" if excludes else "open"


def _worst(twice: Twice, item: int, suspects: np.ndarray, expected: np.ndarray) -> Element:
    subject, rule = twice.subject, twice.rule[item]
    with np.errstate(all="ignore"):
        gap = np.where(suspects, np.abs(rule - expected), -1.0)
    k = int(np.argmax(np.where(np.isnan(gap), np.inf, gap)))
    n, name = subject.arguments.size, twice.probes[item].name
    if k < n:
        return element_of(subject.arguments, k, rule[:n], expected[:n], name)
    leaf = Leaf("cotangent", 0, (subject.rule.size,), np.dtype(np.float64), 0, 0)
    return leaf_element([leaf], k - n, rule[n:], expected[n:], name)
