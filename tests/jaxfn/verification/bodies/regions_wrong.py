"""Rules that are right near a standard normal and wrong elsewhere, or nan where nothing is nan."""

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from tests.jaxfn.verification.bodies.body import Body
from tests.jaxfn.verification.bodies.case import array, normal, positive, rule
from tests.jaxfn.verification.bodies.witnesses import (
    gradient,
)

body = Body()

LARGE = gradient(at=(array(-200, -20, -5, 5, 20, 200),))


@body.wrong("region", normal(8))
@rule(lambda x, g: (g,))
def relu_that_ignores_the_mask(x):
    return jax.nn.relu(x)


@body.wrong("zero-region", normal(8))
@rule(lambda x, g: (g * (x > 0),))
def leaky_relu_without_its_leak(x):
    return jnp.where(x > 0, x, 0.01 * x)


@body.wrong("region", 0.5 * normal(6), witness=LARGE)
@rule(lambda x, g: (g * (x > 0),))
def relu6_open_above(x):
    return jnp.clip(x, 0, 6)


@body.wrong("region", 0.5 * normal(6), witness=LARGE)
@rule(lambda x, g: (g * (2 * x + 3) / 6,))
def hard_swish_without_its_branches(x):
    return x * jnp.clip(x + 3, 0, 6) / 6


@body.wrong("region", 0.3 * normal(6), witness=LARGE)
@rule(lambda x, g: (g * x,))
def huber_quadratic_everywhere(x):
    return jnp.where(jnp.abs(x) <= 1, 0.5 * x**2, jnp.abs(x) - 0.5)


@body.wrong("region", normal(6), witness=gradient(at=(array(-3, -1.5, -0.3, 0.4, 1.5, 3),)))
@rule(lambda x, g: (g * jnp.where(jnp.abs(x) <= 1, x, 2 * jnp.sign(x)),))
def huber_with_a_wrong_slope_outside(x):
    return jnp.where(jnp.abs(x) <= 1, 0.5 * x**2, jnp.abs(x) - 0.5)


@body.wrong("region", 0.3 * normal(6), witness=LARGE)
@rule(lambda x, g: (g,))
def clip_straight_through_outside(x):
    return jnp.clip(x, -2, 2)


@body.wrong("zero-region", normal(6), witness=gradient(at=(array(-3.5, -3.2, 3.1, 3.3),)))
@rule(lambda x, g: (g * jnp.where(jnp.abs(x) < 3, 1 - jnp.tanh(x) ** 2, 0),))
def tanh_flat_beyond_three(x):
    return jnp.tanh(x)


@body.wrong("region", normal(6), witness=gradient(at=(array(5, 12, 13),)))
@rule(lambda x, g: (g * jnp.exp(jnp.minimum(x, 10)),))
def exp_with_a_clamped_gradient(x):
    return jnp.exp(x)


def _taylor_cosine(x):
    term, total = jnp.ones_like(x), jnp.ones_like(x)
    for k in range(1, 12):
        term = -term * x * x / ((2 * k - 1) * (2 * k))
        total += term
    return total


@body.wrong("region", normal(6), witness=gradient(at=(array(1, 9, 12),)))
@rule(lambda x, g: (g * _taylor_cosine(x),))
def sine_with_a_taylor_series(x):
    return jnp.sin(x)


@body.wrong("region", normal(7))
@rule(lambda x, g: (g / (1 + x) ** 2,))
def softsign_right_for_positive_numbers(x):
    return x / (1 + jnp.abs(x))


@body.wrong("region", positive(5), witness=gradient(at=(array(-2, -1, 1, 2),)))
@rule(lambda x, g: (g,))
def absolute_value_of_positive_numbers(x):
    return jnp.abs(x)


@body.wrong("region", normal(5), witness=gradient(at=(array(-12, 3, 12),)))
@rule(lambda x, g: (g * jnp.where(x > 10, 0.9, 1) * 2 * x,))
def square_with_a_rare_branch(x):
    return x**2


@body.wrong("region", normal(6), witness=gradient(at=(array(-1, 0, 1),)))
@rule(lambda x, g: (jnp.where(x == 0, 0, g * jnp.cos(x)),))
def sine_without_a_slope_at_zero(x):
    return jnp.sin(x)


@body.wrong("region", normal(6), witness=gradient(at=(array(-1, -0.0, 1),)))
@rule(lambda x, g: (jnp.where(jnp.signbit(x) & (x == 0), -g, g) * jnp.exp(x),))
def exp_of_the_wrong_sign_at_negative_zero(x):
    return jnp.exp(x)


@body.wrong("region", normal(5), normal(5, seed=1), witness=gradient(at=(array(1, 2), array(1, 3))))
@rule(lambda x, y, g: (g * (x >= y), g * (y >= x)))
def maximum_twice_at_a_tie(x, y):
    return jnp.maximum(x, y)


@body.wrong("region", normal(4), positive(4), witness=gradient(at=(array(2, -2), array(-1, 3))))
@rule(lambda x, y, g: (g * y / (x**2 + y**2), g * -jnp.abs(x) / (x**2 + y**2)))
def arctangent_of_two_with_the_wrong_quadrant(x, y):
    return jnp.arctan2(x, y)


@body.wrong("region", array(0.2, 0.4), witness=gradient(at=(array(0.2, -0.4),)))
@rule(lambda x, g: (g * lax.cond(jnp.all(x > 0), jnp.cos, lambda t: 0.5 * jnp.cos(t), x),))
def sine_with_one_wrong_branch_of_a_cond(x):
    return jnp.sin(x)


@body.wrong("region", normal(3, 4), witness=gradient(at=(1e4 * normal(3, 4),)))
@rule(
    lambda x, g: (jax.vjp(lambda t: t / jnp.sqrt(1 + jnp.minimum(jnp.sum(t**2), 1e6)), x)[1](g)[0],)
)
def normalised_with_a_saturated_denominator(x):
    return x / jnp.sqrt(1 + jnp.sum(x**2))


@body.wrong("zero-region", positive(5), witness=gradient(at=(array(1e-9, 1e-7, 3e-7),)))
@rule(lambda x, g: (jnp.where(x > 1e-6, g / jnp.maximum(x, 1e-6), 0),))
def log_flat_below_a_millionth(x):
    return jnp.log(x)


# Nan or infinite where the derivative is finite.


@body.wrong("nan", normal(5), witness=LARGE)
@rule(lambda x, g: (g * jnp.exp(x) / (1 + jnp.exp(x)),))
def softplus_with_an_overflowing_sigmoid(x):
    return jax.nn.softplus(x)


@body.wrong("nan", normal(5), witness=LARGE)
@rule(lambda x, g: (g * jnp.exp(-x) / (1 + jnp.exp(-x)) ** 2,))
def sigmoid_with_an_overflowing_gradient(x):
    return jax.nn.sigmoid(x)


@body.wrong("nan", normal(5), witness=gradient(at=(array(1, 100, 101),)))
@rule(lambda x, g: (g * jnp.exp(x) / jnp.sum(jnp.exp(x)),))
def logsumexp_with_an_overflowing_softmax(x):
    return jax.nn.logsumexp(x)


@body.wrong("nan", normal(3, 4), witness=gradient(at=(200 * normal(3, 4),)))
@rule(
    lambda x, g: (
        g - jnp.exp(x) * jnp.sum(g, -1, keepdims=True) / jnp.sum(jnp.exp(x), -1, keepdims=True),
    )
)
def log_softmax_with_an_overflowing_softmax(x):
    return jax.nn.log_softmax(x)


@body.wrong("nan", normal(4), normal(4, seed=1), witness=gradient(at=(array(99), array(100))))
@rule(
    lambda a, b, g: (
        g * jnp.exp(a) / (jnp.exp(a) + jnp.exp(b)),
        g * jnp.exp(b) / (jnp.exp(a) + jnp.exp(b)),
    )
)
def logaddexp_with_overflow(a, b):
    return jnp.logaddexp(a, b)


@body.wrong("nan", positive(5), witness=gradient(at=(array(0, 1),)))
@rule(lambda x, g: (g * 2 * x**2 / x,))
def square_divided_by_its_argument(x):
    return x**2


@body.wrong("nan", positive(5), witness=gradient(at=(array(0, 1),), plain=jnp.sinc))
@rule(lambda x, g: (g * (jnp.cos(jnp.pi * x) - jnp.sinc(x)) / x,))
def sinc_nan_at_zero(x):
    return jnp.sinc(x)


def _safe_norm(x):
    square = jnp.sum(x * x, -1)
    positive_square = jnp.where(square > 0, square, 1)
    return jnp.where(square > 0, jnp.sqrt(positive_square), 0)


@body.wrong("nan", normal(3, 4), witness=gradient(at=(np.zeros((3, 4), np.float32),)))
@rule(lambda x, g: (g[:, None] * x / _safe_norm(x)[:, None],))
def safe_norm_nan_at_zero(x):
    return _safe_norm(x)


@body.wrong("nan", positive(4), witness=gradient(at=(array(-1, 0, 1),)))
@rule(lambda x, g: (g * (x > 0) / (2 * jnp.sqrt(x)),))
def clamped_root_masked_by_multiplication(x):
    return jnp.where(x > 0, jnp.sqrt(jnp.where(x > 0, x, 1)), 0)


@body.wrong("nan", normal(4), witness=gradient(at=(array(-2, 0.3, 2),)))
@rule(lambda x, g: (g / jnp.sqrt(x**2 - 1),))
def arsinh_with_the_gradient_of_arcosh(x):
    return jnp.arcsinh(x)


@body.wrong("nan", positive(4), witness=gradient(at=(array(1e-30, 1e-25),)))
@rule(lambda x, g: (g / x**2 * x,))
def log_whose_square_underflows(x):
    return jnp.log(x)


@body.wrong("nan", positive(4), normal(4), witness=gradient(at=(array(0, 2), array(2, 2))))
@rule(lambda x, y, g: (g * y * x**y / x, g * x**y * jnp.log(x)))
def power_nan_at_a_zero_base(x, y):
    return x**y
