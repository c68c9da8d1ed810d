"""Which way of computing a convolution is fast on a CPU."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from jaxfn.functional._checks import Pair
from jaxfn.functional._convolutions import depthwise, grouped, patches, winograd
from jaxfn.functional._convolutions.steps import (
    Steps,
    gradient_pads,
    padded,
    window_of,
)
from jaxfn.functional._rules import varying_transpose

# Winograd's transforms cost as much for few channels as for many, its products do not.
_FEWEST_CHANNELS = 32
# With fewer pixels the products are too small for either.
_FEWEST_PIXELS = 1024
# The parts of an image that lie a stride apart are put together again: a copy, which fewer pixels
# of the result than this do not pay.
_FEWEST_PARTED = 8192
# Of so few channels a row of what the positions see is short, and `jax.lax` slow; and of so many it
# is slow where the kernel does not see neighbours.
_FEW_CHANNELS, _MANY_CHANNELS = 8, 64
# Each position of a window is an operation of its own.
_MOST_POSITIONS = 64


@dataclasses.dataclass(frozen=True)
class Way:
    """A convolution and its gradients, as functions of arrays of one dtype.

    Attributes:
      product: `(x, kernel, steps)` → y.
      image_gradient: `(y_bar, kernel, steps, size)` → x̄, of images of that size.
      kernel_gradient: `(x, y_bar, kernel, steps)` → K̄; of the kernel, the type alone.
    """

    product: Callable[[jax.Array, jax.Array, Steps], jax.Array]
    image_gradient: Callable[[jax.Array, jax.Array, Steps, Pair], jax.Array]
    kernel_gradient: Callable[[jax.Array, jax.Array, Any, Steps], jax.Array]


def fast_way(x: Any, kernel: Any, steps: Steps) -> Way | None:
    """The way that is fast on a CPU for images and a kernel of these types; None if it is that of
    `jax.lax`."""
    window = window_of(kernel)
    if not isinstance(x.shape[0], int):  # known only when the program runs
        return None
    if math.prod(window) > _MOST_POSITIONS or min(*x.shape, *kernel.shape) == 0:
        return None
    if steps.groups > 1:
        if kernel.shape[2] == 1:
            return DEPTHWISE
        return GROUPED if grouped.pays(kernel, steps.groups) else None
    if window == (1, 1):
        return POINTWISE
    rows = steps.sizes((x.shape[1], x.shape[2]), window)
    if x.shape[0] * math.prod(rows) < _FEWEST_PIXELS:
        return None
    is_simple = steps.strides == (1, 1) and steps.dilation == (1, 1)
    if is_simple and window == (3, 3) and min(kernel.shape[2:]) >= _FEWEST_CHANNELS:
        return WINOGRAD
    channels = kernel.shape[2]
    if channels <= _FEW_CHANNELS or (channels >= _MANY_CHANNELS and not is_simple):
        return PATCHES
    return PARTS if max(steps.strides) > 1 else None


def convolve(x: jax.Array, kernel: jax.Array, steps: Steps) -> jax.Array:
    """`[N, H, W, in]`, `[h, w, in / groups, out]` → `[N, H', W', out]`, as `jax.lax` convolves."""
    return lax.conv_general_dilated(
        x,
        kernel,
        steps.strides,
        steps.pads,
        rhs_dilation=steps.dilation,
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=steps.groups,
    )


def _image_gradient(y_bar: jax.Array, kernel: jax.Array, steps: Steps, size: Pair) -> jax.Array:
    pixels = math.prod(y_bar.shape[:3])
    if max(steps.strides) > 1 and steps.dilation == (1, 1) and pixels >= _FEWEST_PARTED:
        return patches.image_gradient(y_bar, kernel, steps, size)
    return _transposed_image_gradient(convolve, y_bar, kernel, steps, size)


def _transposed_image_gradient(
    product: Callable[..., jax.Array], y_bar: jax.Array, kernel: jax.Array, steps: Steps, size: Pair
) -> jax.Array:
    images = (y_bar.shape[0], *size, kernel.shape[2])
    return varying_transpose(lambda x: product(x, kernel, steps), images, y_bar)


def _kernel_gradient(x: jax.Array, y_bar: jax.Array, kernel: Any, steps: Steps) -> jax.Array:
    return varying_transpose(lambda k: convolve(x, k, steps), kernel.shape, y_bar)


def _pointwise(x: jax.Array, kernel: jax.Array, steps: Steps) -> jax.Array:
    """With a kernel of one position: a matrix product of the pixels."""
    x = padded(x, steps.pads)
    down, right = steps.strides
    return lax.dot_general(x[:, ::down, ::right], kernel[0, 0], (((3,), (0,)), ((), ())))


def _pointwise_image_gradient(
    y_bar: jax.Array, kernel: jax.Array, steps: Steps, size: Pair
) -> jax.Array:
    return _transposed_image_gradient(_pointwise, y_bar, kernel, steps, size)


def _winograd(x: jax.Array, kernel: jax.Array, steps: Steps) -> jax.Array:
    return winograd.convolve(x, kernel, steps.pads)


def _winograd_image_gradient(
    y_bar: jax.Array, kernel: jax.Array, steps: Steps, size: Pair
) -> jax.Array:
    del size  # strides of 1 reach every pixel
    return winograd.image_gradient(y_bar, kernel, gradient_pads(steps, (3, 3)))


def _winograd_kernel_gradient(
    x: jax.Array, y_bar: jax.Array, kernel: Any, steps: Steps
) -> jax.Array:
    return winograd.kernel_gradient(x, y_bar, kernel, steps.pads)


def _of_one_group(x: Any, kernel: Any, steps: Steps) -> tuple[Way, Steps]:
    """The way of a convolution of groups that are taken together."""
    steps = dataclasses.replace(steps, groups=1)
    return fast_way(x, kernel, steps) or LAX, steps


def _grouped(x: jax.Array, kernel: jax.Array, steps: Steps) -> jax.Array:
    together = grouped.merged(kernel, steps.groups)
    results = []
    for x_part, part in _parts(steps.groups // together, x, kernel):
        dense = grouped.block_diagonal(part, together)
        way, of_one = _of_one_group(x_part, dense, steps)
        results.append(way.product(x_part, dense, of_one))
    return lax.concatenate(results, 3)


def _grouped_image_gradient(
    y_bar: jax.Array, kernel: jax.Array, steps: Steps, size: Pair
) -> jax.Array:
    together = grouped.merged(kernel, steps.groups)
    results = []
    for y_part, part in _parts(steps.groups // together, y_bar, kernel):
        dense = grouped.block_diagonal(part, together)
        images = jax.ShapeDtypeStruct((y_bar.shape[0], *size, dense.shape[2]), y_bar.dtype)
        way, of_one = _of_one_group(images, dense, steps)
        results.append(way.image_gradient(y_part, dense, of_one, size))
    return lax.concatenate(results, 3)


def _grouped_kernel_gradient(
    x: jax.Array, y_bar: jax.Array, kernel: Any, steps: Steps
) -> jax.Array:
    together = grouped.merged(kernel, steps.groups)
    dense = grouped.one_kernel(kernel, steps.groups)
    results = []
    for x_part, y_part in _parts(steps.groups // together, x, y_bar):
        way, of_one = _of_one_group(x_part, dense, steps)
        kernel_bar = way.kernel_gradient(x_part, y_part, dense, of_one)
        results.append(grouped.diagonal(kernel_bar, together))
    return lax.concatenate(results, 3)


def _parts(count: int, *arrays: jax.Array) -> Iterator[tuple[jax.Array, ...]]:
    """The arrays in `count` equal parts of their last dimensions."""
    return zip(*(jnp.split(array, count, axis=-1) for array in arrays), strict=True)


DEPTHWISE = Way(depthwise.convolve, depthwise.image_gradient, depthwise.kernel_gradient)
POINTWISE = Way(_pointwise, _pointwise_image_gradient, patches.kernel_gradient)
WINOGRAD = Way(_winograd, _winograd_image_gradient, _winograd_kernel_gradient)
PATCHES = Way(convolve, _image_gradient, patches.kernel_gradient)
PARTS = Way(convolve, _image_gradient, _kernel_gradient)
LAX = Way(convolve, functools.partial(_transposed_image_gradient, convolve), _kernel_gradient)
GROUPED = Way(_grouped, _grouped_image_gradient, _grouped_kernel_gradient)
