"""Pooling."""

from __future__ import annotations

from collections.abc import Sequence

import jax
import numpy as np
from jax import lax
from jax.typing import ArrayLike

from jaxfn.functional._checks import Pads, Pair, as_array, as_padding, as_pair, check_rank
from jaxfn.functional.convolution import Padding


def max_pool2d(
    x: ArrayLike,
    window: int | Sequence[int] = 2,
    *,
    stride: int | Sequence[int] | None = None,
    padding: Padding = "VALID",
) -> jax.Array:
    """Two-dimensional maximum pooling.

    y[n, i, j, c] = max_{h, w} x[n, i·s + h − top, j·s + w − left, c]

    with −∞ outside of x. Where several elements of a window share the maximum, the gradient goes
    to the first of them in row-major order. The gradient is the one that JAX derives.

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
    x = as_array("max_pool2d", "x", x)
    check_rank("max_pool2d", "x", x, 4, "[N, H, W, C]")
    windows = as_pair("max_pool2d", "window", window, 1)
    strides = windows if stride is None else as_pair("max_pool2d", "stride", stride, 1)
    pads = as_padding("max_pool2d", padding, (x.shape[1], x.shape[2]), windows, strides)
    for size, pad in zip(windows, pads, strict=True):
        if max(pad) >= size:
            raise ValueError(
                f"max_pool2d: expected padding less than the window {list(windows)}, "
                f"got {padding!r}"
            )
    return _max_pool2d(x, windows, strides, pads)


def _max_pool2d(
    x: jax.Array,
    windows: Pair,
    strides: Pair,
    pads: Pads,
) -> jax.Array:
    return lax.reduce_window(
        x,
        np.array(-np.inf, x.dtype),  # concrete, so that JAX sees the maximum and its rule
        lax.max,
        window_dimensions=(1, *windows, 1),
        window_strides=(1, *strides, 1),
        padding=((0, 0), *pads, (0, 0)),
    )
