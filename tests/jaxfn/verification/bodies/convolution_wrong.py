"""Wrong rules of convolutions, pooling, padding and interpolation."""

from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from tests.jaxfn.verification.bodies.body import Body
from tests.jaxfn.verification.bodies.case import array, normal, positive, rule

body = Body()


# Convolutions and pooling.


def _convolve(x, k):
    return jnp.convolve(x, k, mode="full")


@body.wrong("other", normal(7), normal(3))
@rule(
    lambda x, k, g: (
        jnp.convolve(g, k, mode="valid"),
        jnp.correlate(g, x, mode="valid"),
    )
)
def convolution_with_a_kernel_not_flipped(x, k):
    return _convolve(x, k)


def _conv2d(x, k, stride=1, padding: Any = "SAME"):
    numbers = ("NHWC", "HWIO", "NHWC")
    return lax.conv_general_dilated(x, k, (stride, stride), padding, dimension_numbers=numbers)


def _conv2d_gradients(x, k, g, **static):
    return jax.vjp(lambda x, k: _conv2d(x, k, **static), x, k)[1](g)


def _without_edges(x, k, g):
    dx, dk = _conv2d_gradients(x, k, g)
    return dx.at[:, 0].set(0).at[:, -1].set(0), dk


IMAGE, KERNEL = normal(2, 6, 5, 2), normal(3, 3, 2, 2)


@body.wrong("elements", IMAGE, KERNEL)
@rule(_without_edges)
def conv2d_with_zero_gradients_at_the_edges(x, k):
    return _conv2d(x, k)


@body.wrong("mean-for-sum", IMAGE, KERNEL)
@rule(lambda x, k, g: (_conv2d_gradients(x, k, g)[0], _conv2d_gradients(x, k, g)[1] / len(x)))
def conv2d_with_a_mean_over_the_batch(x, k):
    return _conv2d(x, k)


@body.wrong("other", IMAGE, KERNEL)
@rule(lambda x, k, g: (_conv2d(g, k[::-1, ::-1]), _conv2d_gradients(x, k, g)[1]))
def conv2d_with_its_channels_not_transposed(x, k):
    return _conv2d(x, k)


@body.wrong("other", IMAGE, KERNEL)
@rule(lambda x, k, g: (_conv2d(g, k.transpose(0, 1, 3, 2)), _conv2d_gradients(x, k, g)[1]))
def conv2d_with_its_kernel_not_flipped(x, k):
    return _conv2d(x, k)


TOP_LEFT, BOTTOM_RIGHT = ((1, 0), (1, 0)), ((0, 1), (0, 1))


@body.wrong("other", normal(1, 4, 4, 1), normal(3, 3, 1, 1))
@rule(lambda x, k, g: _conv2d_gradients(x, k, g, stride=2, padding=TOP_LEFT))
def strided_conv2d_padded_at_the_other_side(x, k):
    return _conv2d(x, k, stride=2, padding=BOTTOM_RIGHT)


def _pooled(x):
    return x.reshape(-1, 2).mean(-1)


@body.wrong("sum-for-mean", normal(8))
@rule(lambda x, g: (jnp.repeat(g, 2),))
def average_pool_without_its_window(x):
    return _pooled(x)


@body.wrong("other", array(1, 1, 2, 0, 3, 3))
@rule(lambda x, g: (jnp.repeat(g, 2) * (x == jnp.repeat(x.reshape(-1, 2).max(-1), 2)),))
def max_pool_to_every_maximum(x):
    return x.reshape(-1, 2).max(-1)


@body.wrong("mean-for-sum", normal(3, 2))
@rule(lambda x, g: (g.reshape(3, 2, 2, 2).mean((1, 3)),))
def upsampling_with_a_mean(x):
    return jnp.repeat(jnp.repeat(x, 2, 0), 2, 1)[:6, :4]


@body.wrong("elements", normal(5))
@rule(lambda x, g: (g[2:-2],))
def reflected_padding_without_its_margins(x):
    return jnp.pad(x, 2, mode="reflect")


@body.wrong("zero", normal(6), array(0.3, 2.6, 4.1))
@rule(
    lambda table, t, g: (
        jax.vjp(lambda v: jnp.interp(t, jnp.arange(6.0), v), table)[1](g)[0],
        None,
    )
)
def table_lookup_without_a_gradient_of_the_position(table, t):
    return jnp.interp(t, jnp.arange(6.0), table)


@body.wrong("sign", positive(5), positive(5, seed=1))
@rule(lambda p, q, g: (g * (jnp.log(p / q) + 1), g * p / q))
def relative_entropy_with_the_sign_of_the_second(p, q):
    return jnp.sum(p * jnp.log(p / q))
