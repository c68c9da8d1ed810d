"""Normalisation of each row over its features."""

from __future__ import annotations

import functools
import operator
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.custom_derivatives import SymbolicZero
from jax.typing import ArrayLike

from jaxfn._jax_internals import checkpointed_tangent, mesh_axes, vary_over
from jaxfn.functional._checks import as_array, check_number
from jaxfn.functional._rules import accumulator, expand

# The rules are `custom_jvp`: ẏ is linear in the tangents, and JAX transposes it. Checkpointed, it
# keeps what it is called with and nothing that it computes.


def rms_norm(x: ArrayLike, scale: ArrayLike | None = None, *, epsilon: float = 1e-6) -> jax.Array:
    """Divides each row by the root of its mean square.

    y = x·r·scale with r = 1/√(mean(x²) + ε) over the last axis, and with x̂ = x·r

        g = r·scale·ȳ,  x̄ = g − x̂·mean(x̂·g),  scale̅ = Σ x̂·ȳ, the sum over all rows.

    It is computed in float32 at least, and rounded once. Kept for the backward pass are x in its
    own dtype and r, one number a row. Both modes, any order.

    Rows do not meet: one with a nan gives nan. Where the sum of the squares of a row overflows (in
    float32 at about 1.8e19), r is 0, and so are the row and its gradient; an infinite element makes
    nan of itself and of its row's gradient. All of that is as in `flax.nnx.RMSNorm`.

    Args:
      x: `[..., features]`, of floating dtype.
      scale: `[features]`, of floating dtype, or None for ones.
      epsilon: ε, a positive Python number.

    Returns:
      x's shape, in the dtype that JAX promotes x and scale to.

    Raises:
      TypeError: if x or scale is not an array of floating dtype, or epsilon no Python number.
      ValueError: if scale is not `[features]`, x has no axis, or epsilon is not positive and
        finite.

    Example:
      >>> import jax, jax.numpy as jnp, jaxfn
      >>> y = jaxfn.rms_norm(jnp.array([1.0, 7.0]), jnp.array([5.0, 10.0]))
      >>> [round(element, 4) for element in y.tolist()]
      [1.0, 14.0]

    Source: Zhang and Sennrich, "Root Mean Square Layer Normalization", 2019, arXiv:1910.07467.
    """
    epsilon = check_number("rms_norm", "epsilon", epsilon)
    x, scale = _checked("rms_norm", x, scale=scale)
    return _rms_norm(x, scale, epsilon)


@functools.partial(jax.custom_jvp, nondiff_argnums=(2,))
def _rms_norm(x: jax.Array, scale: jax.Array | None, epsilon: float) -> jax.Array:
    return _rms_norm_impl(x, scale, epsilon)[0]


def _rms_norm_impl(
    x: jax.Array, scale: jax.Array | None, epsilon: float
) -> tuple[jax.Array, jax.Array]:
    """y and r."""
    dtype = jnp.result_type(x, *_given(scale))
    wide = x.astype(accumulator(dtype))
    r = _reciprocal_root(wide, epsilon)
    return _scaled(wide * r, scale).astype(dtype), r


# The rules call the implementation: r is then one sum, which XLA would not find to be the same as
# another one on a mesh that divides the features.


@functools.partial(_rms_norm.defjvp, symbolic_zeros=True)
def _rms_norm_jvp(epsilon: float, primals: Any, tangents: Any) -> Any:
    x, scale = primals
    y, r = _rms_norm_impl(x, scale, epsilon)
    return y, _rms_norm_tangent(x, scale, r, *map(_or_none, tangents)).astype(y.dtype)


@checkpointed_tangent(prevent_cse=False)
def _rms_norm_tangent(
    x: jax.Array, scale: jax.Array | None, r: jax.Array, x_dot: Any, scale_dot: Any
) -> jax.Array:
    # Kept is r: to compute it again would be a sum more in the backward pass.
    x = x.astype(r.dtype)
    terms = []
    if x_dot is not None:
        terms.append(_scaled(_projected(x, r, x_dot.astype(r.dtype)), scale))
    if scale_dot is not None:
        terms.append(_scaled(x * r, scale_dot))
    return _sum(terms, x)


def layer_norm(
    x: ArrayLike,
    scale: ArrayLike | None = None,
    bias: ArrayLike | None = None,
    *,
    epsilon: float = 1e-6,
) -> jax.Array:
    """Subtracts its mean from each row and divides it by its standard deviation.

    y = (x − μ)·r·scale + bias with μ = mean(x) and r = 1/√(mean((x − μ)²) + ε) over the last axis,
    and with x̂ = (x − μ)·r

        g = r·scale·ȳ,  x̄ = g − mean(g) − x̂·mean(x̂·g),  scale̅ = Σ x̂·ȳ,  bias̅ = Σ ȳ,

    the sums over all rows. It is computed in float32 at least, and rounded once. Kept for the
    backward pass are x in its own dtype and μ, one number a row. Both modes, any order.

    Rows do not meet: one with a nan or an infinity gives nan. A constant row gives the bias, to
    rounding, and the gradient g − mean(g). Where the sum of the squares of x − μ overflows (in
    float32 at about 1.8e19) r is 0, the row the bias and its gradient 0; there and where the mean
    is large beside the deviation `flax.nnx.LayerNorm`, which takes the difference of mean(x²) and
    μ², gives nan or loses digits.

    Args:
      x: `[..., features]`, of floating dtype.
      scale: `[features]`, of floating dtype, or None for ones.
      bias: `[features]`, of floating dtype, or None for zeros.
      epsilon: ε, a positive Python number.

    Returns:
      x's shape, in the dtype that JAX promotes x, scale and bias to.

    Raises:
      TypeError: if x, scale or bias is not an array of floating dtype, or epsilon no Python number.
      ValueError: if scale or bias is not `[features]`, x has no axis, or epsilon is not positive
        and finite.

    Example:
      >>> import jax, jax.numpy as jnp, jaxfn
      >>> [round(y, 4) for y in jaxfn.layer_norm(jnp.array([1.0, 3.0]), bias=jnp.ones(2)).tolist()]
      [0.0, 2.0]

    Source: Ba, Kiros and Hinton, "Layer Normalization", 2016, arXiv:1607.06450.
    """
    epsilon = check_number("layer_norm", "epsilon", epsilon)
    x, scale, bias = _checked("layer_norm", x, scale=scale, bias=bias)
    return _layer_norm(x, scale, bias, epsilon)


@functools.partial(jax.custom_jvp, nondiff_argnums=(3,))
def _layer_norm(
    x: jax.Array, scale: jax.Array | None, bias: jax.Array | None, epsilon: float
) -> jax.Array:
    return _layer_norm_impl(x, scale, bias, epsilon)[0]


def _layer_norm_impl(
    x: jax.Array, scale: jax.Array | None, bias: jax.Array | None, epsilon: float
) -> tuple[jax.Array, jax.Array]:
    """y and μ."""
    dtype = jnp.result_type(x, *_given(scale, bias))
    wide = x.astype(accumulator(dtype))
    mean = _mean(wide)
    centred = wide - mean
    y = _scaled(centred * _reciprocal_root(centred, epsilon), scale)
    return (y if bias is None else y + expand(bias, y)).astype(dtype), mean


@functools.partial(_layer_norm.defjvp, symbolic_zeros=True)
def _layer_norm_jvp(epsilon: float, primals: Any, tangents: Any) -> Any:
    x, scale, bias = primals
    y, mean = _layer_norm_impl(x, scale, bias, epsilon)
    y_dot = _layer_norm_tangent(x, scale, mean, *map(_or_none, tangents), epsilon)
    return y, y_dot.astype(y.dtype)


@checkpointed_tangent(prevent_cse=False, static_argnums=(6,))
def _layer_norm_tangent(
    x: jax.Array,
    scale: jax.Array | None,
    mean: jax.Array,
    x_dot: Any,
    scale_dot: Any,
    bias_dot: Any,
    epsilon: float,
) -> jax.Array:
    # Kept is μ, not r: of x and μ one sum gives r, along with those of ȳ; of x and r none gives μ.
    # Where a mesh divides the features, that sum is one number a row more between devices.
    centred = x.astype(mean.dtype) - mean
    r = _reciprocal_root(centred, epsilon)
    terms = []
    if x_dot is not None:
        x_dot = x_dot.astype(mean.dtype)
        terms.append(_scaled(_projected(centred, r, x_dot) - r * _mean(x_dot), scale))
    if scale_dot is not None:
        terms.append(_scaled(centred * r, scale_dot))
    if bias_dot is not None:
        terms.append(expand(bias_dot, centred))
    return _sum(terms, centred)


def _projected(x: jax.Array, r: jax.Array, x_dot: jax.Array) -> jax.Array:
    """The tangent of x·r, where r is 1/√(mean(x²) + ε): r·(ẋ − x̂·mean(x̂·ẋ)) with x̂ = x·r."""
    # Each factor r beside the sum, not in it: then x̂ is no array, and XLA on a CPU has a fast sum
    # of a product of two arrays. One after the other: r³ is 0 where r is small.
    return r * x_dot - x * (r * (r * (r * _mean(x * x_dot))))


def _checked(op: str, x: Any, **parameters: Any) -> list[Any]:
    """x and its parameters as arrays, of types that agree on what differs between devices."""
    x = as_array(op, "x", x)
    if not x.ndim:
        raise ValueError(f"{op}: expected x [..., features], got x []")
    arrays = [x]
    for name, value in parameters.items():
        array = None if value is None else as_array(op, name, value)
        if array is not None and array.shape != x.shape[-1:]:
            raise ValueError(
                f"{op}: expected {name} [{x.shape[-1]}] to match x [..., {x.shape[-1]}], "
                f"got {name} {list(array.shape)}"
            )
        arrays.append(array)
    # Inside `shard_map` a parameter that is the same on all devices gets the sum of its gradient
    # over them as the last thing, when it is as small as the parameter.
    axes = frozenset().union(*(mesh_axes(jax.typeof(a)) for a in _given(*arrays)))
    return [None if a is None else vary_over(a, axes) for a in arrays]


def _given(*arrays: jax.Array | None) -> list[jax.Array]:
    return [array for array in arrays if array is not None]


def _or_none(tangent: Any) -> Any:
    """A tangent, or None where it is known to be zero: it then costs nothing."""
    return None if isinstance(tangent, SymbolicZero) else tangent


def _mean(x: jax.Array) -> jax.Array:
    return jnp.mean(x, axis=-1, keepdims=True)


def _reciprocal_root(x: jax.Array, epsilon: float) -> jax.Array:
    """1/√(mean(x²) + ε)."""
    return lax.rsqrt(_mean(jnp.square(x)) + epsilon)


def _sum(terms: list[jax.Array], like: jax.Array) -> jax.Array:
    return functools.reduce(operator.add, terms) if terms else jnp.zeros_like(like)


def _scaled(x: jax.Array, scale: jax.Array | None) -> jax.Array:
    return x if scale is None else x * expand(scale, x)
