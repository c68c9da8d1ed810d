"""The operations and their gradients in NumPy, in float64: third opinions, and for the shapes that
a test draws they compile nothing."""

from __future__ import annotations

from typing import Any

import numpy as np

Pads = tuple[tuple[int, int], tuple[int, int]]


def linear(args: Any, y_bar: Any) -> list[np.ndarray]:
    """(y, *gradients) of y = x weight + bias; of a real argument the gradient's real part."""
    x, weight, *bias, y_bar = map(_wide, (*args, y_bar))
    batch = tuple(range(x.ndim - 1))
    gradients = [y_bar @ weight.T, np.tensordot(x, y_bar, (batch, batch)), y_bar.sum(batch)]
    pairs = zip(gradients, (x, weight, *bias), strict=False)
    return [sum(bias, x @ weight), *(g if np.iscomplexobj(a) else g.real for g, a in pairs)]


def conv2d(
    args: Any,
    y_bar: Any,
    stride: tuple[int, int],
    pads: Pads,
    dilation: tuple[int, int] = (1, 1),
    groups: int = 1,
) -> list[np.ndarray]:
    """(y, *gradients): a matrix product for each position of the kernel."""
    x, kernel, *bias, y_bar = map(_wide, (*args, y_bar))
    if groups > 1:
        parts = [np.split(a, groups, axis=3) for a in (x, kernel, y_bar)]
        each = [
            conv2d((x, k), y_bar, stride, pads, dilation)
            for x, k, y_bar in zip(*parts, strict=True)
        ]
        y, x_bar, kernel_bar = (np.concatenate(of, axis=3) for of in zip(*each, strict=True))
        return [sum(bias, y), x_bar, kernel_bar, y_bar.sum((0, 1, 2))][: 1 + len(args)]
    padded = np.pad(x, ((0, 0), *pads, (0, 0)))
    y, padded_bar, kernel_bar = map(np.zeros_like, (y_bar, padded, kernel))
    for position in np.ndindex(kernel.shape[:2]):
        place = (position[0] * dilation[0], position[1] * dilation[1])
        seen = _seen(padded, place, stride, y.shape)
        y += seen @ kernel[position]
        _seen(padded_bar, place, stride, y.shape)[...] += y_bar @ kernel[position].T
        kernel_bar[position] = np.tensordot(seen, y_bar, ((0, 1, 2), (0, 1, 2)))
    gradients = [_without(padded_bar, pads), kernel_bar, y_bar.sum((0, 1, 2))]
    return [sum(bias, y), *gradients[: len(args)]]


def max_pool2d(
    x: Any,
    y_bar: Any,
    window: tuple[int, int],
    stride: tuple[int, int],
    pads: Pads = ((0, 0), (0, 0)),
    *,
    relu: bool = False,
    dilation: tuple[int, int] = (1, 1),
) -> list[np.ndarray]:
    """(y, gradient, places) of the pooling, or the first two of `relu` of it: to the first maximum
    in row-major order. What of a window lies outside of the padded image is not there."""
    x, y_bar = _wide(x), _wide(y_bar)
    seen, places, padded_bar = _of_windows(x, y_bar.shape, window, stride, pads, dilation, -np.inf)
    y, first = seen.max(0), seen.argmax(0)
    if relu:
        y, y_bar = np.maximum(y, 0), np.where(y > 0, y_bar, 0)
    for i, place in enumerate(places):
        _seen(padded_bar, place, stride, y.shape)[...] += np.where(first == i, y_bar, 0)
    gradient = padded_bar[:, pads[0][0] :, pads[1][0] :][:, : x.shape[1], : x.shape[2]]
    if relu:
        return [y, gradient]
    rows, columns = np.moveaxis(np.array(places)[first], -1, 0)
    rows += np.arange(y.shape[1])[:, None, None] * stride[0] - pads[0][0]
    columns += np.arange(y.shape[2])[:, None] * stride[1] - pads[1][0]
    return [y, gradient, rows * x.shape[2] + columns]


def avg_pool2d(
    x: Any,
    y_bar: Any,
    window: tuple[int, int],
    stride: tuple[int, int],
    pads: Pads,
    counts_pads: bool,
) -> list[np.ndarray]:
    """(y, gradient) of the mean of what of each window lies on the image, or on its padding."""
    x, y_bar = _wide(x), _wide(y_bar)
    inside = ((0, 0), *pads, (0, 0)) if counts_pads else ((0, 0),) * 4
    ones = np.pad(np.ones_like(x), inside, constant_values=1)
    left = ((0, 0), (0, 0)) if counts_pads else pads
    counted = _of_windows(ones, y_bar.shape, window, stride, left, (1, 1), 0)[0].sum(0)
    seen, places, padded_bar = _of_windows(x, y_bar.shape, window, stride, pads, (1, 1), 0)
    for place in places:
        _seen(padded_bar, place, stride, y_bar.shape)[...] += y_bar / counted
    gradient = padded_bar[:, pads[0][0] :, pads[1][0] :][:, : x.shape[1], : x.shape[2]]
    return [seen.sum(0) / counted, gradient]


def _of_windows(
    x: np.ndarray,
    shape: tuple[int, ...],
    window: tuple[int, int],
    stride: tuple[int, int],
    pads: Pads,
    dilation: tuple[int, int],
    fill: float,
) -> tuple[np.ndarray, list[tuple[int, int]], np.ndarray]:
    """What each position of the window sees, its place, and zeros like the padded image."""
    more = (max(window) * max(dilation) + max(stride),) * 2  # for windows that reach further
    padded = np.pad(x, ((0, 0), *pads, (0, 0)), constant_values=fill)
    padded = np.pad(padded, ((0, 0), (0, more[0]), (0, more[1]), (0, 0)), constant_values=fill)
    places = [(h * dilation[0], w * dilation[1]) for h, w in np.ndindex(window)]
    seen = np.stack([_seen(padded, place, stride, shape) for place in places])
    return seen, places, np.zeros_like(padded)


def _wide(array: Any) -> np.ndarray:
    array = np.asarray(array)
    return array.astype(np.complex128 if np.iscomplexobj(array) else np.float64)


def _seen(
    padded: np.ndarray, position: tuple[int, ...], stride: tuple[int, int], shape: tuple[int, ...]
) -> np.ndarray:
    """The view of the padded image that a position of the window has of it."""
    rows, columns = (
        slice(start, start + step * (size - 1) + 1, step)
        for start, step, size in zip(position, stride, shape[1:3], strict=True)
    )
    return padded[:, rows, columns]


def _without(padded: np.ndarray, pads: Pads) -> np.ndarray:
    (top, bottom), (left, right) = pads
    return padded[:, top : padded.shape[1] - bottom, left : padded.shape[2] - right]
