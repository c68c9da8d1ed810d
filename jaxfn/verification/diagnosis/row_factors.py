"""Factors, and means, over the elements of the output or of the argument."""

import numpy as np

from jaxfn.verification.diagnosis.places import listed
from jaxfn.verification.diagnosis.seen import Cause, Seen, close

FEW = 4


def of_each_output(seen: Seen) -> Cause | None:
    """The cotangent's elements are multiplied, each by a factor of its own."""
    outputs = seen.subject.rule.outputs
    if seen.matrices is None or seen.leaf.is_complex or len(outputs) != 1:
        return None
    if np.issubdtype(outputs[0].dtype, np.complexfloating):
        return None
    factors = _factors(*seen.matrices)
    if factors is None:
        return None
    return _named(factors, tuple(outputs[0].shape), seen.leaf.path, "element of the output")


def of_each_element(seen: Seen) -> Cause | None:
    """The gradient's elements are multiplied, each by a factor of its own."""
    if seen.matrices is None or seen.leaf.is_complex:
        return None
    factors = _factors(*(matrix.T for matrix in seen.matrices))
    if factors is None:
        return None
    return _named(factors, seen.leaf.shape, seen.leaf.path, "element of it")


def averaged(seen: Seen) -> Cause | None:
    """The mean, or the sum, over an axis of the output or of the argument, at all its indices."""
    outputs = seen.subject.rule.outputs
    if seen.matrices is None or seen.leaf.is_complex or len(outputs) != 1:
        return None
    if np.issubdtype(outputs[0].dtype, np.complexfloating):
        return None
    rule, expected = seen.matrices
    name, shape = seen.leaf.path, tuple(outputs[0].shape)
    whole = expected.reshape(*shape, *seen.leaf.shape)
    for axis, size in enumerate(whole.shape):
        mean = np.broadcast_to(whole.mean(axis=axis, keepdims=True), whole.shape)
        if size < 2 or close(mean, whole):
            continue
        if axis < len(shape):
            what = (
                f"axis {axis} of the cotangent, at each of its indices, in the gradient of {name}"
            )
        else:
            what = (
                f"axis {axis - len(shape)} of the expected gradient of {name}, at all its indices"
            )
        for factor, words, cause in ((1, "mean", "mean-for-sum"), (size, "sum", "sum-for-mean")):
            if close(rule, factor * mean.reshape(rule.shape)):
                return Cause(cause, f"the {words} over {what}: averaged or summed too far")
    return None


def _factors(rule: np.ndarray, expected: np.ndarray) -> np.ndarray | None:
    """One for each row, nan for rows of zeros; None where a row is no multiple of the expected."""
    power = (expected**2).sum(axis=1)
    several = (np.abs(expected) > 1e-6 * np.abs(expected).max()).sum(axis=1) > 1
    if several.sum() < 2 or several.sum() < 0.5 * (power > 0).sum():
        return None  # of single entries each is a multiple
    with np.errstate(all="ignore"):
        factors = (rule * expected).sum(axis=1) / power
    known = power > 0
    if rule[~known].any() or not close(rule[known], factors[known, None] * expected[known]):
        return None
    return factors


def _named(factors: np.ndarray, shape: tuple[int, ...], name: str, each: str) -> Cause | None:
    known = np.flatnonzero(np.isfinite(factors))
    values = factors[known]
    wrong = known[np.abs(values - 1) > 1e-5]
    if not wrong.size or np.ptp(values) < 1e-5 * np.abs(values).max():
        return None
    if not factors[wrong].any():
        return None  # ignored ones are named elsewhere
    distinct = list(dict.fromkeys(f"{value:.4g}" for value in values))
    examples = ", ".join(distinct[:FEW]) + (", ..." if len(distinct) > FEW else "")
    text = f"one factor for each {each} ({examples}) in the gradient of {name}"
    text += _along(factors, shape)
    if wrong.size < known.size and np.ptp(factors[wrong]) < 1e-5 * np.abs(factors[wrong]).max():
        where = f"{factors[wrong[0]]:.6g} times the expected value in the gradient of {name}"
        return Cause("scale", f"{where}, for each {each} among {listed(shape, wrong)}")
    if (values >= 1 - 1e-5).all() and _whole(values):
        return Cause("sum-for-mean", f"{text}: whole numbers, as of a sum where a mean is expected")
    if (values > 0).all() and (values <= 1 + 1e-5).all() and _whole(1 / values):
        return Cause("mean-for-sum", f"{text}: as of a mean where a sum is expected")
    return Cause("scale", f"{text}: a factor is missing or wrong")


def _along(factors: np.ndarray, shape: tuple[int, ...]) -> str:
    """The one axis along which the factors vary."""
    if len(shape) < 2:
        return ""
    array = factors.reshape(shape)
    for axis in range(len(shape)):
        rows = np.moveaxis(array, axis, 0).reshape(shape[axis], -1)
        unknown = np.isnan(rows)
        highest = np.where(unknown, -np.inf, rows).max(axis=1)
        lowest = np.where(unknown, np.inf, rows).min(axis=1)
        if (highest - lowest).max() <= 1e-5 * np.abs(factors[np.isfinite(factors)]).max():
            return f", one for each index of axis {axis}"
    return ""


def _whole(values: np.ndarray) -> bool:
    return bool((np.abs(values - np.round(values)) < 1e-5 * values).all())
