"""What the operations share whose gradient is declared to be another than the derivative."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from jaxfn._jax_internals import checkpointed_tangent
from jaxfn.functional._checks import check_elements, check_positive, concrete
from jaxfn.functional.activation import is_positive_or_nan


class Declared(NamedTuple):
    """What the gradient of a rule is meant to be.

    Attributes:
      surrogate: a function of the rule's arguments, static ones included, whose derivative the
        rule's gradient is; its value need not be the rule's.
      linear_in_cotangent: whether the gradient is linear in the cotangent, as a derivative is; if
        not it is the surrogate's for small cotangents.
      held: the positions of arguments for whose values alone that is said, such as a limit: what
        cotangent is small depends on them.
    """

    surrogate: Callable[..., Any] | None
    linear_in_cotangent: bool = True
    held: tuple[int, ...] = ()


def declare(
    rule: Any,
    surrogate: Callable[..., Any],
    *,
    linear_in_cotangent: bool = True,
    held: tuple[int, ...] = (),
) -> None:
    """Says whose derivative the gradient of `rule`, a `custom_jvp` or `custom_vjp`, is.

    To be found as `rule.declared`, for those who check the rule; nothing computes with it.
    """
    rule.declared = Declared(surrogate, linear_in_cotangent, held)


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
    if isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, jax.Array | np.ndarray):
        got = type(value).__name__
        raise TypeError(f"{op}: expected {name} to be a number or a scalar array, got {got}")
    is_real = jnp.issubdtype(value.dtype, jnp.floating) or jnp.issubdtype(value.dtype, jnp.integer)
    if value.shape or not is_real:
        got = f"{value.dtype.name}{list(value.shape)}"
        raise TypeError(f"{op}: expected {name} to be a number or a scalar array, got {got}")
    return value


# Each refuses values that can be looked at; traced ones pass.


def as_finite(op: str, name: str, value: Any) -> ArrayLike:
    """`as_scalar`, and finite."""
    value = as_scalar(op, name, value)
    check_elements(op, name, value, "finite", np.isfinite)
    return value


def as_positive(op: str, name: str, value: Any) -> ArrayLike:
    """`as_scalar`, positive and finite."""
    value = as_scalar(op, name, value)
    check_positive(op, name, value)
    return value


def as_limit(op: str, name: str, value: Any) -> ArrayLike:
    """`as_scalar`, and at least 0; infinity is no limit."""
    value = as_scalar(op, name, value)
    check_elements(op, name, value, "at least 0", lambda a: a >= 0)
    return value


def as_bounds(op: str, low: Any, high: Any) -> tuple[ArrayLike, ArrayLike]:
    """`as_scalar` of both, in order; an infinite bound is none."""
    low, high = as_scalar(op, "low", low), as_scalar(op, "high", high)
    for name, bound in (("low", low), ("high", high)):
        check_elements(op, name, bound, "a number", lambda a: ~np.isnan(a))
    lowest, highest = concrete(low), concrete(high)
    if lowest is not None and highest is not None and lowest > highest:
        raise ValueError(
            f"{op}: expected low at most high, got low {lowest:g} and high {highest:g}"
        )
    return low, high
