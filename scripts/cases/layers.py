"""Cases of the operations that make up a network's layers."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np

import jaxfn
from scripts.cases.case import Case, make_case


def linear_reference(x: jax.Array, weight: jax.Array, bias: jax.Array | None = None) -> jax.Array:
    """Σ_i x[..., i] weight[i, j] + bias[j]."""
    y = jnp.einsum("...i,ij->...j", x, weight)
    return y if bias is None else y + jnp.broadcast_to(bias, y.shape)


def relu_reference(x: jax.Array, *, grad_at_zero: float = 0.0) -> jax.Array:
    """max(x, 0), differentiated at 0 as `grad_at_zero` says."""
    at_zero = grad_at_zero * x
    return jnp.where(x > 0, x, jnp.where(x < 0, jnp.zeros_like(x), at_zero))


def conv2d_reference(
    x: jax.Array,
    kernel: jax.Array,
    bias: jax.Array | None = None,
    *,
    stride: tuple[int, int] = (1, 1),
    pads: tuple[tuple[int, int], tuple[int, int]] = ((0, 0), (0, 0)),
    dilation: tuple[int, int] = (1, 1),
    groups: int = 1,
) -> jax.Array:
    """A matrix product for each position of the kernel and each group, summed."""
    windows = _windows(x, kernel.shape[:2], stride, pads, 0.0, dilation)
    windows = windows.reshape(*windows.shape[:4], groups, -1)
    factors = kernel.reshape(windows.shape[3], kernel.shape[2], groups, -1)
    y = jnp.einsum("nijpgc,pcgo->nijgo", windows, factors)
    y = y.reshape(*y.shape[:3], -1)
    return y if bias is None else y + jnp.broadcast_to(bias, y.shape)


def conv1d_reference(
    x: jax.Array,
    kernel: jax.Array,
    bias: jax.Array,
    *,
    stride: int,
    pads: tuple[int, int],
    dilation: int,
) -> jax.Array:
    """The same of images of one row."""
    y = conv2d_reference(
        x[:, None],
        kernel[None],
        bias,
        stride=(1, stride),
        pads=((0, 0), pads),
        dilation=(1, dilation),
    )
    return y[:, 0]


def conv_transpose2d_reference(
    x: jax.Array, kernel: jax.Array, bias: jax.Array, *, stride: tuple[int, int], pad: int
) -> jax.Array:
    """Each pixel's products, added to the window of the result that it is spread over."""
    (batch, height, width, _), (rows, columns, _, out) = x.shape, kernel.shape
    size = (height - 1) * stride[0] + rows, (width - 1) * stride[1] + columns
    y = jnp.zeros((batch, *size, out), x.dtype)
    for h, w in np.ndindex(rows, columns):
        spread = jnp.einsum("nijc,co->nijo", x, kernel[h, w])
        reached = [
            slice(start, start + step * (n - 1) + 1, step)
            for start, step, n in zip((h, w), stride, (height, width), strict=True)
        ]
        y = y.at[:, reached[0], reached[1]].add(spread)
    y = y[:, pad : size[0] - pad, pad : size[1] - pad]
    return y + jnp.broadcast_to(bias, y.shape)


def avg_pool2d_reference(
    x: jax.Array,
    *,
    window: tuple[int, int],
    stride: tuple[int, int],
    pads: tuple[tuple[int, int], tuple[int, int]],
) -> jax.Array:
    """The mean of what each window holds of the image."""
    total = _windows(x, window, stride, pads, 0.0).sum(3)
    return total / _windows(jnp.ones_like(x), window, stride, pads, 0.0).sum(3)


def max_pool2d_reference(
    x: jax.Array,
    *,
    window: tuple[int, int],
    stride: tuple[int, int],
    pads: tuple[tuple[int, int], tuple[int, int]] = ((0, 0), (0, 0)),
    dilation: tuple[int, int] = (1, 1),
) -> jax.Array:
    """The element at the first position of each window's maximum."""
    windows = _windows(x, window, stride, pads, -jnp.inf, dilation)
    first = jnp.argmax(windows, axis=3, keepdims=True)
    return jnp.take_along_axis(windows, first, axis=3)[:, :, :, 0]


def relu_max_pool2d_reference(
    x: jax.Array,
    *,
    window: tuple[int, int],
    stride: tuple[int, int],
    pads: tuple[tuple[int, int], tuple[int, int]] = ((0, 0), (0, 0)),
) -> jax.Array:
    """max(0, the maximum of each window)."""
    return relu_reference(max_pool2d_reference(x, window=window, stride=stride, pads=pads))


def conv2d_relu_max_pool2d_reference(
    x: jax.Array,
    kernel: jax.Array,
    bias: jax.Array | None = None,
    *,
    stride: tuple[int, int] = (1, 1),
    pads: tuple[tuple[int, int], tuple[int, int]] = ((0, 0), (0, 0)),
    window: tuple[int, int] = (2, 2),
) -> jax.Array:
    """The three operations, one after the other."""
    z = conv2d_reference(x, kernel, bias, stride=stride, pads=pads)
    return relu_max_pool2d_reference(z, window=window, stride=window)


def _windows(
    x: jax.Array,
    window: tuple[int, ...],
    stride: tuple[int, int],
    pads: tuple[tuple[int, int], tuple[int, int]],
    fill: float,
    dilation: tuple[int, int] = (1, 1),
) -> jax.Array:
    """`[N, H', W', positions, C]`: what each position of the window sees, in row-major order."""
    padded = jnp.pad(x, ((0, 0), *pads, (0, 0)), constant_values=fill)
    down, right = dilation
    height = (padded.shape[1] - down * (window[0] - 1) - 1) // stride[0] + 1
    width = (padded.shape[2] - right * (window[1] - 1) - 1) // stride[1] + 1
    rows = np.arange(height)[:, None] * stride[0]
    columns = np.arange(width)[None, :] * stride[1]
    views = [
        padded[:, rows + h * down, columns + w * right]
        for h in range(window[0])
        for w in range(window[1])
    ]
    return jnp.stack(views, axis=3)


_partial = functools.partial
_RELU_KINK = "0: the derivative is {} (`grad_at_zero`)"
# The sizes of LeNet's layers, and of a first layer on MNIST.
_TIMED_LINEAR = ((64, 784), (784, 512))
_TIMED_RELU = ((64, 30, 30, 6),)
_TIMED_CONV2D = ((64, 15, 15, 6), (3, 3, 6, 16))
_TIMED_POOL = ((64, 30, 30, 6),)
_POOL_KINK = "ties: the gradient goes to the first maximum in row-major order"

CASES: tuple[Case, ...] = (
    make_case(
        "linear",
        jaxfn.linear,
        linear_reference,
        ((4, 3), True),
        ((3, 5), False),
        ((5,), False),
        timed_shapes=(*_TIMED_LINEAR, (512,)),
    ),
    make_case(
        "linear_no_bias",
        jaxfn.linear,
        linear_reference,
        ((4, 3), True),
        ((3, 5), False),
        timed_shapes=_TIMED_LINEAR,
    ),
    make_case(
        "relu",
        jaxfn.relu,
        relu_reference,
        ((4, 7), True),
        kinks=_RELU_KINK.format(0),
        timed_shapes=_TIMED_RELU,
    ),
    make_case(
        "relu_one_at_zero",
        _partial(jaxfn.relu, grad_at_zero=1.0),
        _partial(relu_reference, grad_at_zero=1.0),
        ((4, 7), True),
        kinks=_RELU_KINK.format(1),
        timed_shapes=_TIMED_RELU,
    ),
    make_case(
        "relu_half_at_zero",
        _partial(jaxfn.relu, grad_at_zero=0.5),
        _partial(relu_reference, grad_at_zero=0.5),
        ((4, 7), True),
        kinks=_RELU_KINK.format(0.5),
        timed_shapes=_TIMED_RELU,
    ),
    make_case(
        "conv2d",
        jaxfn.conv2d,
        conv2d_reference,
        ((2, 6, 5, 2), True),
        ((3, 2, 2, 3), False),
        ((3,), False),
        timed_shapes=(*_TIMED_CONV2D, (16,)),
    ),
    make_case(
        "conv2d_strided",
        _partial(jaxfn.conv2d, stride=(2, 1), padding=((1, 0), (2, 1))),
        _partial(conv2d_reference, stride=(2, 1), pads=((1, 0), (2, 1))),
        ((2, 6, 5, 2), True),
        ((3, 2, 2, 3), False),
        timed_shapes=_TIMED_CONV2D,
    ),
    make_case(
        "conv2d_grouped",
        _partial(jaxfn.conv2d, stride=(1, 2), dilation=(2, 1), groups=2),
        _partial(conv2d_reference, stride=(1, 2), dilation=(2, 1), groups=2),
        ((2, 6, 5, 4), True),
        ((3, 2, 2, 6), False),
        ((6,), False),
        timed_shapes=((64, 15, 15, 64), (3, 3, 32, 64), (64,)),
        every_transformation=False,
    ),
    make_case(
        "conv2d_depthwise",
        _partial(jaxfn.conv2d, padding=((1, 1), (1, 0)), groups=4),
        _partial(conv2d_reference, pads=((1, 1), (1, 0)), groups=4),
        ((2, 6, 5, 4), True),
        ((3, 2, 1, 4), False),
        ((4,), False),
        timed_shapes=((64, 15, 15, 4), (3, 3, 1, 4), (4,)),
    ),
    make_case(
        "conv1d",
        _partial(jaxfn.conv1d, stride=2, padding=(2, 1), dilation=2),
        _partial(conv1d_reference, stride=2, pads=(2, 1), dilation=2),
        ((2, 8, 2), True),
        ((3, 2, 3), False),
        ((3,), False),
        timed_shapes=((64, 100, 16), (5, 16, 32), (32,)),
        every_transformation=False,
    ),
    make_case(
        "conv_transpose2d",
        _partial(jaxfn.conv_transpose2d, stride=(2, 1), padding=1),
        _partial(conv_transpose2d_reference, stride=(2, 1), pad=1),
        ((2, 4, 5, 2), True),
        ((3, 2, 2, 3), False),
        ((3,), False),
        timed_shapes=((64, 8, 8, 32), (4, 4, 32, 16), (16,)),
    ),
    make_case(
        "avg_pool2d",
        _partial(
            jaxfn.avg_pool2d,
            window=(3, 2),
            stride=(2, 1),
            padding=((1, 2), (0, 1)),
            count_include_pad=False,
        ),
        _partial(avg_pool2d_reference, window=(3, 2), stride=(2, 1), pads=((1, 2), (0, 1))),
        ((2, 6, 5, 3), True),
        timed_shapes=_TIMED_POOL,
        every_transformation=False,
    ),
    make_case(
        "max_pool2d_dilated",
        _partial(jaxfn.max_pool2d, window=(2, 3), stride=2, dilation=(2, 1), ceil_mode=True),
        _partial(
            max_pool2d_reference,
            window=(2, 3),
            stride=(2, 2),
            pads=((0, 1), (0, 0)),
            dilation=(2, 1),
        ),
        ((2, 6, 5, 3), True),
        kinks=_POOL_KINK,
        timed_shapes=_TIMED_POOL,
        every_transformation=False,
    ),
    make_case(
        "max_pool2d",
        jaxfn.max_pool2d,
        _partial(max_pool2d_reference, window=(2, 2), stride=(2, 2)),
        ((2, 6, 5, 3), True),
        kinks=_POOL_KINK,
        timed_shapes=_TIMED_POOL,
    ),
    make_case(
        "max_pool2d_overlapping",
        _partial(jaxfn.max_pool2d, window=(3, 2), stride=(2, 1), padding=((1, 2), (0, 1))),
        _partial(max_pool2d_reference, window=(3, 2), stride=(2, 1), pads=((1, 2), (0, 1))),
        ((2, 6, 5, 3), True),
        kinks=_POOL_KINK,
        timed_shapes=_TIMED_POOL,
    ),
    make_case(
        "relu_max_pool2d",
        jaxfn.relu_max_pool2d,
        _partial(relu_max_pool2d_reference, window=(2, 2), stride=(2, 2)),
        ((2, 6, 5, 3), True),
        kinks=_POOL_KINK + "; at a maximum of 0 the derivative is 0",
        timed_shapes=_TIMED_POOL,
    ),
    make_case(
        "conv2d_relu_max_pool2d",
        jaxfn.conv2d_relu_max_pool2d,
        conv2d_relu_max_pool2d_reference,
        ((2, 6, 7, 2), True),
        ((3, 3, 2, 3), False),
        ((3,), False),
        kinks=_POOL_KINK + "; at a maximum of 0 the derivative is 0",
        timed_shapes=(*_TIMED_CONV2D, (16,)),
    ),
)
