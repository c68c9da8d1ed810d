from __future__ import annotations

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

import jaxfn
from tests.jaxfn.functional.oracles import assert_close, cotangent, value_and_gradients

pytestmark = pytest.mark.numbers


def normal(*shape: int) -> jax.Array:
    return jnp.asarray(np.random.RandomState(0).standard_normal(shape), "float32")


# Stride, padding, output padding, dilation, groups.
STEPS = [
    ((1, 1), ((0, 0), (0, 0)), (0, 0), (1, 1), 1),
    ((2, 3), ((1, 0), (0, 2)), (1, 2), (1, 1), 1),
    ((3, 1), ((1, 1), (1, 1)), (2, 1), (1, 2), 2),
    ((2, 2), ((0, 1), (1, 0)), (0, 1), (2, 1), 4),
]


@pytest.mark.parametrize(("stride", "pads", "more", "dilation", "groups"), STEPS)
def test_it_is_the_transpose_of_a_convolution(stride, pads, more, dilation, groups):
    x, kernel, bias = normal(2, 4, 5, 4), normal(3, 2, 4, 3), normal(3 * groups)
    steps = {"stride": stride, "padding": pads, "dilation": dilation, "groups": groups}

    def ours(*args):
        return jaxfn.conv_transpose2d(*args, output_padding=more, **steps)

    y_bar = cotangent(jax.eval_shape(ours, x, kernel, bias))

    def plain(x, kernel, bias):
        def convolved(y):
            return lax.conv_general_dilated(
                y,
                kernel.swapaxes(2, 3),
                stride,
                [(low, high - m) for (low, high), m in zip(pads, more, strict=True)],
                rhs_dilation=dilation,
                dimension_numbers=("NHWC", "HWIO", "NHWC"),
                feature_group_count=groups,
            )

        return jax.linear_transpose(convolved, y_bar)(x)[0] + bias

    actual, expected = (
        jax.jit(lambda *args, f=f: value_and_gradients(f, args, y_bar))(x, kernel, bias)
        for f in (ours, plain)
    )
    assert_close(actual, expected, 1e-5)


@pytest.mark.parametrize(
    ("padding", "stride", "size"), [*itertools.product(["SAME", "VALID"], [1, 2, 3], [2, 3])]
)
def test_names_mean_what_they_mean_to_jax(padding, stride, size):
    x, kernel = normal(1, 4, 5, 2), normal(size, size, 2, 3)
    flipped = jnp.flip(kernel, (0, 1))
    expected = lax.conv_transpose(x, flipped, (stride, stride), padding)
    actual = jaxfn.conv_transpose2d(x, kernel, stride=stride, padding=padding)
    if padding == "VALID":
        # JAX pads a window that is smaller than the stride; PyTorch does not.
        expected = expected[:, : actual.shape[1], : actual.shape[2]]
    np.testing.assert_allclose(actual, expected, 1e-5, 1e-5)


@pytest.mark.parametrize("needed", [*itertools.product([False, True], repeat=3)], ids=str)
def test_an_input_without_gradient_costs_nothing(needed):
    args = [normal(4, 7, 6, 2), normal(3, 2, 2, 3), normal(3)]

    def of_the_needed(*chosen):
        chosen = iter(chosen)
        given = (next(chosen) if n else a for n, a in zip(needed, args, strict=True))
        return jaxfn.conv_transpose2d(*given)

    y, vjp = jax.vjp(of_the_needed, *(a for n, a in zip(needed, args, strict=True) if n))
    kept = sum(leaf.nbytes for leaf in jax.tree.leaves(vjp))
    assert kept == args[0].nbytes * needed[1] + args[1].nbytes * needed[0]
    hlo = jax.jit(vjp).lower(y).as_text()
    products = hlo.count("stablehlo.dot_general") + hlo.count("stablehlo.convolution")
    assert products == needed[0] + needed[1]


@pytest.mark.parametrize(
    ("args", "kwargs", "error", "message"),
    [
        ((normal(4, 4, 1), normal(2, 2, 1, 1)), {}, ValueError, r"x \[N, H, W, in\], got x \[4,"),
        (
            (normal(1, 4, 4, 1), normal(2, 2, 3, 1)),
            {},
            ValueError,
            r"expected kernel \[h, w, 1, out",
        ),
        (
            (normal(1, 4, 4, 2), normal(2, 2, 2, 3), normal(3)),
            {"groups": 2},
            ValueError,
            r"expected bias \[6\] to match kernel \[2, 2, 2, 3\] in 2 groups, got bias \[3\]",
        ),
        (
            None,
            {"output_padding": 2, "stride": 2},
            ValueError,
            r"output_padding less than the stride",
        ),
        (
            None,
            {"output_padding": 1, "stride": 2, "padding": "SAME"},
            ValueError,
            "output_padding 0",
        ),
        (None, {"padding": 3}, ValueError, r"padding that leaves something of the result, got 3"),
        (None, {"padding": "FULL"}, ValueError, "got 'FULL'"),
        (None, {"groups": 2}, ValueError, "expected groups from 1 to 1, got 2"),
        (None, {"weight": 2}, TypeError, "conv_transpose2d: expected kernel, got weight"),
    ],
)
def test_wrong_calls(args, kwargs, error, message):
    with pytest.raises(error, match=message):
        jaxfn.conv_transpose2d(*(args or (normal(1, 4, 4, 1), normal(2, 2, 1, 3))), **kwargs)
