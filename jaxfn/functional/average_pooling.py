"""Average pooling."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.typing import ArrayLike

from jaxfn.functional._batch_last import is_free
from jaxfn.functional._checks import check_bool, other_names
from jaxfn.functional._convolutions.arguments import Padding
from jaxfn.functional._convolutions.steps import size_of
from jaxfn.functional._moves import Moves, checked
from jaxfn.functional._rules import accumulator

# The gradient of windows of more positions JAX's own transpose computes faster on a CPU.
_FEW_POSITIONS = 9


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
    total = _sums(x.astype(accumulator(x.dtype)), moves)
    counts = moves.counts(size_of(x), count_include_pad)[None, :, :, None]
    divisor = counts.flat[0] if np.all(counts == counts.flat[0]) else counts
    return (total / np.asarray(divisor, total.dtype)).astype(x.dtype)


def _sums(x: jax.Array, moves: Moves) -> jax.Array:
    """The sum of each window. It has no rule: JAX's transpose of each way is the right one, and the
    ways differ in how fast a CPU computes it."""

    def elsewhere(x: jax.Array) -> jax.Array:
        zero = np.zeros((), x.dtype)
        return lax.reduce_window(x, zero, lax.add, **moves.of_reduce_window)

    def position_by_position(x: jax.Array) -> jax.Array:
        sights = moves.sights(size_of(x))
        return functools.reduce(lax.add, (sight.padded(sight.of(x), 0) for sight in sights))

    def tile_by_tile(x: jax.Array) -> jax.Array:
        height, width = (n // k for n, k in zip(size_of(x), moves.window, strict=True))
        x = x[:, : height * moves.window[0], : width * moves.window[1]]
        shape = x.shape[0], height, moves.window[0], width, moves.window[1], x.shape[3]
        return jnp.sum(x.reshape(shape), (2, 4))

    is_one = moves.window == size_of(x)
    if is_free(x) and math.prod(moves.window) <= _FEW_POSITIONS:
        on_cpu = position_by_position
    elif is_free(x) and moves.are_side_by_side and not is_one:
        on_cpu = tile_by_tile
    else:
        return elsewhere(x)
    return lax.platform_dependent(x, cpu=on_cpu, default=elsewhere)
