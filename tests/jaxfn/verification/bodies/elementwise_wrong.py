"""Wrong rules of elementwise functions: factors, signs, zeros, exchanged arguments, elements."""

import functools

import jax
import jax.numpy as jnp
from jax import lax

from tests.jaxfn.verification.bodies.body import Body
from tests.jaxfn.verification.bodies.case import array, normal, positive, rule
from tests.jaxfn.verification.bodies.witnesses import (
    argument,
    gradient,
)

body = Body()


@body.wrong("scale", normal(6))
@rule(lambda x, g: (1.001 * g * jnp.cos(x),))
def sine_one_per_mille_too_large(x):
    return jnp.sin(x)


@jax.custom_vjp
def tanh_3_in_10000_too_large(x):
    return jnp.tanh(x)


def _tanh_forward(x):
    y = jnp.tanh(x)
    return y, y


tanh_3_in_10000_too_large.defvjp(_tanh_forward, lambda y, g: (1.0003 * g * (1 - y * y),))
body.wrong("scale", normal(4, 5))(tanh_3_in_10000_too_large)


@body.wrong("scale", normal(5))
@rule(lambda x, g: (0.99 * g * jnp.exp(x),))
def exp_one_percent_too_small(x):
    return jnp.exp(x)


@body.wrong("scale", normal(3, 2))
@rule(lambda x, g: (g * x,))
def square_without_its_two(x):
    return x**2


@body.wrong("scale", normal(7))
@rule(lambda x, g: (g * jnp.exp(-x * x),))
def erf_without_its_constant(x):
    return lax.erf(x)


@body.wrong("scale", positive(4))
@rule(lambda x, g: (g / x,))
def log2_with_the_gradient_of_log(x):
    return jnp.log2(x)


@body.wrong("scale", normal(4), normal(4, seed=1))
@rule(lambda x, y, g: (g * y, 0.9995 * g * x))
def product_second_factor_half_per_mille_off(x, y):
    return x * y


@body.wrong("sign", normal(6))
@rule(lambda x, g: (g * jnp.sin(x),))
def cosine_without_its_minus(x):
    return jnp.cos(x)


@body.wrong("sign", normal(4), positive(4))
@rule(lambda x, y, g: (g / y, g * x / y**2))
def quotient_denominator_without_its_minus(x, y):
    return x / y


@body.wrong("sign", normal(3))
@rule(lambda x, g: (-g,))
def undeclared_gradient_reversal(x):
    return 1.0 * x


@body.wrong("sign", normal(3), normal(3, seed=1))
@rule(lambda x, y, g: (g, g))
def difference_with_the_gradient_of_a_sum(x, y):
    return x - y


@body.wrong("zero", positive(6))
@rule(lambda x, g: (jnp.zeros_like(g),))
def log_with_a_zero_gradient(x):
    return jnp.log(x)


@body.wrong("zero", normal(2000))
@rule(lambda x, g: (jnp.zeros_like(x),))
def sine_of_2000_with_a_zero_gradient(x):
    return jnp.sin(x)


@body.wrong("zero", positive(4), normal(4))
@rule(lambda x, y, g: (g * y * x ** (y - 1), None))
def power_without_a_gradient_of_the_exponent(x, y):
    return x**y


@body.wrong("zero", normal(5), array(0.7), witness=argument(1))
@rule(lambda x, beta, g: (g * beta * jax.nn.sigmoid(beta * x), jnp.zeros_like(beta)))
def scaled_softplus_without_a_gradient_of_its_scale(x, beta):
    return jax.nn.softplus(beta * x)


@body.wrong("dropped-term", normal(6))
@rule(lambda x, g: (g * jax.scipy.stats.norm.cdf(x),))
def gelu_without_the_density(x):
    return jax.nn.gelu(x, approximate=False)


@body.wrong("dropped-term", normal(6))
@rule(lambda x, g: (g * jax.nn.sigmoid(x),))
def silu_without_the_derivative_of_its_gate(x):
    return jax.nn.silu(x)


@body.wrong("dropped-term", normal(5))
@rule(lambda x, g: (g * jnp.cos(x),))
def sine_plus_square_without_the_square(x):
    return jnp.sin(x) + 0.1 * x**2


@body.wrong("dropped-term", normal(4), normal(4, seed=1))
@rule(lambda x, gate, g: (g * jax.nn.sigmoid(gate), g * x * jax.nn.sigmoid(gate)))
def gated_unit_without_the_slope_of_the_sigmoid(x, gate):
    return x * jax.nn.sigmoid(gate)


@body.wrong("exchanged", normal(4), normal(4, seed=1))
@rule(lambda x, y, g: (g * x, g * y))
def product_with_exchanged_gradients(x, y):
    return x * y


@body.wrong("exchanged", normal(5), normal(5, seed=1))
@rule(lambda x, y, g: (g * (y >= x), g * (x > y)))
def maximum_with_exchanged_masks(x, y):
    return jnp.maximum(x, y)


@body.wrong("exchanged", positive(3), positive(3, seed=1))
@rule(lambda x, y, g: (g * y / jnp.hypot(x, y), g * x / jnp.hypot(x, y)))
def hypotenuse_with_exchanged_gradients(x, y):
    return jnp.hypot(x, y)


def _interpolate_backward(a, b, t, g):
    return g * t, g * (1 - t), g * (b - a)


@body.wrong("exchanged", normal(4), normal(4, seed=1), array(0.1, 0.3, 0.8, 0.9))
@rule(_interpolate_backward)
def linear_interpolation_with_exchanged_ends(a, b, t):
    return a + t * (b - a)


def _except(index, factor):
    def backward(x, g):
        return ((g * jnp.cos(x)).at[index].multiply(factor),)

    return backward


@body.wrong("elements", normal(100_000))
@rule(_except(54_321, 0.0))
def sine_of_100000_with_one_element_zeroed(x):
    return jnp.sin(x)


@body.wrong("elements", normal(100_000, seed=1))
@rule(_except(99_999, 1.02))
def sine_of_100000_with_one_element_two_percent_off(x):
    return jnp.sin(x)


@body.wrong("elements", normal(100_000, seed=2))
@rule(_except(0, -1.0))
def sine_of_100000_with_one_element_of_the_other_sign(x):
    return jnp.sin(x)


@body.wrong("elements", normal(3_000))
@rule(_except(17, 0.0))
def sine_of_3000_with_one_element_zeroed(x):
    return jnp.sin(x)


@body.wrong("elements", normal(7))
@rule(lambda x, g: (jnp.pad((g * 2 * x)[:-1], (0, 1)),))
def square_without_its_last_element(x):
    return x**2


@body.wrong("elements", normal(20))
@rule(lambda x, g: ((g * jnp.exp(x)).at[len(x) // 8 * 8 :].set(0),))
def exp_in_blocks_of_eight_without_the_rest(x):
    return jnp.exp(x)


@body.wrong("elements", normal(4, 6))
@rule(lambda x, g: ((g * jnp.cos(x)).at[0].set(0),))
def sine_without_its_first_row(x):
    return jnp.sin(x)


@body.wrong("elements", normal(300, 200))
@rule(lambda x, g: ((g * 3 * x**2).at[123, 45].add(0.5 * g[123, 46]),))
def cube_with_a_leak_from_a_neighbour(x):
    return x**3


@body.wrong("elements", normal(9))
@rule(lambda x, g: ((g * jnp.cos(x))[::-1],))
def sine_with_its_gradient_reversed(x):
    return jnp.sin(x)


@functools.partial(jax.custom_vjp, nondiff_argnums=(1,))
def _power(x, n):
    return x**n


_power.defvjp(lambda x, n: (x**n, x), lambda n, x, g: (2 * g * x,))


@body.wrong("other", normal(5), witness=gradient(plain=lambda x: x**3))
def power_whose_rule_knows_the_exponent_two_only(x):
    return _power(x, 3)


@functools.partial(jax.custom_vjp, nondiff_argnums=(1,))
def _elu(x, alpha):
    return jnp.where(x > 0, x, alpha * jnp.expm1(x))


_elu.defvjp(
    lambda x, alpha: (_elu(x, alpha), x),
    lambda alpha, x, g: (g * jnp.where(x > 0, 1, jnp.exp(jnp.minimum(x, 0))),),
)


@body.wrong(
    "region", normal(8), witness=gradient(plain=lambda x: jnp.where(x > 0, x, 0.3 * jnp.expm1(x)))
)
def elu_whose_rule_forgets_alpha(x):
    return _elu(x, 0.3)


@jax.custom_jvp
def sine_forward_mode_with_the_wrong_sign(x):
    return jnp.sin(x)


sine_forward_mode_with_the_wrong_sign.defjvps(lambda t, y, x: -t * jnp.cos(x))
body.wrong("sign", normal(4))(sine_forward_mode_with_the_wrong_sign)


@jax.custom_jvp
def product_forward_mode_without_a_term(x, y):
    return x * y


@product_forward_mode_without_a_term.defjvp
def _product_tangent(primals, tangents):
    (x, y), (dx, _) = primals, tangents
    return x * y, dx * y


body.wrong("zero", normal(4), normal(4, seed=1))(product_forward_mode_without_a_term)


@body.wrong(
    "scale",
    normal(4),
    witness=gradient(plain=lambda x: jnp.log1p(jnp.exp(x))),
    name="softplus_custom_gradient_off_by_two",
)
@jax.custom_gradient
def softplus_custom_gradient_off_by_two(x):
    e = jnp.exp(x)
    return jnp.log1p(e), lambda g: (2 * g * e / (1 + e),)
