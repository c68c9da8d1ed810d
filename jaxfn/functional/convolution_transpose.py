"""Transposed convolution."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.custom_derivatives import CustomVJPPrimal, SymbolicZero
from jax.sharding import NamedSharding, PartitionSpec
from jax.typing import ArrayLike

from jaxfn._jax_internals import mesh_axes, vary_over
from jaxfn.functional._checks import (
    Pair,
    as_array,
    as_pair,
    check_rank,
    explicit_pads,
    other_names,
    padding_of_name,
)
from jaxfn.functional._convolutions.arguments import Padding, check_groups
from jaxfn.functional._convolutions.steps import Steps, spread, window_of
from jaxfn.functional._rules import (
    Saved,
    accumulator,
    expand,
    explicit_sharding,
    save,
    transpose,
)
from jaxfn.functional.convolution import convolved, gradients, transposed_bias


@other_names(strides="stride", weight="kernel")
def conv_transpose2d(
    x: ArrayLike,
    kernel: ArrayLike,
    bias: ArrayLike | None = None,
    *,
    stride: int | Sequence[int] = 1,
    padding: Padding = "VALID",
    output_padding: int | Sequence[int] = 0,
    dilation: int | Sequence[int] = 1,
    groups: int = 1,
) -> jax.Array:
    """Two-dimensional transposed convolution with an optional bias and a hand-written gradient: the
    gradient of `conv2d` with respect to its image, as an operation.

    y[n, i·s + h·d − top, j·s + w·d − left, o] = Σ_{i, j, h, w, c} x[n, i, j, c] kernel[h, w, c, o]
      + bias[o]

    with stride s and dilation d: each pixel of x is spread over a window of y. x̄ is `conv2d` of ȳ
    with the kernel from out to in, and K̄ that convolution's gradient. An input that needs no
    gradient costs neither a product nor a residual.

    `jax.lax.conv_transpose` and `flax.nnx.ConvTranspose` flip the kernel: theirs of a kernel is
    this of `jnp.flip(kernel, (0, 1))`. PyTorch's weight `[in, out / groups, h, w]` is
    `jnp.transpose(weight, (2, 3, 0, 1))` here.

    Forward mode is no part of `jax.custom_vjp`: `jax.jvp` and `jax.jacfwd` raise a `TypeError`;
    take them of `jaxfn.autodiff(jaxfn.conv_transpose2d)`.

    Args:
      x: `[N, H, W, in]`, floating.
      kernel: `[h, w, in, out / groups]`; its input channels fall into `groups` parts, one after the
        other, each with output channels of its own.
      bias: `[out]`, or None.
      stride: step of the window in pixels of y: an int or (vertical, horizontal).
      padding: rows and columns that are taken off around y: `"VALID"` (none), `"SAME"` (as many as
        leave H·stride rows), an int (on every side), `(vertical, horizontal)`, or
        `((top, bottom), (left, right))`.
      output_padding: rows and columns more at the bottom and the right of y: an int or (vertical,
        horizontal), less than the stride or the dilation. With a name for `padding`, 0.
      dilation: distance in pixels of the kernel's elements: an int or (vertical, horizontal).
      groups: a divisor of in.

    Returns:
      `[N, H', W', out]` with H' = (H − 1)·stride + d·(h − 1) + 1 − top − bottom + output_padding,
      and W' likewise; of the dtype to which JAX promotes the inputs' dtypes.

    Raises:
      TypeError: if an input is not an array of floating dtype, or another argument not of a form
        above.
      ValueError: if the shapes do not fit, or another argument is out of range.

    Example:
      >>> import jax.numpy as jnp, jaxfn
      >>> x, kernel = jnp.ones((8, 16, 16, 6)), jnp.ones((2, 2, 6, 3))
      >>> jaxfn.conv_transpose2d(x, kernel, stride=2).shape
      (8, 32, 32, 3)

    Source: `torch.nn.functional.conv_transpose2d`, in the layouts NHWC and HWIO.
    """
    x, kernel, bias, steps, size = _checked(
        x, kernel, bias, stride, padding, output_padding, dilation, groups
    )
    return _conv_transpose2d(x, jnp.swapaxes(kernel, 2, 3), bias, steps, size)


def _checked(
    x: ArrayLike,
    kernel: ArrayLike,
    bias: ArrayLike | None,
    stride: Any,
    padding: Any,
    output_padding: Any,
    dilation: Any,
    groups: Any,
) -> tuple[jax.Array, jax.Array, jax.Array | None, Steps, Pair]:
    op = "conv_transpose2d"
    x, kernel = as_array(op, "x", x), as_array(op, "kernel", kernel)
    check_rank(op, "x", x, 4, "[N, H, W, in]")
    check_rank(op, "kernel", kernel, 4, f"[h, w, {x.shape[3]}, out / groups]")
    groups = check_groups(op, x.shape[3], groups)
    if kernel.shape[2] != x.shape[3]:
        raise ValueError(
            f"{op}: expected kernel [h, w, {x.shape[3]}, out / groups] to match x "
            f"{list(x.shape)}, got kernel {list(kernel.shape)}"
        )
    out = kernel.shape[3] * groups
    if bias is not None:
        bias = as_array(op, "bias", bias)
        if bias.shape != (out,):
            raise ValueError(
                f"{op}: expected bias [{out}] to match kernel {list(kernel.shape)} in {groups} "
                f"groups, got bias {list(bias.shape)}"
            )
    image, window = (x.shape[1], x.shape[2]), window_of(kernel)
    steps, size = _placed(op, image, window, stride, padding, output_padding, dilation)
    return x, kernel, bias, dataclasses.replace(steps, groups=groups), size


def _placed(
    op: str,
    image: Pair,
    window: Pair,
    stride: Any,
    padding: Any,
    output_padding: Any,
    dilation: Any,
) -> tuple[Steps, Pair]:
    """The steps of the convolution of y back to x, and y's size."""
    strides, dilations = as_pair(op, "stride", stride, 1), as_pair(op, "dilation", dilation, 1)
    more = as_pair(op, "output_padding", output_padding, 0)
    if any(m and m >= max(s, d) for m, s, d in zip(more, strides, dilations, strict=True)):
        raise ValueError(
            f"{op}: expected output_padding less than the stride {list(strides)} or the dilation "
            f"{list(dilations)}, got {output_padding!r}"
        )
    reach = spread(window, dilations)
    if isinstance(padding, str):
        if max(more):
            raise ValueError(f"{op}: expected output_padding 0 with padding {padding!r}")
        size = (image[0] * strides[0], image[1] * strides[1])
        pads = padding_of_name(op, padding, size, reach, strides)
        # Windows that are smaller than the stride leave rows between them, and behind the last.
        named = padding.upper() != "VALID"
        missing = [max(s - k, 0) if named else 0 for s, k in zip(strides, reach, strict=True)]
        more = missing[0], missing[1]
    else:
        pads = explicit_pads(op, padding)
    rows, columns = (
        (n - 1) * s + k - sum(pad) + m
        for n, s, k, pad, m in zip(image, strides, reach, pads, more, strict=True)
    )
    if min(rows, columns) < 1:
        raise ValueError(
            f"{op}: expected padding that leaves something of the result, got {padding!r} for "
            f"{[rows + sum(pads[0]), columns + sum(pads[1])]}"
        )
    # To the convolution of y back to x the rows more are as many that its padding lacks.
    (top, bottom), (left, right) = pads
    of_y = (top, bottom - more[0]), (left, right - more[1])
    return Steps(strides, of_y, dilations), (rows, columns)


# The kernel of the rule is that of the convolution C of y back to x, `[h, w, out / groups, in]`:
# the channels of a group stand together in both.


@functools.partial(jax.custom_vjp, nondiff_argnums=(3, 4))
def _conv_transpose2d(
    x: jax.Array, kernel: jax.Array, bias: jax.Array | None, steps: Steps, size: Pair
) -> jax.Array:
    return _conv_transpose2d_impl(x, kernel, bias, steps, size)


def _conv_transpose2d_impl(
    x: jax.Array, kernel: jax.Array, bias: jax.Array | None, steps: Steps, size: Pair
) -> jax.Array:
    dtype = jnp.result_type(*(a for a in (x, kernel, bias) if a is not None))
    x, kernel = x.astype(dtype), kernel.astype(dtype)
    of_y = jax.typeof(_images(x, kernel, steps, size))
    y, _, _ = gradients(
        steps, (of_y, jax.typeof(kernel)), (of_y, None, None), x, jnp.zeros(0, dtype), kernel
    )
    if bias is None:
        return y
    y = y.astype(accumulator(dtype))
    return (y + expand(bias, y)).astype(dtype)


def _conv_transpose2d_fwd(
    x: CustomVJPPrimal,
    kernel: CustomVJPPrimal,
    bias: CustomVJPPrimal | None,
    steps: Steps,
    size: Pair,
) -> tuple[jax.Array, Saved]:
    bias_value = None if bias is None else bias.value
    y = _conv_transpose2d_impl(x.value, kernel.value, bias_value, steps, size)
    return y, save(x, kernel, bias)


def _conv_transpose2d_bwd(
    steps: Steps, size: Pair, saved: Saved, y_bar: jax.Array | SymbolicZero
) -> tuple[Any, Any, Any]:
    # With C the convolution by the kernel, y = Cᵀx + 1·b is linear in each of x, K and b alone. So
    # x̄ = Cȳ, K̄ is that of C where ȳ is its image and x its result's gradient, and b̄ = Σ ȳ over the
    # pixels.
    del size
    if isinstance(y_bar, SymbolicZero):
        return None, None, None
    dtype = y_bar.dtype
    x, kernel = (factor.astype(dtype) for factor in saved.factors)
    x_type, kernel_type, bias_type = saved.needed_types
    x_bar = kernel_bar = None
    if x_type is not None:
        # What a device of `shard_map` has of a gradient is summed by the transpose of a cast.
        x_bar = convolved(y_bar, kernel, None, steps)
        x_bar = transpose(lambda x: x.astype(dtype), x_type, x_bar)
    if kernel_type is not None:
        needed = None, kernel_type, None
        factor_types = jax.typeof(y_bar), kernel_type
        _, kernel_bar, _ = gradients(steps, factor_types, needed, x, y_bar, jnp.zeros(0, dtype))
    return x_bar, kernel_bar, transposed_bias(bias_type, y_bar, 3)


_conv_transpose2d.defvjp(_conv_transpose2d_fwd, _conv_transpose2d_bwd, symbolic_zeros=True)


def _images(x: jax.Array, kernel: jax.Array, steps: Steps, size: Pair) -> jax.Array:
    """Zeros as large as the result, and divided among devices as x is."""
    shape = (x.shape[0], *size, kernel.shape[2] * steps.groups)
    sharding = explicit_sharding(x)
    if sharding is not None:
        sharding = NamedSharding(sharding.mesh, PartitionSpec(sharding.spec[0], None, None, None))
    zeros = lax.broadcast_in_dim(jnp.zeros((), x.dtype), shape, (), out_sharding=sharding)
    return vary_over(zeros, mesh_axes(jax.typeof(x)) | mesh_axes(jax.typeof(kernel)))
