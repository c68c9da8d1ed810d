"""Wrong rules of complex functions and of functions in low precision."""

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

COMPLEX, BFLOAT16, FLOAT16 = np.complex64, jnp.bfloat16, np.float16


# Complex. JAX multiplies the cotangent by the derivative, without conjugation.


@body.wrong("conjugate", normal(4, dtype=COMPLEX))
@rule(lambda z, g: (g * jnp.conj(2 * z),))
def complex_square_conjugated(z):
    return z**2


@body.wrong("conjugate", normal(4, dtype=COMPLEX))
@rule(lambda z, g: (2 * g * z,))
def squared_modulus_not_conjugated(z):
    return (z * jnp.conj(z)).real


@body.wrong("conjugate", normal(4, dtype=COMPLEX))
@rule(lambda z, g: (g * z / jnp.abs(z),))
def modulus_not_conjugated(z):
    return jnp.abs(z)


@body.wrong("conjugate", normal(4, dtype=COMPLEX))
@rule(lambda z, g: (1j * g,))
def imaginary_part_with_the_sign_of_i(z):
    return z.imag


@body.wrong("conjugate", normal(3, dtype=COMPLEX), normal(3, dtype=COMPLEX, seed=1))
@rule(lambda w, z, g: (g * jnp.conj(z), g * jnp.conj(w)))
def complex_product_conjugated(w, z):
    return w * z


@body.wrong("conjugate", normal(2, 3, dtype=COMPLEX), normal(3, 2, dtype=COMPLEX))
@rule(lambda a, b, g: (g @ b.conj().T, a.conj().T @ g))
def complex_matmul_with_adjoints(a, b):
    return a @ b


@body.wrong("conjugate", normal(4, dtype=COMPLEX))
@rule(lambda z, g: (g * jnp.conj(jnp.exp(z)),))
def complex_exp_conjugated(z):
    return jnp.exp(z)


@body.wrong("conjugate", normal(4, dtype=COMPLEX))
@rule(lambda z, g: (g,))
def conjugation_not_conjugated_back(z):
    return jnp.conj(z)


@body.wrong("dropped-term", normal(4))
@rule(lambda x, g: (-jnp.sin(x) * g.real,))
def phase_without_its_imaginary_part(x):
    return lax.complex(jnp.cos(x), jnp.sin(x))


@body.wrong("scale", normal(6, dtype=COMPLEX))
@rule(lambda z, g: (jnp.fft.ifft(g),))
def fourier_transform_without_its_length(z):
    return jnp.fft.fft(z)


@body.wrong("other", normal(8))
@rule(lambda x, g: (len(x) * jnp.fft.irfft(g.conj(), len(x)),))
def real_fourier_transform_counting_twice(x):
    return jnp.fft.rfft(x)


@body.wrong("zero", normal(4, dtype=COMPLEX), normal(4, dtype=COMPLEX, seed=1))
@rule(lambda z, w, g: (g * w, jnp.zeros_like(w)))
def complex_filter_without_a_gradient_of_the_filter(z, w):
    return z * w


# Low precision: far less accurate than the plain operation in the same dtype.


def _sum_in_the_same_dtype(g):
    return lax.scan(lambda s, x: (s + x, None), jnp.zeros_like(g[0]), g)[0]


def _positive_cotangent(plain):
    def witness(case):
        shape = jax.eval_shape(case.fun, *case.args)
        ones = np.ones(shape.shape, shape.dtype)
        return jax.vjp(case.fun, *case.args)[1](ones), jax.vjp(plain, *case.args)[1](ones)

    return witness


@body.wrong(
    "low-precision",
    normal(4096, 2, dtype=BFLOAT16),
    normal(2, dtype=BFLOAT16),
    witness=_positive_cotangent(lambda x, b: x + b),
    tolerance=0.1,
)
@rule(lambda x, b, g: (g, _sum_in_the_same_dtype(g)))
def bias_bfloat16_summed_in_bfloat16(x, b):
    return x + b


@body.wrong(
    "low-precision",
    positive(4096, dtype=FLOAT16),
    array(1, dtype=FLOAT16),
    witness=_positive_cotangent(lambda x, s: x * s),
    tolerance=5e-3,
)
@rule(lambda x, s, g: (g * s, _sum_in_the_same_dtype(g * x)))
def scale_float16_summed_in_float16(x, s):
    return x * s


@body.wrong("low-precision", normal(5), witness=gradient())
@rule(lambda x, g: (g * jnp.cos(x.astype(jnp.bfloat16)).astype(x.dtype),))
def sine_float32_through_bfloat16(x):
    return jnp.sin(x)


@body.wrong("low-precision", normal(8, 16), normal(16, 4))
@rule(
    lambda x, w, g: (
        g @ w.T,
        jnp.matmul(x.T.astype(jnp.bfloat16), g.astype(jnp.bfloat16)).astype(w.dtype),
    )
)
def matmul_float32_with_a_bfloat16_weight_gradient(x, w):
    return x @ w


@body.wrong("low-precision", array(20, 25, 30), witness=gradient())
@rule(lambda x, g: (g * (1 - jax.nn.sigmoid(x)),))
def log_sigmoid_with_cancellation(x):
    return jax.nn.log_sigmoid(x)


@body.wrong("low-precision", (1000 + normal(64)).astype(np.float32), tolerance=1e-3)
@rule(lambda x, g: (g * (x - jnp.mean(x)) / x.size / jnp.sqrt(jnp.mean(x * x) - jnp.mean(x) ** 2),))
def deviation_with_cancellation(x):
    return jnp.std(x)


@body.wrong("low-precision", array(1e-5, 2e-4, 3e-5), tolerance=1e-3)
@rule(lambda x, g: (g * jnp.sign(x) * jnp.sqrt(1 - jnp.cos(x) ** 2),))
def versine_with_cancellation(x):
    return 2 * jnp.sin(x / 2) ** 2


@body.wrong(
    "low-precision", array(2, 39, 45, 70, dtype=FLOAT16), witness=gradient(), tolerance=1e-4
)
@rule(lambda x, g: (-g * x / x**3,))
def reciprocal_float16_by_a_cube_that_overflows(x):
    return 1 / x


@body.wrong("nan", array(300, 400, -500, 20, dtype=FLOAT16), tolerance=0.05)
@rule(lambda x, g: (g * x / jnp.sqrt(jnp.sum(x * x)),))
def norm_float16_with_overflowing_squares(x):
    return jnp.sqrt(jnp.sum(x.astype(jnp.float32) ** 2)).astype(x.dtype)


@body.wrong("scale", normal(6, dtype=BFLOAT16), tolerance=0.1)
@rule(lambda x, g: (g * x,))
def square_bfloat16_without_its_two(x):
    return x**2


@body.wrong("sign", normal(4, 3, dtype=BFLOAT16), normal(3, 2, dtype=BFLOAT16), tolerance=0.1)
@rule(lambda x, w, g: (g @ w.T, -x.T @ g))
def matmul_bfloat16_with_the_sign_of_the_weight(x, w):
    return x @ w


@body.wrong("dropped-term", normal(3, 8, dtype=FLOAT16), tolerance=0.05)
@rule(lambda x, g: (jax.nn.softmax(x) * g,))
def softmax_float16_without_the_sum(x):
    return jax.nn.softmax(x)


@body.wrong("scale", normal(64, dtype=BFLOAT16), tolerance=0.04)
@rule(lambda x, g: (1.0625 * g * jnp.exp(x),))
def exp_bfloat16_six_percent_too_large(x):
    return jnp.exp(x)


# A declared surrogate that the rule does not have.


@body.wrong(
    "zero-region",
    3 * normal(8),
    witness=gradient(plain=lambda x: x),
    surrogate=lambda x: x,
)
@rule(lambda x, g: (g * (jnp.abs(x) <= 2),))
def rounding_declared_straight_through_but_clipped(x):
    return jnp.round(x)


@body.wrong(
    "scale", normal(5), witness=gradient(plain=lambda x: -0.5 * x), surrogate=lambda x: -0.5 * x
)
@rule(lambda x, g: (-g,))
def reversal_with_another_factor_than_declared(x):
    return 1.0 * x


@body.wrong("sign", normal(5), witness=gradient(plain=jnp.tanh), surrogate=jnp.tanh)
@rule(lambda x, g: (-g * (1 - jnp.tanh(x) ** 2),))
def sign_with_a_surrogate_of_the_other_sign(x):
    return jnp.sign(x)
