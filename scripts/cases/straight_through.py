"""Cases of the operations that the gradient passes straight through, and of the signs."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp

import jaxfn
from scripts.cases.case import Case, surrogate_case

_partial = functools.partial
_SHAPE = ((4, 5), True)
_TIMED = ((64, 30, 30, 6),)
_SIGN = "0: the sign is +1; where |x| is `clip_value` the gradient passes"


def _identity(x: jax.Array) -> jax.Array:
    return x


def _sign(x: jax.Array) -> jax.Array:
    return 2 * jnp.heaviside(x, 1.0) - 1


def _hard_tanh(x: jax.Array, clip_value: float = 1.0) -> jax.Array:
    return jnp.where(jnp.abs(x) <= clip_value, x, clip_value * jnp.sign(x))


def _ternary(x: jax.Array, threshold: Any) -> jax.Array:
    return jnp.heaviside(x - threshold, 0.0) - jnp.heaviside(-threshold - x, 0.0)


def _ternary_by_mean(x: jax.Array) -> jax.Array:
    return _ternary(x, 0.7 * jnp.sum(jnp.abs(x)) / x.size)


def _approx_sign(x: jax.Array) -> jax.Array:
    """Bi-Real Net's: a parabola on either side of 0."""
    return jnp.where(jnp.abs(x) < 1, 2 * x - x * jnp.abs(x), jnp.sign(x))


def _sign_swish(x: jax.Array, beta: float = 5.0) -> jax.Array:
    """BNN+'s: 2σ(βx)·(1 + βx·(1 − σ(βx))) − 1."""
    sigma = jax.nn.sigmoid(beta * x)
    return 2 * sigma * (1 + beta * x * (1 - sigma)) - 1


_case = _partial(surrogate_case, timed_shapes=_TIMED)
_variant = _partial(_case, every_transformation=False)

CASES: tuple[Case, ...] = (
    _variant(
        "straight_through",
        jaxfn.straight_through(jnp.trunc),
        lambda x: jnp.sign(x) * jnp.floor(jnp.abs(x)),
        _identity,
        _SHAPE,
    ),
    _case("round_ste", jaxfn.round_ste, jnp.rint, _identity, _SHAPE),
    _variant("floor_ste", jaxfn.floor_ste, lambda x: -jnp.ceil(-x), _identity, _SHAPE),
    _variant("ceil_ste", jaxfn.ceil_ste, lambda x: -jnp.floor(-x), _identity, _SHAPE),
    _variant(
        "clip_ste",
        _partial(jaxfn.clip_ste, low=-0.5, high=1.0),
        lambda x: jnp.minimum(jnp.maximum(x, -0.5), 1.0),
        _identity,
        _SHAPE,
    ),
    _case("sign_ste", jaxfn.sign_ste, _sign, _hard_tanh, _SHAPE, kinks=_SIGN),
    _variant(
        "sign_ste_half",
        _partial(jaxfn.sign_ste, clip_value=0.5),
        _sign,
        _partial(_hard_tanh, clip_value=0.5),
        _SHAPE,
        kinks=_SIGN,
    ),
    _case("approx_sign", jaxfn.approx_sign, _sign, _approx_sign, _SHAPE, kinks="0: +1"),
    _variant("swish_sign", jaxfn.swish_sign, _sign, _sign_swish, _SHAPE, kinks="0: +1"),
    _variant(
        "ternary_ste",
        _partial(jaxfn.ternary_ste, threshold=0.25),
        _partial(_ternary, threshold=0.25),
        _hard_tanh,
        _SHAPE,
        kinks="at the threshold: 0",
    ),
    _variant(
        "ternary_ste_mean",
        _partial(jaxfn.ternary_ste, threshold="mean"),
        _ternary_by_mean,
        _hard_tanh,
        _SHAPE,
        per_example=False,
        kinks="at the threshold: 0",
    ),
)
