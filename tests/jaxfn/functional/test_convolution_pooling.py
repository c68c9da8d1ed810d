"""Convolution, relu and max pooling in one: as the three, one after the other."""

from __future__ import annotations

import re

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import jaxfn
from jaxfn.functional import convolution_pooling
from scripts.cases.layers import conv2d_relu_max_pool2d_reference
from tests.jaxfn.functional.oracles import assert_close, compiled, cotangent, value_and_gradients

pytestmark = pytest.mark.numbers


def inputs(shape, kernel, out: int, dtype="float32", seed: int = 0):
    """Small integers: products and sums of them are exact, and many windows hold a tie."""
    rng = np.random.RandomState(seed)
    shapes = (shape, (*kernel, shape[3], out), (out,))
    return [jnp.asarray(rng.randint(-2, 3, size=s), dtype) for s in shapes]


def rules(fun, args) -> set[str]:
    return {rule.name for rule in jaxfn.custom_rules(fun, *args)}


def both_ways(args, **options):
    """Value and gradients of the operation, and of the three one after the other."""

    def fused(*args):
        return jaxfn.conv2d_relu_max_pool2d(*args, **options)

    def apart(x, kernel, bias=None):
        z = jaxfn.conv2d(
            x,
            kernel,
            bias,
            stride=options.get("stride", 1),
            padding=options.get("padding", "VALID"),
        )
        return jaxfn.max_pool2d(jaxfn.relu(z), options.get("window", 2))

    y_bar = jnp.round(4 * cotangent(jax.eval_shape(fused, *args)))
    return [
        jax.jit(lambda args, fun=fun: value_and_gradients(fun, args, y_bar))(args)
        for fun in (fused, apart)
    ]


@settings(deadline=None, max_examples=8)
@given(
    kernel=st.tuples(st.integers(2, 4), st.integers(2, 4)),
    stride=st.sampled_from([(1, 1), (1, 2)]),
    pads=st.sampled_from([((0, 0), (0, 0)), ((1, 0), (2, 1))]),
    window=st.tuples(st.integers(1, 3), st.integers(1, 2)),
    shape=st.tuples(
        st.integers(1, 3), st.integers(6, 9), st.integers(6, 9), st.sampled_from([1, 3])
    ),
)
def test_any_kernel_stride_padding_and_window_ties_included(kernel, stride, pads, window, shape):
    args = inputs(shape, kernel, 2)
    convolved = [
        (n + sum(p) - k) // s + 1
        for n, p, k, s in zip(shape[1:3], pads, kernel, stride, strict=True)
    ]
    if any(n < w for n, w in zip(convolved, window, strict=True)):
        with pytest.raises(ValueError, match="no larger than the convolution's result"):
            jaxfn.conv2d_relu_max_pool2d(*args, stride=stride, padding=pads, window=window)
        return
    fused, apart = both_ways(args, stride=stride, padding=pads, window=window)
    chex.assert_trees_all_equal(fused, apart)


@pytest.mark.parametrize(
    ("kernel", "options", "is_one"),
    [
        ((3, 3), {}, True),
        ((5, 5), {"padding": "SAME"}, True),
        ((3, 3), {"window": (1, 2)}, True),
        ((4, 3), {"stride": (2, 1), "window": (1, 2)}, True),
        ((1, 1), {}, False),  # four products for each one that counts
        ((3, 3), {"stride": 2}, False),
    ],
)
def test_in_blocks_where_that_is_little_more_work(kernel, options, is_one):
    args = inputs((2, 10, 10, 2), kernel, 3)
    fused, apart = both_ways(args, **options)
    chex.assert_trees_all_equal(fused, apart)

    def fun(*args):
        return jaxfn.conv2d_relu_max_pool2d(*args, **options)

    assert rules(fun, args) == (
        {"_conv2d_relu_max_pool2d"} if is_one else {"_conv2d", "_max_pool2d"}
    )


@pytest.mark.parametrize(
    ("shape", "dtypes"),
    [
        ((2, 8, 8, 17), ["float32"] * 3),
        ((2, 8, 8, 2), ["bfloat16"] * 3),
        ((2, 8, 8, 2), ["float32", "bfloat16", "float32"]),
        ((0, 8, 8, 2), ["float32"] * 3),
    ],
    ids=["channels", "16 bits", "dtypes", "empty"],
)
def test_one_after_the_other_where_the_batch_is_not_last(shape, dtypes):
    args = [a.astype(d) for a, d in zip(inputs(shape, (3, 3), 3), dtypes, strict=True)]
    assert rules(jaxfn.conv2d_relu_max_pool2d, args) == {"_conv2d", "_max_pool2d"}
    fused, apart = both_ways(args)
    chex.assert_trees_all_equal(fused, apart)
    chex.assert_trees_all_equal_dtypes(fused, apart)


@pytest.mark.parametrize("bias", [True, False])
def test_on_other_platforms_it_is_jax_lax(monkeypatch, bias):
    args = inputs((2, 9, 8, 2), (3, 3), 3)[: 3 if bias else 2]
    used = []

    def elsewhere(*args, cpu, default):
        used.append(default)
        return default(*args)

    monkeypatch.setattr(convolution_pooling.lax, "platform_dependent", elsewhere)
    y_bar = cotangent(jax.eval_shape(conv2d_relu_max_pool2d_reference, *args))
    used.clear()
    fused = lambda args: value_and_gradients(jaxfn.conv2d_relu_max_pool2d, args, y_bar)  # noqa: E731
    actual = jax.jit(fused)(args)
    where = {branch.__qualname__.partition(".")[0] for branch in used}
    assert where == {"_conv2d_relu_max_pool2d_impl", "_conv2d_relu_max_pool2d_bwd"}
    expected = compiled(conv2d_relu_max_pool2d_reference)(y_bar, *args)
    assert_close(actual, expected, 1e-6)


def test_kept_are_the_image_the_kernel_and_a_byte_per_pooled_element():
    x, kernel, bias = inputs((4, 16, 16, 2), (3, 3), 8)

    def kept(fun, *args) -> int:
        return sum(leaf.nbytes for leaf in jax.tree.leaves(jax.vjp(fun, *args)[1]))

    operation, pooled = jaxfn.conv2d_relu_max_pool2d, 4 * 7 * 7 * 8
    assert kept(operation, x, kernel, bias) == x.nbytes + kernel.nbytes + pooled
    assert kept(lambda k, b: operation(x, k, b), kernel, bias) == x.nbytes + pooled
    assert kept(lambda x: operation(x, kernel, bias), x) == kernel.nbytes + pooled
    assert kept(lambda b: operation(x, kernel, b), bias) == pooled


@pytest.mark.parametrize(("wanted", "products"), [((0, 1, 2), 3), ((1, 2), 2), ((2,), 1)])
def test_a_gradient_that_is_not_needed_is_not_computed(wanted, products):
    args = inputs((2, 8, 8, 2), (3, 3), 3)

    def loss(*args):
        return jnp.sum(jaxfn.conv2d_relu_max_pool2d(*args) ** 2)

    program = jax.jit(jax.grad(loss, wanted)).lower(*args).as_text()
    assert program.count("stablehlo.dot_general") == products


@pytest.mark.optimized
def test_no_convolved_image_is_laid_out():
    args = inputs((64, 32, 32, 1), (3, 3), 6)

    def loss(*args):
        return jnp.sum(jaxfn.conv2d_relu_max_pool2d(*args))

    program = jax.jit(jax.value_and_grad(loss, (1, 2))).lower(*args).compile().as_text()
    assert not re.search(r"\[[\d,]*\b30,30\b[\d,]*\]", program)
    assert "6,15,15,64]" in program


def test_a_nan_reaches_the_windows_that_see_it():
    x, kernel, bias = inputs((1, 8, 8, 1), (3, 3), 1)
    y = jaxfn.conv2d_relu_max_pool2d(x.at[0, 0, 0, 0].set(jnp.nan), kernel, bias)
    np.testing.assert_array_equal(jnp.isnan(y)[0, :, :, 0], np.eye(3)[:, :1] * np.eye(3)[:1])


@pytest.mark.parametrize(
    ("shape", "kernel", "options", "error", "message"),
    [
        ((4, 4, 1), (3, 3, 1, 2), {}, ValueError, r"expected x \[N, H, W, in\], got x \[4"),
        ((1, 4, 4, 1), (3, 3, 2, 2), {}, ValueError, r"expected kernel \[h, w, 1, out\] to match"),
        ((1, 4, 4, 1), (3, 3, 1, 2), {"window": 3}, ValueError, r"window \[3, 3\] for \[2, 2\]"),
        ((1, 4, 4, 1), (3, 3, 1, 2), {"window": 0}, ValueError, "window .* at least 1, got 0"),
        ((1, 4, 4, 1), (3, 3, 1, 2), {"window": 2.0}, TypeError, "expected window .* got 2.0"),
        ((1, 4, 4, 1), (3, 3, 1, 2), {"stride": 0}, ValueError, "stride .* at least 1, got 0"),
        ((1, 1, 4, 4), (3, 3, 1, 2), {}, ValueError, "looks like NCHW; images are NHWC"),
        ((1, 4, 4, 1), (3, 3, 1, 2), {"strides": 2}, TypeError, "expected stride, got strides"),
        ((1, 4, 4, 1), (3, 3, 1, 2), {"kernel_size": 2}, TypeError, "window, got kernel_size"),
        ((1, 4, 4, 1), (3, 3, 1, 2), {"padding": "FULL"}, ValueError, "got 'FULL'"),
    ],
)
def test_wrong_calls(shape, kernel, options, error, message):
    with pytest.raises(error, match=f"conv2d_relu_max_pool2d: .*{message}"):
        jaxfn.conv2d_relu_max_pool2d(jnp.ones(shape), jnp.ones(kernel), **options)
