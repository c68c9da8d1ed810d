"""Where the windows of a pooling find their maxima, and gradients that go back there."""

from __future__ import annotations

import functools
import itertools
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxfn.functional._batch_last import MOST_POSITIONS
from jaxfn.functional._checks import Pair
from jaxfn.functional._convolutions.steps import size_of
from jaxfn.functional._moves import Moves
from jaxfn.functional._rules import explicit_sharding

# Codes of a byte: a position, one that is a nan's counted from the end, and none. Positions are
# less than `MOST_POSITIONS`, and so the two never meet.
_NAN, _NOT_THERE = np.uint8(254), np.uint8(255)


def found(x: jax.Array, moves: Moves) -> tuple[jax.Array, jax.Array]:
    """The maximum of each window of x `[·, H, W, ·]`, and its position, as a CPU computes them
    fastest on images of many channels: x is not copied to put −∞ around it, and no maximum is
    computed twice."""
    # Each position's part of the windows that see x there is padded, and used once. What is padded
    # and used twice a CPU computes twice, and so on from one position to the next.
    sights = moves.sights(size_of(x))
    y = functools.reduce(lax.max, (sight.padded(sight.of(x), -jnp.inf) for sight in sights))
    # The least code is the first maximum's or, where there is a nan, the last nan's.
    codes = []
    for sight in sights:
        seen, maximum = sight.of(x), sight.windows(y)
        of_nan = jnp.where(jnp.isnan(seen), np.uint8(_NAN - sight.position), _NOT_THERE)
        code = jnp.where(seen == maximum, np.uint8(sight.position), of_nan)
        codes.append(sight.padded(code, _NOT_THERE))
    code = functools.reduce(lax.min, codes)
    return y, jnp.where(code > MOST_POSITIONS, _NAN - code, code)


def chosen(x: jax.Array, moves: Moves) -> tuple[jax.Array, jax.Array]:
    """The maxima of large windows, taken from x where they are, and these places."""
    batch, height, width, channels = x.shape
    places = np.arange(height * width, dtype=np.int32).reshape(1, height, width, 1)

    def better(one: Any, other: Any) -> Any:
        (x, i), (y, j) = one, other
        is_last_nan = jnp.isnan(y) & (~jnp.isnan(x) | (j > i))
        takes = is_last_nan | (y > x) | ((y == x) & (j < i))
        return jnp.where(takes, y, x), jnp.where(takes, j, i)

    _, indices = lax.reduce_window(
        (lax.stop_gradient(x), jnp.broadcast_to(places, x.shape)),
        (np.array(-np.inf, x.dtype), np.array(height * width, np.int32)),
        better,
        **moves.of_reduce_window,
    )
    pixels = x.reshape(batch, height * width, channels)
    y = jnp.take_along_axis(pixels, indices.reshape(batch, -1, channels), axis=1)
    return y.reshape(indices.shape), indices


def indices_of(position: jax.Array, width: int, moves: Moves) -> jax.Array:
    """row · width + column of each maximum, of its position in the window."""
    places = position.astype(jnp.int32)
    in_window = places // moves.window[1], places % moves.window[1]
    starts = (
        np.arange(n) * s - low
        for n, s, (low, _) in zip(size_of(position), moves.strides, moves.pads, strict=True)
    )
    rows, columns = starts
    row = rows[:, None, None] + in_window[0] * moves.dilation[0]
    column = columns[:, None] + in_window[1] * moves.dilation[1]
    return jnp.asarray(row * width + column, jnp.int32)


def tile(y_bar: jax.Array, position: jax.Array, size: Pair, windows: Pair) -> jax.Array:
    """x̄ `[N, *size, C]` of windows side by side: each ȳ at its window's position."""
    batch, height, width, channels = y_bar.shape
    places = np.arange(math.prod(windows), dtype=np.uint8).reshape(windows[0], 1, windows[1], 1)
    is_there = position[:, :, None, :, None] == places
    tiles = jnp.where(is_there, y_bar[:, :, None, :, None], jnp.zeros((), y_bar.dtype))
    rows, columns = height * windows[0], width * windows[1]
    # On an explicit mesh JAX asks how the result is sharded where dimensions merge: as ȳ is.
    x_bar = lax.reshape(
        tiles, (batch, rows, columns, channels), out_sharding=explicit_sharding(y_bar)
    )
    rest = [(0, 0, 0), (0, size[0] - rows, 0), (0, size[1] - columns, 0), (0, 0, 0)]
    return lax.pad(x_bar, jnp.zeros((), y_bar.dtype), rest)


def scatter(
    y_bar: jax.Array,
    position: jax.Array,
    size: tuple[int, ...],
    moves: Moves,
) -> jax.Array:
    """x̄ `[·, *size, ·]`: each ȳ at its window's position, summed where windows overlap."""
    zero = jnp.zeros((), y_bar.dtype)
    terms = []
    for p, place in enumerate(itertools.product(*map(range, moves.window))):
        config = [(0, 0, 0)] * 4
        for d in (0, 1):
            low = place[d] * moves.dilation[d] - moves.pads[d][0]
            covered = (y_bar.shape[1 + d] - 1) * moves.strides[d] + 1
            config[1 + d] = (low, size[d] - low - covered, moves.strides[d] - 1)
        terms.append(lax.pad(jnp.where(position == p, y_bar, zero), zero, config))
    return functools.reduce(jnp.add, terms)
