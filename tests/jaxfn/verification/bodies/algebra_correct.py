"""Correct rules of linear algebra, recurrences, indexing and convolutions."""

import jax
import jax.numpy as jnp
import jax.scipy.linalg as jsl
import numpy as np
from jax import lax

from tests.jaxfn.verification.bodies.body import Body
from tests.jaxfn.verification.bodies.case import array, normal, positive, rule
from tests.jaxfn.verification.bodies.witnesses import (
    differences,
)

body = Body()

WELL_POSED = (normal(4, 4) + 4 * np.eye(4)).astype(np.float32)
ILL_POSED = (np.diag([1, 1e-2, 1e-4, 1e-6]) + 1e-7 * normal(4, 4)).astype(np.float32)
FACTOR = normal(4, 4, seed=5)
SPD = (FACTOR @ FACTOR.T + 2 * np.eye(4)).astype(np.float32)
SPREAD = (np.diag([1.0, 3.0, 6.0, 10.0]) + 0.1 * (FACTOR + FACTOR.T)).astype(np.float32)


# Linear algebra.


@body.correct(normal(20, 20), normal(20, 20, seed=1), normal(20))
@rule(lambda x, w, b, g: (g @ w.T, x.T @ g, jnp.sum(g, 0)))
def linear_layer(x, w, b):
    return x @ w + b


@body.correct(SPD)
@rule(lambda a, g: (g @ a.T + a.T @ g,))
def square_of_a_symmetric_matrix(a):
    return a @ a


def _solve_backward(a, b, g):
    adjoint = jnp.linalg.solve(a.T, g)
    return -jnp.outer(adjoint, jnp.linalg.solve(a, b)), adjoint


@body.correct(WELL_POSED, normal(4))
@rule(_solve_backward)
def linear_solve(a, b):
    return jnp.linalg.solve(a, b)


@body.correct(ILL_POSED, normal(4), witness=differences(step=1e-11), tolerance=1e-3)
@rule(_solve_backward)
def ill_conditioned_solve(a, b):
    return jnp.linalg.solve(a, b)


def _inverse_backward(a, g):
    inverse = jnp.linalg.inv(a)
    return (-inverse.T @ g @ inverse.T,)


@body.correct(ILL_POSED, witness=differences(step=1e-11), tolerance=1e-3)
@rule(_inverse_backward)
def ill_conditioned_inverse(a):
    return jnp.linalg.inv(a)


@body.correct(WELL_POSED)
@rule(lambda a, g: (g * jnp.linalg.inv(a).T,))
def log_determinant(a):
    return jnp.linalg.slogdet(a)[1]


def _cholesky_backward(a, g):
    factor = jnp.linalg.cholesky(a)
    inner = jnp.tril(factor.T @ g)
    inner = inner - jnp.diag(jnp.diag(inner)) / 2
    half = jsl.solve_triangular(factor, inner, lower=True, trans="T")
    adjoint = jsl.solve_triangular(factor, half.T, lower=True, trans="T")
    return ((adjoint + adjoint.T) / 2,)


@body.correct(SPD)
@rule(_cholesky_backward)
def cholesky_factor(a):
    return jnp.linalg.cholesky(a)


def _eigenvalues(a):
    return jnp.linalg.eigh((a + a.T) / 2)[0]


def _eigenvalues_backward(a, g):
    v = jnp.linalg.eigh((a + a.T) / 2)[1]
    return ((v * g) @ v.T,)


@body.correct(SPREAD)
@rule(_eigenvalues_backward)
def distinct_eigenvalues(a):
    return _eigenvalues(a)


def _nuclear_backward(a, g):
    u, _, v = jnp.linalg.svd(a, full_matrices=False)
    return (g * u @ v,)


@body.correct(normal(4, 3))
@rule(_nuclear_backward)
def nuclear_norm(a):
    return jnp.sum(jnp.linalg.svd(a, compute_uv=False))


# Recurrences and movements.


@body.correct(normal(6))
@rule(lambda x, g: (jnp.cumsum(g[::-1])[::-1],))
def cumulative_sum(x):
    return jnp.cumsum(x)


def _cumulative_product_backward(x, g):
    others = jnp.where(jnp.eye(len(x), dtype=bool), 1, x)
    return (jnp.sum(jnp.triu(jnp.cumprod(others, axis=-1)) * g, -1),)


@body.correct(array(2, 0, 3, 0, 1), witness=differences())
@rule(_cumulative_product_backward)
def cumulative_product_with_zeros(x):
    return jnp.cumprod(x)


def _recurrence(a, x):
    return lax.scan(lambda c, t: (a * c + t,) * 2, jnp.zeros_like(x[0]), x)[1]


def _recurrence_backward(a, x, g):
    y = _recurrence(a, x)
    dx = lax.scan(lambda c, t: (a * c + t,) * 2, jnp.zeros_like(g[0]), g, reverse=True)[1]
    return jnp.sum(dx[1:] * y[:-1]), dx


@body.correct(array(0.7), normal(6))
@rule(_recurrence_backward)
def linear_recurrence(a, x):
    return _recurrence(a, x)


def _rnn(w, x):
    def step(h, t):
        h = jnp.tanh(w @ h + t)
        return h, h

    return lax.scan(step, jnp.zeros_like(x[0]), x)


@body.correct(2 * normal(3, 3), normal(12, 3), witness=differences(step=1e-7))
@rule(lambda w, x, g: jax.vjp(_rnn, w, x)[1](g))
def recurrent_network_with_large_weights(w, x):
    return _rnn(w, x)


@body.correct(positive(5), normal(5))
@rule(
    lambda a, b, g: jax.vjp(
        lambda a, b: lax.scan(lambda c, t: (t[0] * c + t[1],) * 2, jnp.zeros_like(b[0]), (a, b))[1],
        a,
        b,
    )[1](g)
)
def associative_recurrence(a, b):
    def compose(left, right):
        return left[0] * right[0], right[0] * left[1] + right[1]

    return lax.associative_scan(compose, (a, b))[1]


@body.correct(normal(4, 6))
@rule(lambda x, g: (jnp.take_along_axis(g, jnp.argsort(jnp.argsort(x, -1), -1), -1),))
def sort_of_distinct_numbers(x):
    return jnp.sort(x, axis=-1)


@body.correct(normal(5), np.array([0, 2, 2, 1, 2]))
@rule(lambda x, i, g: (g[i], None))
def segment_sum(x, i):
    return jnp.zeros(4, x.dtype).at[i].add(x)


@body.correct(normal(6), array(0.3, 2.6, 4.1), witness=differences())
@rule(
    lambda table, t, g: (
        jax.vjp(lambda v: jnp.interp(t, jnp.arange(6.0), v), table)[1](g)[0],
        g * jnp.diff(table)[jnp.clip(jnp.floor(t), 0, 4).astype(int)] * ((t >= 0) & (t <= 5)),
    )
)
def table_lookup(table, t):
    return jnp.interp(t, jnp.arange(6.0), table)


# Convolution.


def _conv2d(x, k):
    numbers = ("NHWC", "HWIO", "NHWC")
    return lax.conv_general_dilated(x, k, (2, 1), ((1, 0), (0, 2)), dimension_numbers=numbers)


@body.correct(normal(2, 5, 4, 2), normal(3, 2, 2, 3))
@rule(
    lambda x, k, g: (
        jax.linear_transpose(lambda x: _conv2d(x, k), x)(g)[0],
        jax.linear_transpose(lambda k: _conv2d(x, k), k)(g)[0],
    )
)
def strided_convolution_with_uneven_padding(x, k):
    return _conv2d(x, k)


@body.correct(normal(7), normal(3))
@rule(lambda x, k, g: (jnp.correlate(g, k, mode="valid"), jnp.correlate(g, x, mode="valid")))
def convolution(x, k):
    return jnp.convolve(x, k, mode="full")
