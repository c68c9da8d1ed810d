"""Quantisers of few bits for activations and weights: PACT and DoReFa."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.custom_derivatives import SymbolicZero
from jax.typing import ArrayLike

from jaxfn._jax_internals import checkpointed_tangent, mesh_axes, vary_over
from jaxfn.functional._checks import as_array, check_int
from jaxfn.functional._quantized import MOST_BITS, parameter
from jaxfn.functional._rules import accumulator, explicit_sharding
from jaxfn.functional._surrogate import declare, where


def pact(x: ArrayLike, alpha: ArrayLike, *, bits: int = 4) -> jax.Array:
    """Parameterised clipping activation: a quantised relu whose upper end is learned.

    y = round(clip(x, 0, α) n / α) α / n with n = 2^bits − 1, halves rounded to even. The gradients
    are those of the clipping, as the paper writes it:

        x̄ = ȳ           where 0 ≤ x < α, 0 elsewhere,
        ᾱ = Σ ȳ         over the elements with x ≥ α.

    Where x is nan so is y, and both gradients are 0. Forward mode follows the same rule, and second
    derivatives are 0. Kept for the backward pass is one byte per element, whichever gradients are
    needed. 16-bit types sum ᾱ in float32.

    Args:
      x: any shape, of floating dtype.
      alpha: [], floating and positive; large at first, and lowered by weight decay.
      bits: an int from 1 to 16.

    Returns:
      Same shape and dtype as x.

    Raises:
      TypeError: if x or `alpha` is not an array of floating dtype, or `bits` no int.
      ValueError: if `alpha` is not [], or not positive and finite (a traced one is not looked at),
        or `bits` outside its range.

    Example:
      >>> import jax, jax.numpy as jnp, jaxfn
      >>> x = jnp.array([-1.0, 1.25, 2.0, 9.0])
      >>> jaxfn.pact(x, 3.0, bits=2).tolist()
      [0.0, 1.0, 2.0, 3.0]
      >>> x_bar, alpha_bar = jax.grad(lambda *a: jaxfn.pact(*a, bits=2).sum(), (0, 1))(x, 3.0)
      >>> x_bar.tolist(), alpha_bar.item()
      ([0.0, 1.0, 1.0, 0.0], 1.0)

    Source: Choi et al., "PACT: Parameterized Clipping Activation for Quantized Neural Networks",
    2018 (arXiv 1805.06085).
    """
    x = as_array("pact", "x", x)
    alpha = parameter("pact", "alpha", alpha, x, None)
    return _pact(x, alpha, 2 ** check_int("pact", "bits", bits, 1, MOST_BITS) - 1)


@functools.partial(jax.custom_jvp, nondiff_argnums=(2,))
def _pact(x: jax.Array, alpha: jax.Array, n: int) -> jax.Array:
    wide, end = _widen(x, alpha)
    return (jnp.round(jnp.clip(wide, 0, end) * (n / end)) * (end / n)).astype(x.dtype)


def clipped(x: jax.Array, alpha: jax.Array, n: int) -> jax.Array:
    """clip(x, 0, α)."""
    del n
    wide, end = _widen(x, alpha)
    return jnp.where(wide < end, jnp.where(wide < 0, 0, wide), end).astype(x.dtype)


declare(_pact, clipped)


# What is saved of an element: which of the two gradients it has a part in.
_NEITHER, _OF_X, _OF_ALPHA = np.arange(3, dtype=np.uint8)


@functools.partial(_pact.defjvp, symbolic_zeros=True)
def _pact_jvp(n: int, primals: Any, tangents: Any) -> Any:
    # y = clip(x, 0, α) up to the rounding, in place of which the identity is differentiated:
    #   ẏ = ẋ where 0 ≤ x < α, α̇ where x ≥ α, 0 elsewhere.
    # Of x it is enough to know which of the three, a byte.
    x, alpha = primals
    y = _pact(x, alpha, n)
    x_dot, alpha_dot = (None if isinstance(t, SymbolicZero) else t for t in tangents)
    if x_dot is None and alpha_dot is None:
        return y, jnp.zeros_like(y)
    wide, end = _widen(x, alpha)
    part = jnp.where((wide >= 0) & (wide < end), _OF_X, _NEITHER)
    part = jnp.where(wide >= end, _OF_ALPHA, part)
    return y, _pact_tangent(part, x_dot, alpha_dot).astype(y.dtype)


@checkpointed_tangent(prevent_cse=False)  # kept is `part` alone
def _pact_tangent(
    part: jax.Array, x_dot: jax.Array | None, alpha_dot: jax.Array | None
) -> jax.Array:
    # At least float32, so that the sum over the elements is, which is the transpose of α̇'s spread.
    dtype = accumulator(jnp.result_type(*(t for t in (x_dot, alpha_dot) if t is not None)))
    of_x = of_alpha = zero = jnp.zeros_like(part, dtype)
    if x_dot is not None:
        of_x = x_dot.astype(dtype)
    if alpha_dot is not None:
        # Inside `shard_map` what the devices add to ᾱ is one number each.
        alpha_dot = vary_over(alpha_dot.astype(dtype), mesh_axes(jax.typeof(part)))
        of_alpha = lax.broadcast_in_dim(
            alpha_dot, part.shape, (), out_sharding=explicit_sharding(part)
        )
    return jnp.where(part == _OF_X, of_x, jnp.where(part == _OF_ALPHA, of_alpha, zero))


def _widen(x: jax.Array, alpha: jax.Array) -> tuple[jax.Array, jax.Array]:
    dtype = accumulator(jnp.result_type(x, alpha))
    return x.astype(dtype), alpha.astype(dtype)


def dorefa(x: ArrayLike, *, bits: int = 2, mode: str = "activations") -> jax.Array:
    """DoReFa's quantiser to 2^bits levels, of activations in [0, 1] or of weights in [−1, 1].

    With n = 2^bits − 1 and q(u) = round(n u) / n, halves rounded to even:

        "activations":  y = q(clip(x, 0, 1)),            x̄ = ȳ where 0 ≤ x ≤ 1, 0 elsewhere;
        "weights":      y = 2 q(tanh(x) / 2m + 1/2) − 1,  x̄ = ȳ (1 − tanh²(x)) / m,

    with m = max|tanh(x)| over all of x. In the gradient m counts as a constant (`stop_gradient`),
    and where all weights are 0 tanh(x)/2m is 0 and so is x̄; both as in larq.

    Where x is nan so is y, and x̄ is 0 for activations; one nan among weights makes all of y nan.
    Forward mode follows the same rule. Kept for the backward pass is one byte per element for
    activations, x for weights. 16-bit types are computed in float32. Under `shard_map` m is the
    maximum of what a device holds.

    Args:
      x: any shape, of floating dtype.
      bits: an int from 1 to 16. For weights of one bit the paper has another formula,
        sign(x)·mean|x|; this one gives ±1.
      mode: "activations" or "weights".

    Returns:
      Same shape and dtype as x.

    Raises:
      TypeError: if x is not an array of floating dtype, or `bits` no int.
      ValueError: if `bits` is outside its range, or `mode` another one.

    Example:
      >>> import jax, jax.numpy as jnp, jaxfn
      >>> x = jnp.array([-0.5, 0.25, 0.75, 1.5])
      >>> jaxfn.dorefa(x, bits=1).tolist()
      [0.0, 0.0, 1.0, 1.0]
      >>> jax.grad(lambda x: jaxfn.dorefa(x, bits=1).sum())(x).tolist()
      [0.0, 1.0, 1.0, 0.0]
      >>> jaxfn.dorefa(x, bits=1, mode="weights").tolist()
      [-1.0, 1.0, 1.0, 1.0]

    Source: Zhou et al., "DoReFa-Net: Training Low Bitwidth Convolutional Neural Networks with Low
    Bitwidth Gradients", 2016 (arXiv 1606.06160); `larq.quantizers.DoReFa` for the modes.
    """
    x = as_array("dorefa", "x", x)
    n = 2 ** check_int("dorefa", "bits", bits, 1, MOST_BITS) - 1
    if mode not in ("activations", "weights"):
        raise ValueError(f'dorefa: expected mode "activations" or "weights", got {mode!r}')
    if mode == "activations":
        return _dorefa_activations(x, n)
    wide = lax.stop_gradient(x).astype(accumulator(x.dtype))
    return _dorefa_weights(x, jnp.max(jnp.abs(jnp.tanh(wide)), initial=0), n)


@functools.partial(jax.custom_jvp, nondiff_argnums=(1,))
def _dorefa_activations(x: jax.Array, n: int) -> jax.Array:
    wide = x.astype(accumulator(x.dtype))
    return (jnp.round(jnp.clip(wide, 0, 1) * n) / n).astype(x.dtype)


@_dorefa_activations.defjvp
def _dorefa_activations_jvp(n: int, primals: Any, tangents: Any) -> Any:
    # y = clip(x, 0, 1) up to the rounding, in place of which the identity is differentiated.
    (x,), (x_dot,) = primals, tangents
    return _dorefa_activations(x, n), where((x >= 0) & (x <= 1), x_dot)


declare(_dorefa_activations, lambda x, n: jnp.clip(x, 0, 1))


@functools.partial(jax.custom_jvp, nondiff_argnums=(2,))
def _dorefa_weights(x: jax.Array, largest: jax.Array, n: int) -> jax.Array:
    wide, m = _widen(x, largest)
    u = jnp.tanh(wide) / (2 * jnp.where(m == 0, 1, m)) + 0.5
    return ((2 * jnp.round(u * n) - n) / n).astype(x.dtype)


@_dorefa_weights.defjvp
def _dorefa_weights_jvp(n: int, primals: Any, tangents: Any) -> Any:
    # y = tanh(x)/m up to the rounding, in place of which the identity is differentiated, with m
    # held: ẏ = (1 − tanh²(x)) ẋ / m.
    return _dorefa_weights(*primals, n), _dorefa_weights_tangent(*primals, tangents[0])


def normalised_tanh(x: jax.Array, largest: jax.Array, n: int) -> jax.Array:
    """tanh(x)/m with m = `largest` held; 0 where m is."""
    del n
    wide, m = _widen(x, lax.stop_gradient(largest))
    return jnp.where(m == 0, 0, jnp.tanh(wide) / jnp.where(m == 0, 1, m)).astype(x.dtype)


declare(_dorefa_weights, normalised_tanh)


@checkpointed_tangent(prevent_cse=False)  # kept are x and m, not tanh and the slope
def _dorefa_weights_tangent(x: jax.Array, largest: jax.Array, x_dot: jax.Array) -> jax.Array:
    wide, m = _widen(x, largest)
    y = jnp.tanh(wide)
    slope = jnp.where(m == 0, 0, (1 - y) * (1 + y) / jnp.where(m == 0, 1, m))
    return (slope * x_dot.astype(slope.dtype)).astype(x.dtype)
