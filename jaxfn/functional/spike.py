"""The step of a spiking neuron, with a surrogate derivative."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.tree_util import Partial
from jax.typing import ArrayLike

from jaxfn.functional import _surrogate, surrogates
from jaxfn.functional._checks import as_array
from jaxfn.functional.activation import is_positive_or_nan
from jaxfn.functional.surrogates import Surrogate


def heaviside(x: ArrayLike, surrogate: str | Surrogate = "sigmoid") -> jax.Array:
    """Heaviside's step, with a surrogate for its derivative: a neuron that spikes, and learns.

    y = 1 where x > 0, else 0; x̄ = s(x)·ȳ with the surrogate s. At 0 and −0 the step is 0, as in
    snntorch and spyx: a neuron spikes above its threshold, not at it (SpikingJelly and snnax: at
    it). nan stays nan, and subnormal numbers count as what they are. What is kept for the backward
    pass is s(x) alone. Both modes, any order: second derivatives use s′, and the gradient of a
    surrogate's own parameters is zero.

        name            s(x)                                   peak    area
        "sigmoid"       α·σ(αx)·σ(−αx), α = 4                  1       1
        "atan"          (α/2) / (1 + (παx/2)²), α = 2          1       1
        "fast_sigmoid"  1 / (1 + k|x|)², k = 25                1       2/25
        "triangular"    max(0, 1 − k|x|), k = 1                1       1
        "boxcar"        1/w where |x| ≤ w/2, else 0, w = 2     0.5     1
        "gaussian"      exp(−x²/(2σ²)) / (√(2π)·σ), σ = 0.5    0.798   1

    Args:
      x: any shape, of floating dtype: how far the membrane potential is above the threshold.
      surrogate: one of these names; one of `jaxfn.surrogates` with its parameter, such as
        `jaxfn.surrogates.atan(alpha=4.0)`; or a function of your own x ↦ s(x), elementwise, that
        is given x in float32 at least. It may not close over traced values; as arguments of a
        `jax.tree_util.Partial` it may have them.

    Returns:
      Same shape and dtype as x.

    Raises:
      TypeError: if x is not an array of floating dtype, or `surrogate` neither a name nor callable.
      ValueError: if there is no surrogate of that name; when differentiated, if s(x) has not the
        shape of x.

    Example:
      >>> import jax, jax.numpy as jnp, jaxfn
      >>> x = jnp.array([-0.5, 0.0, 0.25])
      >>> jaxfn.heaviside(x).tolist()
      [0.0, 0.0, 1.0]
      >>> jax.grad(lambda x: jaxfn.heaviside(x, "triangular").sum())(x).tolist()
      [0.5, 1.0, 0.75]
      >>> jax.grad(lambda x: jaxfn.heaviside(x, lambda x: 1 - jnp.tanh(x) ** 2).sum())(x)[1].item()
      1.0

    Source: Neftci, Mostafa and Zenke, "Surrogate Gradient Learning in Spiking Neural Networks",
    2019, arXiv:1901.09948.
    """
    x = as_array("heaviside", "x", x)
    if isinstance(surrogate, str):
        if surrogate not in surrogates.BY_NAME:
            names = ", ".join(surrogates.BY_NAME)
            raise ValueError(f"heaviside: expected surrogate one of {names}, got {surrogate!r}")
        surrogate = surrogates.BY_NAME[surrogate]()
    if not callable(surrogate):
        got = type(surrogate).__name__
        raise TypeError(f"heaviside: expected surrogate to be a name or callable, got {got}")
    return _heaviside(x, surrogate if isinstance(surrogate, Partial) else Partial(surrogate))


@jax.custom_jvp
def _heaviside(x: jax.Array, surrogate: Any) -> jax.Array:
    del surrogate
    return jnp.where(jnp.isnan(x), x, is_positive_or_nan(x).astype(x.dtype))


@_heaviside.defjvp
def _heaviside_jvp(primals: Any, tangents: Any) -> tuple[jax.Array, jax.Array]:
    # ẏ = s(x)·ẋ: linear in the tangent, so that this line gives both modes, to any order. The step
    # itself is differentiated by this rule again where a derivative is differentiated.
    x, surrogate = primals
    x_dot, _ = tangents
    return _heaviside(x, surrogate), _slope(surrogate, x) * x_dot


def integral(x: jax.Array, surrogate: Any) -> jax.Array:
    """∫ s(t) dt from x₀, which is x held, to x: 0, with the derivatives s(x) and s′(x).

    By the midpoint rule, δ·s(x₀ + δ/2) with δ = x − x₀: at δ = 0 its first derivative is s(x₀), its
    second one 2·s′(x₀)/2, so both are exact for every s.
    """
    held = lax.stop_gradient(x)
    delta = x - held
    return delta * _slope(surrogate, held + delta / 2)


_surrogate.declare(_heaviside, integral)


def _slope(surrogate: Any, x: jax.Array) -> jax.Array:
    slope = surrogate(_surrogate.widened(x))
    if getattr(slope, "shape", None) != x.shape:
        got = list(slope.shape) if hasattr(slope, "shape") else type(slope).__name__
        raise ValueError(
            f"heaviside: expected surrogate to return the shape of x, {list(x.shape)}, got {got}"
        )
    return slope.astype(x.dtype)
