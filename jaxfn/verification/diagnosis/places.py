"""Elements of an array in words: a slice of an axis where they are one, else the first few."""

import numpy as np

FEW = 3


def listed(shape: tuple[int, ...], elements: np.ndarray) -> str:
    """How many elements of how many, and which, by their positions in row-major order."""
    size = int(np.prod(shape, dtype=int))
    first = [[int(i) for i in np.unravel_index(int(k), shape)] for k in elements[:FEW]]
    more = f" and {elements.size - FEW} more" if elements.size > FEW else ""
    text = f"{elements.size} of {size} elements: {', '.join(map(str, first))}{more}"
    return text + _slice(shape, elements)


def _slice(shape: tuple[int, ...], elements: np.ndarray) -> str:
    """The indices of one axis that the elements have, if they are all elements that have them."""
    if len(shape) < 2 or elements.size < 2:
        return ""
    where = np.unravel_index(elements, shape)
    for axis, size in enumerate(shape):
        indices = np.unique(where[axis])
        if indices.size == size or indices.size * np.prod(shape) != elements.size * size:
            continue
        rest = np.setdiff1d(np.arange(size), indices)
        if indices.size <= FEW:
            return f" (index {_joined(indices)} of axis {axis})"
        if rest.size <= FEW:
            return f" (all of axis {axis} but index {_joined(rest)})"
    return ""


def _joined(indices: np.ndarray) -> str:
    return ", ".join(map(str, indices))
