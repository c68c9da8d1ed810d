"""Average pooling."""

from __future__ import annotations

from collections.abc import Sequence

import jax
import numpy as np
from jax import lax
from jax.typing import ArrayLike

from jaxfn.functional._checks import check_bool, other_names
from jaxfn.functional._convolutions.arguments import Padding
from jaxfn.functional._convolutions.steps import size_of
from jaxfn.functional._moves import checked
from jaxfn.functional._rules import accumulator


@other_names(strides="stride", window_shape="window", kernel_size="window")
def avg_pool2d(
    x: ArrayLike,
    window: int | Sequence[int] = 2,
    *,
    stride: int | Sequence[int] | None = None,
    padding: Padding = "VALID",
    ceil_mode: bool = False,
    count_include_pad: bool = True,
) -> jax.Array:
    """Two-dimensional average pooling.

    y[n, i, j, c] = 1/D[i, j] Σ_{h, w} x[n, i·s + h − top, j·s + w − left, c]

    with zeros outside of x. D[i, j] is the number of the window's elements that lie on x or on its
    padding, or on x alone without `count_include_pad`. It is linear: x̄ is at each place the sum of
    the ȳ/D of the windows that it lies in. Nothing is kept for the backward pass. Sums of 16-bit
    types are taken in float32 and rounded once. Both modes, any order.

    Args:
      x: `[N, H, W, C]`, floating.
      window: size of the window in pixels: an int or (vertical, horizontal).
      stride: step of the window, likewise; None for the window's size.
      padding: rows and columns of zeros around x: `"VALID"` (none), `"SAME"` (as many as make
        ceil(H / stride) rows, the odd one at the bottom), `"SAME_LOWER"` (the odd one at the top),
        an int (on every side), `(vertical, horizontal)`, or `((top, bottom), (left, right))`; less
        than the window, so that each window holds an element of x.
      ceil_mode: whether what is left of x at the bottom and at the right gets a window, too, if it
        begins on x or on the padding before it.
      count_include_pad: whether D counts the padding. What `ceil_mode` adds to it never counts.

    Returns:
      `[N, H', W', C]` with H' = (H + top + bottom − h) // stride + 1, rounded up with `ceil_mode`,
      and W' likewise; of x's dtype.

    Raises:
      TypeError: if x is not an array of floating dtype, or another argument not of a form above.
      ValueError: if x is not of rank 4, or another argument out of range.

    Example:
      >>> import jax, jax.numpy as jnp, jaxfn
      >>> x = jnp.array([[1.0, 3.0], [4.0, 0.0]]).reshape(1, 2, 2, 1)
      >>> jaxfn.avg_pool2d(x).item()
      2.0
      >>> jax.grad(lambda x: jaxfn.avg_pool2d(x).sum())(x).ravel().tolist()
      [0.25, 0.25, 0.25, 0.25]

    Source: `torch.nn.functional.avg_pool2d` and `flax.nnx.avg_pool`, in the layout NHWC.
    """
    op = "avg_pool2d"
    x, moves = checked(op, x, window, stride, padding, 1, ceil_mode)
    check_bool(op, "count_include_pad", count_include_pad)
    counts = moves.counts(size_of(x), count_include_pad)
    zero = np.zeros((), accumulator(x.dtype))
    total = lax.reduce_window(x.astype(zero.dtype), zero, lax.add, **moves.of_reduce_window)
    scale = np.asarray(1 / counts[:, :, None], total.dtype)
    return (total * scale).astype(x.dtype)
