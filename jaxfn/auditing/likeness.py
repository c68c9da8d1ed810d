"""What a gradient that is not the derivative looks like, in words."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxfn.auditing.meeting import Met
from jaxfn.verification.subject.coordinates import is_inexact

DISTINCT = 3  # values of the operand: of fewer any gradient is a multiple of the cotangent
ALIKE = 1e-5  # of the cotangent: as near, two gradients are the same


def likeness(rule: Any, met: Met, operands: Any) -> str:
    """Of each operand whose gradient has a simple form in the cotangent, which.

    Args:
        rule: that is called.
        met: how it was met.
        operands: concrete ones.

    Returns:
        Such as "ȳ where −1 ≤ x ≤ 1, 0 elsewhere"; "" where nothing simple fits.
    """
    floats = [i for i, a in enumerate(operands) if is_inexact(a)]

    def of_floats(some: list[Any]) -> Any:
        inserted = list(operands)
        for i, array in zip(floats, some, strict=True):
            inserted[i] = array
        out = jax.tree.leaves(rule(*met.arguments(met.arrays(inserted))))
        return [y for y in out if is_inexact(y)]

    try:
        values, pullback = jax.vjp(of_floats, [jnp.asarray(operands[i]) for i in floats])
        rng = np.random.default_rng(0)
        gammas = [jnp.asarray(rng.standard_normal(y.shape), y.dtype) for y in values]
        (gradients,) = pullback(gammas)
    except Exception:  # the rule's own error is the report's to say
        return ""
    if len(values) != 1 or jnp.iscomplexobj(values[0]):
        return ""
    said = []
    for i, gradient in zip(floats, gradients, strict=True):
        form = _form(
            np.asarray(operands[i], np.float64), gradient, np.asarray(gammas[0], np.float64)
        )
        if form:
            name = "the gradient" if len(floats) == 1 else f"that of operand {i}"
            said.append(f"{name} looks like {form}")
    return "; ".join(said)


def _form(x: np.ndarray, gradient: Any, gamma: np.ndarray) -> str:
    g = np.asarray(gradient, np.float64)
    if g.shape != gamma.shape:
        return "zero" if not g.any() else ""
    if not g.any():
        return "zero"
    if np.unique(x).size < DISTINCT:
        return ""
    nonzero = np.abs(g) > 0
    factor = g[nonzero] / gamma[nonzero]
    scale = float(np.median(factor))
    if np.abs(factor - scale).max() > ALIKE * abs(scale):
        return ""
    text = "the identity, ȳ" if abs(scale - 1) < ALIKE else f"{scale:.6g}·ȳ"
    if nonzero.all():
        return text
    inside, outside = x[nonzero], x[~nonzero]
    clipped = not ((outside >= inside.min()) & (outside <= inside.max())).any()
    where = f"where {inside.min():.3g} ≤ x ≤ {inside.max():.3g}" if clipped else "in places"
    return f"{text.removeprefix('the identity, ')} {where}, 0 elsewhere"
