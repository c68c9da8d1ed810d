"""Convolutions whose kernels see one channel each: sums of shifted images, no matrix product."""

from __future__ import annotations

import functools
import math
import operator
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from jaxfn.functional._checks import Pair
from jaxfn.functional._convolutions.slices import over_images, sum_over_images
from jaxfn.functional._convolutions.steps import (
    Steps,
    gradient_pads,
    padded,
    size_of,
    views_of,
    window_of,
)

# Bytes of the result that are computed at a time: its image is then in the cache at every position
# of the kernel, and there is work for all cores.
_SLICE_BYTES = 4 * 2**20
# The sums of the kernel's gradient are taken over images first, all places apart, as long as they
# stay in a core's cache.
_SUMS_BYTES = 4 * 2**20


def convolve(x: jax.Array, kernel: jax.Array, steps: Steps) -> jax.Array:
    """y[n, i, j, c] = Σ_{h, w} x[n, i·s + h·d − top, j·s + w·d − left, c] kernel[h, w, 0, c], with
    as many copies of each channel of x as it has kernels."""
    window = window_of(kernel)

    def some(x: jax.Array) -> jax.Array:
        x = padded(_repeated(x, kernel), steps.pads)
        views = views_of(x, window, steps.strides, steps.dilation)
        factors = kernel.reshape(-1, kernel.shape[3])
        terms = (view * factors[p] for p, view in enumerate(views))
        return functools.reduce(operator.add, terms)

    return over_images(some, (x,), _images(steps.sizes(size_of(x), window), kernel))


def image_gradient(y_bar: jax.Array, kernel: jax.Array, steps: Steps, size: Pair) -> jax.Array:
    """x̄ `[N, *size, in]`: ȳ, spread by the strides, convolved with the flipped kernel."""
    window = window_of(kernel)
    pads = []
    for n, m, s, k, d, (low, high) in zip(
        size,
        size_of(y_bar),
        steps.strides,
        window,
        steps.dilation,
        gradient_pads(steps, window),
        strict=True,
    ):
        # Rows of x behind the last window: no ȳ has to do with them.
        rest = n - (s * (m - 1) + 1 + low + high - d * (k - 1))
        pads.append((low, high + rest))
    back = Steps((1, 1), (pads[0], pads[1]), steps.dilation, kernel.shape[3])
    zero = jnp.zeros((), y_bar.dtype)
    between = [(0, 0, 0), *((0, 0, s - 1) for s in steps.strides), (0, 0, 0)]
    each = convolve(lax.pad(y_bar, zero, between), jnp.flip(kernel, (0, 1)), back)
    copies = kernel.shape[3] // steps.groups
    return each if copies == 1 else each.reshape(*each.shape[:3], -1, copies).sum(4)


def kernel_gradient(x: jax.Array, y_bar: jax.Array, kernel: Any, steps: Steps) -> jax.Array:
    """K̄[h, w, 0, c] = Σ_{n, i, j} x[n, i·s + h·d − top, j·s + w·d − left, c] ȳ[n, i, j, c]."""
    window, rows = window_of(kernel), size_of(y_bar)
    apart = math.prod(kernel.shape) * math.prod(rows) * kernel.dtype.itemsize <= _SUMS_BYTES

    def some(x: jax.Array, y_bar: jax.Array) -> list[jax.Array]:
        x = padded(_repeated(x, kernel), steps.pads)
        views = views_of(x, window, steps.strides, steps.dilation)
        return [jnp.sum(view * y_bar, (0,) if apart else (0, 1, 2)) for view in views]

    sums = sum_over_images(some, (x, y_bar), 1 if apart else _images(rows, kernel))
    totals = [total.reshape(-1, kernel.shape[3]).sum(0) for total in sums]
    return jnp.stack(totals).reshape(kernel.shape)


def _repeated(x: jax.Array, kernel: Any) -> jax.Array:
    copies = kernel.shape[3] // x.shape[3]
    return x if copies == 1 else jnp.repeat(x, copies, axis=3)


def _images(rows: Pair, kernel: Any) -> int:
    an_image = math.prod(rows) * kernel.shape[3] * kernel.dtype.itemsize
    return -(-_SLICE_BYTES // an_image)
