"""Gradients of complex arguments that are conjugated, or multiplied by a complex number."""

import numpy as np

from jaxfn.verification.diagnosis.means import mean_or_sum
from jaxfn.verification.diagnosis.seen import Cause, Seen, close


def conjugate(seen: Seen) -> Cause | None:
    if not seen.leaf.is_complex:
        return None
    n = seen.leaf.count
    real = _real_cotangents(seen)
    rule, reference = seen.rule[real], seen.reference[real]
    other = np.concatenate([reference[:, :n], -reference[:, n:]], axis=1)
    for sign, word in ((1, "the conjugate"), (-1, "minus the conjugate")):
        if close(rule, sign * other) and not close(rule, sign * reference):
            return Cause("conjugate", f"{word} of the expected gradient of {seen.leaf.path}")
    if close(seen.rule, np.concatenate([seen.reference[:, :n], -seen.reference[:, n:]], axis=1)):
        text = f"the conjugate of the expected gradient of {seen.leaf.path}, for every cotangent"
        return Cause("conjugate", text)
    return None


def complex_factor(seen: Seen) -> Cause | None:
    """A factor that is not real, of the expected gradient, or any factor of its conjugate."""
    if not seen.leaf.is_complex:
        return None
    n, real = seen.leaf.count, _real_cotangents(seen)
    rule, expected = (g[real, :n] - 1j * g[real, n:] for g in (seen.rule, seen.reference))
    for other, words, cause in (
        (expected, "the expected", "scale"),
        (expected.conj(), "the conjugate of the expected", "conjugate"),
    ):
        power = float((np.abs(other) ** 2).sum())
        factor = complex((rule * other.conj()).sum() / power) if power else 0.0
        if abs(factor.imag) > 1e-6 and close(rule, factor * other):
            number = f"{factor.imag:.4g}j" if abs(factor.real) < 1e-9 else f"{factor:.4g}"
            text = f"{number} times {words} gradient of {seen.leaf.path}"
            return Cause(cause, f"{text}: real and imaginary parts are mixed up")
        if cause == "conjugate" and close(rule, factor.real * other):
            text = f"{factor.real:.6g} times {words} gradient of {seen.leaf.path}"
            mean = mean_or_sum(seen, factor.real, text)
            return Cause("scale", mean.text if mean else text)
    return None


def _real_cotangents(seen: Seen) -> np.ndarray:
    """The items whose cotangent has no imaginary part: a factor that is conjugated shows there."""
    imaginary: list[bool] = []
    for out in seen.subject.rule.outputs:
        count = int(np.prod(out.shape, dtype=int))
        is_complex = np.issubdtype(out.dtype, np.complexfloating)
        imaginary += [False] * count + [True] * (count if is_complex else 0)
    gammas = seen.found.cotangents[seen.items]
    return np.flatnonzero(~gammas[:, np.array(imaginary, bool)].any(axis=1))
