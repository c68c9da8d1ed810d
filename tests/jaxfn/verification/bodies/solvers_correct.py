"""Correct rules of iterations, host callbacks, and functions that are particular about inputs."""

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from tests.jaxfn.verification.bodies.body import Body
from tests.jaxfn.verification.bodies.case import array, normal, positive, rule
from tests.jaxfn.verification.bodies.witnesses import (
    differences,
    gradient,
)

body = Body()


# Iterations, which autodiff cannot go backwards through.


def _fixed_point(a, b):
    def moves(state):
        return (jnp.max(jnp.abs(state[0] - state[1])) > 1e-15) & (state[2] < 100)

    def step(state):
        return jnp.tanh(a * state[0] + b), state[0], state[2] + 1

    return lax.while_loop(moves, step, (jnp.zeros_like(b), jnp.ones_like(b), 0))[0]


def _fixed_point_backward(a, b, g):
    x = fixed_point_with_an_implicit_derivative(a, b)
    slope = 1 - x * x
    adjoint = g * slope / (1 - a * slope)
    return jnp.sum(adjoint * x), adjoint


@body.correct(array(0.5), normal(3), witness=differences())
@rule(_fixed_point_backward, recursive=True)
def fixed_point_with_an_implicit_derivative(a, b):
    return _fixed_point(a, b)


def _root_backward(x, g):
    return (g / (2 * square_root_by_newton(x)),)


@body.correct(positive(4), witness=differences())
@rule(_root_backward, recursive=True)
def square_root_by_newton(x):
    return lax.while_loop(
        lambda s: s[1] < 40, lambda s: ((s[0] + x / s[0]) / 2, s[1] + 1), (jnp.ones_like(x) + x, 0)
    )[0]


def _cubic_backward(c, g):
    return (g / (3 * cubic_root_by_bisection(c) ** 2 + 1),)


@body.correct(normal(4), witness=differences())
@rule(_cubic_backward, recursive=True)
def cubic_root_by_bisection(c):
    def step(_, ends):
        middle = (ends[0] + ends[1]) / 2
        above = middle**3 + middle > c
        return jnp.where(above, ends[0], middle), jnp.where(above, middle, ends[1])

    ends = (jnp.full_like(c, -40), jnp.full_like(c, 40))
    return sum(lax.fori_loop(0, 70, step, ends)) / 2


FACTOR = normal(4, 4, seed=5)
SPD = (FACTOR @ FACTOR.T + 2 * np.eye(4)).astype(np.float32)


def _symmetric_solve(a, b):
    return jnp.linalg.solve(a, b)


def _symmetric_backward(a, b, g):
    adjoint = conjugate_gradients(a, g)
    return -jnp.outer(adjoint, conjugate_gradients(a, b)), adjoint


@body.correct(
    SPD,
    normal(4),
    witness=gradient(plain=_symmetric_solve),
    tolerance=1e-3,
    reference=_symmetric_solve,
)
@rule(_symmetric_backward, recursive=True)
def conjugate_gradients(a, b):
    def step(state):
        x, r, p, k = state
        q = a @ p
        alpha = (r @ r) / (p @ q)
        s = r - alpha * q
        return x + alpha * p, s, s + p * (s @ s) / (r @ r), k + 1

    start = (jnp.zeros_like(b), b, b, 0)
    return lax.while_loop(lambda s: (s[1] @ s[1] > 1e-28) & (s[3] < 8), step, start)[0]


# Callbacks to the host, which have no derivative at all.


def _on_host(fun):
    def call(x):
        return jax.pure_callback(
            lambda y: np.asarray(fun(np.asarray(y)), x.dtype),
            jax.typeof(x),
            x,
            vmap_method="sequential",
        )

    return call


_host_cosine = _on_host(np.cos)


@body.correct(normal(4))
@rule(lambda x, g: (g * jnp.cos(x),), recursive=True)
def sine_on_the_host(x):
    return _on_host(np.sin)(x)


@body.correct(normal(3), order=1)
@rule(lambda x, g: (g * _host_cosine(x),))
def sine_and_its_rule_on_the_host(x):
    return _on_host(np.sin)(x)


# Functions that are particular about what they take.


@body.correct(normal(4, 3))
@rule(lambda x, g: (2 * g * x,))
def square_of_batches_of_four_only(x):
    if x.shape != (4, 3):
        raise ValueError(f"expected [4, 3], got {list(x.shape)}")
    return x**2


@body.correct(normal(5), witness=gradient())
@rule(lambda x, g: (g * jnp.cos(x),))
def sine_of_float32_only(x):
    if x.dtype != jnp.float32:
        raise TypeError(f"expected float32, got {x.dtype}")
    return jnp.sin(x)


@body.correct(normal(3), witness=gradient())
@rule(lambda x, g: (g * np.float32(0.5) * jnp.cos(x),))
def float32_constants(x):
    return jnp.sin(x) * np.full(3, 0.5, np.float32)


@body.correct(normal(4), witness=gradient(), tolerance=1e-3)
@rule(lambda x, g: ((g.astype(jnp.float32) * 2 * x.astype(jnp.float32)).astype(x.dtype),))
def square_computed_in_float32(x):
    return (x.astype(jnp.float32) ** 2).astype(x.dtype)


@body.correct(positive(2, 3), np.array([[0, 5], [7, 11]], np.uint32))
@rule(lambda rate, key, g: (jax.vjp(lambda r: _exponential(r, key), rate)[1](g)[0], None))
def exponential_samples(rate, key):
    return _exponential(rate, key)


def _exponential(rate, key):
    return jax.random.exponential(key[0], rate.shape, rate.dtype) / rate


@body.correct(normal(4), witness=differences())
@rule(lambda x, g: (g * lax.cond(jnp.sum(x) > 100, jnp.sin, jnp.cos, x),))
def branch_never_entered(x):
    return lax.cond(jnp.sum(x) > 100, lambda t: -jnp.cos(t), jnp.sin, x)


@body.correct(np.asarray(normal(3, 2), order="F"), witness=differences())
@rule(lambda x, g: (g.T,))
def transposition(x):
    return x.T
