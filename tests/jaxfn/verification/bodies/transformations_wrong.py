"""Rules that are right in a plain call and wrong under `jit`, in a second call, or when an output
is unused or an argument is not differentiated."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jax.custom_derivatives import SymbolicZero

from tests.jaxfn.verification.bodies.body import Body
from tests.jaxfn.verification.bodies.case import normal, positive, rule
from tests.jaxfn.verification.bodies.witnesses import (
    argument,
    jitted,
    output,
    repeated,
)

body = Body()


# Wrong under jit only.


def _is_traced(x):
    return isinstance(x, Tracer)


@body.wrong("jit", normal(5), witness=jitted())
@rule(lambda x, g: (g * jnp.cos(x) if not _is_traced(g) else g * (1 - x**2 / 2),))
def sine_with_a_series_when_traced(x):
    return jnp.sin(x)


def _root_forward(x):
    y = jnp.sqrt(x)
    return y, (y if not _is_traced(x) else jax.lax.stop_gradient(jnp.round(y, 1)))


root_with_a_rounded_residual_when_traced = jax.custom_vjp(lambda x: jnp.sqrt(x))
root_with_a_rounded_residual_when_traced.defvjp(_root_forward, lambda y, g: (g / (2 * y),))
body.wrong("jit", positive(4), witness=jitted(), name="root_with_a_rounded_residual_when_traced")(
    root_with_a_rounded_residual_when_traced
)


@body.wrong("jit", normal(4, 3), normal(3, 2), witness=jitted())
@rule(lambda x, w, g: (g @ w.T, x.T @ g if not _is_traced(g) else x.T @ g / len(x)))
def matmul_with_a_mean_when_traced(x, w):
    return x @ w


# Another result in each call.


class _Counter:
    """Counts its calls."""

    def __init__(self):
        self.calls = 0

    def __call__(self):
        self.calls += 1
        return self.calls


_counter = _Counter()


@body.wrong("nondeterministic", normal(4), witness=repeated())
@rule(lambda x, g: (g * jnp.cos(x) * (1 + 0.01 * _counter()),))
def sine_that_grows_with_each_call(x):
    return jnp.sin(x)


_noise = np.random.default_rng(0)


@body.wrong("nondeterministic", normal(6), witness=repeated())
@rule(lambda x, g: (g * jnp.exp(x) + 1e-3 * g * _noise.standard_normal(6).astype(np.float32),))
def exp_with_noise(x):
    return jnp.exp(x)


_warm = _Counter()


@body.wrong("nondeterministic", normal(4), witness=repeated())
@rule(lambda x, g: (g * 2 * x if _warm() % 2 else jnp.zeros_like(x),))
def square_with_a_gradient_in_every_other_call(x):
    return x**2


class _Context:
    """Holds what the forward rule of the last call saved."""

    saved: Any = None


def _remember(x):
    _Context.saved = x
    return x**3, None


cube_with_the_residual_of_the_last_call = jax.custom_vjp(lambda x: x**3)
cube_with_the_residual_of_the_last_call.defvjp(_remember, lambda _, g: (3 * g * _Context.saved**2,))


def _interleaved(case):
    (x,) = case.args
    _, first = jax.vjp(case.fun, x)
    jax.vjp(case.fun, 2 * x)
    return first(np.ones_like(x)), (3 * x**2,)


body.wrong(
    "nondeterministic",
    normal(4),
    witness=_interleaved,
    name="cube_with_the_residual_of_the_last_call",
)(cube_with_the_residual_of_the_last_call)


_masks = np.random.default_rng(1)


@body.wrong("nondeterministic", normal(8), witness=repeated(), tolerance=0.1)
@rule(lambda x, g: (2 * g * (_masks.random(8) < 0.5) * 2 * x,))
def square_with_a_random_mask_in_its_rule(x):
    return x**2


# Symbolic zeros: unused outputs, unperturbed arguments.


def with_zeros(forward, backward):
    """Decorates with a rule that is told about symbolic zeros."""

    def decorate(fun):
        op = jax.custom_vjp(fun)
        op.defvjp(forward, backward, symbolic_zeros=True)
        return op

    return decorate


def _zero(g):
    return isinstance(g, SymbolicZero)


def _values_and_flags(*primals):
    values = tuple(p.value for p in primals)
    return values, tuple(p.perturbed or None for p in primals)


def _product_forward(x, y):
    values, (moved, _) = _values_and_flags(x, y)
    return x.value * y.value, (values, moved)


@body.wrong("symbolic-zero", normal(4), normal(4, seed=1), witness=argument(1))
@with_zeros(
    _product_forward,
    lambda saved, g: (g * saved[0][1], g * saved[0][0]) if saved[1] is not None else (None, None),
)
def product_without_gradients_if_the_first_is_constant(x, y):
    return x * y


def _linear_forward(x, w, b):
    values, (_, moved, _) = _values_and_flags(x, w, b)
    return values[0] @ values[1] + values[2], (values[0], values[1], moved)


def _linear_backward(saved, g):
    x, w, moved = saved
    if moved is None:
        return g @ w.T, None, None
    return g @ w.T, x.T @ g, jnp.sum(g, 0)


@body.wrong("symbolic-zero", normal(4, 3), normal(3, 2), normal(2), witness=argument(2))
@with_zeros(_linear_forward, _linear_backward)
def linear_whose_bias_needs_a_moving_weight(x, w, b):
    return x @ w + b


def _frozen_backward(saved, g):
    x, w, moved = saved
    return g @ (w if moved is not None else jnp.sign(w)).T, x.T @ g, jnp.sum(g, 0)


@body.wrong("symbolic-zero", normal(4, 3), normal(3, 2), normal(2), witness=argument(0))
@with_zeros(_linear_forward, _frozen_backward)
def linear_with_a_binarised_frozen_weight(x, w, b):
    return x @ w + b


def _sine_cosine_forward(x):
    y = jnp.sin(x.value), jnp.cos(x.value)
    return y, y


@body.wrong("symbolic-zero", normal(5), witness=output(0))
@with_zeros(
    _sine_cosine_forward,
    lambda y, g: (
        jnp.zeros_like(y[0]) if _zero(g[0]) or _zero(g[1]) else g[0] * y[1] - g[1] * y[0],
    ),
)
def sine_and_cosine_zero_if_one_is_unused(x):
    return jnp.sin(x), jnp.cos(x)


def _ones_if_zero(g):
    return jnp.ones(g.shape, g.dtype) if _zero(g) else g


@body.wrong("symbolic-zero", normal(5), witness=output(1))
@with_zeros(
    _sine_cosine_forward,
    lambda y, g: (_ones_if_zero(g[0]) * y[1] - _ones_if_zero(g[1]) * y[0],),
)
def sine_and_cosine_with_ones_for_an_unused_output(x):
    return jnp.sin(x), jnp.cos(x)


@body.wrong("symbolic-zero", normal(6), witness=output("variance"))
@with_zeros(
    lambda x: ({"mean": jnp.mean(x.value), "variance": jnp.var(x.value)}, x.value),
    lambda x, g: (
        (2 if _zero(g["mean"]) else 1)
        * (0 if _zero(g["variance"]) else g["variance"])
        * 2
        * (x - jnp.mean(x))
        / x.size
        + (0 if _zero(g["mean"]) else g["mean"]) / x.size,
    ),
)
def moments_doubled_if_the_mean_is_unused(x):
    return {"mean": jnp.mean(x), "variance": jnp.var(x)}
