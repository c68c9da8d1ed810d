"""Cases of the step of a spiking neuron: the functions whose derivatives its surrogates are."""

from __future__ import annotations

import functools
import math
from typing import Any

import jax
import jax.numpy as jnp

import jaxfn
from scripts.cases.case import Case, surrogate_case


def _step(x: jax.Array) -> jax.Array:
    return jnp.heaviside(x, 0.0)


def _logistic(x: jax.Array) -> jax.Array:
    return 1 / (1 + jnp.exp(-4 * x))


def _arc_tangent(x: jax.Array) -> jax.Array:
    return jnp.arctan(math.pi * x) / math.pi


def _fast_sigmoid(x: jax.Array, slope: float) -> jax.Array:
    return x / (1 + slope * jnp.abs(x))


def _parabolas(x: jax.Array) -> jax.Array:
    return jnp.where(jnp.abs(x) < 1, x - x * jnp.abs(x) / 2, jnp.sign(x) / 2)


def _ramp(x: jax.Array) -> jax.Array:
    return jnp.where(jnp.abs(x) <= 1, x / 2, jnp.sign(x) / 2)


def _normal_distribution(x: jax.Array) -> jax.Array:
    return jax.scipy.stats.norm.cdf(x, scale=0.5)


def _case(name: str, surrogate: Any, integral: Any, transformed: bool = False) -> Case:
    return surrogate_case(
        f"heaviside_{name}",
        functools.partial(jaxfn.heaviside, surrogate=surrogate),
        _step,
        integral,
        ((4, 5), True),
        timed_shapes=((64, 30, 30, 6),),
        kinks="0: no spike",
        every_transformation=transformed,
    )


CASES: tuple[Case, ...] = (
    _case("sigmoid", "sigmoid", _logistic, transformed=True),
    _case("atan", "atan", _arc_tangent),
    _case("fast_sigmoid", "fast_sigmoid", functools.partial(_fast_sigmoid, slope=25.0)),
    _case("triangular", "triangular", _parabolas),
    _case("boxcar", "boxcar", _ramp),
    _case("gaussian", "gaussian", _normal_distribution),
    _case("own", lambda x: 1 - jnp.tanh(x) ** 2, jnp.tanh),
)
