"""Steps to two or three values, for binary and ternary networks, with their surrogate gradients."""

from __future__ import annotations

from typing import Literal

import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import ArrayLike

from jaxfn.functional import _surrogate
from jaxfn.functional._checks import as_array

# As in `straight_through.py` the rules are y' = s(x)·x', with `custom_jvp`.


def sign_ste(x: ArrayLike, clip_value: ArrayLike = 1.0) -> jax.Array:
    """Sign, with a gradient that passes where |x| is at most `clip_value`.

    y = −1 where x < 0, else +1; x̄ = ȳ where |x| ≤ `clip_value`, else 0: the derivative of a hard
    tanh. At 0 and −0 the sign is +1, as in BinaryNet and in larq, for a binary network has no
    third value (`jnp.sign` gives 0). nan stays nan, with a gradient of 0. What is kept for the
    backward pass is one byte per element. Both modes, any order; the gradient of `clip_value` is
    zero.

    Args:
      x: any shape, of floating dtype.
      clip_value: number or scalar array, perhaps traced, at least 0; taken in the dtype of x.
        Infinity lets the gradient pass everywhere.

    Returns:
      Same shape and dtype as x.

    Raises:
      TypeError: if x is not an array of floating dtype, or `clip_value` not a real scalar.
      ValueError: if `clip_value` is negative or nan; a traced one is not looked at.

    Example:
      >>> import jax, jax.numpy as jnp, jaxfn
      >>> x = jnp.array([-2.0, -0.5, 0.0, 1.0])
      >>> jaxfn.sign_ste(x).tolist()
      [-1.0, -1.0, 1.0, 1.0]
      >>> jax.grad(lambda x: jaxfn.sign_ste(x).sum())(x).tolist()
      [0.0, 1.0, 1.0, 1.0]

    Source: Courbariaux, Hubara, Soudry, El-Yaniv and Bengio, "Binarized Neural Networks", 2016,
    arXiv:1602.02830; `ste_sign` of larq.
    """
    x = as_array("sign_ste", "x", x)
    clip_value = _surrogate.as_limit("sign_ste", "clip_value", clip_value)
    return _sign_ste(x, jnp.asarray(clip_value, x.dtype))


@jax.custom_jvp
def _sign_ste(x: jax.Array, clip_value: jax.Array) -> jax.Array:
    return _sign(x)


_sign_ste.defjvps(
    lambda x_dot, y, x, clip_value: _surrogate.where(jnp.abs(x) <= clip_value, x_dot), None
)


def hard_tanh(x: jax.Array, clip_value: jax.Array) -> jax.Array:
    """x clipped to [−c, c]; c = `clip_value` counts as a constant."""
    c = lax.stop_gradient(clip_value)
    return jnp.where(jnp.abs(x) <= c, x, c * jnp.sign(x))


_surrogate.declare(_sign_ste, hard_tanh)


def _sign(x: jax.Array) -> jax.Array:
    """−1 where x < 0, nan where nan, else +1."""
    sign = jnp.where(_surrogate.is_negative(x), -jnp.ones_like(x), jnp.ones_like(x))
    return jnp.where(jnp.isnan(x), x, sign)


def approx_sign(x: ArrayLike) -> jax.Array:
    """Sign, with the derivative of a piecewise quadratic that is nearer to it than a hard tanh.

    y = −1 where x < 0, else +1 (nan stays nan); x̄ = max(0, 2 − 2|x|)·ȳ, a triangle of area 2 with
    its peak 2 at 0. Kept for the backward pass is that factor. Both modes, any order.

    Args:
      x: any shape, of floating dtype.

    Returns:
      Same shape and dtype as x.

    Raises:
      TypeError: if x is not an array of floating dtype.

    Example:
      >>> import jax, jax.numpy as jnp, jaxfn
      >>> jax.vmap(jax.grad(jaxfn.approx_sign))(jnp.array([-2.0, -0.5, 0.0, 0.75])).tolist()
      [0.0, 1.0, 2.0, 0.5]

    Source: Liu, Wu, Luo, Yang, Liu and Cheng, "Bi-Real Net", 2018, arXiv:1808.00278; `approx_sign`
    of larq.
    """
    return _approx_sign(as_array("approx_sign", "x", x))


@jax.custom_jvp
def _approx_sign(x: jax.Array) -> jax.Array:
    return _sign(x)


_approx_sign.defjvps(lambda x_dot, y, x: jnp.maximum(2 - 2 * jnp.abs(x), 0) * x_dot)


def two_parabolas(x: jax.Array) -> jax.Array:
    """2x − x|x| where |x| < 1, else ±1: Bi-Real Net's."""
    return jnp.where(jnp.abs(x) < 1, 2 * x - x * jnp.abs(x), jnp.sign(x))


_surrogate.declare(_approx_sign, two_parabolas)


def swish_sign(x: ArrayLike, beta: ArrayLike = 5.0) -> jax.Array:
    """Sign, with the derivative of SignSwish, which overshoots before it settles.

    y = −1 where x < 0, else +1 (nan stays nan); with z = βx,
    x̄ = β(2 − z·tanh(z/2)) / (1 + cosh z)·ȳ, which is β at 0 and negative where |z| > 2.4. Kept for
    the backward pass is that factor. Both modes, any order; the gradient of `beta` is zero.

    Args:
      x: any shape, of floating dtype.
      beta: number or scalar array, perhaps traced, positive and finite.

    Returns:
      Same shape and dtype as x.

    Raises:
      TypeError: if x is not an array of floating dtype, or `beta` not a real scalar.
      ValueError: if `beta` is not positive and finite; a traced one is not looked at.

    Example:
      >>> import jax, jax.numpy as jnp, jaxfn
      >>> float(jax.grad(jaxfn.swish_sign)(0.0))
      5.0

    Source: Darabi, Belbahri, Courbariaux and Partovi Nia, "BNN+: Improved Binary Network Training",
    2018, arXiv:1812.11800; `swish_sign` of larq.
    """
    x = as_array("swish_sign", "x", x)
    return _swish_sign(x, _surrogate.as_positive("swish_sign", "beta", beta))


@jax.custom_jvp
def _swish_sign(x: jax.Array, beta: jax.Array) -> jax.Array:
    return _sign(x)


_swish_sign.defjvps(lambda x_dot, y, x, beta: _swish_slope(x, beta) * x_dot, None)


def sign_swish(x: jax.Array, beta: jax.Array) -> jax.Array:
    """2σ(z)·(1 + z·σ(−z)) − 1 with z = βx: BNN+'s; β counts as a constant."""
    z = lax.stop_gradient(beta) * x
    y = 2 * jax.nn.sigmoid(z) * (1 + z * jax.nn.sigmoid(-z)) - 1
    return y.astype(x.dtype)


_surrogate.declare(_swish_sign, sign_swish)


def _swish_slope(x: jax.Array, beta: jax.Array) -> jax.Array:
    # 1/(1 + cosh z) = 2σ(z)σ(−z), which does not overflow. The slope is even in z; beyond |z| = 800
    # it is 0 in every dtype, and there z may be infinite, and z·σ(−z) nan.
    z = jnp.minimum(jnp.abs(beta * _surrogate.widened(x)), 800)
    bell = 2 * jax.nn.sigmoid(z) * jax.nn.sigmoid(-z)
    return (beta * (2 - z * jnp.tanh(z / 2)) * bell).astype(x.dtype)


def ternary_ste(
    x: ArrayLike, threshold: ArrayLike | Literal["mean"] = 0.05, clip_value: ArrayLike = 1.0
) -> jax.Array:
    """Steps to −1, 0 and +1, with a gradient that passes where |x| is at most `clip_value`.

    y = +1 where x > t, −1 where x < −t, 0 between, at ±t, too; x̄ = ȳ where |x| ≤ `clip_value`,
    else 0. The threshold t is `threshold`, or with `"mean"` that of ternary weight networks,
    t = 0.7·mean|x| over the whole array. (At x = +t larq gives +1; the paper's is 0, as here.)
    nan stays nan, with a gradient of 0. What is kept for the backward pass is one byte per element.
    Both modes, any order; the gradients of t and of `clip_value` are zero.

    Args:
      x: any shape, of floating dtype.
      threshold: number or scalar array, perhaps traced, at least 0, taken in the dtype of x; or
        `"mean"`.
      clip_value: likewise; infinity lets the gradient pass everywhere.

    Returns:
      Same shape and dtype as x.

    Raises:
      TypeError: if x is not an array of floating dtype, or an argument not a real scalar.
      ValueError: if an argument is negative or nan (a traced one is not looked at), or a string
        other than `"mean"`.

    Example:
      >>> import jax, jax.numpy as jnp, jaxfn
      >>> x = jnp.array([-1.5, -0.2, 0.03, 0.4])
      >>> jaxfn.ternary_ste(x).tolist(), jaxfn.ternary_ste(x, "mean").tolist()
      ([-1.0, -1.0, 0.0, 1.0], [-1.0, 0.0, 0.0, 1.0])
      >>> jax.grad(lambda x: jaxfn.ternary_ste(x).sum())(x).tolist()
      [0.0, 1.0, 1.0, 1.0]

    Source: Li, Zhang and Liu, "Ternary Weight Networks", 2016, arXiv:1605.04711; `ste_tern` of
    larq.
    """
    x = as_array("ternary_ste", "x", x)
    clip_value = _surrogate.as_limit("ternary_ste", "clip_value", clip_value)
    if isinstance(threshold, str):
        if threshold != "mean":
            raise ValueError(
                f'ternary_ste: expected threshold to be a number or "mean", got {threshold!r}'
            )
        threshold = 0.7 * jnp.mean(jnp.abs(_surrogate.widened(jax.lax.stop_gradient(x))))
    else:
        threshold = _surrogate.as_limit("ternary_ste", "threshold", threshold)
    return _ternary_ste(x, jnp.asarray(threshold, x.dtype), jnp.asarray(clip_value, x.dtype))


@jax.custom_jvp
def _ternary_ste(x: jax.Array, threshold: jax.Array, clip_value: jax.Array) -> jax.Array:
    return jnp.where(jnp.abs(x) <= threshold, jnp.zeros_like(x), _sign(x))


_ternary_ste.defjvps(
    lambda x_dot, y, x, threshold, clip_value: _surrogate.where(jnp.abs(x) <= clip_value, x_dot),
    None,
    None,
)
_surrogate.declare(_ternary_ste, lambda x, threshold, clip_value: hard_tanh(x, clip_value))
