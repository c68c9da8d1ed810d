"""Rules that are wrong at second order only, and surrogate gradients that nobody declared."""

import jax
import jax.numpy as jnp
from jax import lax

from tests.jaxfn.verification.bodies.body import Body
from tests.jaxfn.verification.bodies.case import normal, positive, rule
from tests.jaxfn.verification.bodies.witnesses import (
    second_order,
)

body = Body()


def _with_forward(fun, forward, backward):
    op = jax.custom_vjp(fun)
    op.defvjp(forward, backward)
    return op


# Wrong at second order only.


body.wrong("second-order", normal(5), witness=second_order(), name="sine_with_a_stopped_residual")(
    _with_forward(
        jnp.sin,
        lambda x: (jnp.sin(x), lax.stop_gradient(jnp.cos(x))),
        lambda cos, g: (g * cos,),
    )
)


def _stopped_tanh(x):
    y = lax.stop_gradient(jnp.tanh(x))
    return y, y


body.wrong("second-order", normal(3, 2), witness=second_order(), name="tanh_with_a_stopped_output")(
    _with_forward(jnp.tanh, _stopped_tanh, lambda y, g: (g * (1 - y * y),))
)


@body.wrong("second-order", normal(4, 3), witness=second_order())
@rule(
    lambda x, g: (
        lax.stop_gradient(jax.nn.softmax(x)) * (g - jnp.sum(g * jax.nn.softmax(x), -1)[:, None]),
    )
)
def softmax_with_one_of_two_factors_stopped(x):
    return jax.nn.softmax(x)


@rule(lambda x, g: (jnp.zeros_like(x),))
def _sigmoid_without_a_gradient(x):
    return jax.nn.sigmoid(x)


@body.wrong("second-order", normal(5), witness=second_order())
@rule(lambda x, g: (g * _sigmoid_without_a_gradient(x),))
def softplus_whose_rule_calls_a_wrong_rule(x):
    return jax.nn.softplus(x)


@body.wrong("second-order", normal(3, 4), normal(4, 2), witness=second_order())
@rule(lambda x, w, g: (g @ lax.stop_gradient(w).T, lax.stop_gradient(x).T @ g))
def matmul_with_stopped_factors(x, w):
    return x @ w


@body.wrong("second-order", positive(4), witness=second_order())
@rule(lambda x, g: (jax.jit(lambda r, h: h / lax.stop_gradient(r))(x, g),))
def log_stopped_inside_jit(x):
    return jnp.log(x)


@rule(lambda x, g: (-0.9 * g * jnp.sin(x),))
def _cosine_with_a_wrong_rule(x):
    return jnp.cos(x)


@body.wrong("second-order", normal(6), witness=second_order())
@rule(lambda x, g: (g * _cosine_with_a_wrong_rule(x),))
def sine_whose_derivative_has_a_wrong_rule(x):
    return jnp.sin(x)


# Surrogate gradients that nobody declared.


@body.wrong("surrogate", normal(6))
@rule(lambda x, g: (g,))
def round_straight_through(x):
    return jnp.round(x)


@body.wrong("surrogate", normal(6))
@rule(lambda x, g: (g * (jnp.abs(x) <= 1),))
def sign_straight_through_within_one(x):
    return jnp.sign(x)


@body.wrong("surrogate", normal(6))
@rule(lambda x, g: (g / (1 + 25 * jnp.abs(x)) ** 2,))
def spike_with_a_fast_sigmoid(x):
    return (x > 0).astype(x.dtype)


@body.wrong("surrogate", normal(3, 5))
@rule(lambda x, g: (jax.vjp(jax.nn.softmax, x)[1](g)[0],))
def one_hot_with_the_gradient_of_softmax(x):
    return jax.nn.one_hot(jnp.argmax(x, -1), x.shape[-1], dtype=x.dtype)


@body.wrong("surrogate", normal(3, 4), normal(4, 2))
@rule(lambda x, w, g: (g @ w.T, x.T @ g))
def matmul_of_a_quantised_weight(x, w):
    return x @ (jnp.round(w * 16) / 16)
