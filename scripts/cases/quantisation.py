"""Cases of the quantisers."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
from jax import lax

import jaxfn
from scripts.cases.case import Case, surrogate_case


def fake_quantize_value(
    x: jax.Array, scale: jax.Array, *, zero_point: int, low: int, high: int
) -> jax.Array:
    """The level of the grid that is nearest to x."""
    levels = jnp.arange(low, high + 1) - zero_point
    return _nearest(x / scale, levels) * scale


def fake_quantize_surrogate(
    x: jax.Array, scale: jax.Array, *, zero_point: int, low: int, high: int
) -> jax.Array:
    """x where it rounds to a level."""
    v = x / scale + zero_point
    return jnp.where((low - 0.5 <= v) & (v <= high + 0.5), x, jnp.zeros_like(x))


def lsq_value(x: jax.Array, step: jax.Array, *, low: int, high: int) -> jax.Array:
    """The multiple of the step size that is nearest to x."""
    return _nearest(x / step, jnp.arange(low, high + 1)) * step


def lsq_surrogate(
    x: jax.Array, step: jax.Array, *, low: int, high: int, grad_scale: float
) -> jax.Array:
    """x plus the error of rounding in proportion to the step size; a level outside."""
    v = lax.stop_gradient(x / step)
    inside = x + grad_scale * (jnp.round(v) - v) * step
    outside = grad_scale * jnp.where(v < 0, low, high) * step
    return jnp.where((low < v) & (v < high), inside, outside)


def pact_value(x: jax.Array, alpha: jax.Array, *, n: int) -> jax.Array:
    """The multiple of α/n, from 0 to α, that is nearest to x."""
    return _nearest(x / alpha * n, jnp.arange(n + 1)) * alpha / n


def pact_surrogate(x: jax.Array, alpha: jax.Array) -> jax.Array:
    """clip(x, 0, α)."""
    return jnp.where(x < alpha, jnp.where(x < 0, jnp.zeros_like(x), x), alpha)


def dorefa_activations_value(x: jax.Array, *, n: int) -> jax.Array:
    """The multiple of 1/n, from 0 to 1, that is nearest to x."""
    return _nearest(x * n, jnp.arange(n + 1)) / n


def dorefa_weights_value(x: jax.Array, *, n: int) -> jax.Array:
    """The nearest of the n + 1 levels from −1 to 1 to each example's normalised tanh."""
    return 2 * _nearest((_normalised(x) + 1) / 2 * n, jnp.arange(n + 1)) / n - 1


def _normalised(x: jax.Array) -> jax.Array:
    """tanh(x) over its largest magnitude in each example."""
    y = jnp.tanh(x)
    return y / lax.stop_gradient(jnp.max(jnp.abs(y), axis=-1, keepdims=True))


def stochastic_round_value(x: jax.Array) -> jax.Array:
    """⌈x − u⌉, with the same random numbers u for each example."""
    uniform = jax.random.uniform(jax.random.key(0), x.shape[-1:], jnp.float32)
    return jnp.ceil(x.astype(jnp.promote_types(x.dtype, jnp.float32)) - uniform).astype(x.dtype)


def _nearest(v: jax.Array, levels: jax.Array) -> jax.Array:
    """The nearest of the levels, in the middle between two the even one."""
    distances = jnp.abs(v[..., None] - levels) + 1e-9 * (levels % 2)
    return levels[jnp.argmin(distances, axis=-1)].astype(v.dtype)


_partial = functools.partial
_SHAPE = (4, 7)
_TIMED = (64, 30, 30, 6)
_FOUR_BITS = {"quant_min": -8, "quant_max": 7}
_FOUR_LEVELS = {"low": -2, "high": 1}  # two bits
_ENDS = "the ends of the range, where the gradient stops, and the steps"


def _positive(x: jax.Array, scale: jax.Array) -> tuple[jax.Array, jax.Array]:
    return x, 0.25 + jnp.abs(scale) / 4


def _dorefa_weights(x: jax.Array) -> jax.Array:
    """Each example for itself, as if it were a layer's weights."""
    return jax.vmap(_partial(jaxfn.dorefa, mode="weights"))(x)


def _stochastic_round(x: jax.Array) -> jax.Array:
    key = jax.random.key(0)
    return jax.vmap(lambda example: jaxfn.stochastic_round(key, example))(x)


CASES: tuple[Case, ...] = (
    surrogate_case(
        "fake_quantize",
        _partial(jaxfn.fake_quantize, zero_point=3, **_FOUR_BITS),
        _partial(fake_quantize_value, zero_point=3, low=-8, high=7),
        _partial(fake_quantize_surrogate, zero_point=3, low=-8, high=7),
        (_SHAPE, True),
        ((), False),
        kinks=_ENDS,
        timed_shapes=(_TIMED, ()),
        prepare=_positive,
    ),
    surrogate_case(
        "fake_quantize_per_channel",
        _partial(jaxfn.fake_quantize, zero_point=3, axis=-1, **_FOUR_BITS),
        _partial(fake_quantize_value, zero_point=3, low=-8, high=7),
        _partial(fake_quantize_surrogate, zero_point=3, low=-8, high=7),
        (_SHAPE, True),
        ((7,), False),
        kinks=_ENDS,
        timed_shapes=(_TIMED, (6,)),
        every_transformation=False,
        prepare=_positive,
    ),
    surrogate_case(
        "lsq",
        _partial(jaxfn.lsq, bits=2, grad_scale=0.25),
        _partial(lsq_value, **_FOUR_LEVELS),
        _partial(lsq_surrogate, grad_scale=0.25, **_FOUR_LEVELS),
        (_SHAPE, True),
        ((), False),
        kinks=_ENDS,
        timed_shapes=(_TIMED, ()),
        prepare=_positive,
        finite_differences=False,
    ),
    surrogate_case(
        "lsq_per_channel",
        _partial(jaxfn.lsq, bits=2, grad_scale=0.25, axis=1),
        _partial(lsq_value, **_FOUR_LEVELS),
        _partial(lsq_surrogate, grad_scale=0.25, **_FOUR_LEVELS),
        (_SHAPE, True),
        ((7,), False),
        kinks=_ENDS,
        timed_shapes=((64, 6), (6,)),
        every_transformation=False,
        prepare=_positive,
        finite_differences=False,
    ),
    surrogate_case(
        "pact",
        _partial(jaxfn.pact, bits=2),
        _partial(pact_value, n=3),
        pact_surrogate,
        (_SHAPE, True),
        ((), False),
        kinks="0 and α: the gradient of x is that of clip at 0 ≤ x < α, that of α at x ≥ α",
        timed_shapes=(_TIMED, ()),
        prepare=_positive,
    ),
    surrogate_case(
        "dorefa_activations",
        jaxfn.dorefa,
        _partial(dorefa_activations_value, n=3),
        lambda x: jnp.clip(x, 0, 1),
        (_SHAPE, True),
        kinks="0 and 1: the gradient passes on",
        timed_shapes=(_TIMED,),
        every_transformation=False,
    ),
    surrogate_case(
        "dorefa_weights",
        _dorefa_weights,
        _partial(dorefa_weights_value, n=3),
        _normalised,
        (_SHAPE, True),
        kinks="the maximum counts as a constant",
        finite_differences=False,
        timed_shapes=((64, 512),),
    ),
    surrogate_case(
        "stochastic_round",
        _stochastic_round,
        stochastic_round_value,
        lambda x: x,
        (_SHAPE, True),
        kinks="none in the gradient, which is the identity's",
        timed_shapes=(_TIMED,),
        every_transformation=False,
    ),
)
