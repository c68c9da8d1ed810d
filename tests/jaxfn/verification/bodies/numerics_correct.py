"""Correct rules that are stiff, huge, tiny, chaotic, or better than autodiff."""

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from tests.jaxfn.verification.bodies.body import Body
from tests.jaxfn.verification.bodies.case import array, normal, positive, rule
from tests.jaxfn.verification.bodies.witnesses import (
    at_one,
    differences,
)

body = Body()


# Stiff, huge, tiny, chaotic.


@body.correct(0.5 * normal(5), witness=differences(step=1e-7))
@rule(lambda x, g: (50 * g * jnp.exp(50 * x),))
def very_steep_exponential(x):
    return jnp.exp(50 * x)


@body.correct(normal(6), witness=differences(step=1e-8), tolerance=1e-3)
@rule(lambda x, g: (1000 * g * jnp.cos(1000 * x),))
def fast_sine(x):
    return jnp.sin(1000 * x)


@body.correct(
    array(-30, -9, 0.1, 12, 80), witness=at_one(lambda x: (1 / np.cosh(np.float64(x)) ** 2,))
)
@rule(lambda x, g: (g * 4 * jnp.exp(-2 * jnp.abs(x)) / (1 + jnp.exp(-2 * jnp.abs(x))) ** 2,))
def saturated_tanh(x):
    return jnp.tanh(x)


@body.correct(1e-30 * normal(4), witness=differences(at=(normal(4),)))
@rule(lambda x, g: (3 * g,))
def tiny_numbers_times_three(x):
    return 3 * x


@body.correct(1e30 * normal(4), witness=differences(at=(normal(4),)))
@rule(lambda x, g: (g * jnp.where(jnp.abs(x) < 1, jnp.cos(x), 1),))
def huge_numbers_linear_far_out(x):
    return jnp.where(jnp.abs(x) < 1, jnp.sin(x), x)


@body.correct(1e-12 * positive(4), 1e12 * positive(4))
@rule(lambda x, y, g: (g / y, -g * x / y**2))
def quotient_of_tiny_by_huge(x, y):
    return x / y


def _logistic(x):
    return lax.scan(lambda c, _: (3.9 * c * (1 - c), None), x, None, length=25)[0]


def _logistic_backward(x, g):
    def step(carry, _):
        c, slope = carry
        return (3.9 * c * (1 - c), slope * 3.9 * (1 - 2 * c)), None

    return (g * lax.scan(step, (x, jnp.ones_like(x)), None, length=25)[0][1],)


@body.correct(array(0.2, 0.37, 0.61), witness=differences(step=1e-10), tolerance=1e-3)
@rule(_logistic_backward)
def chaotic_logistic_map(x):
    return _logistic(x)


@body.correct(array(0.5, -1.2), witness=differences(), tolerance=1e-3)
@rule(lambda x, g: (g * jnp.sin(x) * jnp.exp(-jnp.cos(x) / 0.05) / 0.05,))
def narrow_boltzmann_factor(x):
    return jnp.exp(-jnp.cos(x) / 0.05)


@body.correct(array(0, 0, 0), witness=at_one(lambda x: (np.zeros(3),)))
@rule(lambda x, g: (2 * g * x,))
def square_at_its_minimum(x):
    return jnp.sum(x**2)


@body.correct(array(0, 0), array(0, 0), witness=differences(at=(normal(2), normal(2, seed=1))))
@rule(lambda x, y, g: (2 * g * x, -2 * g * y))
def saddle_point(x, y):
    return x**2 - y**2


@body.correct(array(0, 1e-3, -1e-3), witness=differences(at=(normal(3),)))
@rule(lambda x, g: (5 * g * x**4,))
def fifth_power_near_zero(x):
    return x**5


# Better than autodiff of the plain formula.


@body.correct(array(-200, -5, 0, 100, 500), witness=differences(at=(normal(5),)))
@rule(lambda x, g: (g * jax.nn.sigmoid(x),))
def softplus_where_the_formula_overflows(x):
    return jnp.log1p(jnp.exp(x))


@body.correct(
    array(-150, 3, 90, 120),
    witness=differences(at=(normal(4),)),
    reference=lambda x: jnp.log(jnp.sum(jnp.exp(x))),
)
@rule(lambda x, g: (g * jax.nn.softmax(x),))
def logsumexp_against_a_naive_reference(x):
    return jax.nn.logsumexp(x)


def _plain_sinc(x):
    return jnp.where(x == 0, 1, jnp.sin(x) / x)


def _sinc_backward(x, g):
    far = jnp.where(jnp.abs(x) < 1e-2, 1, x)
    series = -x / 3 + x**3 / 30 - x**5 / 840
    slope = (jnp.cos(far) - jnp.sin(far) / far) / far
    return (g * jnp.where(jnp.abs(x) < 1e-2, series, slope),)


@body.correct(array(0, 1e-3, 0.5, 2), witness=differences(at=(array(0.004, 0.5, 2),)))
@rule(_sinc_backward)
def sinc_at_zero(x):
    return _plain_sinc(x)


def _unit(x):
    norm = jnp.linalg.norm(x)
    return jnp.where(norm > 0, x / jnp.where(norm > 0, norm, 1), 0)


def _unit_backward(x, g):
    norm = jnp.linalg.norm(x)
    safe = jnp.where(norm > 0, norm, 1)
    unit = x / safe
    return (jnp.where(norm > 0, (g - unit * jnp.dot(unit, g)) / safe, 0),)


@body.correct(np.zeros(3, np.float32), witness=differences(at=(normal(3),)))
@rule(_unit_backward)
def direction_of_a_zero_vector(x):
    return _unit(x)


@body.correct(array(1e-8, 1e-4, 0.3), witness=differences(at=(positive(3),)))
@rule(lambda x, g: (g * jnp.exp(x),))
def expm1_written_naively(x):
    return jnp.exp(x) - 1


@body.correct(array(20, 30, -30, 1), witness=differences(at=(normal(4),)))
@rule(lambda x, g: (g * jax.nn.sigmoid(-x),))
def log_sigmoid_far_out(x):
    return jnp.log(jax.nn.sigmoid(x))
