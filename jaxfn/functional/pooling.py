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
    MOST_POSITIONS,
    by_platform,
    stored,
    to_batch_first,
    to_batch_last,
)
from jaxfn.functional._checks import (
    NCHW,
    Pads,
    Pair,
    as_array,
    as_padding,
    as_pair,
    check_rank,
    other_names,
)
from jaxfn.functional._convolutions.steps import views_of
from jaxfn.functional._rules import explicit_sharding
from jaxfn.functional.activation import is_positive_or_nan, relu
from jaxfn.functional.convolution import Padding


@other_names(strides="stride", window_shape="window", kernel_size="window")
def max_pool2d(
    x: ArrayLike,
    window: int | Sequence[int] = 2,
    *,
    stride: int | Sequence[int] | None = None,
    padding: Padding = "VALID",
) -> jax.Array:
    """Two-dimensional maximum pooling, with a hand-written gradient.

    y[n, i, j, c] = max_{h, w} x[n, i·s + h − top, j·s + w − left, c]

    with −∞ outside of x. x̄ is at each place the sum of the ȳ of the windows whose maximum it is.
    Where several elements of a window share the maximum, the gradient goes to the first of them in
    row-major order; where there is a nan, y is nan, and the gradient goes to the last nan, as in
    PyTorch. What is kept for the backward pass is one byte per pooled element, the position of the
    maximum in its window. (A window of more than 64 positions is left to JAX: its rule keeps x.)

    Forward mode is no part of `jax.custom_vjp`: `jax.jvp` and `jax.jacfwd` raise a `TypeError`;
    take them of `jaxfn.autodiff(jaxfn.max_pool2d)`. `jax.hessian` works, whose tangents
    pass through the gradient alone.

    Args:
      x: `[N, H, W, C]`, floating.
      window: size of the window in pixels: an int or (vertical, horizontal).
      stride: step of the window, likewise; None for the window's size.
      padding: rows and columns of −∞ around x: `"VALID"` (none), `"SAME"` (as many as make
        ceil(H / stride) rows, the odd one at the bottom), an int (on every side), or
        `((top, bottom), (left, right))`; less than the window, so that each window holds an
        element of x.

    Returns:
      `[N, H', W', C]` with H' = (H + top + bottom − h) // stride + 1, and W' likewise; of x's
      dtype.

    Raises:
      TypeError: if x is not an array of floating dtype, or window, stride or padding not of a form
        above.
      ValueError: if x is not of rank 4, or window, stride or padding out of range.

    Example:
      >>> import jax, jax.numpy as jnp, jaxfn
      >>> x = jnp.array([[1.0, 3.0], [3.0, 0.0]]).reshape(1, 2, 2, 1)
      >>> jaxfn.max_pool2d(x).item()
      3.0
      >>> jax.grad(lambda x: jaxfn.max_pool2d(x).sum())(x).ravel().tolist()  # the first 3
      [0.0, 1.0, 0.0, 0.0]

    Source: `torch.nn.functional.max_pool2d`, in the layout NHWC of JAX and Flax.
    """
    x, windows, strides, pads = _checked("max_pool2d", x, window, stride, padding)
    return _pool(x, windows, strides, pads, rectified=False)


@other_names(strides="stride", window_shape="window", kernel_size="window")
def relu_max_pool2d(
    x: ArrayLike,
    window: int | Sequence[int] = 2,
    *,
    stride: int | Sequence[int] | None = None,
    padding: Padding = "VALID",
) -> jax.Array:
    """`max_pool2d(relu(x))` as one operation, with a hand-written gradient.

    y[n, i, j, c] = max(0, max_{h, w} x[n, i·s + h − top, j·s + w − left, c])

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
        ceil(H / stride) rows, the odd one at the bottom), an int (on every side), or
        `((top, bottom), (left, right))`; less than the window, so that each window holds an
        element of x.

    Returns:
      `[N, H', W', C]` with H' = (H + top + bottom − h) // stride + 1, and W' likewise; of x's
      dtype.

    Raises:
      TypeError: if x is not an array of floating dtype, or window, stride or padding not of a form
        above.
      ValueError: if x is not of rank 4, or window, stride or padding out of range.

    Example:
      >>> import jax, jax.numpy as jnp, jaxfn
      >>> x = jnp.array([[1.0, 3.0, -1.0, -2.0], [3.0, 0.0, -3.0, -4.0]]).reshape(1, 2, 4, 1)
      >>> jaxfn.relu_max_pool2d(x).ravel().tolist()
      [3.0, 0.0]
      >>> jax.grad(lambda x: jaxfn.relu_max_pool2d(x).sum())(x)[0, :, :, 0].tolist()
      [[0.0, 1.0, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0]]

    Source: `torch.nn.functional.max_pool2d` of `torch.nn.functional.relu`, in the layout NHWC.
    """
    x, windows, strides, pads = _checked("relu_max_pool2d", x, window, stride, padding)
    return _pool(x, windows, strides, pads, rectified=True)


def _checked(
    op: str,
    x: ArrayLike,
    window: int | Sequence[int],
    stride: int | Sequence[int] | None,
    padding: Padding,
) -> tuple[jax.Array, Pair, Pair, Pads]:
    x = as_array(op, "x", x)
    check_rank(op, "x", x, 4, "[N, H, W, C]")
    windows = as_pair(op, "window", window, 1)
    strides = windows if stride is None else as_pair(op, "stride", stride, 1)
    is_nchw = x.shape[1] < windows[0] <= x.shape[2] and windows[1] <= x.shape[3]
    hint = f", {NCHW}" if is_nchw else ""
    pads = as_padding(op, padding, (x.shape[1], x.shape[2]), windows, strides, hint)
    for size, pad in zip(windows, pads, strict=True):
        if max(pad) >= size:
            raise ValueError(
                f"{op}: expected padding less than the window {list(windows)}, got {padding!r}"
            )
    return x, windows, strides, pads


def _pool(x: jax.Array, windows: Pair, strides: Pair, pads: Pads, *, rectified: bool) -> jax.Array:
    if math.prod(windows) <= MOST_POSITIONS:
        return _max_pool2d(x, windows, strides, pads, rectified)
    y = lax.reduce_window(
        x,
        np.array(-np.inf, x.dtype),  # concrete, so that JAX sees the maximum and its rule
        lax.max,
        window_dimensions=(1, *windows, 1),
        window_strides=(1, *strides, 1),
        padding=((0, 0), *pads, (0, 0)),
    )
    return relu(y) if rectified else y


@functools.partial(jax.custom_vjp, nondiff_argnums=(1, 2, 3, 4))
def _max_pool2d(
    x: jax.Array, windows: Pair, strides: Pair, pads: Pads, rectified: bool
) -> jax.Array:
    return _max_pool2d_impl(x, windows, strides, pads, rectified)[0]


def _max_pool2d_impl(
    x: jax.Array, windows: Pair, strides: Pair, pads: Pads, rectified: bool
) -> tuple[jax.Array, jax.Array]:
    """The maxima and their positions."""

    def channels_last(x: jax.Array) -> tuple[jax.Array, jax.Array]:
        return maxima(x, windows, strides, pads, rectified)

    def batch_last(x: jax.Array) -> tuple[jax.Array, jax.Array]:
        y, position = stored(*channels_last(to_batch_last(x)))
        return to_batch_first(y), to_batch_first(position)

    return by_platform(batch_last, channels_last, x, **_sizes(x, windows))


def _max_pool2d_fwd(
    x: jax.Array, windows: Pair, strides: Pair, pads: Pads, rectified: bool
) -> tuple[jax.Array, tuple[jax.Array, Any]]:
    y, positions = _max_pool2d_impl(x, windows, strides, pads, rectified)
    # Of x the shape is saved, in an array without elements.
    return y, (positions, x[:0])


def _max_pool2d_bwd(
    windows: Pair,
    strides: Pair,
    pads: Pads,
    rectified: bool,
    saved: tuple[jax.Array, Any],
    y_bar: jax.Array,
) -> tuple[jax.Array]:
    # y[q] = x[q·s + p − pad] with p the position of the maximum in the window q, so
    # x̄[q·s + p − pad] = Σ ȳ[q] over the windows q that find their maximum there. Saved are the
    # positions: they are one byte each, and there are fewer of them than elements of x. (A clipped
    # maximum has a position that no window has.)
    del rectified
    positions, (_, *size, _) = saved[0], saved[1].shape

    def tiles(y_bar: jax.Array, positions: jax.Array) -> jax.Array:
        return _tile(y_bar, positions, (size[0], size[1]), windows)

    def stored_tiles(y_bar: jax.Array, positions: jax.Array) -> jax.Array:
        return tiles(*stored(y_bar, positions))

    def channels_last(y_bar: jax.Array, positions: jax.Array) -> jax.Array:
        return scatter(y_bar, positions, (size[0], size[1]), windows, strides, pads)

    def batch_last(y_bar: jax.Array, positions: jax.Array) -> jax.Array:
        (y_bar,) = stored(to_batch_last(y_bar))
        return to_batch_first(channels_last(y_bar, to_batch_last(positions)))

    # Windows side by side are written once, in whichever layout: a transpose would cost more.
    side_by_side = windows == strides and pads == ((0, 0), (0, 0))
    on_cpu, elsewhere = (stored_tiles, tiles) if side_by_side else (batch_last, channels_last)
    return (by_platform(on_cpu, elsewhere, y_bar, positions, **_sizes(y_bar, windows)),)


_max_pool2d.defvjp(_max_pool2d_fwd, _max_pool2d_bwd)


def maxima(
    x: jax.Array, windows: Pair, strides: Pair, pads: Pads, rectified: bool
) -> tuple[jax.Array, jax.Array]:
    """The maximum of each window of x `[·, H, W, ·]`, and its position."""
    least = jnp.array(-jnp.inf, x.dtype)
    first = _first_positions(x.shape[1:3], windows, strides, pads)
    x = lax.pad(x, least, [(0, 0, 0), *((*pad, 0) for pad in pads), (0, 0, 0)])
    views = views_of(x, windows, strides, (1, 1))
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
    windows: Pair,
    strides: Pair,
    pads: Pads,
) -> jax.Array:
    """x̄ `[·, *size, ·]`: each ȳ at its window's position, summed where windows overlap."""
    zero = jnp.zeros((), y_bar.dtype)
    terms = []
    for p, place in enumerate(_places(windows)):
        config = [(0, 0, 0)] * 4
        for d in (0, 1):
            low = place[d] - pads[d][0]
            covered = (y_bar.shape[1 + d] - 1) * strides[d] + 1
            config[1 + d] = (low, size[d] - low - covered, strides[d] - 1)
        terms.append(lax.pad(jnp.where(position == p, y_bar, zero), zero, config))
    return functools.reduce(jnp.add, terms)


def _places(windows: Pair) -> list[Pair]:
    return list(itertools.product(range(windows[0]), range(windows[1])))


def _first_positions(size: tuple[int, ...], windows: Pair, strides: Pair, pads: Pads) -> np.ndarray:
    """The first position of each window that lies on the image and not on its padding."""
    first = []
    for n, k, s, (low, high) in zip(size, windows, strides, pads, strict=True):
        count = (n + low + high - k) // s + 1
        first.append(np.maximum(low - s * np.arange(count), 0))
    return (first[0][:, None] * windows[1] + first[1][None, :]).astype(np.uint8)


def _sizes(images: jax.Array, windows: Pair) -> dict[str, int]:
    return {"channels": images.shape[3], "positions": math.prod(windows)}
