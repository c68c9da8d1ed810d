"""Cases of the identities that do something to the gradient."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp

import jaxfn
from scripts.cases.case import Case, make_case, surrogate_case

_partial = functools.partial
_SHAPE = ((4, 5), True)
_TIMED: dict[str, Any] = {"timed_shapes": ((64, 30, 30, 6),)}


def _identity(x: jax.Array) -> jax.Array:
    return x


# Not linear in the cotangent: no derivative is such a gradient, so these are other rules.
_clipped = jax.custom_vjp(_identity)
_clipped.defvjp(
    lambda x: (_clipped(x), None),
    lambda _, y_bar: (jnp.where(y_bar < -0.5, -0.5, jnp.where(y_bar > 1, 1, y_bar)),),
)
_norm_clipped = jax.custom_vjp(_identity)
_norm_clipped.defvjp(
    lambda x: (_norm_clipped(x), None),
    lambda _, y_bar: (y_bar / jnp.maximum(1, jnp.sqrt(jnp.sum(jnp.square(y_bar))) / 2),),
)


CASES: tuple[Case, ...] = (
    surrogate_case(
        "reverse_gradient",
        _partial(jaxfn.reverse_gradient, scale=0.5),
        _identity,
        lambda x: -0.5 * x,
        _SHAPE,
        every_transformation=False,
        **_TIMED,
    ),
    surrogate_case(
        "scale_gradient",
        _partial(jaxfn.scale_gradient, scale=3.0),
        _identity,
        lambda x: 3 * x,
        _SHAPE,
        **_TIMED,
    ),
    make_case(
        "clip_gradient",
        _partial(jaxfn.clip_gradient, low=-0.5, high=1.0),
        _clipped,
        _SHAPE,
        surrogate=_identity,
        linear_in_cotangent=False,
        **_TIMED,
    ),
    make_case(
        "clip_gradient_norm",
        _partial(jaxfn.clip_gradient_norm, max_norm=2.0),
        _norm_clipped,
        _SHAPE,
        surrogate=_identity,
        linear_in_cotangent=False,
        per_example=False,
        **_TIMED,
    ),
)
