"""Convolution."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, TypeAlias

import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import ArrayLike

from jaxfn.functional._checks import Pads, Pair, as_array, as_padding, as_pair, check_rank

# An int, "VALID", "SAME", or ((top, bottom), (left, right)).
Padding: TypeAlias = int | Literal["VALID", "SAME"] | Sequence[Sequence[int]]


def conv2d(
    x: ArrayLike,
    kernel: ArrayLike,
    bias: ArrayLike | None = None,
    *,
    stride: int | Sequence[int] = 1,
    padding: Padding = "VALID",
) -> jax.Array:
    """Two-dimensional convolution with an optional bias (a cross-correlation, as everywhere in
    deep learning: the kernel is not flipped).

    y[n, i, j, o] = Σ_{h, w, c} x[n, i·s + h − top, j·s + w − left, c] kernel[h, w, c, o] + bias[o]

    with zeros outside of x. The gradients are those that JAX derives. (Compiling the one of x, XLA
    up to that of jax 0.12 aborts for some strided convolutions whose image of outputs is no larger
    than the kernel, as it does for `jax.lax.conv_general_dilated`.)

    Args:
      x: `[N, H, W, in]`, floating.
      kernel: `[h, w, in, out]`.
      bias: `[out]`, or None.
      stride: step of the window in pixels: an int or (vertical, horizontal).
      padding: rows and columns of zeros around x: `"VALID"` (none), `"SAME"` (as many as make
        ceil(H / stride) rows, the odd one at the bottom), an int (on every side), or
        `((top, bottom), (left, right))`.

    Returns:
      `[N, H', W', out]` with H' = (H + top + bottom − h) // stride + 1, and W' likewise; of the
      dtype to which JAX promotes the inputs' dtypes.

    Raises:
      TypeError: if an input is not an array of floating dtype, or stride or padding not of a form
        above.
      ValueError: if the shapes do not fit, or a stride or padding is out of range.

    Example:
      >>> import jax.numpy as jnp, jaxfn
      >>> x, kernel = jnp.ones((8, 32, 32, 1)), jnp.ones((3, 3, 1, 6))
      >>> jaxfn.conv2d(x, kernel).shape
      (8, 30, 30, 6)
      >>> jaxfn.conv2d(x, kernel, stride=2, padding="SAME").shape
      (8, 16, 16, 6)

    Source: `torch.nn.functional.conv2d`, in the layouts NHWC and HWIO of JAX and Flax.
    """
    x = as_array("conv2d", "x", x)
    kernel = as_array("conv2d", "kernel", kernel)
    check_rank("conv2d", "x", x, 4, "[N, H, W, in]")
    check_rank("conv2d", "kernel", kernel, 4, f"[h, w, {x.shape[3]}, out]")
    if kernel.shape[2] != x.shape[3]:
        raise ValueError(
            f"conv2d: expected kernel [h, w, {x.shape[3]}, out] to match x "
            f"{list(x.shape)}, got kernel {list(kernel.shape)}"
        )
    if bias is not None:
        bias = as_array("conv2d", "bias", bias)
        if bias.shape != kernel.shape[3:]:
            raise ValueError(
                f"conv2d: expected bias [{kernel.shape[3]}] to match kernel "
                f"{list(kernel.shape)}, got bias {list(bias.shape)}"
            )
    strides = as_pair("conv2d", "stride", stride, 1)
    window = (kernel.shape[0], kernel.shape[1])
    pads = as_padding("conv2d", padding, (x.shape[1], x.shape[2]), window, strides)
    return _conv2d(x, kernel, bias, strides, pads)


def _conv2d(
    x: jax.Array,
    kernel: jax.Array,
    bias: jax.Array | None,
    strides: Pair,
    pads: Pads,
) -> jax.Array:
    dtype = jnp.result_type(*(a for a in (x, kernel, bias) if a is not None))
    y = lax.conv_general_dilated(
        x.astype(dtype),
        kernel.astype(dtype),
        window_strides=strides,
        padding=pads,
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )
    if bias is None:
        return y
    # In float32 at least, so that the bias's gradient is summed in float32.
    wide = jnp.promote_types(dtype, jnp.float32)
    return (y.astype(wide) + jnp.broadcast_to(bias.astype(wide), y.shape)).astype(dtype)
