"""How the queries and keys of attention are cut into blocks, and its weights into tiles.

Queries are `[B, T, K, G, H]`, with G heads that share each of the K heads of keys and values,
`[B, S, K, H]`. Blocks of queries are `[blocks, B, K, R, H]` with R = G · rows, blocks of keys
`[blocks, B, K, columns, H]`: B and K may be divided among devices, and stay dimensions.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxfn.functional._partition import automatic_devices

# Tiles that fit in the cache of a CPU, and are large enough that several cores share a product: a
# step is `ELEMENTS` weights, of several heads where a tile has fewer.
ROWS, COLUMNS, ELEMENTS = 512, 512, 2**18

# Where a mask is known tiles are smaller if queries are few: of 4 blocks by 4 it leaves 10 tiles,
# of 2 by 2 3. Below 256 the products are slow.
BLOCKS, LEAST = 4, 256

# Elsewhere a step costs more and memory is faster: all heads at once, and all weights, as in the
# plain program, up to 2^28 of them (1 GiB of float32).
MOST_ELEMENTS, LARGE = 2**28, 1024


class Mask(NamedTuple):
    """What is known of the mask when the program is made: the query t sees the key s if
    t - left ≤ s ≤ t + right; None is no bound."""

    left: int | None
    right: int | None


class Arrays(NamedTuple):
    """What else decides about the weights, each an array or None.

    Attributes:
      bias: `[B | 1, K | 1, G | 1, T | 1, S | 1]`, added to the logits.
      keep: of booleans, likewise, which weights there are.
      query_lengths: `[B]`, the number of queries.
      key_lengths: `[B]`, the number of keys.
    """

    bias: jax.Array | None
    keep: jax.Array | None
    query_lengths: jax.Array | None
    key_lengths: jax.Array | None


@dataclasses.dataclass(frozen=True)
class Tiling:
    """How the weights of T queries by S keys are cut: `rows` by `columns`, of `batch` examples
    and `heads` heads of keys at a time; `narrow` says whether the weights are rounded to the dtype
    of what they are multiplied with, as 16-bit products ask for."""

    queries: Any
    keys: Any
    rows: Any
    columns: Any
    batch: Any
    heads: Any
    narrow: bool = False

    @property
    def row_blocks(self) -> int:
        return _blocks(self.queries, self.rows)

    @property
    def column_blocks(self) -> int:
        return _blocks(self.keys, self.columns)

    def rounded(self, weights: jax.Array, factor: jax.Array) -> jax.Array:
        """The weights as they are multiplied with `factor`."""
        return weights.astype(factor.dtype) if self.narrow else weights

    def seen(self, mask: Mask) -> np.ndarray:
        """The tiles in which the mask leaves anything, `[tiles, 2]`, those of a row together."""

        def is_seen(row: int, column: int) -> bool:
            first, last = row * self.rows, min((row + 1) * self.rows, self.queries) - 1
            low = 0 if mask.left is None else first - mask.left
            high = self.keys if mask.right is None else last + mask.right
            return column * self.columns <= high and (column + 1) * self.columns > low

        if not all(isinstance(n, int) for n in (self.queries, self.keys)):
            return np.zeros((1, 2), np.int32)  # one tile
        pairs = itertools.product(range(self.row_blocks), range(self.column_blocks))
        return np.array([p for p in pairs if is_seen(*p)], np.int32).reshape(-1, 2)


def _blocks(size: Any, block: Any) -> int:
    return -(-size // block) if isinstance(size, int) else 1


def small_tiles(q: jax.Array, k: jax.Array, mask: Mask) -> Tiling:
    """Tiles for a CPU."""
    batch, queries, heads, group, _ = q.shape
    rows = _even(queries, min(_side(queries, ROWS, mask), max(ROWS // group, 1)))
    columns = _even(k.shape[1], _side(k.shape[1], COLUMNS, mask))
    # What may be divided among devices is not stepped through: each has its own at once.
    known = all(isinstance(size, int) for size in (batch, heads, rows, columns))
    if not known or automatic_devices() > 1:
        return Tiling(queries, k.shape[1], rows, columns, batch, heads)
    at_once = max(ELEMENTS // (group * rows * columns), 1)
    of_heads = _divisor(heads, at_once)
    of_batch = _divisor(batch, at_once // heads) if of_heads == heads else 1
    return Tiling(queries, k.shape[1], rows, columns, of_batch, of_heads)


def _side(size: Any, most: int, mask: Mask) -> int:
    """The greatest side of a tile."""
    if mask == Mask(None, None) or not isinstance(size, int):
        return most
    return min(most, max(size // BLOCKS, LEAST))


def large_tiles(q: jax.Array, k: jax.Array, mask: Mask) -> Tiling:
    """Tiles of all heads, or one."""
    del mask
    batch, queries, heads, group, _ = q.shape
    keys = k.shape[1]
    sizes = (batch, heads, group, queries, keys)
    known = all(isinstance(size, int) for size in sizes)
    one = not known or math.prod(sizes) <= MOST_ELEMENTS
    rows, columns = (queries, keys) if one else (_even(queries, LARGE), _even(keys, LARGE))
    return Tiling(queries, keys, rows, columns, batch, heads, narrow=True)


def _even(size: Any, most: int) -> Any:
    """The size of blocks of at most `most`, as equal as can be; all that is known later."""
    return -(-size // -(-size // most)) if isinstance(size, int) else size


def _divisor(size: int, most: int) -> int:
    """The greatest divisor of `size` that is at most `most`, 1 at least."""
    return next(n for n in range(max(min(size, most), 1), 0, -1) if size % n == 0)


def row_blocks(a: jax.Array, tiling: Tiling) -> jax.Array:
    """`[B, T, K, G, …]` → `[blocks, B, K, G · rows, …]`, filled up with zeros."""
    batch, _, heads, group, *rest = a.shape
    a = _filled(a, 1, tiling.row_blocks, tiling.rows)
    a = a.reshape(batch, tiling.row_blocks, tiling.rows, heads, group, *rest)
    a = jnp.transpose(a, (1, 0, 3, 4, 2, *range(5, a.ndim)))
    return a.reshape(tiling.row_blocks, batch, heads, group * tiling.rows, *rest)


def rows_back(a: jax.Array, shape: Any, tiling: Tiling) -> jax.Array:
    """`[blocks, B, K, G · rows, …]` → `[B, T, K, G, …]`, T, K and G those of `shape`."""
    blocks, batch, heads, _, *rest = a.shape
    a = a.reshape(blocks, batch, heads, shape[3], tiling.rows, *rest)
    a = jnp.transpose(a, (1, 0, 4, 2, 3, *range(5, a.ndim)))
    return a.reshape(batch, blocks * tiling.rows, *shape[2:4], *rest)[:, : shape[1]]


def column_blocks(a: jax.Array, tiling: Tiling) -> jax.Array:
    """`[B, S, K, H]` → `[blocks, B, K, columns, H]`, filled up with zeros."""
    batch, _, heads, size = a.shape
    a = _filled(a, 1, tiling.column_blocks, tiling.columns)
    a = a.reshape(batch, tiling.column_blocks, tiling.columns, heads, size)
    return jnp.transpose(a, (1, 0, 3, 2, 4))


def columns_back(a: jax.Array, shape: Any) -> jax.Array:
    """`[blocks, B, K, columns, H]` → `[B, S, K, H]`, the `shape`."""
    blocks, batch, heads, columns, size = a.shape
    a = jnp.transpose(a, (1, 0, 3, 2, 4)).reshape(batch, blocks * columns, heads, size)
    return a[:, : shape[1]]


def in_blocks(arrays: Arrays, tiling: Tiling) -> Arrays:
    """The bias and the mask, filled up to whole blocks."""

    def fill(a: jax.Array | None) -> jax.Array | None:
        if a is None:
            return None
        for axis, blocks, size in (
            (3, tiling.row_blocks, tiling.rows),
            (4, tiling.column_blocks, tiling.columns),
        ):
            a = a if a.shape[axis] == 1 else _filled(a, axis, blocks, size)
        return a

    return arrays._replace(bias=fill(arrays.bias), keep=fill(arrays.keep))


def _filled(a: jax.Array, axis: int, blocks: int, size: Any) -> jax.Array:
    missing = blocks * size - a.shape[axis] if isinstance(size, int) else 0
    if missing == 0:
        return a
    return jnp.pad(a, [(0, missing if d == axis else 0) for d in range(a.ndim)])
