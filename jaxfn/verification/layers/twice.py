"""Derivatives of a rule at some probes, and what differences of its gradient say of them."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from jaxfn.verification import constants
from jaxfn.verification.evidence.agreement import typical_sizes
from jaxfn.verification.evidence.differences import Direction, evaluate, steps_of
from jaxfn.verification.points.probes import Probe
from jaxfn.verification.subject.programs import Engine
from jaxfn.verification.subject.subject import Subject, run_rows

Rows = tuple[np.ndarray, tuple[np.ndarray, ...], np.ndarray, np.ndarray]
CHOSEN = 4  # elements whose derivatives are looked at one by one


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
    rows: Rows
    rule: np.ndarray
    reference: np.ndarray | None

    def evaluated(self, engine: Engine, rows: tuple[Any, ...]) -> np.ndarray:
        """The derivatives that an engine gives at other rows."""
        return np.concatenate(run_rows(getattr(engine, self.program), *rows), axis=1)


@dataclass(frozen=True)
class Seen:
    """What differences say of some derivatives of one item.

    `wrong` marks those that they refute, `slopes` are the differences themselves; `jumps` says
    that the gradient does: at a kink it has no derivative. `outside` says that there are none, for
    every direction leaves the stated domain: symmetric matrices have no derivative by one element.
    """

    outcome: str
    wrong: np.ndarray
    slopes: np.ndarray
    jumps: bool = False
    outside: bool = False


def by_differences(twice: Twice, item: int, suspects: np.ndarray) -> Seen:
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
    chosen = subject.rng.choice(elements, min(CHOSEN, elements.size), replace=False)
    rule = twice.rule[item]
    steps = steps_of(subject, probe)
    directions = [Direction(probe, steps * np.eye(1, n, e)[0], int(e), gamma) for e in chosen]
    outcomes, jumps, outside = [], False, subject.domain is not None
    least = nothing(twice, np.array([item]))[0] * steps
    for e, values in zip(chosen, evaluate(subject, directions), strict=True):
        with np.errstate(all="ignore"):
            rise = np.abs((values.plus - values.minus) @ weight)
            outside &= bool(np.isnan(rise).all())
            jumps |= bool(rise[-1] > constants.STILL_RISES * rise.max())
            low, high, kinked = values.interval(weight)
            slope = rule[e] * steps[e]
            other = np.nan if twice.reference is None else twice.reference[item, e] * steps[e]
            size = np.abs(rule[:n] * steps).max()
            margin = subject.relative_floor * abs(slope) + subject.absolute_floor * size
            margin *= constants.TWICE
            margin += constants.LOOP_MARGIN * size if subject.iterates else 0.0
            outcomes.append(_outcome(slope, other, low - margin, high + margin, kinked))
            ends = np.concatenate([values.plus, values.minus])
            still = np.abs((ends - values.at) @ weight).max() <= least[e]
            if still and abs(slope) <= least[e]:  # which differences cannot tell from any noise
                outcomes[-1] = "right"
            wrong[e], slopes[e] = outcomes[-1] == "wrong", (low + high) / 2 / steps[e]
    outcome = "wrong" if "wrong" in outcomes else "open" if "open" in outcomes else "right"
    return Seen(outcome, wrong, slopes, jumps, outside)


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
    return "right" if gap <= constants.TWICE * subject.relative_floor * size else "wrong"


def _outcome(slope: float, other: float, low: float, high: float, kinked: bool) -> str:
    if not np.isfinite([low, high]).all():
        return "open"
    if not low <= slope <= high:
        return "wrong"
    if kinked:  # any derivative between the one-sided ones is right
        return "right"
    excludes = (
        not low <= other <= high
        if np.isfinite(other)
        else high - low < constants.NARROW_ENOUGH * abs(slope)
    )
    return "right" if excludes else "open"


def without_the_primal(rows: Rows, outputs: int) -> Rows:
    """The rows with weights of the gradient alone."""
    x, integers, gammas, weights = rows
    alone = weights.copy()
    alone[:, :outputs] = 0.0
    return x, integers, gammas, alone


def nothing(twice: Twice, items: np.ndarray) -> np.ndarray:
    """The second derivatives that rounding of the values makes, where terms cancel."""
    subject = twice.subject
    x, integers, gammas, weights = twice.rows
    values = run_rows(subject.rule.value, x[items], tuple(p[items] for p in integers))[0]
    size = np.linalg.norm(np.nan_to_num(values * gammas[items]), axis=1)
    size *= np.linalg.norm(weights[items, subject.rule.size :], axis=1)
    return constants.VANISHES * subject.eps * size[:, None] / typical_sizes(subject) ** 2
