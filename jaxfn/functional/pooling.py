"""Pooling."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.typing import ArrayLike

from jaxfn.functional._batch_last import (
    MOST_POSITIONS,
    by_platform,
    is_free,
    pays_on_cpu,
    stored,
    to_batch_first,
    to_batch_last,
)
from jaxfn.functional._checks import check_bool, other_names
from jaxfn.functional._convolutions.arguments import Padding
from jaxfn.functional._convolutions.steps import size_of, views_of
from jaxfn.functional._maxima import chosen, found, indices_of, scatter, tile
from jaxfn.functional._moves import Moves, checked
from jaxfn.functional.activation import is_positive_or_nan, relu


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
    if not _has_rule(moves):
        return chosen(x, moves)
    result: Any = _indexed_max_pool2d(x, moves)
    y, position = result
    return y, indices_of(position, x.shape[2], moves)


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

    def many_channels(x: jax.Array) -> tuple[jax.Array, jax.Array]:
        y, position = found(x, moves)
        if rectified:
            y, position = _rectified(y, position, math.prod(moves.window))
        # Else the maxima are found again wherever the gradient asks for a position.
        (position,) = stored(position)
        return y, position

    if not is_free(x):
        return channels_last(x)
    on_cpu = batch_last if pays_on_cpu(x, **_sizes(x, moves)) else many_channels
    return lax.platform_dependent(x, cpu=on_cpu, default=channels_last)


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
        return tile(y_bar, positions, (size[0], size[1]), moves.window)

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


def _pool(x: jax.Array, moves: Moves, *, rectified: bool) -> jax.Array:
    if _has_rule(moves):
        return _max_pool2d(x, moves, rectified)
    y = chosen(x, moves)[0] if moves.dilation != (1, 1) else _max_pool2d_of_jax(x, moves)
    return relu(y) if rectified else y


def _has_rule(moves: Moves) -> bool:
    return math.prod(moves.window) <= MOST_POSITIONS


def _max_pool2d_of_jax(x: jax.Array, moves: Moves) -> jax.Array:
    least = np.array(-np.inf, x.dtype)  # concrete, so that JAX sees the maximum and its rule
    return lax.reduce_window(x, least, lax.max, **moves.of_reduce_window)


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
    return _rectified(maximum, position, len(candidates)) if rectified else (maximum, position)


def _rectified(
    maximum: jax.Array, position: jax.Array, positions: int
) -> tuple[jax.Array, jax.Array]:
    passes = is_positive_or_nan(maximum)
    return jnp.where(passes, maximum, 0), jnp.where(passes, position, np.uint8(positions))


def _sizes(images: jax.Array, moves: Moves) -> dict[str, int]:
    return {"channels": images.shape[3], "positions": math.prod(moves.window)}
