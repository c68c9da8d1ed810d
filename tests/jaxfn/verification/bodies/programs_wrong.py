"""Wrong rules of scans, batching rules, second derivatives, cotangents, and trees."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.custom_batching import custom_vmap

from tests.jaxfn.verification.bodies.body import Body
from tests.jaxfn.verification.bodies.case import normal, positive, rule
from tests.jaxfn.verification.bodies.witnesses import (
    gradient,
    primal,
    pullback,
    second_order,
    vmapped,
)

body = Body()


def _scaled_cotangent(factor):
    """The rule at a scaled cotangent, against that multiple of the rule."""

    def pair(case):
        given = jax.tree.map(np.ones_like, case.fun(*case.args))
        many = jax.tree.map(lambda g: factor * g, given)
        one = pullback(case.fun, case.args, given)
        return pullback(case.fun, case.args, many), jax.tree.map(lambda g: factor * g, one)

    return pair


# Scans.


def _averages(x, decay=0.8):
    def step(m, row):
        m = decay * m + (1 - decay) * row
        return m, m

    return lax.scan(step, jnp.zeros_like(x[0]), x)[1]


@body.wrong("transposed", normal(6, 2))
@rule(lambda x, g: (_averages(g),))
def moving_average_run_forwards(x):
    return _averages(x)


def _filtered(z, q, r):
    def step(state, y):
        mean, variance = state
        variance = variance + q
        gain = variance / (variance + r)
        mean = mean + gain * (y - mean)
        return (mean, (1 - gain) * variance), mean

    return lax.scan(step, (0.0 * z[0], 0.0 * q + 1.0), z)[1]


def _filter_backward(z, q, r, g):
    dz, dq, _ = jax.vjp(_filtered, z, q, r)[1](g)
    gains_fixed = jax.vjp(lambda r: _filtered(z, lax.stop_gradient(q), r), r)[1](g)[0]
    return dz, dq, gains_fixed * 0.5


@body.wrong("scale", normal(7), np.float32(0.3), np.float32(0.7))
@rule(_filter_backward)
def kalman_filter_with_half_the_gradient_of_its_noise(z, q, r):
    return _filtered(z, q, r)


def _lstm(x, w):
    def step(state, row):
        h, c = state
        i, f, o, u = jnp.split(jnp.concatenate([row, h]) @ w, 4)
        c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(u)
        h = jax.nn.sigmoid(o) * jnp.tanh(c)
        return (h, c), h

    zero = jnp.zeros(w.shape[1] // 4, x.dtype)
    return lax.scan(step, (zero, zero), x)[1]


def _lstm_stopped(x, w):
    def step(state, row):
        h, c = state
        i, f, o, u = jnp.split(jnp.concatenate([row, h]) @ w, 4)
        c = jax.nn.sigmoid(f) * lax.stop_gradient(c) + jax.nn.sigmoid(i) * jnp.tanh(u)
        h = jax.nn.sigmoid(o) * jnp.tanh(c)
        return (h, c), h

    zero = jnp.zeros(w.shape[1] // 4, x.dtype)
    return lax.scan(step, (zero, zero), x)[1]


@body.wrong("dropped-term", normal(4, 2), normal(4, 8))
@rule(lambda x, w, g: jax.vjp(_lstm_stopped, x, w)[1](g))
def lstm_whose_cell_is_cut_off(x, w):
    return _lstm(x, w)


@body.wrong("dropped-term", normal(5))
@rule(lambda x, g: (g * jnp.exp(x - lax.cumlogsumexp(x)),))
def cumulative_logsumexp_without_later_outputs(x):
    return lax.cumlogsumexp(x)


# Batching.


@custom_vmap
def _times_cosine(x, g):
    return g * jnp.cos(x)


@_times_cosine.def_vmap
def _(size: int, batched: Any, x: Any, g: Any) -> Any:
    if batched[0]:
        return g * jnp.cos(x), True
    return jnp.broadcast_to(jnp.mean(g, axis=0), g.shape) * jnp.cos(x), True


def _batched_cotangents(case):
    (x,) = case.args
    many = normal(3, *x.shape)
    pull = jax.vjp(case.fun, x)[1]
    return jax.vmap(pull)(many), (np.stack([pull(g)[0] for g in many]),)


@body.wrong("vmap", normal(4), witness=_batched_cotangents)
@rule(lambda x, g: (_times_cosine(x, g),))
def sine_with_a_batching_rule_that_averages_cotangents(x):
    return jnp.sin(x)


@custom_vmap
def _outer(g, x):
    return g * x


@_outer.def_vmap
def _(size: int, batched: Any, g: Any, x: Any) -> Any:
    out = g * x if x.ndim == g.ndim else g * x[None]
    return (out if batched[1] else jnp.roll(out, 1, axis=0)), True


@body.wrong("vmap", normal(3), normal(3, seed=1), witness=vmapped((None, 0)))
@rule(lambda x, y, g: (g * y, _outer(g, x)))
def product_with_a_rolled_batch_over_its_second_factor(x, y):
    return x * y


# The cotangent.


@body.wrong("nonlinear", normal(5), witness=_scaled_cotangent(100.0))
@rule(lambda x, g: (jnp.cos(x) * g / (1 + 1e-3 * jnp.abs(g)),))
def sine_with_a_saturating_cotangent(x):
    return jnp.sin(x)


@body.wrong("nonlinear", normal(5), witness=_scaled_cotangent(-1.0))
@rule(lambda x, g: (jnp.exp(x) * jnp.where(g < 0, 0.9 * g, g),))
def exp_with_a_leaky_cotangent(x):
    return jnp.exp(x)


def _clipped_by_norm(x, g):
    norm = jnp.sqrt(jnp.sum(g * g))
    return (2 * x * g * jnp.minimum(1.0, 500 / jnp.maximum(norm, 1e-30)),)


@body.wrong("nonlinear", normal(3, 3), witness=_scaled_cotangent(1e4))
@rule(_clipped_by_norm)
def square_clipped_by_a_large_norm(x):
    return x**2


def _of_zero(case):
    zeros = np.zeros_like(case.args[0])
    return pullback(case.fun, case.args, zeros), (zeros,)


@body.wrong("constant", normal(6), witness=_of_zero, tolerance=1e-8)
@rule(lambda x, g: ((1 - jnp.tanh(x) ** 2) * jnp.where(jnp.abs(g) < 1e-6, 1e-6, g),))
def tanh_with_a_floor_under_its_cotangent(x):
    return jnp.tanh(x)


# Second derivatives.


@jax.custom_jvp
def _slope(x):
    return 1 - jnp.tanh(x) ** 2


_slope.defjvp(lambda x, t: (_slope(x[0]), -2.02 * jnp.tanh(x[0]) * _slope(x[0]) * t[0]))


@body.wrong("second-order", normal(5), witness=second_order())
@rule(lambda x, g: (g * _slope(x),))
def tanh_whose_slope_has_a_tangent_one_percent_off(x):
    return jnp.tanh(x)


@body.wrong("second-order", normal(4), normal(4, seed=1), witness=second_order())
@rule(lambda x, y, g: (g * lax.stop_gradient(jnp.exp(y)), g * x * jnp.exp(y)))
def product_without_one_mixed_derivative(x, y):
    return x * jnp.exp(y)


@body.wrong("second-order", normal(6), witness=second_order())
@rule(lambda x, g: (g * jnp.where(x > 0, lax.stop_gradient(jnp.cos(x)), jnp.cos(x)),))
def sine_stopped_for_positive_numbers(x):
    return jnp.sin(x)


# Trees.


class Layer(NamedTuple):
    """Weight and bias of a layer."""

    weight: Any
    bias: Any


def _sequence(p, x):
    return x @ p.weight + p.bias


def _mean_over_time(p, x, g):
    dp, dx = jax.vjp(_sequence, p, x)[1](g)
    return Layer(dp.weight, dp.bias / x.shape[1]), dx


@body.wrong("mean-for-sum", Layer(normal(3, 2), normal(2)), normal(4, 5, 3))
@rule(_mean_over_time)
def sequence_layer_with_a_mean_over_time(p, x):
    return _sequence(p, x)


def _first_step_only(p, x, g):
    dp, dx = jax.vjp(_sequence, p, x)[1](g)
    return Layer(dp.weight, g[:, 0].sum(0)), dx


@body.wrong("dropped-term", Layer(normal(3, 2), normal(2)), normal(4, 5, 3))
@rule(_first_step_only)
def sequence_layer_with_the_bias_of_its_first_step(p, x):
    return _sequence(p, x)


def _two_layers(p, x):
    hidden = jnp.tanh(x @ p["first"]["w"])
    return hidden @ p["second"]["w"] + (0 if p["bias"] is None else p["bias"])


def _layers_exchanged(p, x, g):
    dp, dx = jax.vjp(_two_layers, p, x)[1](g)
    return {"bias": None, "first": dp["second"], "second": dp["first"]}, dx


@body.wrong(
    "exchanged",
    {"bias": None, "first": {"w": normal(3, 3)}, "second": {"w": normal(3, 3, seed=1)}},
    normal(4, 3),
)
@rule(_layers_exchanged)
def layers_without_a_bias_exchanged(p, x):
    return _two_layers(p, x)


def _exchanged_outputs(x):
    return (jnp.cosh(x), jnp.sinh(x)), x


hyperbolic_functions_exchanged_in_the_forward_rule = jax.custom_vjp(
    lambda x: (jnp.sinh(x), jnp.cosh(x))
)
hyperbolic_functions_exchanged_in_the_forward_rule.defvjp(
    _exchanged_outputs, lambda x, g: (g[0] * jnp.cosh(x) + g[1] * jnp.sinh(x),)
)
body.wrong(
    "primal",
    normal(4),
    witness=primal(),
    name="hyperbolic_functions_exchanged_in_the_forward_rule",
)(hyperbolic_functions_exchanged_in_the_forward_rule)


# Precision.


@body.wrong("low-precision", normal(6), witness=gradient(plain=jnp.sin))
@rule(lambda x, g: (g * jnp.cos(x) * (1.01 if x.dtype == jnp.float32 else 1.0),))
def sine_one_percent_off_in_float32_only(x):
    return jnp.sin(x)


def _half_precision(x, g):
    dx = 2 * g * x
    return (dx.at[0].multiply(-1) if x.dtype == jnp.float16 else dx,)


@body.wrong("low-precision", positive(5, dtype=np.float16), witness=gradient())
@rule(_half_precision)
def square_with_a_wrong_element_in_float16_only(x):
    return x**2
