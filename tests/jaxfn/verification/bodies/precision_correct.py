"""Correct rules in low precision, and of large arrays."""

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from tests.jaxfn.verification.bodies.body import Body
from tests.jaxfn.verification.bodies.case import array, normal, positive, rule
from tests.jaxfn.verification.bodies.witnesses import (
    at_one,
    differences,
    gradient,
)

body = Body()

BFLOAT16, FLOAT16 = jnp.bfloat16, np.float16


# Low precision.


@body.correct(
    normal(6, dtype=BFLOAT16), tolerance=1e-2, witness=at_one(lambda x: (2 * x.astype(np.float32),))
)
@rule(lambda x, g: (2 * g * x,))
def square_bfloat16(x):
    return x**2


@body.correct(normal(8, dtype=BFLOAT16), witness=differences(at=(normal(8),)))
@rule(lambda x, g: ((g * (1 - jnp.tanh(x.astype(jnp.float32)) ** 2).astype(g.dtype)),))
def tanh_bfloat16_through_float32(x):
    return jnp.tanh(x)


def _elu(x):
    return jnp.where(x > 0, x, jnp.expm1(x))


@body.correct(
    array(-9, -6, -2, 0.5, 3, dtype=FLOAT16), tolerance=2e-3, witness=gradient(plain=_elu)
)
@jax.custom_vjp
def elu_float16_by_its_value(x):
    return _elu(x)


elu_float16_by_its_value.defvjp(
    lambda x: (_elu(x),) * 2, lambda y, g: (jnp.where(y > 0, g, (y + 1) * g),)
)


def _matmul_backward(x, w, g):
    return (
        jnp.matmul(g, w.T, preferred_element_type=jnp.float32).astype(x.dtype),
        jnp.matmul(x.T, g, preferred_element_type=jnp.float32).astype(w.dtype),
    )


@body.correct(
    normal(8, 16, dtype=BFLOAT16),
    normal(16, 4, dtype=BFLOAT16),
    witness=gradient(),
    tolerance=1e-2,
)
@rule(_matmul_backward)
def matmul_bfloat16_accumulated_in_float32(x, w):
    return x @ w


@body.correct(normal(4, 6), normal(6, 3, dtype=BFLOAT16), witness=gradient(), tolerance=1e-2)
@rule(lambda x, w, g: (g @ w.astype(g.dtype).T, (x.T @ g).astype(w.dtype)))
def matmul_float32_by_bfloat16(x, w):
    return x @ w.astype(x.dtype)


@body.correct(
    normal(512, 4, dtype=BFLOAT16),
    normal(4, dtype=BFLOAT16),
    witness=gradient(),
    tolerance=2e-2,
)
@rule(lambda x, b, g: (g, jnp.sum(g.astype(jnp.float32), axis=0).astype(b.dtype)))
def bias_bfloat16_over_512_rows(x, b):
    return x + b


def _rms_norm(x):
    y = x.astype(jnp.float32)
    return (y * lax.rsqrt(jnp.mean(y * y, -1, keepdims=True) + 1e-6)).astype(x.dtype)


def _rms_norm_backward(x, g):
    y, h = x.astype(jnp.float32), g.astype(jnp.float32)
    scale = lax.rsqrt(jnp.mean(y * y, -1, keepdims=True) + 1e-6)
    return ((h * scale - y * scale**3 * jnp.mean(h * y, -1, keepdims=True)).astype(x.dtype),)


@body.correct(normal(3, 8, dtype=FLOAT16), witness=gradient(), tolerance=5e-3)
@rule(_rms_norm_backward)
def rms_norm_float16(x):
    return _rms_norm(x)


@body.correct(200 * normal(2, 8, dtype=FLOAT16), witness=gradient(), tolerance=2e-2)
@rule(_rms_norm_backward)
def rms_norm_float16_whose_squares_overflow(x):
    return _rms_norm(x)


@body.correct(array(10, 12, -3, dtype=FLOAT16), witness=gradient(at=(normal(3, dtype=FLOAT16),)))
@rule(lambda x, g: (g * jnp.exp(x),))
def exp_float16_that_overflows(x):
    return jnp.exp(x)


@body.correct(
    array(300, 1, -200, dtype=FLOAT16), tolerance=1e-2, witness=differences(at=(normal(3),))
)
@rule(lambda x, g: (2 * g * x,))
def square_float16_that_overflows(x):
    return x * x


@body.correct(
    normal(3, 10, dtype=BFLOAT16), witness=differences(at=(normal(3, 10),)), tolerance=1e-2
)
@rule(
    lambda x, g: (
        (g - jax.nn.softmax(x.astype(jnp.float32)) * g.sum(-1, keepdims=True)).astype(x.dtype),
    )
)
def log_softmax_bfloat16(x):
    return jax.nn.log_softmax(x)


@body.correct(1e-3 * normal(4, dtype=BFLOAT16), witness=differences(at=(normal(4),)))
@rule(lambda x, g: (g * jnp.cos(x),))
def sine_bfloat16_of_small_numbers(x):
    return jnp.sin(x)


@body.correct(normal(5), normal(5, seed=1, dtype=FLOAT16), witness=gradient(), tolerance=2e-3)
@rule(lambda x, y, g: (g * y, (g * x).astype(y.dtype)))
def product_float32_by_float16(x, y):
    return x * y


# Large.


@body.correct(normal(100_000), witness=gradient())
@rule(lambda x, g: (g * jnp.cos(x),))
def sine_of_100000(x):
    return jnp.sin(x)


@body.correct(normal(1_000_000), witness=gradient())
@rule(lambda x, g: (g * jnp.where(x > 0, 1, 0.01),))
def leaky_relu_of_a_million(x):
    return jnp.where(x > 0, x, 0.01 * x)


@body.correct(normal(100_000, seed=1), witness=gradient())
@rule(lambda x, g: (g * x / jnp.linalg.norm(x),))
def norm_of_100000(x):
    return jnp.linalg.norm(x)


@body.correct(normal(200, 300), normal(300, 100), witness=gradient())
@rule(lambda x, w, g: (g @ w.T, x.T @ g))
def matmul_of_90000_numbers(x, w):
    return x @ w


@body.correct(positive(4096), witness=gradient())
@rule(lambda x, g: (jnp.full_like(x, g / x.size),))
def mean_of_4096(x):
    return jnp.mean(x)
