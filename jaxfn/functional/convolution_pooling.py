"""Convolution, relu and max pooling as one operation."""

from __future__ import annotations

import dataclasses
import functools
import itertools
import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.custom_derivatives import CustomVJPPrimal, SymbolicZero
from jax.typing import ArrayLike

from jaxfn.functional import convolution, pooling
from jaxfn.functional._batch_last import (
    in_slices,
    pays_on_cpu,
    stored,
)
from jaxfn.functional._checks import Pads, Pair, as_pair, other_names
from jaxfn.functional._convolutions.arguments import Padding, checked
from jaxfn.functional._convolutions.steps import Steps
from jaxfn.functional._convolutions.ways import convolve
from jaxfn.functional._moves import Moves
from jaxfn.functional._rules import Saved, expand, save, transpose, varying_transpose

# In blocks, positions that a convolution does not see are multiplied by zeros. With more products
# than this for each one that counts, the three operations one by one are faster.
_MOST_WORK = 2.5


@other_names(strides="stride", weight="kernel", window_shape="window", kernel_size="window")
def conv2d_relu_max_pool2d(
    x: ArrayLike,
    kernel: ArrayLike,
    bias: ArrayLike | None = None,
    *,
    stride: int | Sequence[int] = 1,
    padding: Padding = "VALID",
    window: int | Sequence[int] = 2,
) -> jax.Array:
    """`max_pool2d(relu(conv2d(x, kernel, bias)), window)` as one operation, with a hand-written
    gradient.

    y[n, i, j, o] = max(0, max_{a, b} z[n, i·w + a, j·w + b, o]),  z = x ⋆ kernel + bias

    The gradients are those of the three operations: ties go to the first maximum of a window, the
    derivative of relu at 0 is 0. On a CPU, images of up to 16 channels in float32 or float64 are
    convolved in blocks, all places of a pooling window at once: neither z nor z̄ is ever laid out as
    an image, and what the kernel sees of x is less than half as large as for the convolution alone.
    Kept for the backward pass are x, the kernel, and one byte per pooled element.

    In blocks an infinity or a nan in x meets zeros, as in every convolution that is computed in
    tiles: a pooled element may be nan where it or its neighbour would be infinite or nan.

    Forward mode is no part of `jax.custom_vjp`: `jax.jvp` and `jax.jacfwd` raise a `TypeError`;
    take them of `jaxfn.autodiff(jaxfn.conv2d_relu_max_pool2d)`. `jax.hessian` works, whose tangents
    pass through the gradient alone.

    Args:
      x: `[N, H, W, in]`, floating.
      kernel: `[h, w, in, out]`.
      bias: `[out]`, or None.
      stride: of the convolution, in pixels: an int or (vertical, horizontal).
      padding: of the convolution, as for `jaxfn.conv2d`.
      window: size of the pooling's window, which is its stride too: an int or (vertical,
        horizontal). Rows and columns of z that fill no window are left out.

    Returns:
      `[N, H'', W'', out]` with H'' = H' // window, where H' is the height of `conv2d`'s result, and
      W'' likewise; of the dtype to which JAX promotes the inputs' dtypes.

    Raises:
      TypeError: if an input is not an array of floating dtype, or stride, padding or window not of
        a form above.
      ValueError: if the shapes do not fit, or a stride, padding or window is out of range.

    Example:
      >>> import jax.numpy as jnp, jaxfn
      >>> x, kernel = jnp.ones((8, 32, 32, 1)), jnp.ones((3, 3, 1, 6))
      >>> jaxfn.conv2d_relu_max_pool2d(x, kernel).shape
      (8, 15, 15, 6)

    Source: `torch.nn.functional.max_pool2d` of `relu` of `conv2d`, in the layouts NHWC and HWIO.
    """
    op = "conv2d_relu_max_pool2d"
    x, kernel, bias, steps = checked(op, x, kernel, bias, stride, padding)
    windows = as_pair(op, "window", window, 1)
    blocks = _blocks((x.shape[1], x.shape[2]), kernel.shape, steps.strides, steps.pads, windows)
    if min(blocks.count) < 1:
        raise ValueError(
            f"{op}: expected a window no larger than the convolution's result, got window "
            f"{list(windows)} for {list(blocks.convolved)}"
        )
    if _pays(x, kernel, bias, blocks):
        return _conv2d_relu_max_pool2d(x, kernel, bias, blocks)
    z = convolution.conv2d(x, kernel, bias, stride=steps.strides, padding=steps.pads)
    return pooling.relu_max_pool2d(z, windows)


@dataclasses.dataclass(frozen=True)
class _Blocks:
    """The blocks that an image is cut into: a block is as many rows and columns as the pooling
    moves by. Each attribute is of the rows and of the columns.

    Attributes:
      size: of the image.
      kernel: size of the kernel.
      strides: of the convolution.
      pads: zeros around the image.
      windows: of the pooling.
      convolved: size of the convolution's result.
    """

    size: Pair
    kernel: Pair
    strides: Pair
    pads: Pads
    windows: Pair
    convolved: Pair

    @property
    def steps(self) -> Steps:
        """Those of the convolution."""
        return Steps(self.strides, self.pads)

    @property
    def moves(self) -> Moves:
        """Those of the pooling."""
        return Moves(self.windows, self.windows, ((0, 0), (0, 0)))

    @property
    def length(self) -> Pair:
        """How many rows a block has."""
        return _pair(w * s for w, s in zip(self.windows, self.strides, strict=True))

    @property
    def count(self) -> Pair:
        """How many pooled rows there are."""
        return _pair(n // w for n, w in zip(self.convolved, self.windows, strict=True))

    @property
    def seen(self) -> Pair:
        """How many blocks one pooled row sees."""
        sizes = zip(self.windows, self.strides, self.kernel, self.length, strict=True)
        return _pair(-(-((w - 1) * s + k) // length) for w, s, k, length in sizes)

    @property
    def work(self) -> float:
        """How many products there are for each one that counts."""
        sizes = zip(self.seen, self.length, self.kernel, strict=True)
        return math.prod(seen * length / k for seen, length, k in sizes)


def _pair(values: Any) -> Pair:
    rows, columns = values
    return rows, columns


def _blocks(
    size: Pair, kernel: tuple[int, ...], strides: Pair, pads: Pads, windows: Pair
) -> _Blocks:
    sizes = zip(size, pads, kernel[:2], strides, strict=True)
    convolved = _pair((n + sum(pad) - k) // s + 1 for n, pad, k, s in sizes)
    return _Blocks(size, (kernel[0], kernel[1]), strides, pads, windows, convolved)


def _pays(x: jax.Array, kernel: jax.Array, bias: jax.Array | None, blocks: _Blocks) -> bool:
    arrays = [a for a in (x, kernel, bias) if a is not None]
    return (
        blocks.work <= _MOST_WORK
        and len({a.dtype for a in arrays}) == 1
        and pays_on_cpu(*arrays, channels=max(kernel.shape[2:]), positions=math.prod(blocks.kernel))
    )


@functools.partial(jax.custom_vjp, nondiff_argnums=(3,))
def _conv2d_relu_max_pool2d(
    x: jax.Array, kernel: jax.Array, bias: jax.Array | None, blocks: _Blocks
) -> jax.Array:
    return _conv2d_relu_max_pool2d_impl(x, kernel, bias, blocks)[0]


def _conv2d_relu_max_pool2d_impl(
    x: jax.Array,
    kernel: jax.Array,
    bias: jax.Array | None,
    blocks: _Blocks,
    x_needs_gradient: bool = False,
) -> tuple[jax.Array, jax.Array]:
    """The pooled elements, and the position of each in its window."""

    def batch_last(x: jax.Array, kernel: jax.Array, bias: jax.Array | None) -> Any:
        def some(x: jax.Array) -> tuple[Any, Any]:
            z = _convolve(x, kernel, blocks)
            z = z if bias is None else z + bias[:, None, None, None]
            first = np.zeros((1, 1, 1, 1), np.uint8)
            return stored(*pooling.maximum_of(list(z), first, True)), ()

        return in_slices(some, (x,), (not x_needs_gradient,))[0]

    def channels_last(x: jax.Array, kernel: jax.Array, bias: jax.Array | None) -> Any:
        z = convolve(x, kernel, blocks.steps)
        z = z if bias is None else z + expand(bias, z)
        return pooling.maxima(z, blocks.moves, True)

    return lax.platform_dependent(x, kernel, bias, cpu=batch_last, default=channels_last)


def _conv2d_relu_max_pool2d_fwd(
    x: CustomVJPPrimal, kernel: CustomVJPPrimal, bias: CustomVJPPrimal | None, blocks: _Blocks
) -> tuple[jax.Array, tuple[Saved, jax.Array]]:
    bias_value = None if bias is None else bias.value
    y, position = _conv2d_relu_max_pool2d_impl(
        x.value, kernel.value, bias_value, blocks, bool(x.perturbed)
    )
    return y, (save(x, kernel, bias), position)


def _conv2d_relu_max_pool2d_bwd(
    blocks: _Blocks, saved: tuple[Saved, jax.Array], y_bar: jax.Array | SymbolicZero
) -> tuple[Any, Any, Any]:
    # y[q] = max(0, z[q·w + p]) with p the position of the maximum in the window q, so
    #   z̄[q·w + p] = ȳ[q] if p is that position and z > 0 there, 0 at the other positions.
    # z = x⋆K + 1·b is linear in each of x, K and b alone, so x̄, K̄ and b̄ are the transposes of one
    # term each applied to z̄. Saved are x for K̄, K for x̄, and the positions, a byte each: z is as
    # many times larger than y as a window has elements. (A clipped maximum has a position that no
    # window has.)
    if isinstance(y_bar, SymbolicZero):
        return None, None, None
    factors, position = saved
    types = factors.needed_types

    def batch_last(y_bar: jax.Array, position: jax.Array, x: jax.Array, kernel: jax.Array) -> Any:
        def some(y_bar: jax.Array, position: jax.Array, x: jax.Array | None = None) -> Any:
            return _block_gradients(types, blocks, y_bar, position, x, kernel)

        images = (y_bar, position) if types[1] is None else (y_bar, position, x)
        x_bar, (kernel_bar, bias_bar) = in_slices(
            some, images, (False, False, types[0] is None)[: len(images)]
        )
        # What a device of `shard_map` has of a gradient is summed by the transpose of a cast.
        return (
            transpose(lambda x: x, types[0], x_bar),
            transpose(lambda kernel: kernel, types[1], kernel_bar),
            transpose(lambda bias: bias, types[2], bias_bar),
        )

    def channels_last(
        y_bar: jax.Array, position: jax.Array, x: jax.Array, kernel: jax.Array
    ) -> Any:
        z_bar = pooling.scatter(y_bar, position, blocks.convolved, blocks.moves)

        def product(x: jax.Array, kernel: jax.Array) -> jax.Array:
            return convolve(x, kernel, blocks.steps)

        return (
            transpose(lambda x: product(x, kernel), types[0], z_bar),
            transpose(lambda kernel: product(x, kernel), types[1], z_bar),
            convolution.transposed_bias(types[2], z_bar, channels=3),
        )

    return lax.platform_dependent(
        y_bar, position, *factors.factors, cpu=batch_last, default=channels_last
    )


_conv2d_relu_max_pool2d.defvjp(
    _conv2d_relu_max_pool2d_fwd, _conv2d_relu_max_pool2d_bwd, symbolic_zeros=True
)


def _block_gradients(
    types: tuple[Any, Any, Any],
    blocks: _Blocks,
    y_bar: jax.Array,
    position: jax.Array,
    x: jax.Array | None,
    kernel: jax.Array,
) -> tuple[jax.Array | None, tuple[jax.Array | None, jax.Array | None]]:
    """x̄, and K̄ and b̄, of images with the batch last; None for what has no type."""
    (y_bar,) = stored(y_bar)
    zero = jnp.zeros((), y_bar.dtype)
    places = np.arange(math.prod(blocks.windows), dtype=np.uint8).reshape(-1, 1, 1, 1, 1)
    z_bar = jnp.where(position == places, y_bar, zero)
    x_bar = kernel_bar = bias_bar = None
    if types[0] is not None:
        size = (kernel.shape[2], *blocks.size, y_bar.shape[3])
        x_bar = varying_transpose(lambda x: _convolve(x, kernel, blocks), size, z_bar)
    if x is not None:
        image = x
        kernel_bar = varying_transpose(lambda k: _convolve(image, k, blocks), types[1].shape, z_bar)
    if types[2] is not None:
        # Each window passes ȳ on once, or not at all.
        bias_bar = jnp.sum(jnp.where(position < len(places), y_bar, zero), (1, 2, 3))
    return x_bar, (kernel_bar, bias_bar)


def _convolve(x: jax.Array, kernel: jax.Array, blocks: _Blocks) -> jax.Array:
    """z of x `[in, H, W, N]`, in blocks: `[positions in a window, out, H'', W'', N]`.

    z[(a, b), o, i, j, n] = Σ over what block (i, j) sees of x · the kernel, moved by (a, b)
    """
    matrix = _kernel_matrix(kernel, blocks)
    seen = _seen(_in_blocks(x, blocks), blocks)
    z = matrix @ seen.reshape(seen.shape[0], -1)
    return z.reshape(math.prod(blocks.windows), kernel.shape[3], *seen.shape[1:])


def _in_blocks(x: jax.Array, blocks: _Blocks) -> jax.Array:
    """`[in, H, W, N]` → `[rows · columns of a block · in, blocks, blocks, N]`."""
    (rows, columns), counts = blocks.length, _blocks_of_image(blocks)
    config = [(0, 0, 0)]
    for n, (low, _), length, count in zip(
        blocks.size, blocks.pads, blocks.length, counts, strict=True
    ):
        config.append((low, count * length - low - n, 0))
    x = lax.pad(x, jnp.zeros((), x.dtype), [*config, (0, 0, 0)])
    x = x.reshape(x.shape[0], counts[0], rows, counts[1], columns, x.shape[3])
    return x.transpose(2, 4, 0, 1, 3, 5).reshape(-1, *counts, x.shape[5])


def _blocks_of_image(blocks: _Blocks) -> Pair:
    return _pair(n + seen - 1 for n, seen in zip(blocks.count, blocks.seen, strict=True))


def _seen(x: jax.Array, blocks: _Blocks) -> jax.Array:
    """The blocks that each pooled element sees, one after the other in the first dimension."""
    (rows, columns), (height, width) = blocks.seen, blocks.count
    return lax.concatenate(
        [
            lax.slice(x, (0, i, j, 0), (x.shape[0], i + height, j + width, x.shape[3]))
            for i, j in itertools.product(range(rows), range(columns))
        ],
        0,
    )


def _kernel_matrix(kernel: jax.Array, blocks: _Blocks) -> jax.Array:
    """The kernel at each position (a, b) of a window, among what a block sees: `[window · out,
    blocks seen · a block · in]`."""
    (rows, columns), (seen_rows, seen_columns) = blocks.length, blocks.seen
    matrix = []
    for place in itertools.product(*map(range, blocks.windows)):
        config = []
        for d in (0, 1):
            low = place[d] * blocks.strides[d]
            config.append((low, blocks.seen[d] * blocks.length[d] - low - blocks.kernel[d], 0))
        moved = lax.pad(kernel, jnp.zeros((), kernel.dtype), [*config, (0, 0, 0), (0, 0, 0)])
        moved = moved.reshape(seen_rows, rows, seen_columns, columns, *kernel.shape[2:])
        matrix.append(moved.transpose(5, 0, 2, 1, 3, 4).reshape(kernel.shape[3], -1))
    return lax.concatenate(matrix, 0)
