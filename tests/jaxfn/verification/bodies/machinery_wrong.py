"""Rules given by other means than `custom_vjp` alone: implicit solvers, host code, state, types."""

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from tests.jaxfn.verification.bodies.body import Body
from tests.jaxfn.verification.bodies.case import normal, positive, rule
from tests.jaxfn.verification.bodies.witnesses import (
    agreement,
    differences,
    gradient,
    primal,
    pullback,
)

body = Body()


@body.wrong(
    "transposed", normal(5, 5) + 4 * np.eye(5, dtype=np.float32), normal(5), witness=differences()
)
def linear_solve_whose_transpose_is_not_transposed(a, b):
    def solve(_, b):
        return jnp.linalg.solve(a, b)

    return lax.custom_linear_solve(lambda x: a @ x, b, solve, transpose_solve=solve)


def _cubic_root(a):
    def newton(x, _):
        return x - (x**3 + x - a) / (3 * x**2 + 1), None

    return lax.scan(newton, jnp.zeros_like(a), length=30)[0]


@body.wrong("scale", positive(), witness=gradient(plain=_cubic_root))
def root_of_a_cubic_with_half_its_tangent(a):
    def residual(x):
        return x**3 + x - a

    return lax.custom_root(residual, a, lambda *_: _cubic_root(a), lambda f, y: y / (2 * f(1.0)))


def _graded(x):
    return x * jnp.arange(1.0, 7.0)


@body.wrong("scale", normal(6), witness=gradient(plain=_graded))
def linear_call_with_twice_its_transpose(x):
    def forward(weights, x):
        return weights * x

    def transpose(weights, g):
        return 2 * weights * g

    return jax.custom_derivatives.linear_call(forward, transpose, jnp.arange(1.0, 7.0), x)


@body.wrong("primal", normal(5), witness=primal())
@jax.custom_vjp
def sum_whose_forward_rule_keeps_an_axis(x):
    return 2 * jnp.sum(x)


sum_whose_forward_rule_keeps_an_axis.defvjp(
    lambda x: (2 * jnp.sum(x, keepdims=True), x), lambda x, g: (2 * g * jnp.ones_like(x),)
)


@body.wrong("primal", normal(5, 4), witness=primal())
@jax.custom_vjp
def row_sums_that_lose_their_axis_in_forward(x):
    return jnp.sum(x, 1, keepdims=True)


row_sums_that_lose_their_axis_in_forward.defvjp(
    lambda x: (jnp.sum(x, 1), x), lambda x, g: (jnp.reshape(g, (-1, 1)) * jnp.ones_like(x),)
)


@body.wrong("primal", normal(5), witness=primal())
@jax.custom_vjp
def pair_that_the_forward_rule_returns_as_a_list(x):
    return jnp.sin(x), x


pair_that_the_forward_rule_returns_as_a_list.defvjp(
    lambda x: ([jnp.sin(x), x], x), lambda x, g: (g[0] * jnp.cos(x) + g[1],)
)


@body.wrong("primal", normal(6), witness=primal())
@jax.custom_vjp
def maximum_whose_forward_rule_finds_another_place(x):
    return jnp.argmax(x), jnp.max(x)


maximum_whose_forward_rule_finds_another_place.defvjp(
    lambda x: ((jnp.argmin(x), jnp.max(x)), x),
    lambda x, g: (g[1] * jax.nn.one_hot(jnp.argmax(x), x.size, dtype=x.dtype),),
)


# State.

_kept = {}


def _product(x):
    return jnp.sin(x) * jnp.sin(2 * x)


def _called_twice(case):
    x = case.args[0]
    return pullback(lambda x: case.fun(x) * case.fun(2 * x), (x,), x), pullback(_product, (x,), x)


@body.wrong("nondeterministic", normal(6), witness=_called_twice)
@jax.custom_vjp
def sine_whose_residual_is_kept_outside(x):
    return jnp.sin(x)


def _keep(x):
    _kept["x"] = x
    return jnp.sin(x), ()


sine_whose_residual_is_kept_outside.defvjp(_keep, lambda _, g: (g * jnp.cos(_kept["x"]),))


# Cotangents.


@body.wrong("nonlinear", normal(9))
@rule(lambda x, g: (jnp.maximum(g, 0) * (x > 0),))
def relu_guided_by_positive_cotangents(x):
    return jnp.maximum(x, 0)


@body.wrong("nonlinear", normal(9), witness=agreement(lambda _: 1e3, lambda _: 3e3))
@rule(lambda x, g: (3 * jnp.clip(g, -1e3, 1e3),))
def triple_clipped_at_a_thousand(x):
    return 3 * x


def _tangent_witness(case):
    def slope(by):
        return jax.jvp(case.fun, (np.float32(1.5),), (np.float32(by),))[1]

    return slope(-1), -slope(1)


@jax.custom_jvp
def _signed_square(x):
    return x * jnp.abs(x)


_signed_square.defjvp(lambda p, t: (_signed_square(p[0]), 2 * jnp.abs(p[0]) * jnp.abs(t[0])))
body.wrong(
    "nonlinear", normal(6), witness=_tangent_witness, name="square_with_the_modulus_of_its_tangent"
)(_signed_square)


@jax.custom_jvp
def _weighted(x, y):
    return x * y**2


_weighted.defjvps(lambda t, _, x, y: t * y**2, lambda t, _, x, y: t * y**2)
body.wrong(
    "exchanged",
    normal(6),
    normal(6, seed=1),
    witness=gradient(plain=lambda x, y: x * y**2),
    name="product_whose_second_tangent_is_the_first",
)(_weighted)


# Precision.


@body.wrong("low-precision", normal(20, 6), tolerance=1e-3)
@rule(lambda x, g: (2 * g * x.astype(jnp.bfloat16).astype(g.dtype),))
def square_with_a_bfloat16_residual(x):
    return x * x


@body.wrong("low-precision", normal(20, 6), tolerance=1e-3)
@rule(lambda x, g: (g * (1 - (jnp.round(127 * jnp.tanh(x)) / 127) ** 2),))
def tanh_with_a_residual_in_eight_bits(x):
    return jnp.tanh(x)


# Declared surrogates.


def _steps(x, step):
    return jnp.clip(jnp.round(x / step), -8, 7) * step


def _learned_steps(x, step):
    scaled = x / step
    rounded = scaled + lax.stop_gradient(jnp.round(scaled) - scaled)
    inside = (scaled >= -8) & (scaled <= 7)
    return jnp.where(inside, rounded, lax.stop_gradient(jnp.clip(scaled, -8, 7))) * step


def _levels_backward(x, step, g):
    scaled = x / step
    inside = (scaled >= -8) & (scaled <= 7)
    return g * inside, jnp.sum(g * jnp.where(inside, jnp.round(scaled), jnp.clip(scaled, -8, 7)))


@body.wrong(
    "dropped-term",
    3 * normal(16),
    np.float32(0.3),
    witness=gradient(plain=_learned_steps),
    surrogate=_learned_steps,
)
@rule(_levels_backward)
def step_size_with_the_level_alone(x, step):
    return _steps(x, step)


def _open_backward(x, step, g):
    scaled = x / step
    inside = (scaled >= -8) & (scaled <= 7)
    slope = jnp.where(inside, jnp.round(scaled) - scaled, jnp.clip(scaled, -8, 7))
    return g, jnp.sum(g * slope)


@body.wrong(
    "region",
    3 * normal(16),
    np.float32(0.3),
    witness=gradient(plain=_learned_steps),
    surrogate=_learned_steps,
)
@rule(_open_backward)
def quantisation_that_passes_beyond_its_range(x, step):
    return _steps(x, step)


@body.wrong(
    "region",
    normal(12),
    witness=gradient(plain=lambda x: jnp.clip(x, -1, 1)),
    surrogate=lambda x: jnp.clip(x, -1, 1),
)
@rule(lambda x, g: (g * (jnp.abs(x) < 2),))
def sign_with_a_window_too_wide(x):
    return jnp.sign(x)


def _other_mask(key, x, g):
    return None, _dropped(jax.random.split(key)[0], g)


def _dropped(key, x):
    return jnp.where(jax.random.bernoulli(key, 0.8, x.shape), x / 0.8, 0)


@body.wrong("other", lambda: jax.random.key(0), normal(30), witness=gradient(plain=_dropped))
@rule(_other_mask)
def dropout_with_another_mask_in_its_rule(key, x):
    return _dropped(key, x)
