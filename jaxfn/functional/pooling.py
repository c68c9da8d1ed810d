"""Pooling."""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.typing import ArrayLike

from jaxfn.functional._batch_last import (
    MOST_CHANNELS,
    MOST_POSITIONS,
    by_platform,
    stored,
    to_batch_first,
    to_batch_last,
)
from jaxfn.functional._checks import Pair, check_bool, other_names
from jaxfn.functional._convolutions.arguments import Padding
from jaxfn.functional._convolutions.steps import size_of, views_of
from jaxfn.functional._moves import Moves, checked
from jaxfn.functional._rules import explicit_sharding
from jaxfn.functional.activation import is_positive_or_nan, relu

# With many channels JAX's maximum of a window of more positions, and its gradient, are faster.
_MOST_OF_MANY_CHANNELS = 25


@other_names(strides="stride", window_shape="window", kernel_size="window")
def max_pool2d(
    x: ArrayLike,
    window: int | Sequence[int] = 2,
    *,
    stride: int | Sequence[int] | None = None,
    padding: Padding = "VALID",
    dilation: int | Sequence[int] = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Any:
    """Two-dimensional maximum pooling, with a hand-written gradient.

    y[n, i, j, c] = max_{h, w} x[n, i·s + h·d − top, j·s + w·d − left, c]

    with stride s, dilation d, and −∞ outside of x. x̄ is at each place the sum of the ȳ of the
    windows whose maximum it is. Where several elements of a window share the maximum, the gradient
    goes to the first of them in row-major order; where there is a nan, y is nan, and the gradient
    goes to the last nan, as in PyTorch. What is kept for the backward pass is one byte per pooled
    element, the position of the maximum in its window. (A window of more than 64 positions, with
    more than 16 channels of more than 25, is left to JAX: its rule keeps x.)

    Forward mode is no part of `jax.custom_vjp`: `jax.jvp` and `jax.jacfwd` raise a `TypeError`;
    take them of `jaxfn.autodiff(jaxfn.max_pool2d)`. `jax.hessian` works, whose tangents
    pass through the gradient alone.

    Args:
      x: `[N, H, W, C]`, floating.
      window: size of the window in pixels: an int or (vertical, horizontal).
      stride: step of the window, likewise; None for the window's size.
      padding: rows and columns of −∞ around x: `"VALID"` (none), `"SAME"` (as many as make
        ceil(H / stride) rows, the odd one at the bottom), `"SAME_LOWER"` (the odd one at the top),
        an int (on every side), `(vertical, horizontal)`, or `((top, bottom), (left, right))`; less
        than the window, so that each window holds an element of x.
      dilation: distance in pixels of the window's elements: an int or (vertical, horizontal).
      ceil_mode: whether what is left of x at the bottom and at the right gets a window, too, if it
        begins on x or on the padding before it.
      return_indices: whether to return the places of the maxima, too.

    Returns:
      `[N, H', W', C]` with H' = (H + top + bottom − d·(h − 1) − 1) // stride + 1, rounded up with
      `ceil_mode`, and W' likewise; of x's dtype. With `return_indices` also the places of the
      maxima, row · W + column in their image, of that shape in int32: they have no gradient.

    Raises:
      TypeError: if x is not an array of floating dtype, or another argument not of a form above.
      ValueError: if x is not of rank 4, or another argument out of range.

    Example:
      >>> import jax, jax.numpy as jnp, jaxfn
      >>> x = jnp.array([[1.0, 3.0], [3.0, 0.0]]).reshape(1, 2, 2, 1)
      >>> jaxfn.max_pool2d(x).item()
      3.0
      >>> jax.grad(lambda x: jaxfn.max_pool2d(x).sum())(x).ravel().tolist()  # the first 3
      [0.0, 1.0, 0.0, 0.0]

    Source: `torch.nn.functional.max_pool2d`, in the layout NHWC of JAX and Flax.
    """
    op = "max_pool2d"
    x, moves = checked(op, x, window, stride, padding, dilation, ceil_mode)
    check_bool(op, "return_indices", return_indices)
    if not return_indices:
        return _pool(x, moves, rectified=False)
    if not _has_rule(x, moves):
        return _chosen(x, moves)
    result: Any = _indexed_max_pool2d(x, moves)
    y, position = result
    return y, _indices(position, x.shape[2], moves)


@other_names(strides="stride", window_shape="window", kernel_size="window")
def relu_max_pool2d(
    x: ArrayLike,
    window: int | Sequence[int] = 2,
    *,
    stride: int | Sequence[int] | None = None,
    padding: Padding = "VALID",
    dilation: int | Sequence[int] = 1,
    ceil_mode: bool = False,
) -> jax.Array:
    """`max_pool2d(relu(x))` as one operation, with a hand-written gradient.

    y[n, i, j, c] = max(0, max_{h, w} x[n, i·s + h·d − top, j·s + w·d − left, c])

    The gradient is that of the two operations, with 0 for the derivative of relu at 0: x̄ is at each
    place the sum of the ȳ of the windows whose maximum it is, where that is above 0. What is kept
    for the backward pass is one byte per *pooled* element for both: the position of the maximum in
    its window, or that it was clipped. The two apart keep a byte per element, besides.

    Forward mode is no part of `jax.custom_vjp`: `jax.jvp` and `jax.jacfwd` raise a `TypeError`;
    take them of `jaxfn.autodiff(jaxfn.relu_max_pool2d)`. `jax.hessian` works, whose tangents
    pass through the gradient alone.

    Args:
      x: `[N, H, W, C]`, floating.
      window: size of the window in pixels: an int or (vertical, horizontal).
      stride: step of the window, likewise; None for the window's size.
      padding: rows and columns of −∞ around x: `"VALID"` (none), `"SAME"` (as many as make
        ceil(H / stride) rows, the odd one at the bottom), `"SAME_LOWER"` (the odd one at the top),
        an int (on every side), `(vertical, horizontal)`, or `((top, bottom), (left, right))`; less
        than the window, so that each window holds an element of x.
      dilation: distance in pixels of the window's elements: an int or (vertical, horizontal).
      ceil_mode: whether what is left of x at the bottom and at the right gets a window, too, if it
        begins on x or on the padding before it.

    Returns:
      `[N, H', W', C]` with H' = (H + top + bottom − d·(h − 1) − 1) // stride + 1, rounded up with
      `ceil_mode`, and W' likewise; of x's dtype.

    Raises:
      TypeError: if x is not an array of floating dtype, or another argument not of a form above.
      ValueError: if x is not of rank 4, or another argument out of range.

    Example:
      >>> import jax, jax.numpy as jnp, jaxfn
      >>> x = jnp.array([[1.0, 3.0, -1.0, -2.0], [3.0, 0.0, -3.0, -4.0]]).reshape(1, 2, 4, 1)
      >>> jaxfn.relu_max_pool2d(x).ravel().tolist()
      [3.0, 0.0]
      >>> jax.grad(lambda x: jaxfn.relu_max_pool2d(x).sum())(x)[0, :, :, 0].tolist()
      [[0.0, 1.0, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0]]

    Source: `torch.nn.functional.max_pool2d` of `torch.nn.functional.relu`, in the layout NHWC.
    """
    x, moves = checked("relu_max_pool2d", x, window, stride, padding, dilation, ceil_mode)
    return _pool(x, moves, rectified=True)


@functools.partial(jax.custom_vjp, nondiff_argnums=(1, 2))
def _max_pool2d(x: jax.Array, moves: Moves, rectified: bool) -> jax.Array:
    return _max_pool2d_impl(x, moves, rectified)[0]


def _max_pool2d_impl(x: jax.Array, moves: Moves, rectified: bool) -> tuple[jax.Array, jax.Array]:
    """The maxima and their positions."""

    def channels_last(x: jax.Array) -> tuple[jax.Array, jax.Array]:
        return maxima(x, moves, rectified)

    def batch_last(x: jax.Array) -> tuple[jax.Array, jax.Array]:
        y, position = stored(*channels_last(to_batch_last(x)))
        return to_batch_first(y), to_batch_first(position)

    return by_platform(batch_last, channels_last, x, **_sizes(x, moves))


def _max_pool2d_fwd(
    x: jax.Array, moves: Moves, rectified: bool
) -> tuple[jax.Array, tuple[jax.Array, Any]]:
    y, positions = _max_pool2d_impl(x, moves, rectified)
    # Of x the shape is saved, in an array without elements.
    return y, (positions, x[:0])


def _max_pool2d_bwd(
    moves: Moves, rectified: bool, saved: tuple[jax.Array, Any], y_bar: jax.Array
) -> tuple[jax.Array]:
    # y[q] = x[q·s + p·d − pad] with p the position of the maximum in the window q, so
    # x̄[q·s + p·d − pad] = Σ ȳ[q] over the windows q that find their maximum there. Saved are the
    # positions: they are one byte each, and there are fewer of them than elements of x. (A clipped
    # maximum has a position that no window has.)
    del rectified
    positions, (_, *size, _) = saved[0], saved[1].shape

    def tiles(y_bar: jax.Array, positions: jax.Array) -> jax.Array:
        return _tile(y_bar, positions, (size[0], size[1]), moves.window)

    def stored_tiles(y_bar: jax.Array, positions: jax.Array) -> jax.Array:
        return tiles(*stored(y_bar, positions))

    def channels_last(y_bar: jax.Array, positions: jax.Array) -> jax.Array:
        return scatter(y_bar, positions, (size[0], size[1]), moves)

    def batch_last(y_bar: jax.Array, positions: jax.Array) -> jax.Array:
        (y_bar,) = stored(to_batch_last(y_bar))
        return to_batch_first(channels_last(y_bar, to_batch_last(positions)))

    # Windows side by side are written once, in whichever layout: a transpose would cost more.
    side_by_side = moves.are_side_by_side
    on_cpu, elsewhere = (stored_tiles, tiles) if side_by_side else (batch_last, channels_last)
    return (by_platform(on_cpu, elsewhere, y_bar, positions, **_sizes(y_bar, moves)),)


_max_pool2d.defvjp(_max_pool2d_fwd, _max_pool2d_bwd)


@functools.partial(jax.custom_vjp, nondiff_argnums=(1,))
def _indexed_max_pool2d(x: jax.Array, moves: Moves) -> tuple[jax.Array, jax.Array]:
    """The same, with the positions, which have no gradient."""
    return _max_pool2d_impl(x, moves, False)


def _indexed_max_pool2d_fwd(x: jax.Array, moves: Moves) -> Any:
    y, saved = _max_pool2d_fwd(x, moves, False)
    return (y, saved[0]), saved


def _indexed_max_pool2d_bwd(moves: Moves, saved: Any, bars: Any) -> tuple[jax.Array]:
    return _max_pool2d_bwd(moves, False, saved, bars[0])


_indexed_max_pool2d.defvjp(_indexed_max_pool2d_fwd, _indexed_max_pool2d_bwd)


def _has_rule(x: jax.Array, moves: Moves) -> bool:
    few = x.shape[3] <= MOST_CHANNELS
    return math.prod(moves.window) <= (MOST_POSITIONS if few else _MOST_OF_MANY_CHANNELS)


def _pool(x: jax.Array, moves: Moves, *, rectified: bool) -> jax.Array:
    if _has_rule(x, moves):
        return _max_pool2d(x, moves, rectified)
    y = lax.reduce_window(
        x,
        np.array(-np.inf, x.dtype),  # concrete, so that JAX sees the maximum and its rule
        lax.max,
        **moves.of_reduce_window,
    )
    return relu(y) if rectified else y


def _chosen(x: jax.Array, moves: Moves) -> tuple[jax.Array, jax.Array]:
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


def _indices(position: jax.Array, width: int, moves: Moves) -> jax.Array:
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


def maxima(x: jax.Array, moves: Moves, rectified: bool) -> tuple[jax.Array, jax.Array]:
    """The maximum of each window of x `[·, H, W, ·]`, and its position."""
    least = jnp.array(-jnp.inf, x.dtype)
    first = moves.first_positions(size_of(x))
    x = lax.pad(x, least, [(0, 0, 0), *((*pad, 0) for pad in moves.pads), (0, 0, 0)])
    views = views_of(x, moves.window, moves.strides, moves.dilation)
    return maximum_of(views, first[None, :, :, None], rectified)


def maximum_of(
    candidates: Sequence[jax.Array], first: np.ndarray, rectified: bool
) -> tuple[jax.Array, jax.Array]:
    """The elementwise maximum of the candidates, and which one it is: `first` where all are −∞, the
    last nan where there is one. Rectified, it is at least 0, and none of them where it is 0."""
    maximum = candidates[0]
    position = jnp.broadcast_to(first, maximum.shape)
    for p, candidate in enumerate(candidates[1:], 1):
        replaces = (candidate > maximum) | jnp.isnan(candidate)
        maximum = lax.max(maximum, candidate)
        position = jnp.where(replaces, np.uint8(p), position)
    if not rectified:
        return maximum, position
    passes = is_positive_or_nan(maximum)
    clipped = np.uint8(len(candidates))
    return jnp.where(passes, maximum, 0), jnp.where(passes, position, clipped)


def _tile(y_bar: jax.Array, position: jax.Array, size: Pair, windows: Pair) -> jax.Array:
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


def _sizes(images: jax.Array, moves: Moves) -> dict[str, int]:
    return {"channels": images.shape[3], "positions": math.prod(moves.window)}
