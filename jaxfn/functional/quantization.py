"""Quantisation with a fixed scale, and stochastic rounding."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.custom_derivatives import SymbolicZero
from jax.typing import ArrayLike

from jaxfn.functional._checks import as_array, check_int, check_key
from jaxfn.functional._quantized import channel_axis, parameter, spread
from jaxfn.functional._rules import accumulator
from jaxfn.functional._surrogate import declare, where

# Differences of such integers are exact in float32.
_MOST = 2**23
_INTEGERS = ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")


def fake_quantize(
    x: ArrayLike,
    scale: ArrayLike,
    zero_point: ArrayLike = 0,
    *,
    quant_min: int = -128,
    quant_max: int = 127,
    axis: int | None = None,
) -> jax.Array:
    """What is left of x when it is stored as an integer, with a straight-through gradient.

    q = round(x / scale) + zero_point and y = (clip(q, quant_min, quant_max) − zero_point) scale,
    halves rounded to even; x̄ = ȳ where quant_min ≤ q ≤ quant_max and 0 elsewhere, which includes
    both ends. As in PyTorch x is multiplied by 1/scale, which is taken in scale's dtype, of 16-bit
    types in float32. `scale` and `zero_point` get no gradient: zero. `jaxfn.lsq` learns the scale.

    No integer is infinite or nan: infinities are clipped like any number, and nan becomes the least
    level, both with gradient 0. So it is in PyTorch for one scale; for a scale per channel its CPU
    version gives the least level for +inf as well, and for all that an int64 does not hold. The
    result is never −0. Kept for the backward pass is one byte per element. Forward mode follows the
    same rule, ẏ = ẋ where x̄ = ȳ, and second derivatives are 0.

    Args:
      x: any shape, of floating dtype.
      scale: the step between two levels, floating and positive: [], or [x.shape[axis]].
      zero_point: the integer that stands for 0: an int from `quant_min` to `quant_max`, or an array
        of integer dtype, [] or [x.shape[axis]].
      quant_min: the least integer; −128 and 127 are int8, 0 and 255 uint8.
      quant_max: the greatest integer.
      axis: None for one scale for all of x, or the axis of x whose channels have their own.

    Returns:
      Same shape and dtype as x.

    Raises:
      TypeError: if x or `scale` is not of floating dtype, `zero_point` not of integer dtype, or
        `quant_min`, `quant_max` or `axis` no int.
      ValueError: if a shape does not fit, an int is outside its range, or a scale is not positive
        and finite (a traced one is not looked at).

    Example:
      >>> import jax, jax.numpy as jnp, jaxfn
      >>> x = jnp.array([-0.3, 0.625, 0.9, 9.0])
      >>> def four_bits(x):
      ...     return jaxfn.fake_quantize(x, 0.25, quant_min=-8, quant_max=7)
      >>> four_bits(x).tolist()
      [-0.25, 0.5, 1.0, 1.75]
      >>> jax.grad(lambda x: four_bits(x).sum())(x).tolist()
      [1.0, 1.0, 1.0, 0.0]

    Source: `torch.fake_quantize_per_tensor_affine` and `torch.fake_quantize_per_channel_affine`;
    Jacob et al., "Quantization and Training of Neural Networks for Efficient
    Integer-Arithmetic-Only Inference", 2018 (arXiv 1712.05877).
    """
    op = "fake_quantize"
    x = as_array(op, "x", x)
    axis = channel_axis(op, x, axis)
    low = check_int(op, "quant_min", quant_min, -_MOST, _MOST)
    high = check_int(op, "quant_max", quant_max, -_MOST, _MOST)
    if low >= high:
        raise ValueError(f"{op}: expected quant_min < quant_max, got {low} and {high}")
    scale = parameter(op, "scale", scale, x, axis)
    zero_point = _zero_point(op, zero_point, x, axis, low, high)
    return _fake_quantize(x, lax.stop_gradient(scale), zero_point, low, high)


def _zero_point(
    op: str, value: Any, x: jax.Array, axis: int | None, low: int, high: int
) -> jax.Array:
    if isinstance(value, bool | float) or value is None:
        raise TypeError(f"{op}: expected zero_point to be an int, got {type(value).__name__}")
    if isinstance(value, int | np.integer):
        value = np.int32(check_int(op, "zero_point", value, low, high))
        axis = None  # one for all channels
    array = as_array(op, "zero_point", value, _INTEGERS)
    return spread(op, "zero_point", array.astype("int32"), x, axis)


@functools.partial(jax.custom_jvp, nondiff_argnums=(3, 4))
def _fake_quantize(
    x: jax.Array, scale: jax.Array, zero_point: jax.Array, low: int, high: int
) -> jax.Array:
    q = _integers(x, scale, zero_point)
    clipped = jnp.where(jnp.isnan(q), low, jnp.clip(q, low, high))
    # As integers: a sum of floats may be −0.
    wide = (clipped.astype("int32") - zero_point).astype(q.dtype) * scale.astype(q.dtype)
    return wide.astype(x.dtype)


@functools.partial(_fake_quantize.defjvp, symbolic_zeros=True)
def _fake_quantize_jvp(low: int, high: int, primals: Any, tangents: Any) -> Any:
    # y = (clip(q) − z)·s with q = round(x/s) + z. In place of round the identity is differentiated:
    #   ẏ = ẋ where low ≤ q ≤ high, 0 elsewhere.
    # Of x only the mask is needed, which is what the transposed map keeps.
    x, scale, zero_point = primals
    x_dot = tangents[0]
    y = _fake_quantize(x, scale, zero_point, low, high)
    if isinstance(x_dot, SymbolicZero):
        return y, jnp.zeros_like(y)
    q = _integers(x, scale, zero_point)
    return y, where((low <= q) & (q <= high), x_dot)


def within_levels(
    x: jax.Array, scale: jax.Array, zero_point: jax.Array, low: int, high: int
) -> jax.Array:
    """x where it rounds to a level, 0 elsewhere."""
    v = x / scale + zero_point
    return jnp.where((low - 0.5 <= v) & (v <= high + 0.5), x, jnp.zeros_like(x))


declare(_fake_quantize, within_levels)


def _integers(x: jax.Array, scale: jax.Array, zero_point: jax.Array) -> jax.Array:
    """round(x / scale) + zero_point before it is clipped, a float as long as it may be infinite."""
    dtype = accumulator(x.dtype)
    inverse = (1 / scale.astype(accumulator(scale.dtype))).astype(dtype)
    return jnp.round(x.astype(dtype) * inverse) + zero_point.astype(dtype)


def stochastic_round(key: jax.Array, x: ArrayLike) -> jax.Array:
    """Rounds up or down at random so that the mean is x, with the identity's gradient.

    y = ⌊x⌋ + 1 with probability x − ⌊x⌋, else ⌊x⌋, so E[y] = x; x̄ = ȳ. In forward mode ẏ = ẋ.

    Infinities and nan stay themselves. Nothing is kept for the backward pass. The random numbers
    are `jax.random.uniform(key, x.shape)` of float32 for every dtype.

    Args:
      key: a key of `jax.random`, or an old one (`jax.random.PRNGKey`).
      x: any shape, of floating dtype.

    Returns:
      Whole numbers, in x's shape and dtype.

    Raises:
      TypeError: if x is not an array of floating dtype, or `key` no key.
      ValueError: if `key` is an array of several keys.

    Example:
      >>> import jax, jax.numpy as jnp, jaxfn
      >>> y = jaxfn.stochastic_round(jax.random.key(0), jnp.full(10_000, 0.25))
      >>> sorted({*y.tolist()}), abs(y.mean() - 0.25).item() < 0.02
      ([0.0, 1.0], True)

    Source: Gupta et al., "Deep Learning with Limited Numerical Precision", 2015
    (arXiv 1502.02551).
    """
    check_key("stochastic_round", key)
    x = as_array("stochastic_round", "x", x)
    return _stochastic_round(x, jax.random.uniform(key, x.shape, "float32"))


@jax.custom_jvp
def _stochastic_round(x: jax.Array, uniform: jax.Array) -> jax.Array:
    # Not ⌊x + u⌋: that sum is rounded, and to even, which is not the mean of x.
    wide = x.astype(accumulator(x.dtype))
    down = jnp.floor(wide)
    return jnp.where(uniform < wide - down, down + 1, down).astype(x.dtype)


@functools.partial(_stochastic_round.defjvp, symbolic_zeros=True)
def _stochastic_round_jvp(primals: Any, tangents: Any) -> Any:
    # The mean of y is x, whose derivative is 1: ẏ = ẋ.
    y, x_dot = _stochastic_round(*primals), tangents[0]
    return y, jnp.zeros_like(y) if isinstance(x_dot, SymbolicZero) else x_dot


declare(_stochastic_round, lambda x, uniform: x)
