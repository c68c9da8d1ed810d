"""Wrong rules of linear algebra: products, solves, factorisations."""

import jax.numpy as jnp
import jax.scipy.linalg as jsl
import numpy as np
from jax import lax

from tests.jaxfn.verification.bodies.body import Body
from tests.jaxfn.verification.bodies.case import normal, rule
from tests.jaxfn.verification.bodies.witnesses import (
    gradient,
)

body = Body()

WELL_POSED = (normal(4, 4) + 4 * np.eye(4)).astype(np.float32)
FACTOR = normal(4, 4, seed=5)
SPD = (FACTOR @ FACTOR.T + 2 * np.eye(4)).astype(np.float32)


# Products.


@body.wrong("other", normal(4, 4), normal(4, 4, seed=1))
@rule(lambda a, b, g: (g @ b, a.T @ g))
def square_matmul_without_a_transpose(a, b):
    return a @ b


@body.wrong("transposed", normal(5, 4), normal(4, 4))
@rule(lambda x, w, g: (g @ w.T, (x.T @ g).T))
def linear_with_a_transposed_weight_gradient(x, w):
    return x @ w


@body.wrong("exchanged", normal(3, 3), normal(3, 3, seed=1))
@rule(lambda a, b, g: (a.T @ g, g @ b.T))
def square_matmul_with_exchanged_gradients(a, b):
    return a @ b


def _linear(x, w, b):
    return x @ w + b


def _linear_backward(dx=1.0, dw=1.0, db=1.0):
    return lambda x, w, b, g: (dx * (g @ w.T), dw * (x.T @ g), db * jnp.sum(g, 0))


LINEAR = (normal(20, 20), normal(20, 20, seed=1), normal(20))
for _name, _cause, _factors in [
    ("linear_with_a_mean_gradient_of_its_bias", "mean-for-sum", {"db": 1 / 20}),
    ("linear_with_a_mean_gradient_of_its_weight", "mean-for-sum", {"dw": 1 / 20}),
    ("linear_with_a_weight_gradient_3_in_10000_off", "scale", {"dw": 1.0003}),
    ("linear_with_a_bias_gradient_of_the_other_sign", "sign", {"db": -1.0}),
    ("linear_without_a_gradient_of_its_input", "zero", {"dx": 0.0}),
    ("linear_without_a_gradient_of_its_bias", "zero", {"db": 0.0}),
    ("linear_with_a_doubled_gradient_of_its_input", "scale", {"dx": 2.0}),
]:
    body.wrong(_cause, *LINEAR, name=_name)(rule(_linear_backward(**_factors))(_linear))


@body.wrong("dropped-term", normal(4), normal(4, 4))
@rule(lambda x, a, g: (2 * g * (a @ x), g * jnp.outer(x, x)))
def quadratic_form_taken_for_symmetric(x, a):
    return x @ a @ x


@body.wrong("transposed", normal(3), normal(3, seed=1), normal(3, 3))
@rule(lambda x, y, a, g: (g * (a @ y), g * (a.T @ x), g * jnp.outer(y, x)))
def bilinear_form_with_a_transposed_gradient(x, y, a):
    return x @ a @ y


@body.wrong("other", normal(4), normal(4, seed=1))
@rule(lambda x, y, g: (g.T @ y, g @ x))
def outer_product_without_a_transpose(x, y):
    return jnp.outer(x, y)


@body.wrong("other", normal(4, 4))
@rule(lambda a, g: (g * jnp.ones_like(a),))
def trace_with_a_gradient_of_ones(a):
    return jnp.trace(a)


@body.wrong("transposed", normal(3, 3))
@rule(lambda a, g: (g,))
def transposition_not_transposed_back(a):
    return a.T


# Solves and factorisations.


def _not_transposed(a, b, g):
    adjoint = jnp.linalg.solve(a, g)
    return -jnp.outer(adjoint, jnp.linalg.solve(a, b)), adjoint


@body.wrong("other", WELL_POSED, normal(4))
@rule(_not_transposed)
def solve_without_the_transpose(a, b):
    return jnp.linalg.solve(a, b)


def _solve_backward(sign):
    def backward(a, b, g):
        adjoint = jnp.linalg.solve(a.T, g)
        return sign * jnp.outer(adjoint, jnp.linalg.solve(a, b)), adjoint

    return backward


for _name, _cause, _sign in [
    ("solve_with_the_sign_of_the_matrix", "sign", 1.0),
    ("solve_without_a_gradient_of_the_matrix", "zero", 0.0),
]:
    body.wrong(_cause, WELL_POSED, normal(4), name=_name)(
        rule(_solve_backward(_sign))(jnp.linalg.solve)
    )


@body.wrong("other", WELL_POSED)
@rule(lambda a, g: (-jnp.linalg.inv(a) @ g @ jnp.linalg.inv(a),))
def inverse_without_its_transposes(a):
    return jnp.linalg.inv(a)


@body.wrong("transposed", WELL_POSED)
@rule(lambda a, g: (g * jnp.linalg.inv(a),))
def log_determinant_with_the_inverse(a):
    return jnp.linalg.slogdet(a)[1]


@body.wrong("scale", WELL_POSED)
@rule(lambda a, g: (g * jnp.linalg.inv(a).T,))
def determinant_without_the_determinant(a):
    return jnp.linalg.det(a)


def _cholesky_backward(a, g):
    factor = jnp.linalg.cholesky(a)
    inner = jnp.tril(factor.T @ g)
    inverse = jnp.linalg.inv(factor)
    adjoint = inverse.T @ inner @ inverse
    return ((adjoint + adjoint.T) / 2,)


@body.wrong("other", SPD)
@rule(_cholesky_backward)
def cholesky_without_halving_the_diagonal(a):
    return jnp.linalg.cholesky(a)


def _eigenvalues(a):
    return jnp.linalg.eigh((a + a.T) / 2)[0]


def _eigenvalues_backward(a, g):
    v = jnp.linalg.eigh((a + a.T) / 2)[1]
    return (v.T @ jnp.diag(g) @ v,)


@body.wrong("other", SPD)
@rule(_eigenvalues_backward)
def eigenvalues_with_transposed_vectors(a):
    return _eigenvalues(a)


def _nuclear_backward(a, g):
    u, s, v = jnp.linalg.svd(a, full_matrices=False)
    return (g * (u * s) @ v,)


@body.wrong("other", normal(4, 3))
@rule(_nuclear_backward)
def nuclear_norm_with_the_matrix_itself(a):
    return jnp.sum(jnp.linalg.svd(a, compute_uv=False))


def _triangular_backward(a, b, g):
    adjoint = jsl.solve_triangular(a, g, lower=True, trans="T")
    return -jnp.outer(adjoint, jsl.solve_triangular(a, b, lower=True)), adjoint


@body.wrong("extra-term", WELL_POSED, normal(4))
@rule(_triangular_backward)
def triangular_solve_with_a_full_gradient(a, b):
    return jsl.solve_triangular(a, b, lower=True)


def _conjugate_gradients(a, b):
    def step(state):
        x, r, p, k = state
        q = a @ p
        alpha = (r @ r) / (p @ q)
        s = r - alpha * q
        return x + alpha * p, s, s + p * (s @ s) / (r @ r), k + 1

    start = (jnp.zeros_like(b), b, b, 0)
    return lax.while_loop(lambda s: (s[1] @ s[1] > 1e-12) & (s[3] < 8), step, start)[0]


def _cg_backward(a, b, g):
    return -jnp.outer(_conjugate_gradients(a, g), _conjugate_gradients(a, b)), g


@body.wrong(
    "other", SPD, normal(4), witness=gradient(plain=jnp.linalg.solve), reference=jnp.linalg.solve
)
@rule(_cg_backward, recursive=True)
def conjugate_gradients_without_the_adjoint_solve(a, b):
    return _conjugate_gradients(a, b)
