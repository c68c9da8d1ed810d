"""Convolution."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.custom_derivatives import CustomVJPPrimal, SymbolicZero
from jax.typing import ArrayLike

from jaxfn.functional._batch_last import (
    correlate,
    is_free,
    pays_on_cpu,
    stored_batch_last,
    to_batch_first,
    to_batch_last,
)
from jaxfn.functional._checks import (
    other_names,
)
from jaxfn.functional._convolutions.arguments import Padding, checked
from jaxfn.functional._convolutions.steps import Steps
from jaxfn.functional._convolutions.ways import Way, convolve, fast_way
from jaxfn.functional._rules import Saved, accumulator, bias_gradient, expand, save, transpose


@other_names(strides="stride", weight="kernel")
def conv2d(
    x: ArrayLike,
    kernel: ArrayLike,
    bias: ArrayLike | None = None,
    *,
    stride: int | Sequence[int] = 1,
    padding: Padding = "VALID",
    dilation: int | Sequence[int] = 1,
    groups: int = 1,
) -> jax.Array:
    """Two-dimensional convolution with an optional bias and a hand-written gradient (a
    cross-correlation, as everywhere in deep learning: the kernel is not flipped).

    y[n, i, j, o] = Σ_{h, w, c} x[n, i·s + h·d − top, j·s + w·d − left, c] kernel[h, w, c, o]
      + bias[o]

    with stride s, dilation d, and zeros outside of x. With `groups` the channels of x and of y fall
    into as many equal parts, one after the other, and c runs over the part of x that o belongs to;
    with as many groups as channels the convolution is depthwise.

    Each gradient is the transpose of one term: x̄ that of y in x, and so on. An input that needs no
    gradient costs neither a product nor a residual. On a CPU, in float32 and float64, images of up
    to 16 channels are computed with the batch last, as one matrix product; kernels of 3×3 and 32
    channels or more with Winograd's products, 16 for 36; depthwise kernels as sums of shifted
    images, and other groups several at a time; the rest, and everything elsewhere, by
    `jax.lax.conv_general_dilated`. With Winograd's products and with groups an infinity or a nan in
    x reaches the pixels and channels beside those that see it, as nan. (XLA, up to that of jax
    0.12, aborts while compiling `jax.lax`'s x̄ of some strided convolutions whose image of outputs
    is no larger than the kernel.)

    Forward mode is no part of `jax.custom_vjp`: `jax.jvp` and `jax.jacfwd` raise a `TypeError`;
    take them of `jaxfn.autodiff(jaxfn.conv2d)`. `jax.hessian` works, whose tangents
    pass through the gradient alone.

    Args:
      x: `[N, H, W, in]`, floating.
      kernel: `[h, w, in / groups, out]`.
      bias: `[out]`, or None.
      stride: step of the window in pixels: an int or (vertical, horizontal).
      padding: rows and columns of zeros around x: `"VALID"` (none), `"SAME"` (as many as make
        ceil(H / stride) rows, the odd one at the bottom), `"SAME_LOWER"` (the odd one at the top),
        an int (on every side), `(vertical, horizontal)`, or `((top, bottom), (left, right))`.
      dilation: distance in pixels of the kernel's elements: an int or (vertical, horizontal).
      groups: a divisor of in and of out.

    Returns:
      `[N, H', W', out]` with H' = (H + top + bottom − d·(h − 1) − 1) // stride + 1, and W'
      likewise; of the dtype to which JAX promotes the inputs' dtypes.

    Raises:
      TypeError: if an input is not an array of floating dtype, or another argument not of a form
        above.
      ValueError: if the shapes do not fit, or another argument is out of range.

    Example:
      >>> import jax.numpy as jnp, jaxfn
      >>> x, kernel = jnp.ones((8, 32, 32, 1)), jnp.ones((3, 3, 1, 6))
      >>> jaxfn.conv2d(x, kernel).shape
      (8, 30, 30, 6)
      >>> jaxfn.conv2d(x, kernel, stride=2, padding="SAME").shape
      (8, 16, 16, 6)

    Source: `torch.nn.functional.conv2d`, in the layouts NHWC and HWIO of JAX and Flax.
    """
    return of_checked(*checked("conv2d", x, kernel, bias, stride, padding, dilation, groups))


def of_checked(x: jax.Array, kernel: jax.Array, bias: jax.Array | None, steps: Steps) -> jax.Array:
    """`conv2d` of what `checked` gives."""
    return _conv2d(x, kernel, bias, steps)


@functools.partial(jax.custom_vjp, nondiff_argnums=(3,))
def _conv2d(x: jax.Array, kernel: jax.Array, bias: jax.Array | None, steps: Steps) -> jax.Array:
    return convolved(x, kernel, bias, steps)


def convolved(
    x: jax.Array,
    kernel: jax.Array,
    bias: jax.Array | None,
    steps: Steps,
    x_needs_gradient: bool = False,
) -> jax.Array:
    """`conv2d` without its rule, in the way that is fast where the program runs."""
    dtype = jnp.result_type(*(a for a in (x, kernel, bias) if a is not None))

    def batch_last(x: jax.Array, kernel: jax.Array) -> jax.Array:
        x = stored_batch_last(x, x_needs_gradient)
        return to_batch_first(correlate(x, kernel, steps))

    def by(way: Way) -> Callable[..., jax.Array]:
        return lambda x, kernel: way.product(x, kernel, steps)

    def by_lax(x: jax.Array, kernel: jax.Array) -> jax.Array:
        return convolve(x, kernel, steps)

    arrays = x.astype(dtype), kernel.astype(dtype)
    y = _by_platform(batch_last, by, by_lax, x, kernel, steps, *arrays)
    if bias is None:
        return y
    y = y.astype(accumulator(dtype))
    return (y + expand(bias, y)).astype(dtype)


def _conv2d_fwd(
    x: CustomVJPPrimal,
    kernel: CustomVJPPrimal,
    bias: CustomVJPPrimal | None,
    steps: Steps,
) -> tuple[jax.Array, Saved]:
    bias_value = None if bias is None else bias.value
    y = convolved(x.value, kernel.value, bias_value, steps, bool(x.perturbed))
    return y, save(x, kernel, bias)


def _conv2d_bwd(
    steps: Steps, saved: Saved, y_bar: jax.Array | SymbolicZero
) -> tuple[Any, Any, Any]:
    # y = x⋆K + 1·b is linear in each of x, K and b alone, so each gradient is the transpose of one
    # term applied to ȳ:
    #   x̄[n, p, q, c] = Σ ȳ[n, i, j, o] K[h, w, c, o] over i·s + h·d − top = p,
    #     j·s + w·d − left = q and the o of c's group,
    #   K̄[h, w, c, o] = Σ_{n, i, j} x[n, i·s + h·d − top, j·s + w·d − left, c] ȳ[n, i, j, o],
    #   b̄[o] = Σ_{n, i, j} ȳ[n, i, j, o].
    # Saved are x for K̄ and K for x̄. What the positions of the kernel see of x, h·w times as much,
    # is put together again: saving it would cost more than that.
    if isinstance(y_bar, SymbolicZero):
        return None, None, None
    return gradients(steps, saved.types[:2], saved.needed_types, y_bar, *saved.factors)


_conv2d.defvjp(_conv2d_fwd, _conv2d_bwd, symbolic_zeros=True)


def gradients(
    steps: Steps,
    factor_types: tuple[Any, Any],
    types: tuple[Any, Any, Any],
    y_bar: jax.Array,
    x: jax.Array,
    kernel: jax.Array,
) -> tuple[Any, Any, Any]:
    """x̄, K̄ and b̄ of a convolution, in the way that is fast where the program runs.

    Args:
      steps: of the convolution.
      factor_types: of x and the kernel.
      types: of x, the kernel and the bias, or None for one that needs no gradient.
      y_bar: the gradient of the result.
      x: without elements if no gradient needs it.
      kernel: without elements if no gradient needs it.

    Returns:
      x̄, K̄ and b̄ in their primals' types, or None for one that needs no gradient.
    """
    x, kernel = x.astype(y_bar.dtype), kernel.astype(y_bar.dtype)

    def batch_last(y_bar: jax.Array, x: jax.Array, kernel: jax.Array) -> tuple[Any, Any, Any]:
        x = stored_batch_last(x, types[0] is not None) if types[1] else x
        product = functools.partial(correlate, steps=steps)
        return _transposes(product, to_batch_last, 0, types, to_batch_last(y_bar), x, kernel)

    def by(way: Way) -> Callable[..., tuple[Any, Any, Any]]:
        return functools.partial(_gradients, way, steps, factor_types, types)

    def by_lax(y_bar: jax.Array, x: jax.Array, kernel: jax.Array) -> tuple[Any, Any, Any]:
        product = functools.partial(convolve, steps=steps)
        return _transposes(product, lambda x: x, 3, types, y_bar, x, kernel)

    return _by_platform(batch_last, by, by_lax, *factor_types, steps, y_bar, x, kernel)


def _transposes(
    product: Callable[[Any, Any], jax.Array],
    in_layout: Callable[[jax.Array], jax.Array],
    channels: int,
    types: tuple[Any, Any, Any],
    y_bar: jax.Array,
    x: jax.Array,
    kernel: jax.Array,
) -> tuple[Any, Any, Any]:
    """The transposes of `product` and of adding the bias, at ȳ.

    Args:
      product: of an image and a kernel, both linear.
      in_layout: brings an image into the layout that `product` takes.
      channels: the dimension of the channels in that layout.
      types: of x, the kernel and the bias, or None for one that needs no gradient.
      y_bar: in that layout.
      x: in that layout; without elements if no gradient needs it.
      kernel: without elements if no gradient needs it.
    """
    dtype = y_bar.dtype
    return (
        transpose(lambda x: product(in_layout(x.astype(dtype)), kernel), types[0], y_bar),
        transpose(lambda k: product(x, k.astype(dtype)), types[1], y_bar),
        transposed_bias(types[2], y_bar, channels),
    )


def _gradients(
    way: Way,
    steps: Steps,
    factor_types: tuple[Any, Any],
    types: tuple[Any, Any, Any],
    y_bar: jax.Array,
    x: jax.Array,
    kernel: jax.Array,
) -> tuple[Any, Any, Any]:
    """The same as `way` computes them, channels last; `factor_types` are those of x and the kernel,
    gradient or not."""
    of_x, of_kernel = factor_types
    dtype = y_bar.dtype
    x_bar = kernel_bar = None
    # What a device of `shard_map` has of a gradient is summed by the transpose of a cast.
    if types[0] is not None:
        x_bar = way.image_gradient(y_bar, kernel, steps, (of_x.shape[1], of_x.shape[2]))
        x_bar = transpose(lambda x: x.astype(dtype), types[0], x_bar)
    if types[1] is not None:
        kernel_bar = way.kernel_gradient(
            x, y_bar, jax.ShapeDtypeStruct(of_kernel.shape, dtype), steps
        )
        kernel_bar = transpose(lambda k: k.astype(dtype), types[1], kernel_bar)
    return x_bar, kernel_bar, transposed_bias(types[2], y_bar, 3)


def transposed_bias(bias_type: Any, y_bar: jax.Array, channels: int) -> jax.Array | None:
    """The gradient of a bias that was added along the dimension `channels`, or None."""
    return bias_gradient(bias_type, y_bar.astype(accumulator(y_bar.dtype)), channels)


def _by_platform(
    batch_last: Callable[..., Any],
    by: Callable[[Way], Callable[..., Any]],
    by_lax: Callable[..., Any],
    x: Any,
    kernel: Any,
    steps: Steps,
    *arrays: jax.Array,
) -> Any:
    """The one of equal functions of `arrays`, images first, that is fast where the program runs.

    Args:
      batch_last: for a CPU and images of few channels.
      by: gives the function that uses a way of computing a convolution that is fast on a CPU.
      by_lax: for everything else.
      x: the image, or its type.
      kernel: the kernel, or its type.
      steps: of the convolution.
      arrays: of the functions.
    """
    channels, positions = max(kernel.shape[2:]), math.prod(kernel.shape[:2])
    if steps.groups == 1 and pays_on_cpu(*arrays, channels=channels, positions=positions):
        return lax.platform_dependent(*arrays, cpu=batch_last, default=by_lax)
    way = fast_way(x, kernel, steps) if is_free(*arrays) else None
    if way is None:
        return by_lax(*arrays)
    return lax.platform_dependent(*arrays, cpu=by(way), default=by_lax)
