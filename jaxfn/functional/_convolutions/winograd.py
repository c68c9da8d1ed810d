"""Convolutions of 3×3 by Winograd's minimal filtering F(2×2, 3×3): 16 products for four outputs of
a channel where the sum has 36.

y = Aᵀ[(G K Gᵀ) ⊙ (Bᵀ d B)]A for each tile d of 4×4 inputs and its 2×2 outputs, the products summed
over the input's channels: 16 matrix products of tiles by channels. In float32 its error is about
that of the sum. An infinity or a nan in a tile reaches all four of its outputs.

Source: Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks", CVPR 2016, section 4.1.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxfn.functional._checks import Pads, Pair
from jaxfn.functional._convolutions.slices import over_images, sum_over_images
from jaxfn.functional._convolutions.steps import padded, pixel_product, size_of

_B = np.array([[1, 0, 0, 0], [0, 1, -1, 1], [-1, 1, 1, 0], [0, 0, 0, -1]])
_G = np.array([[1, 0, 0], [0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0, 0, 1]])
_A = np.array([[1, 0], [1, 1], [1, -1], [0, -1]])

# Bytes of transformed tiles, of image and result, that are held at a time: about half of a shared
# cache. For the kernel's gradient, which reads both from the cache again, half of that.
_HELD_BYTES = 16 * 2**20
# A product of fewer tiles waits for the kernel.
_FEWEST_TILES = 512


def convolve(x: jax.Array, kernel: jax.Array, pads: Pads) -> jax.Array:
    """`[N, H, W, in]`, `[3, 3, in, out]` → `[N, H', W', out]`."""
    return _filtered(x, _transformed(kernel), 0, pads)


def image_gradient(y_bar: jax.Array, kernel: jax.Array, pads: Pads) -> jax.Array:
    """x̄ of `convolve`: ȳ, with those pads, convolved with the kernel turned around, from its output
    channels to its input channels."""
    return _filtered(y_bar, _transformed(jnp.flip(kernel, (0, 1))), 1, pads)


def _filtered(x: jax.Array, factors: Sequence[jax.Array], of_x: int, pads: Pads) -> jax.Array:
    """Aᵀ[factors ⊙ (Bᵀ d B)]A, summed over the dimension `of_x` of the factors."""
    rows, columns = (n + sum(pad) - 2 for n, pad in zip(size_of(x), pads, strict=True))
    count = _tiles(rows, columns)

    def some(x: jax.Array) -> jax.Array:
        products = [
            lax.dot_general(tile, factor, (((3,), (of_x,)), ((), ())))
            for tile, factor in zip(_image_tiles(x, pads, count), factors, strict=True)
        ]
        y = [_combined(_A[:, i], _A[:, j], products) for i in (0, 1) for j in (0, 1)]
        # [N, tiles, 2, tiles, 2, out]: the outputs of a tile stand side by side.
        pairs = [jnp.stack(y[2 * i : 2 * i + 2], 3) for i in (0, 1)]
        merged = jnp.stack(pairs, 2).reshape(x.shape[0], 2 * count[0], 2 * count[1], -1)
        return merged[:, :rows, :columns]

    return over_images(some, (x,), _images(count, factors[0], _HELD_BYTES))


def kernel_gradient(x: jax.Array, y_bar: jax.Array, kernel: Any, pads: Pads) -> jax.Array:
    """K̄ = Gᵀ[Σ (Bᵀ d B) ⊙ (A ȳ Aᵀ)]G, over all tiles: the transpose of `convolve` in the kernel."""
    rows, columns = size_of(y_bar)
    count = _tiles(rows, columns)

    def some(x: jax.Array, y_bar: jax.Array) -> list[jax.Array]:
        tiles = zip(_image_tiles(x, pads, count), _result_tiles(y_bar, count), strict=True)
        return [pixel_product(tile, tile_bar) for tile, tile_bar in tiles]

    factors_bar = sum_over_images(some, (x, y_bar), _images(count, kernel, _HELD_BYTES // 2))
    rows_bar = [
        jnp.stack([_combined(_G[:, h], _G[:, w], factors_bar) for w in range(3)]) for h in range(3)
    ]
    return jnp.stack(rows_bar)


def _tiles(rows: int, columns: int) -> Pair:
    return -(-rows // 2), -(-columns // 2)


def _images(count: Pair, kernel: Any, held: int) -> int:
    """How many images are transformed at a time."""
    tiles = count[0] * count[1]
    a_tile = 16 * sum(kernel.shape[-2:]) * kernel.dtype.itemsize
    return -(-max(held // a_tile, _FEWEST_TILES) // tiles)


def _transformed(kernel: jax.Array) -> list[jax.Array]:
    """G K Gᵀ: 16 matrices `[in, out]`."""
    parts = [kernel[h, w] for h in range(3) for w in range(3)]
    return [_combined(_G[a], _G[b], parts) for a in range(4) for b in range(4)]


def _image_tiles(x: jax.Array, pads: Pads, count: Pair) -> list[jax.Array]:
    """Bᵀ d B of all tiles d: 16 arrays `[N, tiles, tiles, in]`."""
    ends = [
        2 * n + 2 - size - low for n, size, (low, _) in zip(count, size_of(x), pads, strict=True)
    ]
    x = padded(x, ((pads[0][0], ends[0]), (pads[1][0], ends[1])))
    parts = [_every_second(x, a, b, count) for a in range(4) for b in range(4)]
    return [_combined(_B[:, a], _B[:, b], parts) for a in range(4) for b in range(4)]


def _result_tiles(y_bar: jax.Array, count: Pair) -> list[jax.Array]:
    """A ȳ Aᵀ of all tiles: 16 arrays `[N, tiles, tiles, out]`."""
    ends = [2 * n - size for n, size in zip(count, size_of(y_bar), strict=True)]
    y_bar = padded(y_bar, ((0, ends[0]), (0, ends[1])))
    parts = [_every_second(y_bar, a, b, count) for a in range(2) for b in range(2)]
    return [_combined(_A[a], _A[b], parts) for a in range(4) for b in range(4)]


def _every_second(x: jax.Array, row: int, column: int, count: Pair) -> jax.Array:
    end = (x.shape[0], row + 2 * count[0] - 1, column + 2 * count[1] - 1, x.shape[3])
    return lax.slice(x, (0, row, column, 0), end, (1, 2, 2, 1))


def _combined(rows: np.ndarray, columns: np.ndarray, parts: Sequence[jax.Array]) -> jax.Array:
    """Σ_{i, j} rows[i] columns[j] parts[i, j], without the terms that are 0."""
    factors = np.outer(rows, columns).ravel()
    terms = [
        part if factor == 1 else -part if factor == -1 else part * factor.astype(part.dtype)
        for factor, part in zip(factors, parts, strict=True)
        if factor
    ]
    total = terms[0]
    for term in terms[1:]:
        total = total + term
    return total
