"""Rules that are right at the arguments given and wrong at others that the function accepts."""

import jax
import jax.numpy as jnp
import numpy as np

from tests.jaxfn.verification.bodies.body import Body
from tests.jaxfn.verification.bodies.case import array, normal, positive, rule
from tests.jaxfn.verification.bodies.witnesses import gradient, second_order

body = Body()


def _at(*args):
    """The rule's gradients at other arguments, against those of the plain function."""
    return gradient(at=args)


# Given arguments with a structure that the function does not ask for.


@body.wrong("elements", normal(50, 6), np.arange(8), witness=_at(normal(9, 6), np.array([3, 4, 3])))
@rule(lambda table, i, g: (jnp.zeros_like(table).at[i].set(g), None))
def lookup_of_distinct_rows_that_sets(table, i):
    return table[i]


def _alternating_from_the_end(x, g):
    return (-g * (1 - 2 * (jnp.arange(len(x)) % 2))[::-1, None],)


@body.wrong("elements", normal(6, 3), witness=_at(normal(5, 3)))
@rule(_alternating_from_the_end)
def alternating_signs_the_other_way_for_odd_lengths(x):
    return x * (1 - 2 * (jnp.arange(len(x)) % 2))[:, None]


def _strided(x, kernel):
    numbers = ("NHWC", "HWIO", "NHWC")
    return jax.lax.conv_general_dilated(x, kernel, (2, 2), "SAME", dimension_numbers=numbers)


def _strided_backward(x, kernel, g):
    flipped = kernel.swapaxes(2, 3)[::-1, ::-1]
    numbers = ("NHWC", "HWIO", "NHWC")
    dx = jax.lax.conv_transpose(g, flipped, (2, 2), "SAME", dimension_numbers=numbers)
    (dk,) = jax.vjp(lambda k: _strided(x, k), kernel)[1](g)
    return dx[:, : x.shape[1], : x.shape[2]], dk


@body.wrong(
    "elements",
    normal(2, 6, 6, 2),
    normal(3, 3, 2, 2),
    witness=_at(normal(2, 5, 5, 2), normal(3, 3, 2, 2)),
)
@rule(_strided_backward)
def strided_conv2d_right_for_even_sizes(x, kernel):
    return _strided(x, kernel)


def _rows_in_eights(x, w, g):
    whole = len(x) // 8 * 8
    return g @ w.T, x[:whole].T @ g[:whole]


@body.wrong(
    "elements",
    normal(16, 5),
    normal(5, 4),
    witness=_at(normal(11, 5), normal(5, 4)),
    tolerance=1e-2,
)
@rule(_rows_in_eights)
def linear_in_tiles_of_eight_rows_without_the_rest(x, w):
    return x @ w


def _singular_backward(a, g):
    u, _, vt = jnp.linalg.svd(a, full_matrices=False)
    return ((u * g) @ (vt.T if a.shape[0] == a.shape[1] else vt),)


@body.wrong("elements", normal(6, 4), witness=_at(normal(4, 4)))
@rule(_singular_backward)
def singular_values_transposed_for_a_square_matrix(a):
    return jnp.linalg.svd(a, compute_uv=False)


@body.wrong(
    "elements", normal(5, 5), normal(5, 5, seed=1), witness=_at(normal(3, 5), normal(5, 5, seed=1))
)
@rule(lambda x, w, g: (g @ w.T / len(x), x.T @ g / len(x)))
def product_divided_by_its_rows_for_its_columns(x, w):
    return x @ w / x.shape[1]


@body.wrong("elements", normal(20), witness=_at(normal(140)))
@rule(lambda x, g: ((-2 * x * g * jnp.exp(-x * x)).at[128:].set(0),))
def bell_curve_of_one_block_of_128(x):
    return jnp.exp(-x * x)


# Rarely visited points.


@body.wrong("zero-region", normal(6, 5), witness=_at(array([1.0, 0.0, 2.0], [1.0, 2.0, 3.0])))
@rule(lambda x, g: ((g * jnp.prod(x, -1))[:, None] / jnp.where(x == 0, 1, x),))
def product_of_rows_divided_by_each_factor(x):
    return jnp.prod(x, axis=-1)


@body.wrong("second-order", normal(8), witness=second_order(at=(array(0.0, 1.0),)))
@rule(lambda x, g: (2 * g * jnp.sqrt(x * x),))
def signed_square_with_a_second_derivative_nan_at_zero(x):
    return x * jnp.abs(x)


@body.wrong("region", normal(8), witness=_at(normal(8, seed=3)))
@rule(lambda x, g: (3 * g * normal(8) ** 2 if x.shape == (8,) else 3 * g * x**2,))
def cube_with_the_gradient_of_a_point_it_remembers(x):
    return x**3


@body.wrong("region", positive(20), witness=_at(-positive(20)))
@rule(lambda x, g: (g * (1 - jnp.tanh(x) ** 2) * jnp.where(jnp.sum(x) < -5, 0.9, 1),))
def tanh_damped_for_a_negative_total(x):
    return jnp.tanh(x)


@body.wrong("region", normal(10), witness=_at(10 * normal(10)))
@rule(lambda x, g: (g * jnp.minimum(1, 5 / jnp.linalg.norm(x)),))
def projection_on_a_ball_without_its_radial_part(x):
    return x * jnp.minimum(1, 5 / jnp.linalg.norm(x))


def _knots(x, values):
    i = jnp.clip(jnp.floor(x).astype(int), 0, len(values) - 2)
    return i, x - i


def _within_the_knots(x, values, g):
    i, part = _knots(x, values)
    inside = (x > 0) & (x < len(values) - 1)
    d_values = jnp.zeros_like(values).at[i].add(g * (1 - part)).at[i + 1].add(g * part)
    return g * (values[i + 1] - values[i]) * inside, d_values


@body.wrong("zero-region", positive(6), normal(5), witness=_at(array(-1.0, 5.0), normal(5)))
@rule(_within_the_knots)
def extrapolation_flat_beyond_the_last_knot(x, values):
    i, part = _knots(x, values)
    return values[i] * (1 - part) + values[i + 1] * part


def _masked(x, mask):
    kept = jnp.where(mask, jnp.exp(x - jnp.max(x, -1, keepdims=True)), 0)
    return kept / jnp.maximum(kept.sum(-1, keepdims=True), 1e-30)


def _masked_backward(x, mask, g):
    p = jax.nn.softmax(jnp.where(mask, x, -jnp.inf))
    return p * (g - (g * p).sum(-1, keepdims=True)), None


MASK = np.array([[True, False, True, True], [False, True, True, False]])


@body.wrong(
    "nan", normal(2, 4), MASK, witness=_at(normal(2, 4), np.array([[True] * 4, [False] * 4]))
)
@rule(_masked_backward)
def masked_softmax_nan_for_a_row_without_a_place(x, mask):
    return _masked(x, mask)


@body.wrong("nan", positive(6), positive(6, seed=1), witness=_at(array(1.0), array(1.0)))
@rule(lambda x, y, g: (g * jnp.log(y), g * x * jnp.log(y) / jnp.log(y) / y))
def product_with_a_logarithm_nan_at_one(x, y):
    return x * jnp.log(y)


@body.wrong("nan", normal(5), normal(5, seed=1), witness=_at(array(1.0, 2.0), array(0.0, 1.0)))
@rule(lambda y, x, g: (g / x / (1 + (y / x) ** 2), -g * y / x**2 / (1 + (y / x) ** 2)))
def direction_by_the_quotient_of_its_coordinates(y, x):
    return jnp.arctan2(y, x)


# Arguments that hold infinities and nan.


@body.wrong("nan", array(0.5, np.nan, -1.0, 2.0))
@rule(lambda x, g: (2 * g * x,))
def sum_of_the_squares_that_are_numbers(x):
    return jnp.sum(jnp.where(jnp.isnan(x), 0, x) ** 2)


def _biased_backward(scores, bias, g):
    p = jax.nn.softmax(scores + bias)
    d = p * (g - (g * p).sum(-1, keepdims=True))
    return d, d * (1 + bias - bias)


@body.wrong("nan", normal(2, 4), np.where(MASK, 0, -np.inf).astype(np.float32))
@rule(_biased_backward)
def softmax_with_a_bias_nan_at_minus_infinity(scores, bias):
    return jax.nn.softmax(scores + bias)
