from __future__ import annotations

import itertools
import re

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import jaxfn
from tests.jaxfn.functional import by_numpy
from tests.jaxfn.functional.oracles import assert_close, compiled, cotangent, value_and_gradients

pytestmark = pytest.mark.numbers


def normal(*shape: int, dtype="float32", seed: int = 0) -> jax.Array:
    return jnp.asarray(np.random.RandomState(seed).standard_normal(shape), dtype)


pads = st.tuples(st.integers(0, 2), st.integers(0, 2))


@settings(deadline=None, max_examples=12)
@given(
    size=st.tuples(st.integers(4, 9), st.integers(4, 9)),
    kernel=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    channels=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    groups=st.integers(1, 3),
    batch=st.integers(1, 5),
    stride=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    padding=st.tuples(pads, pads),
    dilation=st.tuples(st.integers(1, 2), st.integers(1, 2)),
)
def test_any_size_and_steps(size, kernel, channels, groups, batch, stride, padding, dilation):
    each, out = channels[0], channels[1] * groups
    args = (normal(batch, *size, each * groups), normal(*kernel, each, out), normal(out))
    sizes = zip(size, padding, dilation, kernel, strict=True)
    assume(all(n + sum(pad) > d * (k - 1) for n, pad, d, k in sizes))

    def ours(*args):
        return jaxfn.conv2d(*args, stride=stride, padding=padding, dilation=dilation, groups=groups)

    y_bar = cotangent(jax.eval_shape(ours, *args))
    actual = jax.jit(lambda *a: value_and_gradients(ours, a, y_bar))(*args)
    assert_close(actual, by_numpy.conv2d(args, y_bar, stride, padding, dilation, groups), 1e-5)


@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("kernel", [1, 2, 3, 5])
def test_same_padding_is_that_of_xla(stride, kernel):
    x, k = normal(1, 7, 8, 2), normal(kernel, kernel, 2, 3)
    y = jax.jit(lambda x, k: jaxfn.conv2d(x, k, stride=stride, padding="SAME"))(x, k)
    assert y.shape == (1, -(-7 // stride), -(-8 // stride), 3)
    pads = jax.lax.padtype_to_pads((7, 8), (kernel, kernel), (stride, stride), "SAME")
    assert_close(y, by_numpy.conv2d((x, k), y, (stride, stride), (*pads,))[0], 1e-5)


def test_the_forms_of_stride_and_padding():
    x, k = normal(1, 7, 8, 2), normal(3, 3, 2, 3)
    same = [
        jaxfn.conv2d(x, k, stride=2, padding=1),
        jaxfn.conv2d(x, k, stride=(2, 2), padding=((1, 1), (1, 1))),
        jaxfn.conv2d(x, k, stride=[2, 2], padding=[[1, 1], [1, 1]]),
        jaxfn.conv2d(x, k, stride=2, padding=(1, 1)),
        jaxfn.conv2d(x, k, stride=np.int64(2), padding=np.int64(1)),
    ]
    for y in same[1:]:
        chex.assert_trees_all_equal(y, same[0])
    chex.assert_trees_all_equal(
        jaxfn.conv2d(x, k, padding="VALID"), jaxfn.conv2d(x, k, padding="valid")
    )
    chex.assert_trees_all_equal(jaxfn.conv2d(x, k, padding=0), jaxfn.conv2d(x, k))
    chex.assert_trees_all_equal(
        jaxfn.conv2d(x, k, stride=2, padding="SAME_LOWER"),
        jaxfn.conv2d(x, k, stride=2, padding=((1, 1), (1, 0))),
    )


def test_many_channels():
    # More than a CPU takes with the batch last.
    args = (normal(2, 6, 5, 20), normal(3, 2, 20, 4), normal(4))
    y_bar = normal(2, 4, 4, 4, seed=1)
    expected = by_numpy.conv2d(args, y_bar, (1, 1), ((0, 0), (0, 0)))
    assert_close(compiled(jaxfn.conv2d)(y_bar, *args), expected, 1e-5)


def test_strides_at_which_the_gradient_of_lax_aborts_the_compiler():
    args = (normal(1, 4, 4, 1), normal(3, 3, 1, 1))
    strided = compiled(lambda *args: jaxfn.conv2d(*args, stride=3))
    y, x_bar, _ = strided(np.ones((1, 1, 1, 1), np.float32), *args)
    np.testing.assert_allclose(y.item(), np.vdot(args[0][0, :3, :3], args[1][..., 0]), 1e-5)
    np.testing.assert_array_equal(x_bar[0, :3, :3, 0], args[1][..., 0, 0])


@pytest.mark.parametrize("channels", [2, 20], ids=["batch last", "channels last"])
@pytest.mark.parametrize("needed", list(itertools.product([False, True], repeat=3)), ids=str)
def test_an_input_without_gradient_costs_nothing(channels, needed):
    """Neither a product nor a residual: of x for the kernel's gradient, of the kernel for x's."""
    args = [normal(4, 7, 6, channels), normal(3, 2, channels, 3), normal(3)]

    def of_the_needed(*chosen):
        chosen = iter(chosen)
        return jaxfn.conv2d(*(next(chosen) if n else a for n, a in zip(needed, args, strict=True)))

    chosen = [a for n, a in zip(needed, args, strict=True) if n]
    y, vjp = jax.vjp(of_the_needed, *chosen)
    kept = sum(leaf.nbytes for leaf in jax.tree.leaves(vjp))
    assert kept == args[0].nbytes * needed[1] + args[1].nbytes * needed[0]
    hlo = jax.jit(vjp).lower(y).as_text()
    products = hlo.count("stablehlo.dot_general") + hlo.count("stablehlo.convolution")
    assert products == needed[0] + needed[1]


def test_what_the_positions_see_is_not_kept():
    x, kernel = normal(8, 16, 16, 2), normal(3, 3, 2, 4)
    _, vjp = jax.vjp(jaxfn.conv2d, x, kernel)
    assert sum(leaf.nbytes for leaf in jax.tree.leaves(vjp)) == x.nbytes + kernel.nbytes


def pooled_apart(x, kernel):
    return jaxfn.relu_max_pool2d(jaxfn.conv2d(x, kernel), 3, stride=2)


@pytest.mark.optimized
@pytest.mark.parametrize("block", [pooled_apart, jaxfn.conv2d_relu_max_pool2d])
def test_transposes_cancel_between_operations(block):
    """In the compiled gradient of a chain of operations only the images are transposed."""
    x, k1, k2 = normal(64, 14, 14, 1), normal(3, 3, 1, 6), normal(3, 3, 6, 16)

    def loss(k1, k2, x):
        return jnp.sum(block(block(x, k1), k2) ** 2)

    hlo = jax.jit(jax.grad(loss, (0, 1))).lower(k1, k2, x).compile().as_text()
    shapes = re.findall(r"= \w+\[([\d,]+)\]\S* (?:transpose|copy)\(", hlo)
    images = {shape for shape in shapes if "64" in shape.split(",") and shape.count(",") == 3}
    assert images <= {"1,14,14,64", "1,14,15,64"}  # the latter with a column more
    assert images


def test_an_empty_batch():
    args = (jnp.zeros((0, 5, 5, 2)), normal(3, 3, 2, 3), normal(3))
    y, *gradients = value_and_gradients(jaxfn.conv2d, args, jnp.zeros((0, 3, 3, 3)))
    assert y.shape == (0, 3, 3, 3)
    chex.assert_trees_all_equal(gradients, [jnp.zeros_like(a) for a in args])


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_sixteen_bit_sums_accumulate_in_float32(dtype):
    # 8192 halves, which would stall at 128 (bfloat16) or 1024 (float16): forward over the window,
    # in the kernel's and the bias's gradient over the image.
    def full(value, *shape):
        return jnp.asarray(np.full(shape, value), dtype)

    assert jaxfn.conv2d(full(1, 1, 64, 64, 2), full(0.5, 64, 64, 2, 1)).item() == 4096
    images = full(1, 8, 32, 32, 1)
    _, vjp = jax.vjp(jaxfn.conv2d, images, full(1, 1, 1, 1, 1), full(0, 1))
    _, kernel_bar, bias_bar = vjp(full(0.5, 8, 32, 32, 1))
    assert (kernel_bar.item(), bias_bar.item()) == (4096, 4096)


def test_mixed_dtypes():
    args = (normal(1, 4, 4, 1, dtype="bfloat16"), normal(2, 2, 1, 3), normal(3, dtype="float16"))
    y, *gradients = compiled(jaxfn.conv2d)(normal(1, 3, 3, 3), *args)
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
        (None, {"padding": "full"}, ValueError, '"SAME" or "SAME_LOWER", got \'full\'$'),
        (None, {"padding": -1}, ValueError, "padding of at least 0, got -1"),
        (None, {"padding": (1, 1, 1)}, TypeError, r"\(left, right\)\), got \(1, 1, 1\)$"),
        (None, {"dilation": 0}, ValueError, "dilation to be an int or a pair of ints, at least 1"),
        (
            None,
            {"dilation": 4},
            ValueError,
            r"no larger than the padded image, got window \[5, 5\]",
        ),
        (None, {"groups": 2}, ValueError, "expected groups from 1 to 1, got 2"),
        (None, {"groups": 1.0}, TypeError, "expected groups to be an int, got float"),
        (
            (normal(1, 4, 4, 3), normal(2, 2, 1, 3)),
            {"groups": 2},
            ValueError,
            "the 3 channels of x",
        ),
        (
            (normal(1, 4, 4, 4), normal(2, 2, 2, 3)),
            {"groups": 2},
            ValueError,
            r"kernel \[h, w, 2, a multiple of 2\] to match x .*, got kernel \[2, 2, 2, 3\]",
        ),
        (None, {"strides": 2}, TypeError, "conv2d: expected stride, got strides"),
        (None, {"weight": 2}, TypeError, "conv2d: expected kernel, got weight"),
        (None, {"padding": 0.5}, TypeError, "expected padding .* got 0.5"),
        (None, {"padding": None}, TypeError, "expected padding .* got None"),
    ],
)
def test_wrong_calls(args, kwargs, error, message):
    with pytest.raises(error, match=message):
        jaxfn.conv2d(*(args or (normal(1, 4, 4, 1), normal(2, 2, 1, 3))), **kwargs)


NCHW = "looks like NCHW; images are NHWC: jnp.moveaxis(x, 1, -1)"
OIHW = "looks like OIHW; kernels are HWIO: jnp.transpose(kernel, (2, 3, 1, 0))"


@pytest.mark.parametrize(
    ("x", "kernel", "hint"),
    [
        ((8, 3, 32, 32), (3, 3, 3, 16), f", {NCHW}"),
        ((8, 1, 28, 28), (5, 5, 1, 6), f", {NCHW}"),
        ((8, 3, 20, 32), (3, 5, 3, 16), f", {NCHW}"),
        ((8, 32, 32, 3), (16, 3, 5, 5), f", {OIHW}"),
        ((8, 3, 32, 32), (16, 3, 5, 5), f", {NCHW}; kernel {OIHW}"),
        ((8, 3, 32, 32), (16, 3, 3, 3), f", {NCHW}; kernel {OIHW}"),
        ((8, 32, 32, 3), (3, 3, 1, 16), ""),
        ((8, 5, 5, 3), (5, 5, 4, 6), ""),  # the window would be larger than the image
    ],
)
def test_layouts_of_pytorch_are_recognised(x, kernel, hint):
    message = re.escape(f"got kernel {list(kernel)}{hint}")
    with pytest.raises(ValueError, match=f"conv2d: .*{message}$"):
        jaxfn.conv2d(normal(*x), normal(*kernel))
