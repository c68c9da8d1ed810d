"""Discrete choice: samples of a categorical distribution that pass a gradient on to the logits."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.custom_derivatives import SymbolicZero
from jax.typing import ArrayLike

from jaxfn._jax_internals import checkpointed_tangent
from jaxfn.functional._checks import as_array, check_axis, check_key, check_number, check_positive
from jaxfn.functional._rules import accumulator, explicit_sharding
from jaxfn.functional._surrogate import declare


def gumbel_softmax(
    key: jax.Array,
    logits: ArrayLike,
    *,
    temperature: ArrayLike = 1.0,
    hard: bool = False,
    axis: int = -1,
) -> jax.Array:
    """A sample of the Gumbel-softmax distribution: a relaxed choice among classes.

    y = softmax(z) with z = (logits + g) / τ and g = `jax.random.gumbel(key, logits.shape)` of
    float32; the smaller the temperature τ, the nearer y is to the one-hot of argmax(z), a sample of
    softmax(logits). With `hard` y is that one-hot, all its elements exactly 0 or 1, and its
    gradient is that of softmax(z):

        p = softmax(z),  z̄ = p (ȳ − Σ p ȳ),  logits̄ = z̄ / τ,  τ̄ = −Σ z̄ z / τ.

    Of equal maxima the first is chosen. A class of logit −inf is never chosen and gets the
    gradient 0; where all logits are −inf, or one is nan or +inf, softmax and gradient are nan. The
    temperature may be traced and is differentiated like any input. Forward mode and second
    derivatives are those of softmax(z). For the backward pass p is kept. A key makes the same
    choice in every dtype.

    Args:
      key: a key of `jax.random`, or an old one (`jax.random.PRNGKey`).
      logits: at least one-dimensional, of floating dtype; not normalised.
      temperature: τ, [], a positive number or a floating array. The paper lowers it in training.
      hard: whether the result is a one-hot.
      axis: of the classes.

    Returns:
      Same shape and dtype as the logits; 16-bit types are computed in float32.

    Raises:
      TypeError: if the logits are not of floating dtype, `key` is no key, `hard` no bool, or `axis`
        no int.
      ValueError: if the temperature is not [], or not positive and finite (a traced one is not
        looked at), or there is no such axis.

    Example:
      >>> import jax, jax.numpy as jnp, jaxfn
      >>> key, logits = jax.random.key(0), jnp.array([0.0, 5.0, 0.0])
      >>> jaxfn.gumbel_softmax(key, logits, temperature=0.5).sum().round(3).item()
      1.0
      >>> jaxfn.gumbel_softmax(key, logits, hard=True).tolist()
      [0.0, 1.0, 0.0]

    Source: Jang, Gu and Poole, "Categorical Reparameterization with Gumbel-Softmax", 2017
    (arXiv 1611.01144); `torch.nn.functional.gumbel_softmax`.
    """
    op = "gumbel_softmax"
    check_key(op, key)
    logits, axis = _classes(op, logits, axis)
    if not isinstance(hard, bool):
        raise TypeError(f"{op}: expected hard to be a bool, got {type(hard).__name__}")
    z = _perturbed(key, logits)
    z = z / _temperature(op, temperature).astype(z.dtype)
    y = _one_hot(z, _first_maximum(z, axis), axis) if hard else _softmax(z, axis)
    return y.astype(logits.dtype)


def onehot_straight_through(key: jax.Array, logits: ArrayLike, *, axis: int = -1) -> jax.Array:
    """The one-hot of a sample of softmax(logits), with the gradient of softmax(logits).

    y = one_hot(i) with i drawn from p = softmax(logits), and logits̄ = p (ȳ − Σ p ȳ), as if y were
    p, which is y's mean. All elements of y are exactly 0 or 1. In float32 i is what
    `jax.random.categorical(key, logits)` gives; a key makes the same choice in every dtype.

    A class of logit −inf is never chosen and gets the gradient 0; where all logits are −inf, or one
    is nan or +inf, the gradient is nan. Forward mode and second derivatives are those of softmax.
    For the backward pass p is kept.

    Args:
      key: a key of `jax.random`, or an old one (`jax.random.PRNGKey`).
      logits: at least one-dimensional, of floating dtype; not normalised.
      axis: of the classes.

    Returns:
      Same shape and dtype as the logits; 16-bit types are computed in float32.

    Raises:
      TypeError: if the logits are not of floating dtype, `key` is no key, or `axis` no int.
      ValueError: if there is no such axis.

    Example:
      >>> import jax, jax.numpy as jnp, jaxfn
      >>> key, logits = jax.random.key(0), jnp.log(jnp.array([0.125, 0.75, 0.125]))
      >>> jaxfn.onehot_straight_through(key, logits).tolist()
      [0.0, 1.0, 0.0]
      >>> logits_bar = jax.grad(lambda x: jaxfn.onehot_straight_through(key, x)[1])(logits)
      >>> [f"{element:.4f}" for element in logits_bar]
      ['-0.0938', '0.1875', '-0.0938']

    Source: Hafner et al., "Mastering Atari with Discrete World Models", 2021 (arXiv 2010.02193),
    algorithm 1; Bengio et al., 2013 (arXiv 1308.3432).
    """
    check_key("onehot_straight_through", key)
    logits, axis = _classes("onehot_straight_through", logits, axis)
    index = _first_maximum(_perturbed(key, logits), axis)
    return _one_hot(logits.astype(accumulator(logits.dtype)), index, axis).astype(logits.dtype)


def _classes(op: str, logits: Any, axis: Any) -> tuple[jax.Array, int]:
    logits = as_array(op, "logits", logits)
    axis = check_axis(op, "logits", logits, axis)
    if logits.shape[axis] == 0:
        raise ValueError(
            f"{op}: expected at least one class along axis {axis}, got logits {list(logits.shape)}"
        )
    return logits, axis


def _perturbed(key: jax.Array, logits: jax.Array) -> jax.Array:
    """Logits and Gumbel noise: the largest is at a sample of softmax(logits)."""
    # The noise is float32 for every dtype: a check in float64 sees the sample that it checks.
    noise = jax.random.gumbel(key, logits.shape, "float32")
    return logits.astype(accumulator(logits.dtype)) + noise


def _first_maximum(z: jax.Array, axis: int) -> jax.Array:
    """The place of the largest element, or of the first nan, as `jnp.argmax`; the axis is kept."""
    # `jnp.argmax` of classes that are divided among devices gathers them; maxima and minima are
    # reductions.
    largest = (z == jnp.max(z, axis, keepdims=True)) | jnp.isnan(z)
    return jnp.min(jnp.where(largest, _places(z, axis), z.shape[axis]), axis, keepdims=True)


def _places(z: jax.Array, axis: int) -> jax.Array:
    return lax.broadcasted_iota(jnp.int32, z.shape, axis, out_sharding=explicit_sharding(z))


def _temperature(op: str, value: Any) -> jax.Array:
    if isinstance(value, int | float | np.number):
        return jnp.asarray(check_number(op, "temperature", value))
    temperature = as_array(op, "temperature", value)
    if temperature.ndim:
        raise ValueError(
            f"{op}: expected temperature [], got temperature {list(temperature.shape)}"
        )
    check_positive(op, "temperature", value)
    return temperature


@functools.partial(jax.custom_jvp, nondiff_argnums=(1,))
def _softmax(z: jax.Array, axis: int) -> jax.Array:
    return jax.nn.softmax(z, axis)


@_softmax.defjvp
def _softmax_jvp(axis: int, primals: Any, tangents: Any) -> Any:
    p = _softmax(*primals, axis)
    return p, _softmax_tangent(p, tangents[0], axis)


# `jax.nn.softmax` has the same rule, of which JAX keeps p twice.
@checkpointed_tangent(prevent_cse=False, static_argnums=(2,))
def _softmax_tangent(p: jax.Array, z_dot: jax.Array, axis: int) -> jax.Array:
    # p = exp(z) / Σ exp(z), so ṗ = p (ż − Σ p ż); as a map it is its own transpose.
    return p * (z_dot - jnp.sum(p * z_dot, axis, keepdims=True))


@functools.partial(jax.custom_jvp, nondiff_argnums=(2,))
def _one_hot(z: jax.Array, index: jax.Array, axis: int) -> jax.Array:
    return (_places(z, axis) == index).astype(z.dtype)


@functools.partial(_one_hot.defjvp, symbolic_zeros=True)
def _one_hot_jvp(axis: int, primals: Any, tangents: Any) -> Any:
    # In place of the one-hot softmax(z) is differentiated.
    (z, index), z_dot = primals, tangents[0]
    y = _one_hot(z, index, axis)
    if isinstance(z_dot, SymbolicZero):
        return y, jnp.zeros_like(y)
    return y, _softmax_tangent(_softmax(z, axis), z_dot, axis)


declare(_one_hot, lambda z, index, axis: jax.nn.softmax(z, axis))
