from __future__ import annotations

import chex
import jax.numpy as jnp
import numpy as np
import pytest

import jaxfn

pytestmark = pytest.mark.numbers


def normal(*shape: int) -> jnp.ndarray:
    return jnp.asarray(np.random.RandomState(0).standard_normal(shape), "float32")


@pytest.mark.parametrize(
    ("padding", "sides"),
    [("VALID", (0, 0)), ("same", (1, 1)), (2, (2, 2)), ((2, 0), (2, 0)), ("SAME_LOWER", (1, 1))],
)
def test_it_is_conv2d_of_one_row(padding, sides):
    x, kernel, bias = normal(2, 9, 4), normal(3, 2, 6), normal(6)
    y = jaxfn.conv1d(x, kernel, bias, padding=padding, groups=2)
    of_row = jaxfn.conv2d(x[:, None], kernel[None], bias, padding=((0, 0), sides), groups=2)
    chex.assert_trees_all_equal(y, of_row[:, 0])


@pytest.mark.parametrize(
    ("args", "kwargs", "error", "message"),
    [
        (
            (normal(9, 4), normal(3, 4, 6)),
            {},
            ValueError,
            r"conv1d: expected x \[N, L, in\], got x",
        ),
        ((normal(2, 9, 4), normal(3, 6)), {}, ValueError, r"kernel \[k, in / groups, out\]"),
        (
            (normal(2, 9, 4), normal(3, 3, 6)),
            {},
            ValueError,
            r"conv1d: expected kernel .* to match x",
        ),
        (None, {"padding": (1, 2, 3)}, TypeError, r"an int or \(left, right\), got \(1, 2, 3\)"),
        (None, {"stride": (1, 2)}, TypeError, r"expected stride to be an int, got \(1, 2\)"),
        (None, {"stride": 0}, ValueError, "expected stride"),
        (None, {"dilation": 9}, ValueError, "no larger than the padded"),
        (None, {"weight": 2}, TypeError, "conv1d: expected kernel, got weight"),
    ],
)
def test_wrong_calls(args, kwargs, error, message):
    with pytest.raises(error, match=message):
        jaxfn.conv1d(*(args or (normal(2, 9, 4), normal(3, 4, 6))), **kwargs)
