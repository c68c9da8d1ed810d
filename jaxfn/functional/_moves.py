"""How a pooling's window moves over an image."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.typing import ArrayLike

from jaxfn.functional._checks import (
    NCHW,
    Pads,
    Pair,
    as_array,
    as_padding,
    as_pair,
    check_bool,
    check_rank,
)
from jaxfn.functional._convolutions.steps import size_of, spread


@dataclasses.dataclass(frozen=True)
class Side:
    """What an element of a window sees of an image, of the rows or of the columns alone.

    Attributes:
      start: the first row that it sees.
      stride: by how much the window moves.
      count: how many windows see a row there.
      others: how many windows before these and after them see the padding.
    """

    start: int
    stride: int
    count: int
    others: Pair


@dataclasses.dataclass(frozen=True)
class Sight:
    """What a position of a window sees of an image.

    Attributes:
      position: which one, in row-major order.
      sides: of the rows, and of the columns.
    """

    position: int
    sides: tuple[Side, Side]

    def of(self, image: jax.Array) -> jax.Array:
        """What it sees of an image `[·, H, W, ·]`."""
        return _every(image, *((side.start, side.count, side.stride) for side in self.sides))

    def windows(self, pooled: jax.Array) -> jax.Array:
        """Of a result `[·, H', W', ·]` the windows that see something there."""
        return _every(pooled, *((side.others[0], side.count, 1) for side in self.sides))

    def padded(self, seen: jax.Array, value: Any) -> jax.Array:
        """What these windows see, and `value` for all others."""
        config = [(0, 0, 0), *((*side.others, 0) for side in self.sides), (0, 0, 0)]
        return lax.pad(seen, jnp.asarray(value, seen.dtype), config)


@dataclasses.dataclass(frozen=True)
class Moves:
    """A window and its way over the image; each attribute is of the rows and of the columns.

    Attributes:
      window: how many elements it has.
      strides: by how much it moves.
      pads: what is around the image; behind it, as much as the last window reaches over.
      dilation: distance of the window's elements.
      given: the padding behind the image that was asked for: no more than that is counted.
    """

    window: Pair
    strides: Pair
    pads: Pads
    dilation: Pair = (1, 1)
    given: Pair = (0, 0)

    @property
    def are_side_by_side(self) -> bool:
        """Whether the windows touch and do not overlap, from the image's first element on."""
        nothing = ((0, 0), (0, 0))
        return self.window == self.strides and self.dilation == (1, 1) and self.pads == nothing

    @property
    def of_reduce_window(self) -> dict[str, Any]:
        """The same for `lax.reduce_window`."""
        return {
            "window_dimensions": (1, *self.window, 1),
            "window_strides": (1, *self.strides, 1),
            "padding": ((0, 0), *self.pads, (0, 0)),
            "window_dilation": (1, *self.dilation, 1),
        }

    def seen(self, size: Pair) -> tuple[np.ndarray, np.ndarray]:
        """For the rows and for the columns `[windows, elements]`: where each element of a window
        lies in an image of that size."""
        rows, columns = (
            np.arange((n + sum(pad) - d * (k - 1) - 1) // s + 1)[:, None] * s
            + np.arange(k) * d
            - pad[0]
            for n, k, s, pad, d in zip(
                size, self.window, self.strides, self.pads, self.dilation, strict=True
            )
        )
        return rows, columns

    def sights(self, size: Pair) -> list[Sight]:
        """What each position sees of an image of that size; without those that see nothing."""
        rows, columns = (
            [_side(places, n, stride) for places in seen.T]
            for seen, n, stride in zip(self.seen(size), size, self.strides, strict=True)
        )
        return [
            Sight(position, (row, column))
            for position, (row, column) in enumerate(itertools.product(rows, columns))
            if row.count and column.count
        ]

    def first_positions(self, size: Pair) -> np.ndarray:
        """The first position of each window that lies on the image and not on its padding."""
        rows, columns = (np.argmax(seen >= 0, axis=1) for seen in self.seen(size))
        return (rows[:, None] * self.window[1] + columns[None, :]).astype(np.uint8)

    def counts(self, size: Pair, padding_counts: bool) -> np.ndarray:
        """How many elements of each window lie on the image, or on its given padding as well."""
        rows, columns = (
            np.sum(
                (seen >= (-pad[0] if padding_counts else 0))
                & (seen < n + (given if padding_counts else 0)),
                axis=1,
            )
            for seen, n, pad, given in zip(
                self.seen(size), size, self.pads, self.given, strict=True
            )
        )
        return rows[:, None] * columns[None, :]


def _side(places: np.ndarray, size: int, stride: int) -> Side:
    """What an element of a window sees that lies at these places, one for each window."""
    windows = np.flatnonzero((places >= 0) & (places < size))
    if len(windows) == 0:
        return Side(0, stride, 0, (len(places), 0))
    first, last = int(windows[0]), int(windows[-1])
    return Side(int(places[first]), stride, len(windows), (first, len(places) - 1 - last))


def _every(image: jax.Array, *sides: tuple[int, int, int]) -> jax.Array:
    """Of an image `[·, H, W, ·]` from a start on so many rows and columns, a stride apart."""
    start, count, stride = zip(*sides, strict=True)
    end = (i + (n - 1) * s + 1 for i, n, s in zip(start, count, stride, strict=True))
    return lax.slice(image, (0, *start, 0), (image.shape[0], *end, image.shape[3]), (1, *stride, 1))


def checked(
    op: str,
    x: ArrayLike,
    window: int | Sequence[int],
    stride: int | Sequence[int] | None,
    padding: Any,
    dilation: int | Sequence[int],
    ceil_mode: bool,
) -> tuple[jax.Array, Moves]:
    """The arguments of a pooling, or an error in the name of `op`."""
    x = as_array(op, "x", x)
    check_rank(op, "x", x, 4, "[N, H, W, C]")
    windows = as_pair(op, "window", window, 1)
    strides = windows if stride is None else as_pair(op, "stride", stride, 1)
    dilations = as_pair(op, "dilation", dilation, 1)
    check_bool(op, "ceil_mode", ceil_mode)
    is_nchw = x.shape[1] < windows[0] <= x.shape[2] and windows[1] <= x.shape[3]
    hint = f", {NCHW}" if is_nchw else ""
    reach = spread(windows, dilations)
    pads = _padding_of(op, padding, size_of(x), reach, strides, ceil_mode, hint)
    given = pads[0][1], pads[1][1]
    if ceil_mode:
        pads = _up(size_of(x), reach, strides, pads)
    moves = Moves(windows, strides, pads, dilations, given)
    for n, seen in zip(size_of(x), moves.seen(size_of(x)), strict=True):
        if not np.all(np.any((seen >= 0) & (seen < n), axis=1)):
            raise ValueError(
                f"{op}: expected padding less than the window {list(reach)}, so that each window "
                f"holds an element of x, got {padding!r} with dilation {list(dilations)} for an "
                f"image of {list(size_of(x))}"
            )
    return x, moves


def _padding_of(
    op: str, padding: Any, size: Pair, reach: Pair, strides: Pair, ceil_mode: bool, hint: str
) -> Pads:
    """The padding that was asked for. With `ceil_mode` a window may be larger than the padded image
    by less than its stride: it is the one for what is left."""
    if ceil_mode:
        by_name = isinstance(padding, str) and padding.upper() != "VALID"
        pads = as_padding(op, padding, size, reach if by_name else (1, 1), strides, hint)
        pairs = zip(size, reach, strides, pads, strict=True)
        if all(n + sum(pad) - k > -s for n, k, s, pad in pairs):
            return pads
    return as_padding(op, padding, size, reach, strides, hint)


def _up(size: Pair, reach: Pair, strides: Pair, pads: Pads) -> Pads:
    """The pads with which a last window reaches over what is left."""
    rows, columns = (
        (low, max((_count_up(n, k, s, low, high) - 1) * s + k - n - low, 0))
        for n, k, s, (low, high) in zip(size, reach, strides, pads, strict=True)
    )
    return rows, columns


def _count_up(n: int, reach: int, stride: int, low: int, high: int) -> int:
    count = -(-(n + low + high - reach) // stride) + 1
    # A window that begins behind the image has nothing of it.
    return count - 1 if (count - 1) * stride >= n + low else count
