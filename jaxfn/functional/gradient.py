"""Identities that do something to the gradient that passes through them."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import ArrayLike

from jaxfn.functional import _surrogate
from jaxfn.functional._checks import as_array


def reverse_gradient(x: ArrayLike, scale: ArrayLike = 1.0) -> jax.Array:
    """The identity, with the gradient reversed: what follows learns, what comes before unlearns.

    y = x and x̄ = −λ·ȳ with λ = `scale`. Both modes, any order: a tangent is reversed, too.

    Args:
      x: any shape, of floating dtype.
      scale: λ, number or scalar array, perhaps traced, as on a schedule; its gradient is zero.

    Returns:
      x.

    Raises:
      TypeError: if x is not an array of floating dtype, or `scale` not a real scalar.
      ValueError: if `scale` is not finite; a traced one is not looked at.

    Example:
      >>> import jax, jaxfn
      >>> float(jax.grad(lambda x: 3 * jaxfn.reverse_gradient(x, 0.5))(2.0))
      -1.5

    Source: Ganin and Lempitsky, "Unsupervised Domain Adaptation by Backpropagation", 2015,
    arXiv:1409.7495.
    """
    x = as_array("reverse_gradient", "x", x)
    scale = _surrogate.as_finite("reverse_gradient", "scale", scale)
    return _scale_gradient(x, -jnp.asarray(scale))


def scale_gradient(x: ArrayLike, scale: ArrayLike) -> jax.Array:
    """The identity, with the gradient scaled.

    y = x and x̄ = `scale`·ȳ. Both modes, any order: a tangent is scaled, too. (optax's function of
    this name takes Python numbers alone, and has no forward mode.)

    Args:
      x: any shape, of floating dtype.
      scale: number or scalar array, perhaps traced; its gradient is zero.

    Returns:
      x.

    Raises:
      TypeError: if x is not an array of floating dtype, or `scale` not a real scalar.
      ValueError: if `scale` is not finite; a traced one is not looked at.

    Example:
      >>> import jax, jaxfn
      >>> gradient = jax.grad(lambda x, scale: jaxfn.scale_gradient(x, scale) ** 2)
      >>> float(jax.jit(gradient)(3.0, 0.5))
      3.0

    Source: `optax.scale_gradient`.
    """
    x = as_array("scale_gradient", "x", x)
    return _scale_gradient(x, jnp.asarray(_surrogate.as_finite("scale_gradient", "scale", scale)))


@jax.custom_jvp
def _scale_gradient(x: jax.Array, scale: jax.Array) -> jax.Array:
    del scale
    return x


# In float32 at least: a small scale is not lost in 16 bits, and the product is rounded once.
_scale_gradient.defjvps(
    lambda x_dot, y, x, scale: (scale * _surrogate.widened(x_dot)).astype(x.dtype), None
)
_surrogate.declare(_scale_gradient, lambda x, scale: (lax.stop_gradient(scale) * x).astype(x.dtype))


def clip_gradient(x: ArrayLike, low: ArrayLike, high: ArrayLike) -> jax.Array:
    """The identity, with each element of the gradient clipped to [low, high].

    y = x and x̄ = min(max(ȳ, low), high). nan stays nan. In second order the gradient of the
    gradient passes where ȳ lies within the bounds, and what passes through y is clipped again.

    Reverse mode only, for clipping is not linear in ȳ and has no counterpart in forward mode;
    `jaxfn.autodiff(jaxfn.clip_gradient)` is the plain identity, in both modes. `jax.jvp`,
    `jax.jacfwd` and `jax.hessian` raise a `TypeError`, the last since the gradient has the rule in
    it as well: `jax.jacrev(jax.jacrev(f))` is a Hessian.

    Args:
      x: any shape, of floating dtype.
      low: number or scalar array, perhaps traced; taken in the dtype of x; its gradient is zero.
      high: likewise, at least low.

    Returns:
      x.

    Raises:
      TypeError: if x is not an array of floating dtype, or a bound not a real scalar.
      ValueError: if low is above high, or one is nan; traced bounds are not looked at.

    Example:
      >>> import jax, jax.numpy as jnp, jaxfn
      >>> loss = lambda x: jnp.sum(jaxfn.clip_gradient(x, -1.0, 1.0) ** 2)
      >>> jax.grad(loss)(jnp.array([-3.0, 0.25])).tolist()
      [-1.0, 0.5]

    Source: `rlax.clip_gradient`.
    """
    x = as_array("clip_gradient", "x", x)
    low, high = _surrogate.as_bounds("clip_gradient", low, high)
    return _clip_gradient(x, jnp.asarray(low, x.dtype), jnp.asarray(high, x.dtype))


@jax.custom_vjp
def _clip_gradient(x: jax.Array, low: jax.Array, high: jax.Array) -> jax.Array:
    del low, high
    return x


def _clip_gradient_fwd(x: jax.Array, low: jax.Array, high: jax.Array) -> tuple[jax.Array, Any]:
    # The function that has the rule: y is differentiated by the rule in second order, too.
    return _clip_gradient(x, low, high), (low, high)


def _clip_gradient_bwd(bounds: Any, y_bar: jax.Array) -> tuple[jax.Array, None, None]:
    # x̄ = min(max(ȳ, low), high). Nothing is kept of x.
    return jnp.clip(y_bar, *bounds), None, None


_clip_gradient.defvjp(_clip_gradient_fwd, _clip_gradient_bwd)
_surrogate.declare(_clip_gradient, lambda x, low, high: x, linear_in_cotangent=False, held=(1, 2))


def clip_gradient_norm(x: Any, max_norm: ArrayLike) -> Any:
    """The identity, with the gradient scaled down to a norm of at most `max_norm`.

    y = x and x̄ = ȳ·min(1, max_norm/‖ȳ‖) with the Euclidean norm over all elements of all arrays of
    x together, accumulated in float32 at least and safe from overflow. A gradient of zero stays
    zero, in second order, too; where ȳ has an infinite element x̄ is nan there and 0 elsewhere, and
    nan everywhere where ȳ has a nan. Under `vmap` each example has a norm of its own, and within
    `shard_map` each device's part.

    Reverse mode only, for clipping is not linear in ȳ and has no counterpart in forward mode;
    `jaxfn.autodiff(jaxfn.clip_gradient_norm)` is the plain identity, in both modes. `jax.jvp`,
    `jax.jacfwd` and `jax.hessian` raise a `TypeError`, the last since the gradient has the rule in
    it as well: `jax.jacrev(jax.jacrev(f))` is a Hessian.

    Args:
      x: an array of floating dtype and any shape, or a pytree of such arrays.
      max_norm: number or scalar array, perhaps traced, at least 0; its gradient is zero.

    Returns:
      x.

    Raises:
      TypeError: if a leaf of x is not an array of floating dtype, or `max_norm` not a real scalar.
      ValueError: if `max_norm` is negative or nan; a traced one is not looked at.

    Example:
      >>> import jax, jax.numpy as jnp, jaxfn
      >>> x = {"kernel": jnp.array([3.0, 0.0]), "bias": jnp.array(4.0)}
      >>> loss = lambda x: sum(map(jnp.sum, jax.tree.leaves(jaxfn.clip_gradient_norm(x, 1.0))))
      >>> sum(jnp.sum(g**2) for g in jax.tree.leaves(jax.grad(loss)(x))).round(3).item()
      1.0

    Source: Pascanu, Mikolov and Bengio, "On the difficulty of training Recurrent Neural Networks",
    2013, arXiv:1211.5063.
    """
    leaves, structure = jax.tree_util.tree_flatten_with_path(x, is_leaf=lambda leaf: leaf is None)
    arrays = [
        as_array("clip_gradient_norm", f"x{jax.tree_util.keystr(path)}", leaf)
        for path, leaf in leaves
    ]
    max_norm = _surrogate.as_limit("clip_gradient_norm", "max_norm", max_norm)
    return structure.unflatten(_clip_gradient_norm(arrays, jnp.asarray(max_norm)))


@jax.custom_vjp
def _clip_gradient_norm(x: list[jax.Array], max_norm: jax.Array) -> list[jax.Array]:
    del max_norm
    return x


def _clip_gradient_norm_fwd(x: list[jax.Array], max_norm: jax.Array) -> tuple[Any, jax.Array]:
    return _clip_gradient_norm(x, max_norm), max_norm  # with its rule, as above


def _clip_gradient_norm_bwd(max_norm: jax.Array, y_bar: list[jax.Array]) -> tuple[Any, None]:
    # x̄ = ȳ·min(1, max_norm/‖ȳ‖). Nothing is kept of x.
    wide = [_surrogate.widened(array) for array in y_bar]
    norm = _norm(wide)
    small = norm <= max_norm
    limit = jnp.where(small, 1, max_norm)  # an infinite one would make the derivative there nan
    factor = jnp.where(small, 1, limit / norm)
    return [(factor * w).astype(g.dtype) for w, g in zip(wide, y_bar, strict=True)], None


_clip_gradient_norm.defvjp(_clip_gradient_norm_fwd, _clip_gradient_norm_bwd)


def identity_or_nothing(x: list[jax.Array], max_norm: jax.Array) -> list[jax.Array]:
    """x, or 0 where `max_norm` is 0."""
    return [jnp.where(max_norm > 0, array, jnp.zeros_like(array)) for array in x]


_surrogate.declare(_clip_gradient_norm, identity_or_nothing, linear_in_cotangent=False, held=(1,))


def _norm(arrays: list[jax.Array]) -> jax.Array:
    # m·√Σ(a/m)² with the largest element m: no square overflows. The norm does not depend on m, so
    # nothing is differentiated through it. Where all elements are 0 the root, which has no
    # derivative there, is taken of 1.
    largest = [jnp.max(jnp.abs(a), initial=0) for a in map(jax.lax.stop_gradient, arrays)]
    m = jnp.max(jnp.stack(largest)) if largest else jnp.zeros(())
    ordinary = jnp.isfinite(m) & (m > 0)
    scale = jnp.where(ordinary, m, 1)
    total = sum((jnp.sum(jnp.square(a / scale)) for a in arrays), jnp.zeros(()))
    return jnp.where(ordinary, m * jnp.sqrt(jnp.where(ordinary, total, 1)), m)
