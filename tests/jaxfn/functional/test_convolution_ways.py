"""The ways in which a CPU computes a convolution, at sizes at which they are taken."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType
from jax.sharding import PartitionSpec as P

import jaxfn
from jaxfn.functional._convolutions import ways
from jaxfn.functional._convolutions.slices import over_images, sum_over_images
from jaxfn.functional._convolutions.steps import Steps
from tests.jaxfn.functional import by_numpy
from tests.jaxfn.functional.oracles import assert_close, cotangent, value_and_gradients

pytestmark = pytest.mark.numbers

SAME, NONE, UNEVEN = ((1, 1), (1, 1)), ((0, 0), (0, 0)), ((2, 0), (0, 1))
# Way, x, kernel, stride, padding, dilation, groups.
WAYS: dict[str, tuple[Any, ...]] = {
    "winograd": (
        ways.WINOGRAD,
        (9, 13, 12, 32),
        (3, 3, 32, 33),
        (1, 1),
        ((2, 0), (0, 1)),
        (1, 1),
        1,
    ),
    "winograd in slices": (
        ways.WINOGRAD,
        (70, 8, 8, 40),
        (3, 3, 40, 32),
        (1, 1),
        SAME,
        (1, 1),
        1,
    ),
    "depthwise": (ways.DEPTHWISE, (3, 9, 8, 5), (3, 2, 1, 5), (2, 1), SAME, (1, 2), 5),
    "two kernels a channel": (ways.DEPTHWISE, (3, 9, 8, 4), (3, 3, 1, 8), (1, 3), SAME, (1, 1), 4),
    "depthwise, large": (ways.DEPTHWISE, (2, 90, 90, 20), (3, 3, 1, 20), (2, 2), SAME, (1, 1), 20),
    "groups": (ways.GROUPED, (3, 9, 8, 80), (3, 3, 20, 80), (1, 1), SAME, (1, 1), 4),
    "pointwise": (
        ways.POINTWISE,
        (3, 9, 8, 20),
        (1, 1, 20, 7),
        (2, 3),
        ((0, 1), (1, 0)),
        (1, 1),
        1,
    ),
    "patches": (ways.PATCHES, (90, 20, 20, 64), (3, 3, 64, 4), (2, 2), SAME, (1, 1), 1),
    "patches, dilated": (ways.PATCHES, (12, 13, 12, 64), (3, 2, 64, 4), (1, 1), SAME, (2, 3), 1),
    "few channels": (ways.PATCHES, (12, 13, 12, 3), (3, 3, 3, 20), (1, 1), SAME, (1, 1), 1),
    "parts": (ways.PARTS, (600, 8, 9, 20), (2, 2, 20, 3), (2, 3), NONE, (1, 1), 1),
}


def normal(*shape: int, seed: int = 0, dtype: str = "float32") -> jax.Array:
    return jnp.asarray(np.random.RandomState(seed).standard_normal(shape), dtype)


@pytest.mark.parametrize("name", WAYS)
def test_values_and_gradients(name):
    way, x_shape, kernel_shape, stride, pads, dilation, groups = WAYS[name]
    args = (normal(*x_shape), normal(*kernel_shape, seed=1), normal(kernel_shape[3], seed=2))
    assert ways.fast_way(*args[:2], Steps(stride, pads, dilation, groups)) is way
    ours = functools.partial(
        jaxfn.conv2d, stride=stride, padding=pads, dilation=dilation, groups=groups
    )
    y_bar = cotangent(jax.eval_shape(ours, *args))
    actual = jax.jit(lambda *a: value_and_gradients(ours, a, y_bar))(*args)
    expected = by_numpy.conv2d(args, y_bar, stride, pads, dilation, groups)
    assert_close(actual, expected, 1e-5)


@pytest.mark.parametrize("name", ["winograd", "depthwise", "groups"])
def test_devices_of_shard_map_sum_what_is_not_divided(name):
    _, x_shape, kernel_shape, stride, pads, dilation, groups = WAYS[name]
    x, kernel = normal(4, *x_shape[1:]), normal(*kernel_shape)
    steps = {"stride": stride, "padding": pads, "dilation": dilation, "groups": groups}

    def gradients(x, kernel):
        return jax.grad(lambda x, k: jnp.sum(jaxfn.conv2d(x, k, **steps) ** 2), (0, 1))(x, kernel)

    mesh = jax.make_mesh((2,), ("data",), axis_types=(AxisType.Auto,))
    shared = jax.shard_map(
        lambda x, k: jax.grad(
            lambda x, k: jax.lax.psum(jnp.sum(jaxfn.conv2d(x, k, **steps) ** 2), "data"), (0, 1)
        )(x, k),
        mesh=mesh,
        in_specs=(P("data"), P()),
        out_specs=(P("data"), P()),
    )
    assert_close(jax.jit(shared)(x, kernel), jax.jit(gradients)(x, kernel), 1e-5)


def test_winograd_is_as_exact_as_the_sum():
    """Its error in float32 at a network's size is below four times that of the sum's own."""
    x, kernel = normal(8, 16, 16, 128), normal(3, 3, 128, 128, seed=1)
    exact = by_numpy.conv2d((x, kernel), normal(8, 16, 16, 128), (1, 1), SAME)[0]

    def error(fun):
        return np.sqrt(np.mean((np.asarray(jax.jit(fun)(x, kernel)) - exact) ** 2))

    steps = Steps((1, 1), SAME)
    ours = error(functools.partial(jaxfn.conv2d, padding=1))
    assert ours < 4 * error(functools.partial(ways.convolve, steps=steps))


def test_second_derivatives():
    x, kernel = normal(4, 16, 16, 32), normal(3, 3, 32, 32, seed=1)

    def squared(convolve):
        def loss(k):
            return jnp.sum(jnp.tanh(convolve(x, k)))

        return jax.jit(jax.grad(lambda k: jnp.sum(jax.grad(loss)(k) ** 2)))(kernel)

    plain = functools.partial(ways.convolve, steps=Steps((1, 1), SAME))
    assert_close([squared(functools.partial(jaxfn.conv2d, padding=1))], [squared(plain)], 1e-4)


@pytest.mark.parametrize("count", [1, 6, 7])
def test_slices_of_a_batch_that_do_not_come_out_even(count):
    x = normal(count, 2, 2, 3)
    np.testing.assert_array_equal(over_images(lambda x: 2 * x, (x,), 2), 2 * x)
    total = sum_over_images(lambda x, y: [jnp.sum(x * y, 0)], (x, x), 2)
    assert_close(total, [np.sum(np.square(x), 0)], 1e-6)


def test_few_pixels_and_unknown_batches_are_left_to_lax():
    kernel, steps = normal(3, 3, 32, 32), Steps((1, 1), SAME)
    assert ways.fast_way(normal(1, 8, 8, 32), kernel, steps) is None
    (batch,) = jax.export.symbolic_shape("b")
    images = jax.ShapeDtypeStruct((batch, 32, 32, 32), jnp.float32)
    assert ways.fast_way(images, kernel, steps) is None


def test_a_large_batch_of_few_channels():
    """In slices, and with a first layer whose image needs no gradient."""
    x, kernel, bias = normal(520, 5, 5, 2), normal(2, 2, 2, 3, seed=1), normal(3, seed=2)
    y_bar = cotangent(jax.eval_shape(jaxfn.conv2d_relu_max_pool2d, x, kernel, bias))

    def in_parts(x, kernel, bias):
        parts = [jaxfn.conv2d_relu_max_pool2d(part, kernel, bias) for part in jnp.split(x, 4)]
        return jnp.concatenate(parts)

    args = (x, kernel, bias)
    for of_x in (True, False):
        chosen = args if of_x else args[1:]

        def run(fun, chosen=chosen, of_x=of_x):
            partly = fun if of_x else functools.partial(fun, x)
            return jax.jit(lambda *a: value_and_gradients(partly, a, y_bar))(*chosen)

        assert_close(run(jaxfn.conv2d_relu_max_pool2d), run(in_parts), 1e-5)
