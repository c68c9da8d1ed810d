"""What a rule returns, held against what it was to return: every message names the argument."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxfn._jax_internals import mesh_axes, vary_over


class Slot(NamedTuple):
    """An argument, or an output, that a rule has to return a gradient, or a tangent, for."""

    name: str  # "input 1 (weight)"
    tree: Any
    types: tuple[Any, ...]  # of its leaves; NUMBER or None for one that is no array
    optional: bool = False  # not passed by the caller, who then need not be answered


# The type of a Python number. It is no array and nobody can ask for its gradient, but a rule may
# well return one that was written for the array that it could have been.
NUMBER = "number"


def differentiable(leaf_type: Any) -> bool:
    """Whether a leaf of this type can have a gradient."""
    if leaf_type is None or leaf_type is NUMBER:
        return False
    return jnp.issubdtype(leaf_type.dtype, jnp.inexact)


def check_returned(rule: str, slots: Sequence[Slot], returned: Any) -> list[Any]:
    """The gradients in `returned`, one for each leaf of `slots`: an array, or None for zero.

    Args:
      rule: whose result it is, for the messages.
      slots: what the gradients belong to.
      returned: one value, or a tuple with one for each slot; None stands for zeros.

    Raises:
      TypeError: for a gradient of another kind, dtype or structure.
      ValueError: for a gradient of another shape, or another number of gradients.
    """
    given = returned if type(returned) is tuple else (returned,)
    spare, missing = given[len(slots) :], slots[len(given) :]
    if any(g is not None for g in spare) or not all(slot.optional for slot in missing):
        raise ValueError(
            f"{rule} returned {len(given)} value{'s' * (len(given) != 1)}, expected {len(slots)}, "
            f"for {', '.join(slot.name for slot in slots)}; None stands for zeros"
        )
    given += (None,) * len(missing)
    leaves = []
    for slot, value in zip(slots, given[: len(slots)], strict=True):
        parts = _parts(rule, slot, value)
        for part, expected, path in zip(parts, slot.types, _paths(slot), strict=True):
            leaves.append(_check_leaf(rule, slot.name + path, expected, part))
    return leaves


def _parts(rule: str, slot: Slot, value: Any) -> list[Any]:
    """The parts of `value` for the leaves of `slot`; None in `value` stands for all below it."""
    if value is None:
        return [None] * len(slot.types)

    full_tree = slot.tree.unflatten(range(len(slot.types)))
    prefix = jax.tree.map(lambda part: _ZERO if part is None else part, value, is_leaf=_is_none)
    try:
        parts = jax.tree.leaves(jax.tree.broadcast(prefix, full_tree))
    except ValueError:
        parts = None
    # An array is the gradient of a leaf and not of a tree: it is not to be spread over one.
    if parts is None or _count(parts) != _count(jax.tree.leaves(prefix)):
        expected = slot.tree.unflatten([describe(t) for t in slot.types])
        got = jax.tree.map(lambda part: describe(_type(part)), value)
        raise TypeError(f"{rule} returned for {slot.name} {got}, expected {expected}")
    return [None if part is _ZERO else part for part in parts]


_ZERO = object()  # in the place of None, which would be no leaf of a pytree


def _is_none(part: Any) -> bool:
    return part is None


def _count(parts: list[Any]) -> int:
    return sum(part is not _ZERO for part in parts)


def _paths(slot: Slot) -> list[str]:
    if slot.tree == _LEAF:
        return [""]
    tree = slot.tree.unflatten(range(len(slot.types)))
    return [f" at {jax.tree_util.keystr(path)}" for path, _ in jax.tree.leaves_with_path(tree)]


_LEAF = jax.tree.structure(0)


def _check_leaf(rule: str, name: str, expected: Any, given: Any) -> Any:
    if given is None or expected is NUMBER:
        return None
    if not differentiable(expected):
        if getattr(given, "dtype", None) == jax.dtypes.float0:  # JAX's own "no gradient"
            return None
        what = "what is no array" if expected is None else describe(expected)
        raise TypeError(
            f"{rule} returned for {name} {_article(describe(_type(given)))}, expected None: "
            f"{what} has no gradient"
        )
    if isinstance(given, bool | int | float | complex):
        given = jnp.asarray(given, expected.dtype)  # a Python number has no dtype of its own
    if not isinstance(given, jax.Array | np.ndarray | np.generic):
        raise TypeError(
            f"{rule} returned for {name} {_article(type(given).__name__)}, "
            f"expected {describe(expected)}"
        )
    got = _type(given)
    complaint = f"{rule} returned for {name} {_article(describe(got))}, "
    complaint += f"expected {describe(expected)}"
    if got.shape != expected.shape:
        raise ValueError(complaint + _sum_hint(got.shape, expected.shape))
    if got.dtype != expected.dtype:
        raise TypeError(complaint + _cast_hint(got.dtype, expected.dtype))
    return vary_over(jnp.asarray(given), mesh_axes(expected))


def describe(leaf_type: Any) -> str:
    """ "float32[30,20]"."""
    if leaf_type is None or isinstance(leaf_type, str):
        return str(leaf_type)
    return f"{leaf_type.dtype}[{','.join(map(str, leaf_type.shape))}]"


def _type(value: Any) -> Any:
    """The type of an array, or the name of another kind of value."""
    if isinstance(value, jax.Array | np.ndarray | np.generic):
        return value if value.dtype == jax.dtypes.float0 else jax.typeof(value)
    return type(value).__name__


def _article(noun: str) -> str:
    return f"{'an' if noun[0] in 'aeio' else 'a'} {noun}"


def _sum_hint(got: tuple[int, ...], expected: tuple[int, ...]) -> str:
    """Over which axes a gradient is to be summed that has the shape of a broadcast input."""
    new = len(got) - len(expected)
    if new < 0:
        return ""
    kept = [new + i for i, n in enumerate(expected) if n == 1 and got[new + i] != 1]
    summed = tuple(got[i] if i not in kept else 1 for i in range(new, len(got)))
    if summed != expected:
        return ""
    axes = (*range(new), *kept)
    where = f"axis {axes[0]}" if len(axes) == 1 else f"axes {axes}"
    reshape = f" and reshape it to {list(expected)}" if kept else ""
    return f": broadcasting expanded the argument, so sum over {where}{reshape}"


def _cast_hint(got: Any, expected: Any) -> str:
    if jnp.issubdtype(got, jnp.complexfloating) > jnp.issubdtype(expected, jnp.complexfloating):
        return ": the gradient of a real argument is the real part"
    return f": cast it, as with .astype({expected})" if jnp.issubdtype(got, jnp.inexact) else ""
