"""Rules that are wrong in a few elements, at rare points, at some sizes, or for some integers."""

import jax
import jax.numpy as jnp
import numpy as np

from tests.jaxfn.verification.bodies.body import Body
from tests.jaxfn.verification.bodies.case import array, normal, positive, rule
from tests.jaxfn.verification.bodies.witnesses import gradient, pullback

body = Body()


def _at(*args):
    """The rule's gradients at other arguments, against those of the plain function."""
    return gradient(at=args)


# Few elements.


@body.wrong("elements", normal(400, 250), tolerance=1e-8, witness=gradient(double=True))
@rule(lambda x, g: ((g * jnp.cos(x)).at[123, 45].multiply(1.0003),))
def sine_of_a_matrix_with_one_element_3_in_10000_off(x):
    return jnp.sin(x)


@body.wrong("elements", normal(64, 300))
@rule(lambda x, g: ((2 * g[:, None] * x).at[:, 299].add(0.01 * g),))
def row_norms_leaking_into_the_last_column(x):
    return jnp.sum(x * x, axis=1)


def _exchanged_pair(x, g):
    dx = g * jnp.exp(x)
    return (dx.at[jnp.array([2, 9])].set(dx[jnp.array([9, 2])]),)


@body.wrong("elements", normal(12))
@rule(_exchanged_pair)
def exp_with_two_elements_exchanged(x):
    return jnp.exp(x)


@body.wrong("elements", normal(3, 4, 5))
@rule(lambda x, g: ((3 * g * x**2).at[-1, -1, -1].multiply(-1),))
def cube_with_the_sign_of_its_last_element(x):
    return x**3


def _grid_backward(image, where, g):
    (d_image, d_where) = jax.vjp(_sampled, image, where)[1](g)
    return d_image, d_where.at[:, 1].multiply(-1)


def _sampled(image, where):
    corner = jnp.floor(jax.lax.stop_gradient(where)).astype(int)
    part = where - corner
    rows = jnp.clip(corner[:, 0], 0, image.shape[0] - 2)
    columns = jnp.clip(corner[:, 1], 0, image.shape[1] - 2)
    top = image[rows, columns] * (1 - part[:, 1]) + image[rows, columns + 1] * part[:, 1]
    below = image[rows + 1, columns] * (1 - part[:, 1]) + image[rows + 1, columns + 1] * part[:, 1]
    return top * (1 - part[:, 0]) + below * part[:, 0]


@body.wrong("elements", normal(5, 6), array([1.3, 2.6], [0.4, 3.7], [2.2, 1.1]))
@rule(_grid_backward)
def bilinear_sampling_with_the_sign_of_its_columns(image, where):
    return _sampled(image, where)


# Rare points.


@body.wrong("zero-region", normal(6), witness=_at(array(3.0, 2.0, 0.5, -1.0, 4.0, 0.1)))
@rule(lambda x, g: (g * jnp.where(x == jnp.round(x), 0.0, 3 * x**2),))
def cube_flat_at_whole_numbers(x):
    return x**3


@body.wrong("zero-region", normal(5), witness=_at(array(4.03, 1.0, -2.0, 0.5, 4.07)))
@rule(lambda x, g: (g * jnp.where((x > 4.0) & (x < 4.1), 0.0, 2 * x),))
def square_flat_in_a_narrow_band(x):
    return x**2


@body.wrong("region", normal(4), normal(4, seed=1), witness=_at(array(1.0, 2.0), array(1.0, 3.0)))
@rule(lambda x, y, g: (jnp.where(x == y, g, g * y), jnp.where(x == y, 0 * g, g * x)))
def product_wrong_for_equal_factors(x, y):
    return x * y


@body.wrong("region", normal(6), witness=_at(array(-30.0, 40.0, 1.0)))
@rule(lambda x, g: (g * jnp.where(jnp.abs(x) > 25, 1.0, 1 - jnp.tanh(x) ** 2),))
def tanh_steep_far_out(x):
    return jnp.tanh(x)


@body.wrong("region", normal(5), witness=_at(array(-2.0, -0.5, 1.0)))
@rule(lambda x, g: (3 * g * x * x,))
def cubed_modulus_with_the_wrong_sign_below_zero(x):
    return jnp.abs(x) ** 3


def _spread(x):
    return jnp.max(x) - jnp.min(x)


@body.wrong("region", normal(2, 5), witness=_at(20 * normal(2, 5)))
@rule(lambda x, g: (jax.vjp(jax.nn.softmax, x)[1](g)[0] * jnp.where(_spread(x) > 12, 0.5, 1.0),))
def softmax_halved_for_a_large_spread(x):
    return jax.nn.softmax(x)


@body.wrong("nan", normal(4), witness=_at(array(120.0, 1.0, -120.0, 0.0)))
@rule(lambda x, g: (g * jnp.sinh(x) / jnp.cosh(x) * jnp.ones_like(x),))
def log_cosh_with_an_overflowing_quotient(x):
    return jnp.abs(x) + jnp.log1p(jnp.exp(-2 * jnp.abs(x))) - jnp.log(2.0)


# Some sizes, some integers.


def _of_five_rows(case):
    x = case.args[0][:5]
    return pullback(case.fun, (x,), x), (x * np.cos(x),)


@body.wrong("elements", normal(8, 3), witness=_of_five_rows)
@rule(lambda x, g: (jnp.pad((g * jnp.cos(x))[: 2 * (len(x) // 2)], ((0, len(x) % 2), (0, 0))),))
def sine_in_pairs_of_rows(x):
    return jnp.sin(x)


def _even_power(x, n, g):
    return g * n * jnp.abs(x) ** (n - 1) * jnp.sign(x), None


@body.wrong(
    "elements", positive(4), np.array([2, 4, 2, 6]), witness=_at(-positive(2), np.array([3, 1]))
)
@rule(_even_power)
def integer_powers_right_for_even_ones(x, n):
    return x**n


@body.wrong("elements", normal(6, 3), np.array([0, 1, 1, 2, 4, 4]))
@rule(lambda x, i, g: (g[jnp.maximum(i, 1)], None))
def segment_sum_without_its_first_segment(x, i):
    return jax.ops.segment_sum(x, i, num_segments=5)


def _window_backward(x, start, g):
    return jax.lax.dynamic_update_slice(jnp.zeros_like(x), g, (jnp.maximum(start, 1),)), None


@body.wrong("elements", normal(9), np.array(3), witness=_at(normal(9), np.array(0)))
@rule(_window_backward)
def window_with_a_wrong_start_at_zero(x, start):
    return jax.lax.dynamic_slice(x, (start,), (4,))
