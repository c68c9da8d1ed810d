"""Quantisation with a learned step size."""

from __future__ import annotations

import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.custom_derivatives import SymbolicZero
from jax.typing import ArrayLike

from jaxfn._jax_internals import checkpointed_tangent
from jaxfn.functional._checks import as_array, check_int, check_number
from jaxfn.functional._quantized import MOST_BITS, channel_axis, parameter
from jaxfn.functional._rules import accumulator
from jaxfn.functional._surrogate import declare, where


def lsq(
    x: ArrayLike,
    step_size: ArrayLike,
    *,
    bits: int = 8,
    signed: bool = True,
    axis: int | None = None,
    grad_scale: float | None = None,
) -> jax.Array:
    """Learned step size quantisation: the gradient reaches the distance between the levels, too.

    With v = x / s and the levels from −Qn to Qp (2^(bits−1) and 2^(bits−1) − 1; unsigned 0 and
    2^bits − 1) y = round(clip(v, −Qn, Qp)) s, halves rounded to even. The gradients are

        x̄ = ȳ            where −Qn < v < Qp, 0 elsewhere,
        s̄ = c Σ ȳ d,     d = round(v) − v there, −Qn where v ≤ −Qn, Qp where v ≥ Qp,

    the sum over the N elements that share the step size. c makes the step size move about as fast
    as the weights do: 1/√(N Qp) unless `grad_scale` says otherwise. At v = −Qn and v = Qp the
    convention is the paper's: x̄ = 0. Where x is nan so are y and s̄, and x̄ is 0.

    Forward mode follows the same rule, c included, so that it is the reverse mode's transpose; mask
    and d count as constants: second derivatives are 0. Kept for the backward pass is a byte per
    element if the step size needs no gradient, else x. 16-bit types sum s̄ in float32. Under
    `shard_map` N counts what a device holds: give `grad_scale` there.

    Args:
      x: any shape, of floating dtype.
      step_size: floating and positive: [], or [x.shape[axis]]. `jaxfn.lsq_init` gives a start.
      bits: an int from 2, or from 1 if unsigned, to 16.
      signed: whether the levels are on both sides of 0, as for weights, or from 0 on, as for what a
        relu gives.
      axis: None for one step size for all of x, or the axis of x whose channels have their own.
      grad_scale: c, a positive Python number, or None for 1/√(N Qp). For activations the paper
        counts the features of one example alone: 1/√(features · Qp).

    Returns:
      Same shape and dtype as x.

    Raises:
      TypeError: if x or `step_size` is not of floating dtype, `bits` or `axis` no int, `signed` no
        bool, `grad_scale` no number.
      ValueError: if a shape does not fit, a number is outside its range, or a step size is not
        positive and finite (a traced one is not looked at).

    Example:
      >>> import jax, jax.numpy as jnp, jaxfn
      >>> x = jnp.array([-9.0, 0.25, 0.625, 9.0])
      >>> jaxfn.lsq(x, 0.5, bits=3).tolist()
      [-2.0, 0.0, 0.5, 1.5]
      >>> def total(x, step_size):
      ...     return jaxfn.lsq(x, step_size, bits=3, grad_scale=1.0).sum()
      >>> x_bar, step_size_bar = jax.grad(total, argnums=(0, 1))(x, 0.5)
      >>> x_bar.tolist(), step_size_bar.item()
      ([0.0, 1.0, 1.0, 0.0], -1.75)

    Source: Esser et al., "Learned Step Size Quantization", 2020 (arXiv 1902.08153).
    """
    x = as_array("lsq", "x", x)
    axis = channel_axis("lsq", x, axis)
    low, high = _levels("lsq", bits, signed)
    step = parameter("lsq", "step_size", step_size, x, axis)
    if grad_scale is None:
        shared = x.size // step.size if step.size else 0
        grad_scale = 1 / math.sqrt(max(shared, 1) * high)
    return _lsq(x, step, low, high, check_number("lsq", "grad_scale", grad_scale))


def lsq_init(
    x: ArrayLike, *, bits: int = 8, signed: bool = True, axis: int | None = None
) -> jax.Array:
    """The step size with which `jaxfn.lsq` starts: 2 mean|x| / √Qp.

    Qp is the greatest level, 2^(bits−1) − 1, or 2^bits − 1 if unsigned. 16-bit types are summed in
    float32. Nothing is differentiated: the gradient of x is zero.

    Args:
      x: the initial weights, or the activations of a first batch; of floating dtype.
      bits: as for `jaxfn.lsq`.
      signed: as for `jaxfn.lsq`.
      axis: None for one step size, or the axis of x whose channels get their own.

    Returns:
      [], or [x.shape[axis]], of x's dtype.

    Raises:
      TypeError: as `jaxfn.lsq`.
      ValueError: as `jaxfn.lsq`, or if there is no element to take the mean of.

    Example:
      >>> import jax.numpy as jnp, jaxfn
      >>> jaxfn.lsq_init(jnp.array([-1.0, 3.0]), bits=1, signed=False).item()
      4.0

    Source: Esser et al., "Learned Step Size Quantization", 2020 (arXiv 1902.08153), section 2.1.
    """
    x = as_array("lsq_init", "x", x)
    axis = channel_axis("lsq_init", x, axis)
    _, high = _levels("lsq_init", bits, signed)
    if x.size == 0:
        raise ValueError(f"lsq_init: expected x to have elements, got x {list(x.shape)}")
    others = tuple(i for i in range(x.ndim) if i != axis)
    wide = lax.stop_gradient(x).astype(accumulator(x.dtype))
    return (2 * jnp.mean(jnp.abs(wide), others) / math.sqrt(high)).astype(x.dtype)


def _levels(op: str, bits: int, signed: bool) -> tuple[int, int]:
    """The least and the greatest level, −Qn and Qp."""
    if not isinstance(signed, bool):
        raise TypeError(f"{op}: expected signed to be a bool, got {type(signed).__name__}")
    bits = check_int(op, "bits", bits, 2 if signed else 1, MOST_BITS)
    half = 2 ** (bits - 1)
    return (-half, half - 1) if signed else (0, 2 * half - 1)


@functools.partial(jax.custom_jvp, nondiff_argnums=(2, 3, 4))
def _lsq(x: jax.Array, step: jax.Array, low: int, high: int, grad_scale: float) -> jax.Array:
    del grad_scale  # of the gradient alone
    v = _in_steps(x, step)
    return (jnp.round(jnp.clip(v, low, high)) * step.astype(v.dtype)).astype(x.dtype)


@functools.partial(_lsq.defjvp, symbolic_zeros=True)
def _lsq_jvp(low: int, high: int, grad_scale: float, primals: Any, tangents: Any) -> Any:
    # y = round(clip(v))·s with v = x/s. In place of round the identity is differentiated:
    #   ẏ = clip'(v) v̇ s + round(clip(v)) ṡ  with  v̇ = (ẋ − v ṡ)/s,
    # which is ẋ + (round(v) − v) ṡ where −Qn < v < Qp, −Qn ṡ below and Qp ṡ above; then ṡ is
    # scaled by c. Mask and factor count as constants, as they do in round's place.
    x, step = primals
    x_dot, step_dot = tangents
    y = _lsq(x, step, low, high, grad_scale)
    if isinstance(x_dot, SymbolicZero) and isinstance(step_dot, SymbolicZero):
        return y, jnp.zeros_like(y)
    if isinstance(step_dot, SymbolicZero):
        v = _in_steps(x, step)
        return y, where((low < v) & (v < high), x_dot)
    x_dot = None if isinstance(x_dot, SymbolicZero) else x_dot
    x, step = lax.stop_gradient((x, step))
    return y, _tangent(x, step, x_dot, step_dot, low, high, grad_scale)


def scaled_error(
    x: jax.Array, step: jax.Array, low: int, high: int, grad_scale: float
) -> jax.Array:
    """x + c (round(v) − v) s where −Qn < v < Qp, else −Qn c s or Qp c s, with v = x/s held."""
    v = lax.stop_gradient(_in_steps(x, step))
    s = grad_scale * step.astype(v.dtype)
    end = jnp.where(v <= low, low, jnp.where(v >= high, high, v)) * s  # v if it is nan
    y = jnp.where((low < v) & (v < high), x.astype(v.dtype) + (jnp.round(v) - v) * s, end)
    return y.astype(x.dtype)


declare(_lsq, scaled_error)


# Kept for the backward pass are the inputs x and s. Mask and d are made again from them: they would
# be larger, and x is likely to be kept by others as well.
@checkpointed_tangent(prevent_cse=False, static_argnums=(4, 5, 6))
def _tangent(
    x: jax.Array,
    step: jax.Array,
    x_dot: jax.Array | None,
    step_dot: jax.Array,
    low: int,
    high: int,
    grad_scale: float,
) -> jax.Array:
    """ẏ where the step size is differentiated, with x or alone."""
    v = _in_steps(x, step)
    inside = (low < v) & (v < high)
    end = jnp.where(v <= low, low, jnp.where(v >= high, high, v))  # v if it is nan
    d = jnp.where(inside, jnp.round(v) - v, end)
    # The product is as wide as v, and so is its transpose, the sum over a step size's elements.
    y_dot = d * (grad_scale * step_dot.astype(v.dtype))
    if x_dot is not None:
        y_dot = y_dot + jnp.where(inside, x_dot, jnp.zeros_like(x_dot)).astype(v.dtype)
    return y_dot.astype(x.dtype)


def _in_steps(x: jax.Array, step: jax.Array) -> jax.Array:
    """x / s."""
    dtype = accumulator(jnp.result_type(x, step))
    return x.astype(dtype) / step.astype(dtype)
