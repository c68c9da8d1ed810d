"""The derivative of the rule itself, by reverse over reverse."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from jaxfn.verification.agreement import Comparison, differs
from jaxfn.verification.coordinates import Leaf
from jaxfn.verification.differences import LOOP_MARGIN, Direction, evaluate, steps_of
from jaxfn.verification.elements import element_of, leaf_element
from jaxfn.verification.probes import FAR, GIVEN, NEAR, Probe
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
    return near[:most] + far[: 0 if subject.huge else most]


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
        outcome = _by_differences(twice, i, suspects[i])
        stark = outcome == "open" and twice.probes[i].kind == GIVEN
        stark &= bool(np.isfinite(reference[i, suspects[i]]).any())
        if (outcome == "wrong" or stark) and suspects[i].any():
            return _failure(twice, i, suspects[i], power)
    return Check("second order", PASS, *SHOWS, power)


def _by_differences_alone(twice: Twice) -> Check:
    """The verdict where the reference has no second derivative."""
    near = [i for i, probe in enumerate(twice.probes) if probe.kind in (GIVEN, NEAR)][:4]
    nothing = np.zeros(twice.rule.shape[1], bool)
    outcomes = [_by_differences(twice, i, nothing) for i in near]
    if "wrong" in outcomes:
        return _failure(twice, near[outcomes.index("wrong")], nothing, None)
    if outcomes and all(outcome == "open" for outcome in outcomes):
        return Check("second order", INCONCLUSIVE, *SHOWS, None, None, "differences do not settle")
    return Check("second order", PASS, *SHOWS, None)


def _failure(twice: Twice, item: int, suspects: np.ndarray, power: float | None) -> Check:
    said = f"wrong at second order only: {WRONG}; a residual may be cut off by stop_gradient"
    worst = _worst(twice, item, suspects)
    return Check("second order", FAIL, *SHOWS, power, worst, WRONG, said, CAUSE)


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


def _parts(subject: Subject) -> list[slice]:
    """The arguments' leaves, and the cotangent behind them."""
    n = subject.arguments.size
    return [*(leaf.part for leaf in subject.arguments.leaves), slice(n, None)]


def _by_differences(twice: Twice, item: int, suspects: np.ndarray) -> str:
    """Whether differences of the rule's own gradient confirm its derivative."""
    subject, probe = twice.subject, twice.probes[item]
    n = subject.arguments.size
    gamma, weight = twice.rows[2][item], twice.rows[3][item]
    elements = np.flatnonzero(suspects[:n])
    if suspects.any() and elements.size == 0:
        return _by_duality(twice, item) if subject.linear else "open"
    elements = elements if elements.size else np.arange(n)
    chosen = subject.rng.choice(elements, min(4, elements.size), replace=False)
    rule = twice.rule[item]
    steps = steps_of(subject, probe)
    directions = [Direction(probe, steps * np.eye(1, n, e)[0], int(e), gamma) for e in chosen]
    outcomes = []
    for e, values in zip(chosen, evaluate(subject, directions), strict=True):
        with np.errstate(all="ignore"):
            low, high, _ = values.interval(weight)
            slope = rule[e] * steps[e]
            other = np.nan if twice.reference is None else twice.reference[item, e] * steps[e]
            size = np.abs(rule[:n] * steps).max()
            margin = 10 * subject.relative_floor * abs(slope) + 10 * subject.absolute_floor * size
            margin += LOOP_MARGIN * size if subject.iterates else 0.0
            outcomes.append(_outcome(slope, other, low - margin, high + margin))
    return "wrong" if "wrong" in outcomes else "open" if "open" in outcomes else "right"


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


def _outcome(slope: float, other: float, low: float, high: float) -> str:
    if not np.isfinite([low, high]).all():
        return "open"
    if not low <= slope <= high:
        return "wrong"
    excludes = not low <= other <= high if np.isfinite(other) else high - low < 0.1 * abs(slope)
    return "right" if excludes else "open"


def _worst(twice: Twice, item: int, suspects: np.ndarray) -> Element:
    subject, rule = twice.subject, twice.rule[item]
    expected = np.full_like(rule, np.nan) if twice.reference is None else twice.reference[item]
    with np.errstate(all="ignore"):
        gap = np.where(suspects, np.abs(rule - expected), -1.0)
    k = int(np.argmax(np.where(np.isnan(gap), np.inf, gap)))
    n, name = subject.arguments.size, twice.probes[item].name
    if k < n:
        return element_of(subject.arguments, k, rule[:n], expected[:n], name)
    leaf = Leaf("cotangent", 0, (subject.rule.size,), np.dtype(np.float64), 0, 0)
    return leaf_element([leaf], k - n, rule[n:], expected[n:], name)
