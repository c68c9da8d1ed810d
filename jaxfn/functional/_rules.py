"""What the rules of operations that are linear in each input share."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.custom_derivatives import CustomVJPPrimal
from jax.typing import DTypeLike

from jaxfn._jax_internals import mesh_axes, vary_over


@functools.partial(
    jax.tree_util.register_dataclass,
    data_fields=["factors", "marker"],
    meta_fields=["types"],
)
@dataclasses.dataclass(frozen=True)
class Saved:
    """What the backward rule of a product x·w + b needs.

    A jitted function that is called twice is one jaxpr, and its two calls may need gradients of
    different inputs. JAX then remembers the structure of what was saved last for both, so it is
    the same each time: what is not needed is an array without elements, and the shape of another
    one says which gradients are needed.

    Attributes:
      factors: x if w needs a gradient, w if x does.
      marker: `[0, x, w, b]`, with 1 for each input that needs a gradient.
      types: of x, w and b: shape, dtype and sharding, no memory.
    """

    factors: tuple[jax.Array, jax.Array]
    marker: jax.Array
    types: tuple[Any, Any, Any]

    @property
    def needed_types(self) -> tuple[Any, Any, Any]:
        """The types, with None for an input that needs no gradient."""
        x, w, b = (
            kind if needed else None
            for kind, needed in zip(self.types, self.marker.shape[1:], strict=True)
        )
        return x, w, b


def save(x: CustomVJPPrimal, w: CustomVJPPrimal, b: CustomVJPPrimal | None) -> Saved:
    """What the forward rule saves, and nothing for a gradient that is not needed."""

    def factor(of: CustomVJPPrimal, for_gradient_of: CustomVJPPrimal) -> jax.Array:
        return of.value if for_gradient_of.perturbed else jnp.zeros(0, of.value.dtype)

    needed = [p is not None and bool(p.perturbed) for p in (x, w, b)]
    return Saved(
        factors=(factor(x, w), factor(w, x)),
        marker=jnp.zeros((0, *map(int, needed)), bool),
        types=(jax.typeof(x.value), jax.typeof(w.value), b if b is None else jax.typeof(b.value)),
    )


def transpose(term: Callable, input_type: Any, y_bar: jax.Array) -> Any:
    """The transpose of the linear `term` at ȳ, or None if the input needs no gradient."""
    if input_type is None:
        return None
    # Inside `shard_map` ȳ may differ between devices where the input does not. Its gradient is then
    # summed over them as the last thing, when it is no larger than the input.
    axes = mesh_axes(jax.typeof(y_bar))
    (gradient,) = jax.linear_transpose(lambda x: term(vary_over(x, axes)), input_type)(y_bar)
    return gradient


def varying_transpose(
    term: Callable[[jax.Array], jax.Array], shape: tuple[int, ...], y_bar: jax.Array
) -> jax.Array:
    """The transpose of the linear `term` at ȳ; inside `shard_map` each device has its own."""
    zeros = vary_over(jnp.zeros(shape, y_bar.dtype), mesh_axes(jax.typeof(y_bar)))
    (gradient,) = jax.vjp(term, zeros)[1](y_bar)
    return gradient


def expand(bias: jax.Array, like: jax.Array, channels: int = -1) -> jax.Array:
    """The bias at every place of `like`, whose dimension `channels` is its own."""
    # Sharded as `like` from the start: otherwise the transpose would gather ȳ and then sum it.
    return lax.broadcast_in_dim(
        bias.astype(like.dtype),
        like.shape,
        (channels % like.ndim,),
        out_sharding=explicit_sharding(like),
    )


def bias_gradient(bias_type: Any, y_bar: jax.Array, channels: int = -1) -> Any:
    """b̄ = Σ ȳ over all dimensions but `channels`, or None if the bias needs no gradient."""
    if bias_type is None:
        return None
    ones = jnp.ones_like(y_bar)  # sharded as ȳ, which a plain broadcast of b would not be
    if jax.typeof(ones).sharding.spec == jax.typeof(y_bar).sharding.spec:
        return transpose(lambda b: ones * expand(b, ones, channels), bias_type, y_bar)
    # From jax 0.11 on, no new array is sharded where an explicit mesh is no context (`set_mesh`).
    others = [d for d in range(y_bar.ndim) if d != channels % y_bar.ndim]
    total = jnp.sum(y_bar, others)
    return transpose(lambda b: b.astype(total.dtype), bias_type, total)


def explicit_sharding(x: jax.Array) -> Any:
    """The sharding that the type of x has on an explicit mesh; None where nothing is divided."""
    sharding = jax.typeof(x).sharding
    return sharding if any(axis is not None for axis in sharding.spec) else None


def accumulator(dtype: DTypeLike) -> DTypeLike:
    """The dtype in which sums of terms of `dtype` are taken."""
    return jnp.promote_types(dtype, jnp.float32)
