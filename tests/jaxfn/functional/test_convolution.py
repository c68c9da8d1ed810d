from __future__ import annotations

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import jaxfn
from scripts.cases import conv2d_reference
from tests.jaxfn.functional.oracles import assert_close, cotangent, value_and_gradients


def normal(*shape: int, dtype="float32", seed: int = 0) -> jax.Array:
    return jnp.asarray(np.random.RandomState(seed).standard_normal(shape), dtype)


pads = st.tuples(st.integers(0, 2), st.integers(0, 2))


@settings(deadline=None, max_examples=12)
@given(
    size=st.tuples(st.integers(4, 9), st.integers(4, 9)),
    kernel=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    channels=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    stride=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    padding=st.tuples(pads, pads),
)
def test_any_size_stride_and_padding(size, kernel, channels, stride, padding):
    args = (normal(2, *size, channels[0]), normal(*kernel, *channels), normal(channels[1]))

    def ours(*args):
        return jaxfn.conv2d(*args, stride=stride, padding=padding)

    def reference(*args):
        return conv2d_reference(*args, stride=stride, pads=padding)

    y = jax.eval_shape(ours, *args)
    # Elsewhere XLA's compiler may abort, as the docstring says.
    assume(y.shape[1] > kernel[0] and y.shape[2] > kernel[1])
    y_bar = cotangent(y)
    actual = jax.jit(lambda *a: value_and_gradients(ours, a, y_bar))(*args)
    expected = jax.jit(lambda *a: value_and_gradients(reference, a, y_bar))(*args)
    assert_close(actual, expected, 1e-5)


@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("kernel", [1, 2, 3, 5])
def test_same_padding_is_that_of_xla(stride, kernel):
    x, k = normal(1, 7, 8, 2), normal(kernel, kernel, 2, 3)
    y = jaxfn.conv2d(x, k, stride=stride, padding="SAME")
    assert y.shape == (1, -(-7 // stride), -(-8 // stride), 3)
    expected = jax.lax.conv_general_dilated(
        x, k, (stride, stride), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )
    chex.assert_trees_all_equal(y, expected)


def test_the_forms_of_stride_and_padding():
    x, k = normal(1, 7, 8, 2), normal(3, 3, 2, 3)
    same = [
        jaxfn.conv2d(x, k, stride=2, padding=1),
        jaxfn.conv2d(x, k, stride=(2, 2), padding=((1, 1), (1, 1))),
        jaxfn.conv2d(x, k, stride=[2, 2], padding=[[1, 1], [1, 1]]),
        jaxfn.conv2d(x, k, stride=np.int64(2), padding=np.int64(1)),
    ]
    for y in same[1:]:
        chex.assert_trees_all_equal(y, same[0])
    chex.assert_trees_all_equal(
        jaxfn.conv2d(x, k, padding="VALID"), jaxfn.conv2d(x, k, padding=0), jaxfn.conv2d(x, k)
    )


def test_an_empty_batch():
    args = (jnp.zeros((0, 5, 5, 2)), normal(3, 3, 2, 3), normal(3))
    y, *gradients = value_and_gradients(jaxfn.conv2d, args, jnp.zeros((0, 3, 3, 3)))
    assert y.shape == (0, 3, 3, 3)
    chex.assert_trees_all_equal(gradients, [jnp.zeros_like(a) for a in args])


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_sixteen_bit_sums_accumulate_in_float32(dtype):
    # 8192 halves, which would stall at 128 (bfloat16) or 1024 (float16): forward over the window,
    # in the kernel's and the bias's gradient over the image.
    ones = jnp.ones((1, 64, 64, 2), dtype)
    half = jnp.full((64, 64, 2, 1), 0.5, dtype)
    assert jaxfn.conv2d(ones, half).item() == 4096
    images = jnp.ones((8, 32, 32, 1), dtype)
    y, vjp = jax.vjp(jaxfn.conv2d, images, jnp.ones((1, 1, 1, 1), dtype), jnp.zeros(1, dtype))
    _, kernel_bar, bias_bar = vjp(jnp.full_like(y, 0.5))
    assert (kernel_bar.item(), bias_bar.item()) == (4096, 4096)


def test_mixed_dtypes():
    args = (normal(1, 4, 4, 1, dtype="bfloat16"), normal(2, 2, 1, 3), normal(3, dtype="float16"))
    y, *gradients = value_and_gradients(jaxfn.conv2d, args, normal(1, 3, 3, 3))
    assert y.dtype == jnp.float32
    chex.assert_trees_all_equal_dtypes(gradients, [*args])


@pytest.mark.parametrize(
    ("args", "kwargs", "error", "message"),
    [
        ((normal(4, 4, 1), normal(2, 2, 1, 1)), {}, ValueError, r"x \[N, H, W, in\], got x \[4,"),
        (
            (normal(1, 4, 4, 1), normal(2, 2, 1)),
            {},
            ValueError,
            r"expected kernel \[h, w, 1, out\], got kernel \[2, 2, 1\]",
        ),
        (
            (normal(1, 4, 4, 3), normal(2, 2, 1, 3)),
            {},
            ValueError,
            r"expected kernel \[h, w, 3, out\] to match x \[1, 4, 4, 3\], got kernel \[2, 2, 1, 3",
        ),
        (
            (normal(1, 4, 4, 1), normal(2, 2, 1, 3), normal(1)),
            {},
            ValueError,
            r"expected bias \[3\] to match kernel \[2, 2, 1, 3\], got bias \[1\]",
        ),
        ((normal(1, 4, 4, 1), normal(5, 2, 1, 3)), {}, ValueError, r"no larger than the padded"),
        ((jnp.ones((1, 4, 4, 1), int), normal(2, 2, 1, 3)), {}, TypeError, "x of dtype .* int32"),
        (("x", normal(2, 2, 1, 3)), {}, TypeError, "conv2d: expected x to be an array, got str"),
        (None, {"stride": 0}, ValueError, "stride to be an int or a pair of ints, at least 1, got"),
        (None, {"stride": 1.5}, TypeError, "expected stride to be an int or a pair of ints"),
        (None, {"stride": (1, 2, 3)}, TypeError, r"expected stride .* got \(1, 2, 3\)"),
        (None, {"stride": True}, TypeError, "expected stride .* got True"),
        (None, {"padding": "same"}, ValueError, 'padding "VALID" or "SAME", got \'same\''),
        (None, {"padding": -1}, ValueError, "padding of at least 0, got -1"),
        (None, {"padding": (1, 1)}, TypeError, r"\(\(top, bottom\), \(left, right\)\), got \(1, 1"),
        (None, {"padding": 0.5}, TypeError, "expected padding .* got 0.5"),
        (None, {"padding": None}, TypeError, "expected padding .* got None"),
    ],
)
def test_wrong_calls(args, kwargs, error, message):
    with pytest.raises(error, match=message):
        jaxfn.conv2d(*(args or (normal(1, 4, 4, 1), normal(2, 2, 1, 3))), **kwargs)
