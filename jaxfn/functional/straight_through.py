"""Operations that the gradient passes straight through, though their derivative is zero."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import ArrayLike

from jaxfn.functional import _surrogate
from jaxfn.functional._checks import as_array

# The rules are `custom_jvp`: y' = s(x)·x' is linear in the tangent, so that one line gives both
# modes, to any order. `defjvps` takes a line for each argument, None where the derivative is zero,
# and differentiates y itself by the rule again when a derivative is differentiated. `declare` says
# whose derivative the gradient is.


def straight_through(fun: Callable[..., Any]) -> Callable[..., jax.Array]:
    """`fun` with the identity as its derivative: the straight-through estimator.

    y = fun(x, ...) and ẏ = ẋ, x̄ = ȳ. The result is exactly that of `fun`, at infinities and nan,
    too, where x + stop_gradient(fun(x) − x) is nan. It works in forward and reverse mode, to any
    order; every further argument, and what `fun` closes over, has a gradient of zero. `fun` itself
    is never differentiated: it may call `jax.pure_callback`.

    Args:
      fun: a function whose result has the shape and dtype of its first argument, an array of
        floating dtype. It may take others, by position or by name.

    Returns:
      A function of the same arguments, the first by position.

    Raises:
      TypeError: if `fun` is not callable; when called, if the first argument is not an array of
        floating dtype, or the result not an array.
      ValueError: when called, if the result has not the shape and dtype of the first argument.

    Example:
      >>> import jax, jax.numpy as jnp, jaxfn
      >>> to_tenths = jaxfn.straight_through(lambda x: jnp.round(10 * x) / 10)
      >>> y, gradient = jax.value_and_grad(lambda x: to_tenths(x) ** 2)(0.26)
      >>> print(f"{gradient:.1f}")  # 2·y
      0.6

    Source: Bengio, Léonard and Courville, "Estimating or Propagating Gradients Through Stochastic
    Neurons for Conditional Computation", 2013, arXiv:1308.3432.
    """
    if not callable(fun):
        got = type(fun).__name__
        raise TypeError(f"straight_through: expected fun to be callable, got {got}")

    @functools.wraps(fun, updated=())
    def through(x: ArrayLike, /, *args: Any, **kwargs: Any) -> jax.Array:
        x = as_array("straight_through", "the first argument of fun", x)
        still = functools.partial(jax.tree.map, _without_gradient)
        y = fun(lax.stop_gradient(x), *still(args), **still(kwargs))
        return _with_tangent_of(_checked_result(y, x), x)

    return through


def _without_gradient(value: Any) -> Any:
    return lax.stop_gradient(value) if isinstance(value, jax.Array) else value


def _checked_result(y: Any, x: jax.Array) -> jax.Array:
    if not hasattr(y, "shape"):
        got = type(y).__name__
        raise TypeError(f"straight_through: expected fun to return an array, got {got}")
    y = jnp.asarray(y)
    if (y.shape, y.dtype) != (x.shape, x.dtype):
        raise ValueError(
            f"straight_through: expected fun to return the shape and dtype of its first argument, "
            f"{x.dtype.name}{list(x.shape)}, got {y.dtype.name}{list(y.shape)}"
        )
    return y


@jax.custom_jvp
def _with_tangent_of(y: jax.Array, x: jax.Array) -> jax.Array:
    del x
    return y


_with_tangent_of.defjvps(None, lambda x_dot, y, y_given, x: x_dot)
_surrogate.declare(_with_tangent_of, lambda y, x: x)


def round_ste(x: ArrayLike) -> jax.Array:
    """Rounding to the nearest integer, straight through.

    y = round(x), halves to the even neighbour as in `jnp.round`; x̄ = ȳ everywhere. nan, infinities
    and −0 stay what they are. Both modes, any order.

    Args:
      x: any shape, of floating dtype.

    Returns:
      Same shape and dtype as x.

    Raises:
      TypeError: if x is not an array of floating dtype.

    Example:
      >>> import jax, jax.numpy as jnp, jaxfn
      >>> jaxfn.round_ste(jnp.array([-0.6, 0.5, 1.5])).tolist()
      [-1.0, 0.0, 2.0]
      >>> float(jax.grad(jaxfn.round_ste)(0.3))
      1.0

    Source: Bengio, Léonard and Courville, 2013, arXiv:1308.3432.
    """
    return _round(as_array("round_ste", "x", x))


@jax.custom_jvp
def _round(x: jax.Array) -> jax.Array:
    return jnp.round(x)


_round.defjvps(lambda x_dot, y, x: x_dot)
_surrogate.declare(_round, lambda x: x)


def floor_ste(x: ArrayLike) -> jax.Array:
    """The largest integer not above x, straight through.

    y = floor(x); x̄ = ȳ everywhere. nan, infinities and −0 stay what they are. Both modes, any
    order.

    Args:
      x: any shape, of floating dtype.

    Returns:
      Same shape and dtype as x.

    Raises:
      TypeError: if x is not an array of floating dtype.

    Example:
      >>> import jax, jax.numpy as jnp, jaxfn
      >>> jaxfn.floor_ste(jnp.array([-0.5, 1.9])).tolist()
      [-1.0, 1.0]
      >>> float(jax.grad(jaxfn.floor_ste)(1.9))
      1.0

    Source: Bengio, Léonard and Courville, 2013, arXiv:1308.3432.
    """
    return _floor(as_array("floor_ste", "x", x))


@jax.custom_jvp
def _floor(x: jax.Array) -> jax.Array:
    return jnp.floor(x)


_floor.defjvps(lambda x_dot, y, x: x_dot)
_surrogate.declare(_floor, lambda x: x)


def ceil_ste(x: ArrayLike) -> jax.Array:
    """The smallest integer not below x, straight through.

    y = ceil(x); x̄ = ȳ everywhere. nan, infinities and −0 stay what they are. Both modes, any order.

    Args:
      x: any shape, of floating dtype.

    Returns:
      Same shape and dtype as x.

    Raises:
      TypeError: if x is not an array of floating dtype.

    Example:
      >>> import jax, jax.numpy as jnp, jaxfn
      >>> jaxfn.ceil_ste(jnp.array([-1.5, 1.1])).tolist()
      [-1.0, 2.0]
      >>> float(jax.grad(jaxfn.ceil_ste)(1.1))
      1.0

    Source: Bengio, Léonard and Courville, 2013, arXiv:1308.3432.
    """
    return _ceil(as_array("ceil_ste", "x", x))


@jax.custom_jvp
def _ceil(x: jax.Array) -> jax.Array:
    return jnp.ceil(x)


_ceil.defjvps(lambda x_dot, y, x: x_dot)
_surrogate.declare(_ceil, lambda x: x)


def clip_ste(x: ArrayLike, low: ArrayLike, high: ArrayLike) -> jax.Array:
    """Clipping to [low, high], straight through.

    y = min(max(x, low), high); x̄ = ȳ everywhere, outside the interval, too, so that what is clipped
    can come back. The gradients of low and high are zero. nan stays nan. Both modes, any order.

    Args:
      x: any shape, of floating dtype.
      low: number or scalar array, perhaps traced; taken in the dtype of x.
      high: number or scalar array, perhaps traced, at least low.

    Returns:
      Same shape and dtype as x.

    Raises:
      TypeError: if x is not an array of floating dtype, or a bound not a real scalar.
      ValueError: if low is above high, or one is nan; traced bounds are not looked at.

    Example:
      >>> import jax, jax.numpy as jnp, jaxfn
      >>> clip = lambda x: jaxfn.clip_ste(x, -1.0, 1.0)
      >>> float(clip(3.0)), float(jax.grad(clip)(3.0)), float(jax.grad(jnp.clip)(3.0, -1.0, 1.0))
      (1.0, 1.0, 0.0)

    Source: `tensor_clamp_ste` of Brevitas (Pappalardo, 2021).
    """
    x = as_array("clip_ste", "x", x)
    low, high = _surrogate.as_bounds("clip_ste", low, high)
    return _clip(x, jnp.asarray(low, x.dtype), jnp.asarray(high, x.dtype))


@jax.custom_jvp
def _clip(x: jax.Array, low: jax.Array, high: jax.Array) -> jax.Array:
    return jnp.clip(x, low, high)


_clip.defjvps(lambda x_dot, y, x, low, high: x_dot, None, None)
_surrogate.declare(_clip, lambda x, low, high: x)
