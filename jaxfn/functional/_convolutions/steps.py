"""How a kernel meets an image: what the ways to compute a convolution have in common."""

from __future__ import annotations

import dataclasses
import itertools
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from jaxfn.functional._checks import Pads, Pair


@dataclasses.dataclass(frozen=True)
class Steps:
    """How a convolution's kernel meets the image; the same for all its terms.

    Attributes:
      strides: by how many rows and columns the kernel moves.
      pads: rows and columns of zeros around the image; rows and columns less, where negative.
      dilation: distance of the kernel's elements, in rows and columns.
      groups: into how many parts the channels fall, each with kernels of its own.
    """

    strides: Pair
    pads: Pads
    dilation: Pair = (1, 1)
    groups: int = 1

    def sizes(self, image: Pair, kernel: Pair) -> Pair:
        """Rows and columns of the result."""
        rows, columns = (
            (n + sum(pad) - d * (k - 1) - 1) // s + 1
            for n, pad, k, s, d in zip(
                image, self.pads, kernel, self.strides, self.dilation, strict=True
            )
        )
        return rows, columns


def spread(window: Pair, dilation: Pair) -> Pair:
    """How many rows and columns a window reaches over whose elements lie `dilation` apart."""
    (height, width), (rows, columns) = window, dilation
    return rows * (height - 1) + 1, columns * (width - 1) + 1


def size_of(image: jax.Array) -> Pair:
    """Rows and columns of images `[·, H, W, ·]`."""
    return image.shape[1], image.shape[2]


def window_of(kernel: Any) -> Pair:
    """Rows and columns of a kernel `[h, w, in, out]`, or of its type."""
    return kernel.shape[0], kernel.shape[1]


def padded(x: jax.Array, pads: Pads) -> jax.Array:
    """x `[·, H, W, ·]` with zeros around it, or without its edge where `pads` are negative."""
    return lax.pad(x, jnp.zeros((), x.dtype), [(0, 0, 0), *((*pad, 0) for pad in pads), (0, 0, 0)])


def views_of(x: jax.Array, window: Pair, strides: Pair, dilation: Pair) -> list[jax.Array]:
    """What each position of a window sees of x `[·, H, W, ·]`, padded already, in row-major
    order, as the window moves; its elements lie `dilation` apart."""
    reach = spread(window, dilation)
    count = [(x.shape[1 + d] - reach[d]) // strides[d] + 1 for d in (0, 1)]
    views = []
    for place in itertools.product(*map(range, window)):
        start = [place[d] * dilation[d] for d in (0, 1)]
        end = [start[d] + (count[d] - 1) * strides[d] + 1 for d in (0, 1)]
        limits = (x.shape[0], *end, x.shape[3])
        views.append(lax.slice(x, (0, *start, 0), limits, (1, *strides, 1)))
    return views


def gradient_pads(steps: Steps, kernel: Pair) -> Pads:
    """The zeros around ȳ with which the image's gradient, for strides of 1, is a convolution of ȳ
    with the kernel turned around."""
    reach = spread(kernel, steps.dilation)
    rows, columns = (
        (k - 1 - low, k - 1 - high) for k, (low, high) in zip(reach, steps.pads, strict=True)
    )
    return rows, columns


def pixel_product(x: jax.Array, y: jax.Array) -> jax.Array:
    """Σ over all pixels of x `[N, H, W, in]` ⊗ y `[N, H, W, out]`: `[in, out]`."""
    # As matrices: a sum over three dimensions XLA's products for a CPU lay out anew.
    x, y = x.reshape(-1, x.shape[3]), y.reshape(-1, y.shape[3])
    return lax.dot_general(x, y, (((0,), (0,)), ((), ())))
