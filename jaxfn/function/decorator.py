"""The decorator: forward and backward as functions, without classes and without `ctx`."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any

from jaxfn.function.context import Context
from jaxfn.function.operation import Rules, call

_NEEDS = "needs_input_grad"


def function(forward: Callable[..., tuple[Any, Any]]) -> DecoratedFunction:
    """Makes an operation of a forward pass that returns its output and what backward needs.

    It is `jax.custom_vjp` with one function less, and `jaxfn.Function` without a class:
    `forward(*args) -> (output, residuals)`, `backward(residuals, *cotangents) -> gradients`. The
    arguments may be optional, given by keyword, pytrees, or no arrays: what is no array is static.
    The residuals are a pytree; what is no `jax.Array` in it costs no memory. Each gradient is
    checked when it is traced.

    Args:
      forward: `(*args) -> (output, residuals)`; a tuple as output is several outputs. With a
        keyword-only parameter `needs_input_grad` it is told, as a tuple of bools, which arguments
        need a gradient: residuals that only serve another one can then be None.

    Returns:
      The operation. `.defbackward(backward)` gives it its rule: one cotangent for each output, one
      gradient for each argument, or None for zeros. `.defjvp(jvp)`, with
      `jvp(residuals, *tangents) -> tangents`, gives it forward mode. Both are decorators, too.

    Raises:
      TypeError: if `forward` is not callable.

    Example:
      >>> import jax, jax.numpy as jnp, jaxfn
      >>> @jaxfn.function
      ... def power(x, n=2):
      ...     return x**n, (x, n)
      >>> @power.defbackward
      ... def power_backward(residuals, y_bar):
      ...     x, n = residuals
      ...     return n * x ** (n - 1) * y_bar, None
      >>> float(power(3.0)), float(jax.grad(power)(3.0)), float(jax.grad(power)(3.0, n=3))
      (9.0, 6.0, 27.0)
    """
    if not callable(forward):
        raise TypeError(f"function: expected forward to be callable, got {type(forward).__name__}")
    return DecoratedFunction(forward)


class DecoratedFunction:
    """What `jaxfn.function` returns: the operation, and the decorators for its rules."""

    def __init__(self, forward: Callable[..., tuple[Any, Any]]):
        functools.update_wrapper(self, forward)
        signature = inspect.signature(forward)
        parameters = [p for name, p in signature.parameters.items() if name != _NEEDS]
        self._told_needs = _NEEDS in signature.parameters
        self.__signature__ = signature.replace(parameters=parameters)
        self._forward = forward
        self._name = getattr(forward, "__name__", type(forward).__name__)
        self._backward: Callable[..., Any] | None = None
        self._jvp: Callable[..., Any] | None = None

    def defbackward(self, backward: Callable[..., Any]) -> Callable[..., Any]:
        """Sets the backward rule, `(residuals, *cotangents) -> gradients`, and returns it."""
        self._backward = backward
        return backward

    def defjvp(self, jvp: Callable[..., Any]) -> Callable[..., Any]:
        """Sets the forward-mode rule, `(residuals, *tangents) -> tangents`, and returns it."""
        self._jvp = jvp
        return jvp

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        rules = Rules(
            name=self._name,
            signature=self.__signature__,
            forward=self._forward,
            compute=self._compute,
            set_up=None,
            backward=_with_residuals(self._backward),
            jvp=_with_residuals(self._jvp),
        )
        return call(rules, args, kwargs)

    def _compute(self, ctx: Context, *args: Any, **kwargs: Any) -> Any:
        if self._told_needs:
            kwargs[_NEEDS] = ctx.needs_input_grad
        returned = self._forward(*args, **kwargs)
        if type(returned) is not tuple or len(returned) != 2:
            raise TypeError(
                f"{self._name} returned {type(returned).__name__}, expected a pair: the output "
                "and what backward needs"
            )
        output, ctx.residuals = returned
        return output


def _with_residuals(rule: Callable[..., Any] | None) -> Callable[..., Any] | None:
    if rule is None:
        return None

    @functools.wraps(rule)
    def on_context(ctx: Context, *args: Any, **kwargs: Any) -> Any:
        return rule(ctx.residuals, *args, **kwargs)

    return on_context
