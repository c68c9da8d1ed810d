"""Correct rules of functions with gaps in their domain, special values, jumps and iterations."""

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.scipy import special

from tests.jaxfn.verification.bodies.body import Body
from tests.jaxfn.verification.bodies.case import array, normal, positive, rule
from tests.jaxfn.verification.bodies.witnesses import at_one, gradient

body = Body()

INF, NAN = np.inf, np.nan


# Arguments with infinite or undefined elements.


@body.correct(
    array(0.5, -INF, 1.0), witness=at_one(lambda x: (np.exp(x - np.log(np.exp(x).sum())),))
)
@rule(lambda x, g: (g * jax.nn.softmax(x),))
def logsumexp_of_masked_logits(x):
    return jax.nn.logsumexp(x)


@body.correct(
    array(0.5, NAN, 2.0),
    np.array([True, False, True]),
    witness=at_one(lambda x, m: (np.where(m, 2 * x, 0), None)),
)
@rule(lambda x, mask, g: (g * 2 * jnp.where(mask, x, 0), None))
def sum_of_squares_beside_missing_values(x, mask):
    return jnp.sum(jnp.where(mask, x, 0) ** 2)


def _safe_root(x):
    return jnp.where(x > 0, jnp.sqrt(jnp.where(x > 0, x, 1)), 0)


@body.correct(array(0.0, 1.0, 4.0), witness=at_one(lambda x: (array(0.0, 0.5, 0.25),)))
@rule(lambda x, g: (g * jnp.where(x > 0, 0.5 / jnp.sqrt(jnp.where(x > 0, x, 1)), 0),))
def square_root_zero_at_zero(x):
    return _safe_root(x)


# Domains with gaps, and arguments of a certain form.


@body.correct(array(1.5, -2.0, 3.0))
@rule(lambda x, g: (g / (jnp.abs(x) * jnp.sqrt(x * x - 1)),))
def arcsecant_on_both_sides(x):
    return jnp.arccos(1 / x)


@body.correct(array(0.5, 2.5, -0.5, -1.5))
@rule(lambda x, g: (g * special.digamma(x),))
def log_gamma_between_its_poles(x):
    return special.gammaln(x)


@body.correct(array(0.2, 0.5, 0.3))
@rule(lambda p, g: (-g * (jnp.log(p) + 1),))
def entropy_of_a_distribution(p):
    return -jnp.sum(p * jnp.log(p))


@body.correct(array(0.2, 0.5, 0.3), array(0.6, 0.3, 0.1))
@rule(lambda p, q, g: (g * (jnp.log(p / q) + 1), -g * p / q))
def divergence_of_distributions(p, q):
    return jnp.sum(p * jnp.log(p / q))


def _table(x, knots, y):
    i = jnp.clip(jnp.searchsorted(knots, x) - 1, 0, knots.size - 2)
    t = (x - knots[i]) / (knots[i + 1] - knots[i])
    return y[i] + t * (y[i + 1] - y[i])


def _table_backward(x, knots, y, g):
    i = jnp.clip(jnp.searchsorted(knots, x) - 1, 0, knots.size - 2)
    width = knots[i + 1] - knots[i]
    t, slope = (x - knots[i]) / width, (y[i + 1] - y[i]) / width
    dy = jnp.zeros_like(y).at[i].add(g * (1 - t)).at[i + 1].add(g * t)
    dk = jnp.zeros_like(knots).at[i].add(-g * slope * (1 - t)).at[i + 1].add(-g * slope * t)
    return g * slope, dk, dy


@body.correct(array(0.3, 1.7, 2.2), array(0.0, 1.0, 1.5, 3.0), normal(4))
@rule(_table_backward)
def interpolation_in_a_sorted_table(x, knots, y):
    return _table(x, knots, y)


@body.correct(array(0.7, -0.3, 2.0), witness=gradient())
@rule(lambda x, g: (g * (1 + 2 * x * jnp.sign(x)),))
def jump_at_zero(x):
    return jnp.sign(x) * (x * x + 1) + x


@body.correct(array(3.5, -4.0, 9.0, 0.1))
@rule(lambda x, g: (g,))
def angle_wrapped_to_a_period(x):
    return jnp.mod(x + jnp.pi, 2 * jnp.pi) - jnp.pi


@body.correct(normal(5), witness=gradient())
@rule(lambda x, g: (jnp.zeros_like(x),))
def ranks(x):
    return jnp.argsort(jnp.argsort(x)).astype(x.dtype)


# Cancellation, tiny and huge numbers.


@body.correct(1e4 + normal(16), tolerance=1e-3)
@rule(lambda x, g: (g * 2 * (x - jnp.mean(x)) / x.size,))
def variance_far_from_zero(x):
    return jnp.mean((x - jnp.mean(x)) ** 2)


@body.correct(array(1e-4, -2e-3, 0.5), tolerance=1e-3)
@rule(lambda x, g: (g * jnp.expm1(x),))
def exponential_without_its_first_terms(x):
    return jnp.exp(x) - 1 - x


@body.correct(array(1e19, -3e18, 2e15), witness=gradient())
@rule(lambda x, g: (g * jnp.sign(x) * jax.nn.sigmoid(jnp.abs(x)),))
def softplus_of_huge_magnitudes(x):
    return jax.nn.softplus(jnp.abs(x))


@body.correct(array(0.0, 0.3, 1.0), array(0.5, 2.0, 0.1))
@rule(lambda x, y, g: (g * jnp.log(y), g * x / y))
def x_times_the_log_of_y(x, y):
    return special.xlogy(x, y)


# Iterations that stop at a tolerance.


def _solved(a, b, tolerance=1e-6):
    """Jacobi's iteration for a matrix with a dominant diagonal."""
    d = jnp.diag(a)

    def step(state):
        x, _, k = state
        new = x + (b - a @ x) / d
        return new, jnp.max(jnp.abs(new - x)), k + 1

    start = (b / d, jnp.asarray(jnp.inf, b.dtype), 0)
    return lax.while_loop(lambda s: (s[1] > tolerance) & (s[2] < 200), step, start)[0]


def _solved_backward(a, b, g):
    y = _solved(a.T, g)
    return -jnp.outer(y, jacobi_to_a_millionth(a, b)), y


DOMINANT = (np.eye(4) * 5 + normal(4, 4, seed=9)).astype(np.float32)


@body.correct(DOMINANT, normal(4), tolerance=1e-3, order=1)
@rule(_solved_backward, recursive=True)
def jacobi_to_a_millionth(a, b):
    return _solved(a, b)


def _kepler(mean, e):
    def step(state):
        x, _, k = state
        new = mean + e * jnp.sin(x)
        return new, jnp.max(jnp.abs(new - x)), k + 1

    start = (mean, jnp.asarray(jnp.inf, mean.dtype), 0)
    return lax.while_loop(lambda s: (s[1] > 1e-6) & (s[2] < 500), step, start)[0]


def _kepler_backward(mean, e, g):
    x = keplers_equation_by_iteration(mean, e)
    dx = g / (1 - e * jnp.cos(x))
    return dx, jnp.sum(dx * jnp.sin(x))


@body.correct(positive(4), np.float32(0.4), tolerance=1e-3)
@rule(_kepler_backward, recursive=True)
def keplers_equation_by_iteration(mean, e):
    return _kepler(mean, e)
