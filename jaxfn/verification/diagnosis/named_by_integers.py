"""The elements of a gradient that an integer argument names: by a mask, a label, an index."""

from collections.abc import Iterator

import numpy as np

from jaxfn.verification.diagnosis.seen import Seen

MOST_VALUES = 16  # of an argument that are tried one by one


def of_integers(seen: Seen, probe: int, elements: np.ndarray) -> str:
    """The condition on an integer argument, as it is at a probe, that holds for these elements."""
    leaf, arguments = seen.leaf, seen.subject.arguments
    if leaf.is_complex or not leaf.shape:
        return ""
    wrong = np.zeros(leaf.count, bool)
    wrong[elements] = True
    wrong = wrong.reshape(leaf.shape)
    integers = seen.found.probes[probe].integers
    for position, array in zip(arguments.integer_positions, integers, strict=True):
        for text, holds in _conditions(arguments.paths[position], array, wrong.shape):
            if holds.any() and not holds.all() and _is_it(holds, wrong):
                return f", {text}"
    return ""


def _is_it(holds: np.ndarray, wrong: np.ndarray) -> bool:
    """Whether the elements are wrong only where the condition holds, and there mostly."""
    axes = tuple(axis for axis, size in enumerate(holds.shape) if size < wrong.shape[axis])
    return bool((wrong.any(axis=axes, keepdims=True) == holds).all()) and bool(
        wrong[np.broadcast_to(holds, wrong.shape)].mean() > 0.5
    )


def _conditions(
    path: str, array: np.ndarray, shape: tuple[int, ...]
) -> Iterator[tuple[str, np.ndarray]]:
    """Conditions on the argument, each of a shape that broadcasts to that of the gradient."""
    if array.ndim and array.shape == shape[: array.ndim]:
        for value in np.unique(array)[:MOST_VALUES]:
            holds = array == value
            yield f"where {path} == {value}", holds.reshape(*array.shape, *_ones(shape, array.ndim))
    if array.dtype == bool:
        return
    if array.ndim < len(shape) and array.shape == shape[: array.ndim]:
        axis, size = array.ndim, shape[array.ndim]
        labelled = array[..., None] == np.arange(size)
        words = f"at the element along axis {axis} that {path} names for each row"
        yield words, labelled.reshape(*labelled.shape, *_ones(shape, axis + 1))
    for axis, size in enumerate(shape):
        inside = array[(array >= 0) & (array < size)].reshape(-1).astype(np.int64)
        counts = np.bincount(inside, minlength=size)
        along = (*_ones(shape[:axis], 0), size, *_ones(shape, axis + 1))
        for words, holds in (
            ("names more than once", counts > 1),
            ("names", counts > 0),
            ("does not name", counts == 0),
        ):
            yield f"at the indices of axis {axis} that {path} {words}", holds.reshape(along)


def _ones(shape: tuple[int, ...], start: int) -> tuple[int, ...]:
    return (1,) * len(shape[start:])
