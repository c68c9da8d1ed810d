"""Gradients of a convolution where the transposes of `jax.lax` are slow on a CPU."""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from jaxfn.functional._checks import Pair
from jaxfn.functional._convolutions.slices import sum_over_images
from jaxfn.functional._convolutions.steps import (
    Steps,
    padded,
    pixel_product,
    size_of,
    views_of,
    window_of,
)

# Bytes of what the kernel's positions see of the image that are held at a time: what a core's
# cache and its neighbour's hold.
_SEEN_BYTES = 4 * 2**20


def kernel_gradient(x: jax.Array, y_bar: jax.Array, kernel: Any, steps: Steps) -> jax.Array:
    """K̄ as the product of what each position of the kernel sees of x with ȳ."""
    window, rows = window_of(kernel), size_of(y_bar)
    seen_by = math.prod(kernel.shape[:3])

    def some(x: jax.Array, y_bar: jax.Array) -> jax.Array:
        views = views_of(padded(x, steps.pads), window, steps.strides, steps.dilation)
        return pixel_product(lax.concatenate(views, 3), y_bar)

    an_image = math.prod(rows) * seen_by * kernel.dtype.itemsize
    return sum_over_images(some, (x, y_bar), -(-_SEEN_BYTES // an_image)).reshape(kernel.shape)


def image_gradient(y_bar: jax.Array, kernel: jax.Array, steps: Steps, size: Pair) -> jax.Array:
    """x̄ `[N, *size, in]` of a strided convolution: the rows and columns of x that lie a stride
    apart see the same positions of the kernel, so that each such part is a convolution of ȳ with
    those positions, without the zeros between ȳ that the transpose multiplies."""
    (down, right), (height, width) = steps.strides, size
    count = -(-height // down), -(-width // right)
    rows = []
    for row in range(down):
        parts = [_part(y_bar, kernel, steps, (row, column), count) for column in range(right)]
        rows.append(jnp.stack(parts, 3))
    merged = jnp.stack(rows, 2).reshape(-1, count[0] * down, count[1] * right, kernel.shape[2])
    return merged[:, :height, :width]


def _part(y_bar: jax.Array, kernel: jax.Array, steps: Steps, first: Pair, count: Pair) -> jax.Array:
    """x̄ at the rows and columns `first`, `first` + stride, …: `count` of them.

    x̄[s·a + first] = Σ_t ȳ[a + q − t] K[h + s·t], where s·q = first + pad − h, for the least of
    the kernel's positions h for which q is whole.
    """
    chosen, pads = [], []
    for p, (low, _), s, k, m, n in zip(
        first, steps.pads, steps.strides, window_of(kernel), size_of(y_bar), count, strict=True
    ):
        start = (p + low) % s
        taps = len(range(start, k, s))
        if not taps:
            return jnp.zeros((y_bar.shape[0], *count, kernel.shape[2]), y_bar.dtype)
        before = taps - 1 - (p + low - start) // s
        chosen.append(slice(start, None, s))
        pads.append((before, n + taps - 1 - m - before))
    part = jnp.flip(kernel[chosen[0], chosen[1]], (0, 1))
    return lax.conv_general_dilated(
        padded(y_bar, (pads[0], pads[1])),
        part,
        (1, 1),
        "VALID",
        dimension_numbers=("NHWC", "HWOI", "NHWC"),  # from the output's channels to the input's
    )
