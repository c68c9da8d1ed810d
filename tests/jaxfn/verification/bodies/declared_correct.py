"""Correct rules that declare another gradient, skip what is not needed, or save nothing."""

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.custom_derivatives import SymbolicZero

from tests.jaxfn.verification.bodies.body import Body
from tests.jaxfn.verification.bodies.case import normal, positive, rule
from tests.jaxfn.verification.bodies.witnesses import (
    gradient,
)

body = Body()


# Gradients that are declared to be something else than the derivative.


@body.correct(normal(5), witness=gradient(plain=lambda x: x), surrogate=lambda x: x)
@rule(lambda x, g: (g,))
def rounding_straight_through(x):
    return jnp.round(x)


@body.correct(normal(5), witness=gradient(plain=jnp.tanh), surrogate=jnp.tanh)
@rule(lambda x, g: (g * (1 - jnp.tanh(x) ** 2),))
def sign_with_the_gradient_of_tanh(x):
    return jnp.sign(x)


@body.correct(normal(5), witness=gradient(plain=lambda x: -x), surrogate=lambda x: -x)
@rule(lambda x, g: (-g,))
def gradient_reversal(x):
    return 1.0 * x


def _clipped(case):
    (x,) = case.args
    g = 3 * normal(*x.shape, seed=5)
    return jax.vjp(case.fun, x)[1](g), (np.clip(g, -1, 1),)


@body.correct(normal(5), witness=_clipped, surrogate=lambda x: x, linear_in_cotangent=False)
@rule(lambda x, g: (jnp.clip(g, -1, 1),))
def clipped_gradient(x):
    return 1.0 * x


@body.correct(
    normal(3, 4),
    witness=gradient(plain=lambda x: jax.nn.softmax(x)),
    surrogate=lambda x: jax.nn.softmax(x),
)
@rule(lambda x, g: jax.vjp(jax.nn.softmax, x)[1](g))
def one_hot_straight_through(x):
    return jax.nn.one_hot(jnp.argmax(x, -1), x.shape[-1], dtype=x.dtype)


# Rules that skip what is not needed.


def _linear_forward(x, w, b):
    saved = (x.value if w.perturbed else None, w.value if x.perturbed else None)
    return x.value @ w.value + b.value, (saved, b.perturbed or None)


def _linear_backward(residuals, g):
    (x, w), bias = residuals
    if isinstance(g, SymbolicZero):
        return None, None, None
    return (
        g @ w.T if w is not None else None,
        x.T @ g if x is not None else None,
        jnp.sum(g, 0) if bias else None,
    )


@jax.custom_vjp
def linear_that_skips_unneeded_gradients(x, w, b):
    return x @ w + b


linear_that_skips_unneeded_gradients.defvjp(_linear_forward, _linear_backward, symbolic_zeros=True)
body.correct(normal(4, 3), normal(3, 2), normal(2))(linear_that_skips_unneeded_gradients)


def _or_zero(g):
    return 0 if isinstance(g, SymbolicZero) else g


@jax.custom_vjp
def sine_and_cosine_that_skip_unused_outputs(x):
    return jnp.sin(x), jnp.cos(x)


def _pair_forward(x):
    y = jnp.sin(x.value), jnp.cos(x.value)
    return y, y


sine_and_cosine_that_skip_unused_outputs.defvjp(
    _pair_forward,
    lambda y, g: (_or_zero(g[0]) * y[1] - _or_zero(g[1]) * y[0] + jnp.zeros_like(y[0]),),
    symbolic_zeros=True,
)
body.correct(normal(5))(sine_and_cosine_that_skip_unused_outputs)


@jax.custom_vjp
def tanh_with_an_optimised_checkpoint(x):
    return jnp.tanh(x)


def _tanh_forward(x):
    y = jnp.tanh(x)
    return y, y


tanh_with_an_optimised_checkpoint.defvjp(
    _tanh_forward, lambda y, g: (g * (1 - y * y),), optimize_remat=True
)
body.correct(normal(4, 3), order=1)(tanh_with_an_optimised_checkpoint)


def _mlp(w, x):
    return jnp.tanh(jnp.tanh(x @ w) @ w)


@body.correct(normal(3, 3), normal(2, 3))
@rule(lambda w, x, g: jax.vjp(jax.checkpoint(_mlp), w, x)[1](g))
def network_that_is_recomputed(w, x):
    return _mlp(w, x)


@body.correct(normal(4), order=1)
@rule(lambda x, g: (g * lax.stop_gradient(jnp.cos(x)),))
def sine_differentiable_once(x):
    return jnp.sin(x)


@body.correct(normal(3, 5))
@rule(lambda x, g: (jax.nn.softmax(x) * (g - jnp.sum(g * jax.nn.softmax(x), -1, keepdims=True)),))
def softmax_with_a_stopped_maximum(x):
    shifted = jnp.exp(x - lax.stop_gradient(jnp.max(x, -1, keepdims=True)))
    return shifted / jnp.sum(shifted, -1, keepdims=True)


@jax.custom_jvp
def softplus_with_a_forward_rule(x):
    return jnp.logaddexp(x, 0)


softplus_with_a_forward_rule.defjvps(lambda t, y, x: t * jax.nn.sigmoid(x))
body.correct(normal(5))(softplus_with_a_forward_rule)


@body.correct(positive(4), name="logarithm_by_custom_gradient")
@jax.custom_gradient
def logarithm_by_custom_gradient(x):
    return jnp.log(x), lambda g: (g / x,)
