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
) -> list[np.ndarray]:
    """(y, gradient) of the pooling, or of `relu` of it: to the first maximum in row-major order."""
    x, y_bar = _wide(x), _wide(y_bar)
    padded = np.pad(x, ((0, 0), *pads, (0, 0)), constant_values=-np.inf)
    padded_bar = np.zeros_like(padded)
    positions = [*np.ndindex(window)]
    seen = np.stack([_seen(padded, position, stride, y_bar.shape) for position in positions])
    y, first = seen.max(0), seen.argmax(0)
    if relu:
        y, y_bar = np.maximum(y, 0), np.where(y > 0, y_bar, 0)
    for i, position in enumerate(positions):
        _seen(padded_bar, position, stride, y.shape)[...] += np.where(first == i, y_bar, 0)
    return [y, _without(padded_bar, pads)]


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
