"""A backward rule is linear in the cotangent: by value, and where it can be told, by structure."""

from typing import Any

import jax
import numpy as np

from jaxfn.verification import constants
from jaxfn.verification.evidence.agreement import typical_size
from jaxfn.verification.evidence.differences import steps_of
from jaxfn.verification.evidence.rounding import shaken
from jaxfn.verification.layers.observed import Observed
from jaxfn.verification.layers.reproduce import pullback
from jaxfn.verification.layers.tangents import tangent_fault
from jaxfn.verification.report import FAIL, PASS, SKIPPED, Check
from jaxfn.verification.subject.elements import element_of
from jaxfn.verification.subject.subject import Subject, run_rows

SHOWS = (
    "zero gives exactly zero, sums give sums, multiples from 1e-8 to 1e8 give multiples",
    "that the linear map is the right one",
)
ALIKE, WHOLE = 1e-3, 0.01  # what is said of a failure: ratios, a whole degree
SMALLEST_NORMAL = float(np.finfo(np.float64).tiny)
LEAST = 1e-300  # in the place of a tolerance of zero
NARROW = 5e-4  # a machine epsilon above it: half precision, whose range ends soon
FACTORS = (-1.0, 0.5, 2.0, 1e-2, 1e2, 1e-4, 1e4, 1e-8, 1e8)


def check_linearity(observed: Observed) -> Check:
    """Zero, additivity and scaling of the pullback at the given point and one nearby."""
    subject, found = observed.subject, observed.found
    if not subject.linear:
        return Check("linearity", SKIPPED, *SHOWS, detail="declared not linear in the cotangent")
    rng, m = subject.rng, subject.rule.size
    a, b = rng.standard_normal((2, m)).astype(np.float32).astype(np.float64)
    narrow = not subject.wide and subject.native_eps > NARROW
    factors = [f for f in FACTORS if not narrow or NARROW < abs(f) < 1 / NARROW]
    if subject.iterates:  # to a tolerance: small cotangents would drown in it
        factors = [f for f in factors if abs(f) >= 1]
    gammas = np.stack([np.zeros(m), a, b, a + b, *(f * a for f in factors)])
    structure = _structure(subject)
    usual = np.nan_to_num(np.abs(found.rule), posinf=0.0).max(axis=1, initial=0.0)
    usual = constants.LINEAR_ULPS * subject.eps * typical_size(found, usual)
    if subject.iterates:
        structure += f"; multiples from 1 to {max(factors):g} alone, for the rule iterates"
    for probe in found.probes[: 1 if subject.huge else 2]:
        rows = np.repeat(probe.x[None], len(gammas), axis=0)
        integers = tuple(np.repeat(p[None], len(gammas), axis=0) for p in probe.integers)
        values, pulled = run_rows(subject.rule.pull, rows, integers, gammas)
        ulps = (
            constants.LINEAR_ULPS
            * subject.eps
            * np.linalg.norm(np.nan_to_num(gammas[1:3] * values[1:3]))
        )
        least = ulps / steps_of(subject, probe) + usual
        text, bad = _fault(subject, pulled, factors, least)
        if text and not (np.abs(pulled[0]) >= SMALLEST_NORMAL).any():
            jitter = _jitter(subject, rows[1:4], integers, gammas[1:4])
            allowed = least + np.minimum(jitter, constants.CANCELS * least)
            text, bad = _fault(subject, pulled, factors, allowed)
        if text:
            coordinate, seen, expected = bad
            worst = element_of(subject.arguments, coordinate, seen, expected, probe.name)
            if text.startswith("a constant"):
                again = pullback(subject, probe, gammas[0], worst)
                return Check("linearity", FAIL, *SHOWS, None, worst, text, text, "constant", again)
            return Check("linearity", FAIL, *SHOWS, None, worst, text, text, "nonlinear")
    if subject.has_tangent_rule and (fault := tangent_fault(subject.rule, found.probes[0])):
        text = f"the tangent rule is not linear in the tangents: {fault}"
        return Check("linearity", FAIL, *SHOWS, None, None, text, text, "nonlinear")
    # of one cotangent, where the tolerance is relative to two of the same size
    return Check("linearity", PASS, *SHOWS, 2 * _relative(subject), detail=structure)


def _jitter(subject: Subject, x: np.ndarray, integers: Any, gammas: np.ndarray) -> np.ndarray:
    """How far rounding moves the gradients of two cotangents and of their sum, by element."""
    integers = tuple(part[: len(x)] for part in integers)

    def pull(x: np.ndarray, gammas: np.ndarray) -> np.ndarray:
        return run_rows(subject.rule.pull, x, integers, gammas)[1]

    return shaken(subject, pull, x, gammas).max(axis=0)


def _relative(subject: Subject) -> float:
    """The tolerance; a rule that rounds too coarsely is judged elsewhere."""
    computed = constants.COMPUTED_ULPS * subject.rule.pull.eps
    relative = max(constants.OF_A_SUM * subject.relative_floor, computed)
    return max(relative, constants.LOOP_MARGIN if subject.iterates else 0.0)


def _fault(
    subject: Subject, pulled: np.ndarray, factors: list[float], least: np.ndarray
) -> tuple[str, Any]:
    """What is wrong, and where; `least` are differences that rounding of the values makes."""
    zero, a, b, both, scaled = pulled[0], pulled[1], pulled[2], pulled[3], pulled[4:]
    n = pulled.shape[1]
    with np.errstate(all="ignore"):
        off = (np.abs(zero) >= SMALLEST_NORMAL) & np.isfinite(a)  # below it zero may be rounded
        if off.any():
            k = int(np.argmax(np.where(off, np.abs(np.nan_to_num(zero, nan=np.inf)), 0)))
            text = (
                "a constant is added: the gradient of a zero cotangent is not zero, "
                f"it is {zero[k]:.4g}"
                if np.isfinite(zero[k])
                else "not linear in the cotangent: the gradient of a zero cotangent is not finite"
            )
            return text, (k, zero, np.zeros(n))
        scale = np.abs(a) + np.abs(b)
        largest = np.zeros(n)
        for leaf in subject.arguments.leaves:
            largest[leaf.part] = scale[leaf.part].max(initial=0)
        tolerance = _relative(subject) * scale + subject.absolute_floor * largest + least
        multiples = scaled / np.array(factors)[:, None]
        for row, factor in zip(multiples, factors, strict=True):
            gap = np.where(np.isfinite(a), np.abs(row - a), 0)
            gap = np.where(np.isfinite(gap), gap, np.inf)
            if (gap > tolerance).any():
                k = int(np.argmax(gap / np.maximum(tolerance, LEAST)))
                return _nonlinear(a, scaled, factors, factor), (k, row, a)
        gap = np.abs(both - a - b)
        if (gap > tolerance).any():
            k = int(np.argmax(gap / np.maximum(tolerance, LEAST)))
            return "not linear in the cotangent: not additive", (k, both, a + b)
    return "", None


def _nonlinear(a: np.ndarray, scaled: np.ndarray, factors: list[float], factor: float) -> str:
    doubled, flipped = scaled[factors.index(2.0)], scaled[factors.index(-1.0)]
    large = np.abs(a) > ALIKE * np.abs(a).max(initial=0)
    ratios = np.abs(doubled[large] / a[large])
    text = f"not linear in the cotangent: a multiple of {factor:g} does not give that multiple"
    if large.any() and np.ptp(ratios) < ALIKE * ratios.max():
        degree = float(np.log2(np.median(ratios)))
        if abs(degree - round(degree)) < WHOLE and round(degree) != 1:
            text = f"not linear in the cotangent: degree {round(degree)}"
        elif np.allclose(flipped, a, rtol=ALIKE):
            text = "not linear in the cotangent: the sign of the cotangent is lost"
    return text


def _structure(subject: Subject) -> str:
    """Whether the rule's pullback can be transposed, which only a linear function can be."""
    call = subject.native.of_leaves(subject.arguments.integers)
    given = [jax.ShapeDtypeStruct(leaf.shape, leaf.dtype) for leaf in subject.arguments.leaves]

    def transposed(arrays: list[Any]) -> Any:
        outputs, pullback = jax.vjp(call, arrays)
        return jax.linear_transpose(pullback, outputs)((arrays,))

    try:
        jax.eval_shape(transposed, given)
    except Exception as error:  # not every linear program can be transposed: a note, no verdict
        return f"by value; its structure could not be transposed ({type(error).__name__})"
    return "by value and by structure"
