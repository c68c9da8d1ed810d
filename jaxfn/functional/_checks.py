"""Argument checks that the operations share: every message names the argument, what was expected
and what came."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

REAL = ("float16", "bfloat16", "float32", "float64")
REAL_OR_COMPLEX = (*REAL, "complex64", "complex128")


def as_array(op: str, name: str, value: ArrayLike, dtypes: Sequence[str] = REAL) -> jax.Array:
    """`value` as a JAX array of one of `dtypes`; lists, None and other objects are refused."""
    is_array = isinstance(value, jax.Array | np.ndarray | np.generic | float | complex)
    if not (is_array or hasattr(value, "__jax_array__")):
        raise TypeError(f"{op}: expected {name} to be an array, got {type(value).__name__}")
    array = jnp.asarray(value)
    if array.dtype.name not in dtypes:
        expected = " or ".join((", ".join(dtypes[:-1]), dtypes[-1]))
        raise TypeError(f"{op}: expected {name} of dtype {expected}, got {array.dtype.name}")
    return array


def check_rank(op: str, name: str, array: jax.Array, rank: int, layout: str) -> None:
    """Refuses an `array` that is not of rank `rank`, written as `layout` in the message."""
    if array.ndim != rank:
        raise ValueError(f"{op}: expected {name} {layout}, got {name} {list(array.shape)}")


def as_pair(op: str, name: str, value: int | Sequence[int], minimum: int) -> tuple[int, int]:
    """An int or a pair of ints, each at least `minimum`, as a pair."""
    pair = (value, value) if _is_int(value) else value
    expected = f"{op}: expected {name} to be an int or a pair of ints, at least {minimum}"
    if not (isinstance(pair, Sequence) and len(pair) == 2 and all(map(_is_int, pair))):
        raise TypeError(f"{expected}, got {value!r}")
    height, width = map(operator.index, pair)
    if min(height, width) < minimum:
        raise ValueError(f"{expected}, got {value!r}")
    return height, width


def as_padding(
    op: str,
    padding: Any,
    size: tuple[int, int],
    window: tuple[int, int],
    stride: tuple[int, int],
) -> tuple[tuple[int, int], tuple[int, int]]:
    """`padding` as ((top, bottom), (left, right)), checked against images of `size`.

    "SAME" gives ceil(size / stride) outputs, with the odd row or column of zeros at the end, as in
    XLA and TensorFlow.
    """
    if isinstance(padding, str):
        if padding not in ("VALID", "SAME"):
            raise ValueError(f'{op}: expected padding "VALID" or "SAME", got {padding!r}')
        pads = tuple(
            _same(n, k, s) if padding == "SAME" else (0, 0)
            for n, k, s in zip(size, window, stride, strict=True)
        )
    elif _is_int(padding):
        pads = ((operator.index(padding),) * 2,) * 2
    else:
        pads = _explicit_pads(op, padding)
    if min(min(pad) for pad in pads) < 0:
        raise ValueError(f"{op}: expected padding of at least 0, got {padding!r}")
    for n, k, (low, high) in zip(size, window, pads, strict=True):
        if n + low + high < k:
            raise ValueError(
                f"{op}: expected a window no larger than the padded image, got window "
                f"{list(window)} for an image of {list(size)} with padding {padding!r}"
            )
    return pads


def _same(size: int, window: int, stride: int) -> tuple[int, int]:
    total = max((-(-size // stride) - 1) * stride + window - size, 0)
    return total // 2, total - total // 2


def _explicit_pads(op: str, padding: Any) -> tuple[tuple[int, int], tuple[int, int]]:
    def is_pair(value: Any) -> bool:
        return isinstance(value, Sequence) and not isinstance(value, str) and len(value) == 2

    if not (is_pair(padding) and all(is_pair(p) and all(map(_is_int, p)) for p in padding)):
        raise TypeError(
            f'{op}: expected padding "VALID", "SAME", an int or ((top, bottom), (left, right)), '
            f"got {padding!r}"
        )
    (top, bottom), (left, right) = padding
    return (
        (operator.index(top), operator.index(bottom)),
        (operator.index(left), operator.index(right)),
    )


def _is_int(value: Any) -> bool:
    return isinstance(value, int | np.integer) and not isinstance(value, bool)
