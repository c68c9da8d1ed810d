"""Rules that break the contract of a backward rule: linearity, dtypes, the primal."""

import jax
import jax.numpy as jnp
import numpy as np

from tests.jaxfn.verification.bodies.body import Body
from tests.jaxfn.verification.bodies.case import array, normal, positive, rule
from tests.jaxfn.verification.bodies.witnesses import (
    agreement,
    primal,
    types,
)

body = Body()


def _large_cotangent(plain):
    def pull(fun):
        return lambda x: jax.vjp(fun, x)[1](100 * np.ones_like(x))

    return lambda case: agreement(pull(case.fun), pull(plain))(case)


# Not linear in the cotangent.


@body.wrong("nonlinear", normal(5))
@rule(lambda x, g: (g * g * jnp.cos(x),))
def sine_with_a_squared_cotangent(x):
    return jnp.sin(x)


@body.wrong("nonlinear", normal(5))
@rule(lambda x, g: (2 * x * g * jnp.abs(g),))
def square_odd_in_the_cotangent(x):
    return x**2


@body.wrong("nonlinear", normal(8))
@rule(lambda x, g: (jnp.clip(g, -1, 1) * jnp.cos(x),))
def sine_with_a_clipped_cotangent(x):
    return jnp.sin(x)


@body.wrong(
    "nonlinear",
    normal(6),
    witness=_large_cotangent(lambda x: x),
    name="identity_clipped_at_ten",
)
@jax.custom_gradient
def identity_clipped_at_ten(x):
    return x, lambda g: (jnp.clip(g, -10, 10),)


@body.wrong("nonlinear", normal(4, 3))
@rule(lambda x, g: (g / jnp.linalg.norm(g),))
def identity_with_a_normalised_cotangent(x):
    return x + 0.0


@body.wrong("nonlinear", normal(4))
@rule(lambda x, g: (jnp.sign(g) * jnp.exp(x),))
def exp_with_the_sign_of_the_cotangent(x):
    return jnp.exp(x)


@body.wrong("nonlinear", normal(3, 4), normal(4, 2))
@rule(lambda x, w, g: (g @ w.T, x.T @ jnp.where(jnp.abs(g) > 0.5, g, 0)))
def matmul_that_skips_small_cotangents(x, w):
    return x @ w


@body.wrong("nonlinear", normal(6))
@rule(lambda x, g: (jnp.round(g * 256) / 256 * 3 * x**2,))
def cube_with_a_quantised_cotangent(x):
    return x**3


# Something added that does not depend on the cotangent.


@body.wrong("constant", normal(5))
@rule(lambda x, g: (g * jnp.cos(x) + 1,))
def sine_plus_one(x):
    return jnp.sin(x)


@body.wrong("constant", normal(3, 4), normal(4, 2))
@rule(lambda x, w, g: (g @ w.T, x.T @ g + 0.01 * w))
def matmul_with_weight_decay(x, w):
    return x @ w


@body.wrong("constant", normal(6))
@rule(lambda x, g: (g * jax.nn.sigmoid(x) + 1e-3 * jnp.sign(x),))
def softplus_with_a_penalty(x):
    return jax.nn.softplus(x)


@body.wrong("constant", normal(5))
@rule(lambda x, g: (2 * x,))
def sum_of_squares_without_the_cotangent(x):
    return jnp.sum(x**2)


@body.wrong("constant", positive(4))
@rule(lambda x, g: (g / x + 1e-4,))
def log_with_an_epsilon_in_the_wrong_place(x):
    return jnp.log(x)


# Dtypes that JAX lets through.


@body.wrong("dtype", normal(4, dtype=jnp.bfloat16), witness=types())
@rule(lambda x, g: ((g * 2 * x).astype(jnp.float32),))
def square_bfloat16_with_a_float32_gradient(x):
    return x**2


@body.wrong("dtype", normal(4), witness=types())
@rule(lambda x, g: ((g * jnp.cos(x)).astype(jnp.bfloat16),))
def sine_float32_with_a_bfloat16_gradient(x):
    return jnp.sin(x)


@body.wrong("dtype", normal(4), witness=types())
@rule(lambda x, g: (jnp.where(x > 0, g, 0).astype(jnp.int32),))
def relu_with_an_integer_gradient(x):
    return jax.nn.relu(x)


@body.wrong("dtype", normal(4), witness=types())
@rule(lambda x, g: (1j * jnp.exp(1j * x) * g,))
def phase_of_a_real_with_a_complex_gradient(x):
    return jnp.exp(1j * x)


@body.wrong("dtype", normal(4, dtype=np.complex64), witness=types())
@rule(lambda z, g: (g,))
def real_part_with_a_real_gradient(z):
    return z.real


@body.wrong("dtype", normal(3, 4), normal(4, 2, dtype=jnp.bfloat16), witness=types())
@rule(lambda x, w, g: (g @ w.T.astype(g.dtype), x.T @ g))
def mixed_matmul_with_a_float32_gradient_of_the_weight(x, w):
    return x @ w.astype(x.dtype)


@body.wrong("dtype", normal(4, 3, dtype=np.float16), normal(3, dtype=np.float16), witness=types())
@rule(lambda x, b, g: (g, jnp.sum(g, axis=0, dtype=jnp.float32)))
def float16_bias_with_a_float32_sum(x, b):
    return x + b


# The forward rule computes something else than the function.


def _with_forward(fun, forward, backward):
    op = jax.custom_vjp(fun)
    op.defvjp(forward, backward)
    return op


body.wrong("primal", normal(5), witness=primal(), name="exp_half_per_mille_off_in_forward")(
    _with_forward(jnp.exp, lambda x: (1.0005 * jnp.exp(x), x), lambda x, g: (g * jnp.exp(x),))
)


def _softmax(x):
    return jax.nn.softmax(x)


def _softmax_forward(x):
    e = jnp.exp(x)
    y = e / (jnp.sum(e, axis=-1, keepdims=True) + 1e-3)
    return y, jax.nn.softmax(x)


body.wrong("primal", normal(3, 5), witness=primal(), name="softmax_with_an_epsilon_in_forward")(
    _with_forward(
        _softmax, _softmax_forward, lambda y, g: (y * (g - jnp.sum(g * y, -1, keepdims=True)),)
    )
)


def _gelu_forward(x):
    return jax.nn.gelu(x, approximate=True), x


def _gelu_backward(x, g):
    return jax.vjp(lambda t: jax.nn.gelu(t, approximate=False), x)[1](g)


body.wrong(
    "primal",
    normal(6),
    witness=primal(),
    tolerance=3e-5,
    name="gelu_approximate_in_the_forward_rule_only",
)(_with_forward(lambda x: jax.nn.gelu(x, approximate=False), _gelu_forward, _gelu_backward))


body.wrong(
    "primal", normal(4, dtype=jnp.bfloat16), witness=primal(), name="forward_rule_returns_float32"
)(
    _with_forward(
        lambda x: 2 * x,
        lambda x: (2 * x.astype(jnp.float32), None),
        lambda _, g: (2 * g.astype(jnp.bfloat16),),
    )
)


def _step(x):
    return jnp.where(x > 0, 1.0, 0.0)


body.wrong("primal", normal(4), witness=primal(), name="forward_rule_loses_the_weak_type")(
    _with_forward(
        _step, lambda x: (_step(x).astype(jnp.float32), None), lambda _, g: (jnp.zeros_like(g),)
    )
)


body.wrong(
    "primal",
    normal(5),
    witness=primal(at=(array(-4, -1, 1, 4),)),
    name="hard_tanh_not_clipped_in_the_forward_rule",
)(
    _with_forward(
        lambda x: jnp.clip(x, -2.5, 2.5),
        lambda x: (x, jnp.abs(x) <= 2.5),
        lambda inside, g: (g * inside,),
    )
)
