"""Correct rules of factorisations, stopped gradients, random draws, and unusual arguments."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from tests.jaxfn.verification.bodies.body import Body
from tests.jaxfn.verification.bodies.case import array, normal, positive, rule
from tests.jaxfn.verification.bodies.witnesses import agreement, at_one, gradient, pullback

body = Body()


# Factorisations.


FACTOR = normal(4, 4, seed=2)
SPD = (FACTOR @ FACTOR.T + 2 * np.eye(4)).astype(np.float32)


def _cholesky_backward(a, g):
    low = jnp.linalg.cholesky(a)
    inner = jnp.tril(low.T @ g)
    inner = inner - jnp.diag(jnp.diag(inner)) / 2
    half = jax.scipy.linalg.solve_triangular(low, inner, lower=True, trans=1)
    full = jax.scipy.linalg.solve_triangular(low, half.T, lower=True, trans=1).T
    return ((full + full.T) / 2,)


@body.correct(SPD, tolerance=1e-3)
@rule(_cholesky_backward)
def cholesky_by_murrays_rule(a):
    return jnp.linalg.cholesky(a)


def _singular_backward(a, g):
    u, _, vt = jnp.linalg.svd(a, full_matrices=False)
    return ((u * g) @ vt,)


@body.correct(normal(4, 3), tolerance=1e-3)
@rule(_singular_backward)
def singular_values_of_a_tall_matrix(a):
    return jnp.linalg.svd(a, full_matrices=False, compute_uv=False)


def _projection(a):
    q, _ = jnp.linalg.qr(a)
    return q @ q.T


def _projection_backward(a, g):
    p = _projection(a)
    inverse = jnp.linalg.inv(a.T @ a) @ a.T
    return ((jnp.eye(len(a)) - p) @ (g + g.T) @ inverse.T,)


@body.correct(normal(4, 2), tolerance=1e-3)
@rule(_projection_backward)
def projection_onto_columns_by_qr(a):
    return _projection(a)


def _least_squares(a, b):
    return jnp.linalg.lstsq(a, b)[0]


def _least_squares_backward(a, b, g):
    x = _least_squares(a, b)
    y = jnp.linalg.solve(a.T @ a, g)
    return jnp.outer(b - a @ x, y) - jnp.outer(a @ y, x), a @ y


@body.correct(normal(5, 2), normal(5), tolerance=1e-3)
@rule(_least_squares_backward)
def least_squares_by_normal_equations(a, b):
    return _least_squares(a, b)


def _signed_log(a, g):
    return (g[1] * jnp.linalg.inv(a).T,)


@body.correct(normal(3, 3), tolerance=1e-3)
@rule(_signed_log)
def sign_and_logarithm_of_a_determinant(a):
    return tuple(jnp.linalg.slogdet(a))


# Gradients that the function itself stops.


@body.correct(normal(4), witness=gradient())
@rule(lambda x, g: (g * x,))
def product_with_its_stopped_self(x):
    return x * lax.stop_gradient(x)


@body.correct(normal(5), normal(5, seed=1), witness=gradient())
@rule(lambda q, r, g: (2 * g * (q - r - 0.9 * jnp.max(q)) / q.size, jnp.zeros_like(r)))
def temporal_difference_with_a_stopped_target(q, r):
    return jnp.mean((q - lax.stop_gradient(r + 0.9 * jnp.max(q))) ** 2)


@body.correct(normal(6), witness=gradient())
@rule(lambda x, g: (g,))
def rounding_through_a_stopped_residue(x):
    return x + lax.stop_gradient(jnp.round(x) - x)


# Ties.


def _shared(x, g):
    top = (x == jnp.max(x)).astype(x.dtype)
    return (g * top / jnp.sum(top),)


THIRD = 1 / 3


@body.correct(
    array(2.0, 2.0, -1.0, 2.0), witness=at_one(lambda x: (array(THIRD, THIRD, 0, THIRD),))
)
@rule(_shared)
def maximum_of_three_equal_numbers(x):
    return jnp.max(x)


@body.correct(array(1.0, 1.0, 3.0, 2.0), witness=at_one(lambda x: (array(0, -1, 2, -1),)))
@rule(
    lambda x, g: (
        jnp.pad(g * jnp.sign(jnp.diff(x)), (1, 0)) - jnp.pad(g * jnp.sign(jnp.diff(x)), (0, 1)),
    )
)
def total_variation_with_a_flat_part(x):
    return jnp.sum(jnp.abs(jnp.diff(x)))


def _pairwise(x):
    square = jnp.sum((x[:, None] - x[None]) ** 2, -1)
    return jnp.where(square > 0, jnp.sqrt(jnp.where(square > 0, square, 1)), 0)


def _pairwise_backward(x, g):
    d = _pairwise(x)
    w = jnp.where(d > 0, (g + g.T) / jnp.where(d > 0, d, 1), 0)
    return (jnp.sum(w, 1)[:, None] * x - w @ x,)


@body.correct(normal(4, 2), witness=gradient())
@rule(_pairwise_backward)
def distances_with_a_zero_diagonal(x):
    return _pairwise(x)


@body.correct(array(0.2, 0.5, 0.5, 0.1), witness=gradient())
@rule(lambda x, g: (jax.vjp(lax.cummax, x)[1](g)[0],))
def running_maximum_with_ties(x):
    return lax.cummax(x)


# Random draws.


def _gamma(a, key):
    return jax.random.gamma(key, a)


@body.correct(positive(2), lambda: jax.random.key(3), witness=gradient(), tolerance=1e-3, order=1)
@rule(lambda a, key, g: (jax.vjp(lambda a: _gamma(a, key), a)[1](g)[0], None))
def gamma_variates_with_implicit_gradients(a, key):
    return _gamma(a, key)


@body.correct(
    {"mean": normal(3), "log_scale": normal(3, seed=1)},
    lambda: jax.random.key(5),
)
@rule(
    lambda p, key, g: (
        {
            "mean": g,
            "log_scale": g * jnp.exp(p["log_scale"]) * jax.random.normal(key, (3,), g.dtype),
        },
        None,
    )
)
def reparameterised_normal_variates(p, key):
    noise = jax.random.normal(key, (3,), p["mean"].dtype)
    return p["mean"] + jnp.exp(p["log_scale"]) * noise


# Unusual arguments.


@functools.partial(jax.custom_vjp, nondiff_argnums=(1, 2))
def _applied(x: Any, fun: Any, axis: int) -> Any:
    return fun(x, axis=axis)


def _applied_forward(x, fun, axis):
    return fun(x, axis=axis), x


def _applied_backward(fun, axis, x, g):
    return jax.vjp(lambda t: fun(t, axis=axis), x)[1](g)


_applied.defvjp(_applied_forward, _applied_backward)


body.correct(
    normal(3, 4),
    0,
    witness=agreement(
        lambda x, axis: pullback(lambda t: _applied(t, jax.nn.softmax, axis), (x,), x),
        lambda x, axis: pullback(lambda t: jax.nn.softmax(t, axis=axis), (x,), x),
    ),
    name="softmax_along_a_static_axis",
)(lambda x, axis: _applied(x, jax.nn.softmax, axis))


@body.correct(normal(3, 4), np.array([2, 0, 3]), positive(4))
@rule(
    lambda x, i, w, g: (
        g * (w[i][:, None] * (jax.nn.softmax(x) - jax.nn.one_hot(i, 4, dtype=x.dtype))),
        np.zeros(i.shape, jax.dtypes.float0),
        jnp.zeros_like(w).at[i].add(-g * jax.nn.log_softmax(x)[jnp.arange(3), i]),
    )
)
def cross_entropy_with_weights_of_classes(x, i, w):
    return -jnp.sum(w[i] * jax.nn.log_softmax(x)[jnp.arange(3), i])


@body.correct({"w": normal(2, 3), "b": None, "more": ()}, normal(4, 2))
@rule(lambda p, x, g: ({"w": x.T @ g, "b": None, "more": ()}, g @ p["w"].T))
def layer_of_a_dict_with_nothing_in_places(p, x):
    return x @ p["w"]


@body.correct(normal(0, 3), normal(3), witness=gradient())
@rule(lambda x, b, g: (g, jnp.sum(g, axis=0)))
def shift_of_no_rows(x, b):
    return x + b


def _of_ones(case):
    (x,) = case.args
    return pullback(case.fun, (x,), np.ones_like(x)), (1 - np.tanh(x.astype(np.float32)) ** 2,)


@body.correct(normal(8, dtype=np.float16), tolerance=2e-2, witness=_of_ones)
@rule(lambda x, g: (g * (1 - jnp.tanh(x.astype(jnp.float32)) ** 2).astype(x.dtype),))
def tanh_float16_by_its_output(x):
    return jnp.tanh(x)


def _normalised(x):
    y = x.astype(jnp.float32)
    y = (y - y.mean(-1, keepdims=True)) * lax.rsqrt(y.var(-1, keepdims=True) + 1e-5)
    return y.astype(x.dtype)


@body.correct(normal(4, 32, dtype=jnp.bfloat16), tolerance=5e-2, witness=gradient())
@rule(lambda x, g: (jax.vjp(_normalised, x)[1](g)[0],))
def layer_norm_bfloat16_through_float32(x):
    return _normalised(x)
