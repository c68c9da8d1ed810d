"""A gradient that is declared to be a surrogate's, written without a custom rule."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax


def with_gradient_of(
    value: Callable[..., Any], surrogate: Callable[..., Any]
) -> Callable[..., Any]:
    """The result of `value` with the derivative of `surrogate`, as it is written without a rule.

    With v the value and s the surrogate, y = stop_gradient(v) + (s − stop_gradient(s)): the
    bracket is 0 and its derivative that of s. Where s is not finite the bracket is nan, and y too.

    Args:
      value: a function of arrays or pytrees.
      surrogate: a function of the same arguments, with results of the same structure.

    Returns:
      A function of the same arguments.

    Source: the JAX documentation, "Advanced automatic differentiation", straight-through estimator.
    """

    def by_stop_gradient(*args: Any) -> Any:
        return jax.tree.map(_pass_on, value(*args), surrogate(*args))

    by_stop_gradient.__name__ = f"{getattr(surrogate, '__name__', 'surrogate')} by stop_gradient"
    return by_stop_gradient


def _pass_on(value: Any, surrogate: Any) -> Any:
    if not jnp.issubdtype(jnp.result_type(value), jnp.inexact):
        return value
    return lax.stop_gradient(value) + (surrogate - lax.stop_gradient(surrogate))
