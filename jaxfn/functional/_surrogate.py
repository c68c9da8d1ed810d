"""What the operations share whose gradient is declared to be another than the derivative."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from jaxfn._jax_internals import checkpointed_tangent
from jaxfn.functional.activation import is_positive_or_nan


@checkpointed_tangent(prevent_cse=False)
def where(mask: jax.Array, x_dot: jax.Array) -> jax.Array:
    """The tangent x_dot where `mask`, 0 elsewhere; for the backward pass the mask alone is kept.

    Selected, not multiplied: 0·inf is nan, but the gradient there is 0. Without the checkpoint,
    which compiles to nothing, JAX would keep an array of zeros beside the mask.
    """
    return jnp.where(mask, x_dot, jnp.zeros_like(x_dot))


def is_negative(x: jax.Array) -> jax.Array:
    """x < 0, subnormal numbers among them, which XLA compares as zeros on some platforms."""
    return is_positive_or_nan(-x) & ~jnp.isnan(x)


def widened(x: jax.Array) -> jax.Array:
    """x in float32 at least: a formula evaluated there is rounded once."""
    return x.astype(jnp.promote_types(x.dtype, jnp.float32))


def as_scalar(op: str, name: str, value: Any) -> ArrayLike:
    """`value`, a real number or an array of shape [] that may be traced; else an error."""
    if is_number(value):
        if np.isnan(value):
            raise ValueError(f"{op}: expected {name} to be a number, got nan")
        return float(value)
    if not isinstance(value, jax.Array | np.ndarray):
        got = type(value).__name__
        raise TypeError(f"{op}: expected {name} to be a number or a scalar array, got {got}")
    is_real = jnp.issubdtype(value.dtype, jnp.floating) or jnp.issubdtype(value.dtype, jnp.integer)
    if value.shape or not is_real:
        got = f"{value.dtype.name}{list(value.shape)}"
        raise TypeError(f"{op}: expected {name} to be a number or a scalar array, got {got}")
    return value


def as_positive(op: str, name: str, value: Any, zero: bool = False) -> ArrayLike:
    """`as_scalar`, and if it is a number above 0, or 0 where that is allowed."""
    value = as_scalar(op, name, value)
    if is_number(value) and (value < 0 or (value == 0 and not zero)):
        least = "at least 0" if zero else "above 0"
        raise ValueError(f"{op}: expected {name} to be {least}, got {value:g}")
    return value


def as_bounds(op: str, low: Any, high: Any) -> tuple[ArrayLike, ArrayLike]:
    """`as_scalar` of both, and if they are numbers in order."""
    low, high = as_scalar(op, "low", low), as_scalar(op, "high", high)
    if is_number(low) and is_number(high) and low > high:
        raise ValueError(f"{op}: expected low at most high, got low {low:g} and high {high:g}")
    return low, high


def is_number(value: Any) -> bool:
    """Whether it is a real number of Python or numpy, whose value can be looked at."""
    return isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool)
