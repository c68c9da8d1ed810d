"""What the quantisers share: their checks of arguments, and how parameters spread over channels."""

from __future__ import annotations

import jax
from jax.typing import ArrayLike

from jaxfn.functional._checks import REAL, as_array, check_axis, check_positive

MOST_BITS = 16


def channel_axis(op: str, x: jax.Array, axis: int | None) -> int | None:
    """The axis of x whose channels have parameters of their own, or None."""
    return None if axis is None else check_axis(op, "x", x, axis)


def parameter(op: str, name: str, value: ArrayLike, x: jax.Array, axis: int | None) -> jax.Array:
    """A positive floating parameter of the quantiser, in the shape that broadcasts against x."""
    spreading = spread(op, name, as_array(op, name, value, REAL), x, axis)
    check_positive(op, name, value)  # as it was given: within jit an array that was made is traced
    return spreading


def spread(op: str, name: str, array: jax.Array, x: jax.Array, axis: int | None) -> jax.Array:
    """`array`, which is [] or has an element for each channel, to broadcast against x."""
    if axis is None:
        if array.ndim:
            raise ValueError(
                f"{op}: expected {name} [] for all of x (axis=None), got {name} {list(array.shape)}"
            )
        return array
    if array.shape != (x.shape[axis],):
        raise ValueError(
            f"{op}: expected {name} [{x.shape[axis]}] to match axis {axis} of x {list(x.shape)}, "
            f"got {name} {list(array.shape)}"
        )
    return array.reshape([size if i == axis else 1 for i, size in enumerate(x.shape)])
