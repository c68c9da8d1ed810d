"""Correct rules of which a checker's other reference, point or precision may say otherwise."""

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from tests.jaxfn.verification.bodies.body import Body
from tests.jaxfn.verification.bodies.case import array, normal, rule
from tests.jaxfn.verification.bodies.witnesses import at_one, differences

body = Body()


def _hypot_backward(x, y, g):
    r = jnp.hypot(x, y)
    r = jnp.where(r == 0, 1, r)
    return g * x / r, g * y / r


@body.correct(
    array(3, 0, 0), array(4, 0, 1), witness=differences(at=(normal(3), normal(3, seed=1)))
)
@rule(_hypot_backward)
def hypotenuse_at_the_origin(x, y):
    return jnp.hypot(x, y)


def _modulus_backward(z, g):
    r = jnp.abs(z)
    return (jnp.where(r == 0, 0, g * jnp.conj(z) / jnp.where(r == 0, 1, r)),)


@body.correct(
    array(0, 1 + 1j, -2j, dtype=np.complex64),
    witness=differences(at=(normal(3, dtype=np.complex64),)),
)
@rule(_modulus_backward)
def complex_modulus_zero_at_zero(z):
    return jnp.abs(z)


@body.correct(
    array(-5, 0, 2),
    witness=at_one(lambda x: (array(1.0507 * 1.67326 * np.exp(-5), 1.0507 * 1.67326, 1.0507),)),
)
@rule(lambda x, g: (g * 1.0507 * jnp.where(x > 0, 1, 1.67326 * jnp.exp(jnp.minimum(x, 0))),))
def selu_with_the_slope_of_its_left(x):
    return 1.0507 * jnp.where(x > 0, x, 1.67326 * jnp.expm1(jnp.minimum(x, 0)))


def _triangle_integral(x):
    return jnp.where(jnp.abs(x) < 1, x - jnp.sign(x) * x * x / 2, 0.5 * jnp.sign(x))


@body.correct(
    array(-1.5, -0.01, 0, 1),
    witness=differences(
        at=(array(-1.5, -0.3, 0.02, 0.9),),
        plain=_triangle_integral,
    ),
    surrogate=_triangle_integral,
)
@rule(lambda x, g: (g * jnp.maximum(0, 1 - jnp.abs(x)),))
def spike_with_a_triangular_surrogate(x):
    return (x > 0).astype(x.dtype)


def _bounded_backward(x, weight, g):
    g = g / jnp.maximum(1, jnp.linalg.norm(g) / 5)
    return g @ weight.T, x.T @ g


@body.correct(
    normal(3, 4),
    normal(4, 2),
    witness=differences(),
    linear_in_cotangent=False,
)
@rule(_bounded_backward)
def matmul_with_a_bounded_cotangent(x, weight):
    return x @ weight


def _sinh_on_the_host(x):
    shape = jax.ShapeDtypeStruct(x.shape, x.dtype)
    return jax.pure_callback(lambda v: np.sinh(np.asarray(v)), shape, x, vmap_method="expand_dims")


@body.correct(normal(4), reference=jnp.sinh, witness=differences(plain=jnp.sinh))
@rule(lambda x, g: (g * jnp.cosh(x),))
def sinh_on_the_host_with_a_reference(x):
    return _sinh_on_the_host(x)


def _swish_backward(x, beta, g):
    s = jax.nn.sigmoid(beta * x)
    return g * (s + beta * x * s * (1 - s)), jnp.sum(g * x * x * s * (1 - s))


@body.correct(array(-3, 0, 2), array(1.5))
@rule(_swish_backward)
def swish_with_its_rate(x, beta):
    return x * jax.nn.sigmoid(beta * x)


ROOT_HALF, DENSITY = np.float32(0.70710678), np.float32(0.3989423)


@body.correct(array(-3, 0, 2), tolerance=1e-6)
@rule(lambda x, g: (g * (0.5 * lax.erfc(-x * ROOT_HALF) + x * jnp.exp(-0.5 * x * x) * DENSITY),))
def gelu_with_float32_constants(x):
    return x * 0.5 * lax.erfc(-x * ROOT_HALF)


@body.correct(array(0.5, 2, 10), array(2, -1.5, 0.3))
@rule(lambda x, y, g: (g * y * x ** (y - 1), g * x**y * jnp.log(x)))
def power_with_a_textbook_rule(x, y):
    return x**y


def _turned(q, v):
    return v + 2 * jnp.cross(q[1:], jnp.cross(q[1:], v) + q[0] * v)


def _turned_backward(q, v, g):
    w, u = q[0], q[1:]
    turned = jnp.cross(u, v)
    axis = 2 * jnp.cross(turned + w * v, g) + 2 * jnp.cross(v, jnp.cross(g, u))
    around = g + 2 * w * jnp.cross(g, u) + 2 * jnp.cross(jnp.cross(g, u), u)
    return jnp.concatenate([2 * jnp.dot(g, turned)[None], axis]), around


@body.correct(array(0.5, 0.5, -0.5, 0.5), array(1, 2, 3))
@rule(_turned_backward)
def rotation_by_a_unit_quaternion(q, v):
    return _turned(q, v)


def _arc_backward(x, y, g):
    g = -g / jnp.sqrt(1 - jnp.dot(x, y) ** 2)
    return g * y, g * x


@body.correct(array(0.6, 0.8, 0), array(0, 0.6, 0.8))
@rule(_arc_backward)
def arc_between_unit_vectors(x, y):
    return jnp.arccos(jnp.dot(x, y))


def _corners(image, rows, columns):
    i = jnp.clip(jnp.floor(rows).astype(jnp.int32), 0, image.shape[0] - 2)
    j = jnp.clip(jnp.floor(columns).astype(jnp.int32), 0, image.shape[1] - 2)
    return i, j, rows - i, columns - j


def _sampled_backward(image, rows, columns, g):
    i, j, a, b = _corners(image, rows, columns)
    top, bottom = image[i, j + 1] - image[i, j], image[i + 1, j + 1] - image[i + 1, j]
    left, right = image[i + 1, j] - image[i, j], image[i + 1, j + 1] - image[i, j + 1]
    spread = jnp.zeros_like(image).at[i, j].add(g * (1 - a) * (1 - b))
    spread = spread.at[i, j + 1].add(g * (1 - a) * b).at[i + 1, j].add(g * a * (1 - b))
    spread = spread.at[i + 1, j + 1].add(g * a * b)
    return spread, g * ((1 - b) * left + b * right), g * ((1 - a) * top + a * bottom)


@body.correct(
    normal(4, 5),
    array(0.5, 1, 2.2),
    array(0, 3, 1.5),
    witness=differences(at=(normal(4, 5), array(0.5, 1.3, 2.2), array(0.1, 2.9, 1.5))),
)
@rule(_sampled_backward)
def bilinear_samples_of_an_image(image, rows, columns):
    i, j, a, b = _corners(image, rows, columns)
    above = (1 - b) * image[i, j] + b * image[i, j + 1]
    below = (1 - b) * image[i + 1, j] + b * image[i + 1, j + 1]
    return (1 - a) * above + a * below


def _normalised(x):
    mean, variance = x.mean(0), x.var(0)
    return (x - mean) / jnp.sqrt(variance + 1e-3), mean, variance


def _normalised_backward(x, g):
    g, mean_bar, variance_bar = g
    y, _, variance = _normalised(x)
    n = x.shape[0]
    inside = (g - g.mean(0) - y * (g * y).mean(0)) / jnp.sqrt(variance + 1e-3)
    return (inside + mean_bar / n + variance_bar * 2 * (x - x.mean(0)) / n,)


@body.correct(normal(6, 3))
@rule(_normalised_backward)
def batch_norm_and_its_statistics(x):
    return _normalised(x)


def _scaled_int8(q, scale, x):
    return x @ q.astype(x.dtype) * scale


def _scaled_int8_backward(q, scale, x, g):
    weight = q.astype(x.dtype)
    return None, jnp.sum(g * (x @ weight), 0), (g * scale) @ weight.T


@body.correct(np.arange(-60, 60, 10, dtype=np.int8).reshape(4, 3), array(0.1, 0.5, 2), normal(2, 4))
@rule(_scaled_int8_backward)
def matmul_by_scaled_int8(q, scale, x):
    return _scaled_int8(q, scale, x)


@jax.custom_vjp
def _where_needed(x, weight):
    return x @ weight


def _where_needed_forward(x, weight):
    saved = x.value if weight.perturbed else None, weight.value if x.perturbed else None
    return x.value @ weight.value, saved


def _where_needed_backward(saved, g):
    x, weight = saved
    if isinstance(g, jax.custom_derivatives.SymbolicZero):
        return None, None
    return None if weight is None else g @ weight.T, None if x is None else x.T @ g


_where_needed.defvjp(_where_needed_forward, _where_needed_backward, symbolic_zeros=True)


@body.correct(normal(3, 4), normal(4, 2))
def matmul_that_saves_what_is_needed(x, weight):
    return _where_needed(x, weight)


def _polar(a):
    u, _, vt = jnp.linalg.svd(a)
    return u @ vt


def _polar_backward(a, g):
    u, s, vt = jnp.linalg.svd(a)
    m = u.T @ g @ vt.T
    return (u @ ((m - m.T) / (s[:, None] + s)) @ vt,)


@body.correct(normal(3, 3) + 2 * np.eye(3, dtype=np.float32))
@rule(_polar_backward)
def nearest_rotation(a):
    return _polar(a)


def _entropic_plan(costs):
    kernel = jnp.exp(-costs)
    u = lax.fori_loop(
        0, 200, lambda _, u: 1 / (kernel @ (1 / (kernel.T @ u))), jnp.ones_like(costs[0])
    )
    return u[:, None] * kernel / (kernel.T @ u)


def _entropic_cost(costs):
    plan = _entropic_plan(costs)
    return jnp.sum(plan * (costs + jnp.log(plan)))


@body.correct(np.abs(normal(3, 3)), order=1, domain=((-3, 3),))
@rule(lambda costs, g: (g * _entropic_plan(costs),))
def entropic_transport_by_its_plan(costs):
    return _entropic_cost(costs)
