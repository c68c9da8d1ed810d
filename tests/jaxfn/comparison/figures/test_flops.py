"""FLOPs against counts by hand."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import pytest
from flax import nnx
from jax import lax

import jaxfn
from jaxfn.comparison.figures.flops import Flops, count_flops
from tests.jaxfn.comparison.helpers import normal

X = normal(4, 8)


def flops(fun, *args) -> int:
    return count_flops(jax.make_jaxpr(fun)(*args)).total


def gradients(fun):
    return lambda g, *args: jax.vjp(fun, *args)[1](g)


def convolution(x, kernel, stride=1, padding=0):
    return lax.conv_general_dilated(
        x, kernel, (stride,) * 2, ((padding,) * 2,) * 2, dimension_numbers=("NHWC", "HWIO", "NHWC")
    )


def max_pooling(x):
    return nnx.max_pool(x, (2, 2), strides=(2, 2))


CASES = {
    "dot": (jnp.dot, (normal(3, 4), normal(4, 5)), 2 * 3 * 5 * 4),
    "batched dot": (jnp.matmul, (normal(7, 3, 4), normal(7, 4, 5)), 2 * 7 * 3 * 5 * 4),
    "complex dot": (jnp.dot, (X + 0j, X.T + 0j), 8 * 4 * 4 * 8),
    "complex product": (lambda z: z * z, (X + 0j,), 6 * 32),
    "addition": (lambda x: x + x, (X,), 32),
    "elementary function": (jnp.exp, (X,), 32),
    "sum": (jnp.sum, (X,), 32 - 1),
    "sum of an axis": (lambda x: x.sum(0), (X,), 32 - 8),
    "cumulative sum": (lambda x: lax.cumsum(x), (X,), 32),
    "copies are free": (lambda x: x.T.reshape(-1)[3:].astype(jnp.float16), (X,), 0),
    "selections are free": (lambda m, x: jnp.where(m, x, 0.0), (X > 0, X), 0),
    "integers are free": (lambda i: i * i + 1, (jnp.arange(5),), 0),
    # each of 5·4 windows of 2·2·2 elements and 3 channels out
    "convolution": (
        convolution,
        (normal(2, 6, 5, 2), normal(2, 2, 2, 3)),
        2 * 2 * (5 * 4) * 3 * (2 * 2 * 2),
    ),
    # 3 rows with 3 taps, of which the first and the last meet the padding once: 7 meetings
    "convolution that meets padding": (
        functools.partial(convolution, padding=1),
        (normal(1, 3, 3, 1), normal(3, 3, 1, 1)),
        2 * 7 * 7,
    ),
    # a gradient makes as many products as the convolution, dilated or not
    "gradients of a strided convolution": (
        gradients(functools.partial(convolution, stride=2)),
        (normal(1, 2, 2, 4), normal(1, 5, 5, 3), normal(3, 3, 3, 4)),
        2 * (2 * (2 * 2) * 4 * (3 * 3 * 3)),
    ),
    "depthwise convolution": (
        lambda x, k: lax.conv_general_dilated(
            x,
            k,
            (1, 1),
            "VALID",
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
            feature_group_count=4,
        ),
        (normal(1, 5, 5, 4), normal(3, 3, 1, 4)),
        2 * (3 * 3) * 4 * (3 * 3),
    ),
    "max pooling": (max_pooling, (normal(1, 4, 4, 2),), 2 * 2 * 2 * 3),
    "scan": (
        lambda x, w: lax.scan(lambda c, _: (jnp.tanh(c @ w), None), x, None, length=10)[0],
        (X, normal(8, 8)),
        10 * (2 * 4 * 8 * 8 + 4 * 8),
    ),
    "scan in scan": (
        lambda x: lax.scan(
            lambda c, _: lax.scan(lambda c, _: (c * 2, None), c, None, length=3), x, None, length=5
        )[0],
        (X,),
        5 * 3 * 32,
    ),
    "the dearest branch": (
        lambda b, x: lax.cond(b, lambda x: x + x, lambda x: x * x * x + 1, x),
        (True, X),
        3 * 32,
    ),
    "jit and checkpoint": (
        lambda x: jax.jit(jax.checkpoint(lambda x: jnp.sin(x) * 2))(x),
        (X,),
        2 * 32,
    ),
    "a function with a rule": (lambda x, w: jaxfn.linear(x, w), (X, X.T), 2 * 4 * 4 * 8),
    "a custom_jvp": (jax.nn.relu, (X,), 32),
    "what is not needed": (lambda x: (jnp.sin(x), x + 1)[1], (X,), 32),
    "cholesky": (
        lambda a: lax.linalg.cholesky(a, symmetrize_input=False),
        (jnp.eye(6),),
        6**3 // 3,
    ),
    "scatter-add": (lambda x, i: x.at[i].add(1.0), (X[0], jnp.array([1, 1, 2])), 3),
    "operator of a reduction": (
        lambda x: lax.reduce(x, 1.0, lambda a, b: a * b + 1, (0, 1)),
        (X,),
        31,
    ),
}


@pytest.mark.parametrize(("fun", "args", "expected"), CASES.values(), ids=CASES.keys())
def test_count_by_hand(fun, args, expected):
    assert flops(fun, *args) == expected


def test_a_gradient_of_a_dot_costs_two_dots():
    x, w, g = normal(5, 4), normal(4, 3), normal(5, 3)
    assert flops(gradients(jnp.dot), g, x, w) == 2 * (2 * 5 * 4 * 3)
    assert flops(gradients(jaxfn.linear), g, x, w) == 2 * (2 * 5 * 4 * 3)


def test_a_while_loop_counts_once_and_says_so():
    jaxpr = jax.make_jaxpr(
        lambda x: lax.while_loop(lambda c: c.sum() < 100, lambda c: c * 2 + 1, x)
    )(X)
    assert count_flops(jaxpr) == Flops(2 * 32 + 31 + 1, loops_counted_once=1)


def test_what_is_unknown_is_named():
    found = count_flops(jax.make_jaxpr(lambda x: jnp.fft.fft(x).real + 1)(X))
    assert found == Flops(32, not_counted=("fft",))


def test_agrees_with_xla_on_products_and_convolutions():
    def fun(x, kernel, weight):
        y = convolution(x, kernel, stride=2, padding=1)
        return y.reshape(y.shape[0], -1) @ weight

    args = (normal(2, 9, 9, 3), normal(3, 3, 3, 4), normal(100, 7))
    traced = jax.jit(fun).trace(*args)
    cost = traced.lower().compile().cost_analysis()
    assert count_flops(traced.jaxpr).total == cost["flops"]
