"""Smooth activation functions, and the gated linear units that are made of them."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.custom_derivatives import SymbolicZero
from jax.typing import ArrayLike

from jaxfn._jax_internals import checkpointed_tangent
from jaxfn.functional._checks import as_array
from jaxfn.functional._surrogate import widened


def silu(x: ArrayLike) -> jax.Array:
    """The sigmoid linear unit, or swish.

    y = x·σ(x), and x̄ = σ(x)·(1 + x·(1 − σ(x)))·ȳ: of one exponential both. x alone is kept for the
    backward pass. 16-bit types are computed in float32 and rounded once. Both modes, any order.

    At the infinities y and its derivative are their limits: ∞ and 1, −0 and 0. nan stays nan.

    Args:
      x: any shape, of floating dtype.

    Returns:
      Same shape and dtype as x.

    Raises:
      TypeError: if x is not an array of floating dtype.

    Example:
      >>> import jax, jax.numpy as jnp, jaxfn
      >>> [round(y, 4) for y in jaxfn.silu(jnp.array([-jnp.inf, -1.0, 1.0])).tolist()]
      [-0.0, -0.2689, 0.7311]

    Source: Elfwing, Uchibe and Doya, "Sigmoid-Weighted Linear Units for Neural Network Function
    Approximation in Reinforcement Learning", 2017, arXiv:1702.03118.
    """
    return _activation(_silu, as_array("silu", "x", x))


def gelu(x: ArrayLike, *, approximate: bool = True) -> jax.Array:
    """The Gaussian error linear unit.

    y = x·Φ(x) with the normal distribution function Φ, and x̄ = (Φ(x) + x·φ(x))·ȳ with its density
    φ. Where `approximate`, Φ(x) is (1 + tanh z)/2 = σ(2z) with z = √(2/π)·(x + 0.044715·x³), and
    x̄ = (σ + x·σ·(1 − σ)·2z′)·ȳ: of one exponential both. x alone is kept for the backward pass.
    16-bit types are computed in float32 and rounded once. Both modes, any order.

    At the infinities y and its derivative are their limits: ∞ and 1, −0 and 0. nan stays nan.

    Args:
      x: any shape, of floating dtype.
      approximate: whether Φ is approximated, as is the default in `jax.nn.gelu`, too.

    Returns:
      Same shape and dtype as x.

    Raises:
      TypeError: if x is not an array of floating dtype, or `approximate` no bool.

    Example:
      >>> import jax, jax.numpy as jnp, jaxfn
      >>> [round(y, 4) for y in jaxfn.gelu(jnp.array([-jnp.inf, -1.0, 1.0])).tolist()]
      [-0.0, -0.1588, 0.8412]

    Source: Hendrycks and Gimpel, "Gaussian Error Linear Units (GELUs)", 2016, arXiv:1606.08415.
    """
    return _activation(_gelu_of("gelu", approximate), as_array("gelu", "x", x))


def swiglu(gate: ArrayLike, up: ArrayLike) -> jax.Array:
    """The linear unit that is gated by `silu`.

    y = silu(gate)·up, with `gate` and `up` two linear maps of one input:

        up̄ = silu(gate)·ȳ,  gatē = silu′(gate)·up·ȳ,

    of one exponential all. The two inputs alone are kept for the backward pass; one that needs no
    gradient costs nothing. 16-bit types are computed in float32 and rounded once. Both modes, any
    order. Special values of `gate` are those of `jaxfn.silu`.

    Args:
      gate: any shape, of floating dtype.
      up: same shape and dtype.

    Returns:
      Same shape and dtype.

    Raises:
      TypeError: if an argument is not an array of floating dtype, or their dtypes differ.
      ValueError: if their shapes differ.

    Example:
      >>> import jax, jax.numpy as jnp, jaxfn
      >>> round(jaxfn.swiglu(jnp.array(1.0), jnp.array(2.0)).item(), 4)
      1.4621

    Source: Shazeer, "GLU Variants Improve Transformer", 2020, arXiv:2002.05202.
    """
    return _gated(_silu, *_pair("swiglu", gate, up))


def geglu(gate: ArrayLike, up: ArrayLike, *, approximate: bool = True) -> jax.Array:
    """The linear unit that is gated by `gelu`.

    y = gelu(gate)·up, with `gate` and `up` two linear maps of one input:

        up̄ = gelu(gate)·ȳ,  gatē = gelu′(gate)·up·ȳ.

    The two inputs alone are kept for the backward pass; one that needs no gradient costs nothing.
    16-bit types are computed in float32 and rounded once. Both modes, any order. Special values of
    `gate` are those of `jaxfn.gelu`.

    Args:
      gate: any shape, of floating dtype.
      up: same shape and dtype.
      approximate: as in `jaxfn.gelu`.

    Returns:
      Same shape and dtype.

    Raises:
      TypeError: if an argument is not an array of floating dtype, their dtypes differ, or
        `approximate` is no bool.
      ValueError: if their shapes differ.

    Example:
      >>> import jax, jax.numpy as jnp, jaxfn
      >>> round(jaxfn.geglu(jnp.array(1.0), jnp.array(2.0)).item(), 4)
      1.6824

    Source: Shazeer, "GLU Variants Improve Transformer", 2020, arXiv:2002.05202.
    """
    return _gated(_gelu_of("geglu", approximate), *_pair("geglu", gate, up))


def _pair(op: str, gate: Any, up: Any) -> tuple[jax.Array, jax.Array]:
    gate, up = as_array(op, "gate", gate), as_array(op, "up", up)
    if gate.shape != up.shape:
        raise ValueError(
            f"{op}: expected up {list(gate.shape)} to match gate, got up {list(up.shape)}"
        )
    if gate.dtype != up.dtype:
        raise TypeError(f"{op}: expected up of gate's dtype {gate.dtype.name}, got {up.dtype.name}")
    return gate, up


# An activation is a function of x that gives its value and its derivative, which share all that is
# dear. Beyond ±limit the factor of x is exactly 0 or 1 in every dtype: held there, no product is
# one of 0 and ∞.
Activation = Callable[[jax.Array], tuple[jax.Array, jax.Array]]


def _silu(x: jax.Array) -> tuple[jax.Array, jax.Array]:
    limit = 1000.0
    held = jnp.clip(x, -limit, limit)
    sigma = lax.logistic(held)
    return jnp.maximum(x, -limit) * sigma, sigma * (1 + held * (1 - sigma))


def _gelu_tanh(x: jax.Array) -> tuple[jax.Array, jax.Array]:
    # (1 + tanh z)/2 = σ(2z), which loses no digits where tanh z is near −1.
    limit, root, cubic = 30.0, 2 * math.sqrt(2 / math.pi), 0.044715
    held = jnp.clip(x, -limit, limit)
    square = held * held
    sigma = lax.logistic(root * held * (1 + cubic * square))
    slope = root * held * (1 + 3 * cubic * square)
    return jnp.maximum(x, -limit) * sigma, sigma * (1 + (1 - sigma) * slope)


def _gelu_erf(x: jax.Array) -> tuple[jax.Array, jax.Array]:
    limit = 40.0
    held = jnp.clip(x, -limit, limit)
    distribution = 0.5 * lax.erfc(-math.sqrt(0.5) * held)
    density = math.sqrt(0.5 / math.pi) * jnp.exp(-0.5 * held * held)
    return jnp.maximum(x, -limit) * distribution, distribution + held * density


def _gelu_of(op: str, approximate: Any) -> Activation:
    if not isinstance(approximate, bool):
        got = type(approximate).__name__
        raise TypeError(f"{op}: expected approximate to be a bool, got {got}")
    return _gelu_tanh if approximate else _gelu_erf


@functools.partial(jax.custom_jvp, nondiff_argnums=(0,))
def _activation(fun: Activation, x: jax.Array) -> jax.Array:
    return fun(widened(x))[0].astype(x.dtype)


@_activation.defjvp
def _activation_jvp(fun: Activation, primals: Any, tangents: Any) -> Any:
    return _activation(fun, *primals), _activation_tangent(fun, *primals, *tangents)


# Checkpointed, a tangent keeps the inputs that it is called with, and nothing that it computes.


@checkpointed_tangent(prevent_cse=False, static_argnums=(0,))
def _activation_tangent(fun: Activation, x: jax.Array, x_dot: jax.Array) -> jax.Array:
    _, slope = fun(widened(x))
    return (slope * widened(x_dot)).astype(x.dtype)


@functools.partial(jax.custom_jvp, nondiff_argnums=(0,))
def _gated(fun: Activation, gate: jax.Array, up: jax.Array) -> jax.Array:
    return (fun(widened(gate))[0] * widened(up)).astype(gate.dtype)


@functools.partial(_gated.defjvp, symbolic_zeros=True)
def _gated_jvp(fun: Activation, primals: Any, tangents: Any) -> Any:
    # ẏ = a′(gate)·up·gatė + a(gate)·uṗ; a term of a tangent that is zero costs nothing.
    (gate, up), (gate_dot, up_dot) = primals, tangents
    y = _gated(fun, gate, up)
    if isinstance(gate_dot, SymbolicZero) and isinstance(up_dot, SymbolicZero):
        return y, jnp.zeros_like(y)
    if isinstance(gate_dot, SymbolicZero):
        return y, _up_tangent(fun, gate, up_dot)
    up_dot = None if isinstance(up_dot, SymbolicZero) else up_dot
    return y, _gated_tangent(fun, gate, up, gate_dot, up_dot)


@checkpointed_tangent(prevent_cse=False, static_argnums=(0,))
def _gated_tangent(
    fun: Activation, gate: jax.Array, up: jax.Array, gate_dot: jax.Array, up_dot: Any
) -> jax.Array:
    value, slope = fun(widened(gate))
    y_dot = slope * widened(up) * widened(gate_dot)
    if up_dot is not None:
        y_dot += value * widened(up_dot)
    return y_dot.astype(gate.dtype)


@checkpointed_tangent(prevent_cse=False, static_argnums=(0,))
def _up_tangent(fun: Activation, gate: jax.Array, up_dot: jax.Array) -> jax.Array:
    return (fun(widened(gate))[0] * widened(up_dot)).astype(gate.dtype)
