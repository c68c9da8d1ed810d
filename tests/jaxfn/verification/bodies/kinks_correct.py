"""Correct rules at kinks, jumps, ties and at the edge of the domain."""

import functools

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

KINKED = array(-1.5, 0.0, 0.7, 0.0, 2.0, -0.0)
AWAY = differences(at=(array(-2.7, -1.3, -0.4, 0.3, 0.6, 1.7, 3.6),))


@functools.partial(jax.custom_vjp, nondiff_argnums=(1,))
def _relu(x, at_zero):
    return jnp.maximum(x, 0)


_relu.defvjp(
    lambda x, at_zero: (_relu(x, at_zero), x),
    lambda at_zero, x, g: (g * jnp.where(x > 0, 1, jnp.where(x == 0, at_zero, 0)).astype(g.dtype),),
)


@body.correct(KINKED, witness=AWAY)
def relu_zero_at_zero(x):
    return _relu(x, 0)


@body.correct(KINKED, witness=AWAY)
def relu_half_at_zero(x):
    return _relu(x, 0.5)


@body.correct(KINKED, witness=AWAY)
def relu_one_at_zero(x):
    return _relu(x, 1)


@body.correct(np.zeros((3, 4), np.float32), witness=AWAY)
def relu_of_zeros_only(x):
    return _relu(x, 0)


@body.correct(KINKED, witness=AWAY)
@rule(lambda x, g: (g * jnp.sign(x),))
def absolute_value_zero_at_zero(x):
    return jnp.abs(x)


@body.correct(KINKED, witness=AWAY)
@rule(lambda x, g: (jnp.where(x >= 0, g, -g),))
def absolute_value_one_at_zero(x):
    return jnp.abs(x)


@body.correct(KINKED, witness=AWAY)
@rule(lambda x, g: (jnp.where(x > 0, g, 0.1 * g),))
def leaky_relu_at_zero(x):
    return jnp.where(x > 0, x, 0.1 * x)


@body.correct(KINKED, witness=AWAY)
@rule(lambda x, g: (g * jnp.where(x > 0, 1, 1.5 * jnp.exp(x)),))
def elu_with_a_kink(x):
    return jnp.where(x > 0, x, 1.5 * jnp.expm1(x))


@body.correct(array(-1, 1, 0.3, -2, 2), witness=AWAY)
@rule(lambda x, g: (g * (jnp.abs(x) <= 1),))
def clip_at_its_bounds(x):
    return jnp.clip(x, -1, 1)


@body.correct(array(-1, 1, 0.3, -2, 2), witness=AWAY)
@rule(lambda x, g: (g * (jnp.abs(x) < 1),))
def clip_at_its_bounds_zero_convention(x):
    return jnp.clip(x, -1, 1)


@body.correct(array(-1, 1, 0.3, -2, 0), witness=AWAY)
@rule(lambda x, g: (g * jnp.clip(x, -1, 1),))
def huber_at_its_bounds(x):
    return jnp.where(jnp.abs(x) <= 1, 0.5 * x**2, jnp.abs(x) - 0.5)


@body.correct(
    array(1, -1, 1, 0.5),
    array(1, -1, -1, 1),
    witness=differences(at=(array(0.3, -0.7, 0.2), array(1, -1, -1))),
)
@rule(
    lambda score, label, g: (
        jnp.where(score * label < 1, -g * label, 0),
        jnp.where(score * label < 1, -g * score, 0),
    )
)
def hinge_at_the_margin(score, label):
    return jnp.maximum(0, 1 - score * label)


@body.correct(array(1, 2, 3), array(1, 3, 2), witness=differences(at=(array(1, 2), array(2, 1))))
@rule(lambda x, y, g: (jnp.where(x >= y, g, 0), jnp.where(x >= y, 0, g)))
def maximum_first_at_a_tie(x, y):
    return jnp.maximum(x, y)


@body.correct(array(1, 2, 3), array(1, 3, 2), witness=differences(at=(array(1, 2), array(2, 1))))
@rule(
    lambda x, y, g: (
        g * jnp.where(x == y, 0.5, (x < y) * 1.0),
        g * jnp.where(x == y, 0.5, (y < x) * 1.0),
    )
)
def minimum_shared_at_a_tie(x, y):
    return jnp.minimum(x, y)


@body.correct(array(1, 3, 3, 2), witness=at_one(lambda x: (array(0, 1, 0, 0),)))
@rule(lambda x, g: (g * jax.nn.one_hot(jnp.argmax(x), len(x), dtype=x.dtype),))
def largest_element_first_at_a_tie(x):
    return jnp.max(x)


@body.correct(array(1, 3, 3, 2), witness=at_one(lambda x: (array(0, 0.5, 0.5, 0),)))
@rule(lambda x, g: (g * (x == jnp.max(x)) / jnp.sum(x == jnp.max(x)),))
def largest_element_shared_at_a_tie(x):
    return jnp.max(x)


@body.correct(array([2, 2, 1], [0, 0, 0]), witness=differences(at=(normal(2, 5),)))
@rule(lambda x, g: (jnp.take_along_axis(g, jnp.argsort(jnp.argsort(x, -1), -1), -1),))
def sort_with_ties(x):
    return jnp.sort(x, axis=-1)


@body.correct(array(1, 2, 2, 5, 0), witness=differences(at=(normal(5),)))
@rule(lambda x, g: (g * jax.nn.one_hot(jnp.argsort(x)[len(x) // 2], len(x), dtype=x.dtype),))
def median_with_ties(x):
    return jnp.sort(x)[len(x) // 2]


def _top2_backward(x, g):
    _, indices = lax.top_k(x, 2)
    return (jnp.zeros_like(x).at[indices].add(g[0]),)


@body.correct(array(4, 1, 4, 4), witness=differences(at=(normal(6),)))
@rule(_top2_backward)
def top_two_with_ties_and_indices(x):
    return lax.top_k(x, 2)


def _windows(x):
    rows, columns = x.shape
    return x.reshape(rows // 2, 2, columns // 2, 2).transpose(0, 2, 1, 3).reshape(-1, 4)


def _pool(x):
    return _windows(x).max(-1).reshape(x.shape[0] // 2, -1)


def _scattered(x, windows):
    rows, columns = x.shape
    return (
        windows.reshape(rows // 2, columns // 2, 2, 2).transpose(0, 2, 1, 3).reshape(rows, columns)
    )


def _first_maximum(x, g):
    chosen = jax.nn.one_hot(jnp.argmax(_windows(x), -1), 4, dtype=x.dtype)
    return (_scattered(x, chosen * g.reshape(-1, 1)),)


def _shared_maximum(x, g):
    ties = _windows(x) == _windows(x).max(-1, keepdims=True)
    return (_scattered(x, ties / ties.sum(-1, keepdims=True) * g.reshape(-1, 1)),)


TIED_IMAGE = np.floor(2 * normal(4, 6)).astype(np.float32)


@body.correct(TIED_IMAGE, witness=differences(at=(normal(4, 6),)))
@rule(_first_maximum)
def max_pool_first_at_ties(x):
    return _pool(x)


@body.correct(TIED_IMAGE, witness=differences(at=(normal(4, 6),)))
@rule(_shared_maximum)
def max_pool_shared_at_ties(x):
    return _pool(x)


@body.correct(np.zeros(4, np.float32), witness=differences(at=(normal(4),)))
@rule(lambda x, g: (g * x / jnp.maximum(jnp.linalg.norm(x), 1e-30),))
def norm_at_zero(x):
    return jnp.linalg.norm(x)


@body.correct(np.zeros((2, 3), np.float32), witness=differences(at=(normal(2, 3),)))
@rule(lambda x, g: (g[:, None] * jnp.sign(x),))
def sum_of_absolute_values_at_zero(x):
    return jnp.sum(jnp.abs(x), -1)


@body.correct(array(0, 0.5, 4), witness=differences(at=(positive(4),)))
@rule(lambda x, g: (1.5 * g * jnp.sqrt(x),))
def three_halves_power_at_zero(x):
    return x**1.5


@body.correct(array(1e-6, 1e-3, 2), witness=differences(at=(positive(4),)))
@rule(lambda x, g: (g / (2 * jnp.sqrt(x)),))
def square_root_near_zero(x):
    return jnp.sqrt(x)


@body.correct(array(1e-20, 1e-5, 1), witness=differences(at=(positive(4),)))
@rule(lambda x, g: (g / x,))
def log_near_zero(x):
    return jnp.log(x)


@body.correct(positive(5))
@rule(lambda x, g: (g / x,))
def log_of_a_positive_number(x):
    return jnp.log(x)


@body.correct(array(-0.999, 0, 0.9999), witness=differences(at=(0.3 * normal(4),)))
@rule(lambda x, g: (g / jnp.sqrt((1 - x) * (1 + x)),))
def arcsine_near_its_ends(x):
    return jnp.arcsin(x)


@body.correct(1 + positive(4))
@rule(lambda x, g: (g / jnp.sqrt(x * x - 1),))
def arcosh_above_one(x):
    return jnp.arccosh(x)


@body.correct(array(0.2, 0.5, 0.9))
@rule(lambda p, g: (g / (p * (1 - p)),))
def logit_of_a_probability(p):
    return jnp.log(p) - jnp.log1p(-p)


@body.correct(positive(3), normal(3))
@rule(lambda x, y, g: (g * y * x ** (y - 1), g * x**y * jnp.log(x)))
def power_of_a_positive_base(x, y):
    return x**y


@body.correct(normal(5), witness=at_one(lambda x: (np.zeros(5, np.float32),)))
@rule(lambda x, g: (jnp.zeros_like(x),))
def floor_with_a_zero_gradient(x):
    return jnp.floor(x)


@body.correct(array(-1, 0, 2), witness=at_one(lambda x: (np.zeros(3, np.float32),)))
@rule(lambda x, g: (None,))
def sign_with_no_gradient(x):
    return jnp.sign(x)


@body.correct(array(0.2, 1.7, -2.4), witness=differences())
@rule(lambda x, g: (g,))
def fractional_part(x):
    return x - jnp.floor(x)


def _interpolate(x):
    return jnp.interp(x, array(0, 1, 2, 4), array(1, 3, 2, 2.5))


def _interpolate_backward(x, g):
    slopes = array(0, 2, -1, 0.25, 0).astype(x.dtype)
    return (g * jnp.take(slopes, jnp.searchsorted(array(0, 1, 2, 4), x, side="right")),)


@body.correct(array(0.5, 1, 2, 3, -1, 0), witness=differences(at=(array(0.3, 1.4, 3.1, -2),)))
@rule(_interpolate_backward)
def piecewise_linear_at_its_knots(x):
    return _interpolate(x)
