"""The output of an operation: its arrays, and what has to be known about them."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.custom_derivatives import SymbolicZero

from jaxfn.function.arguments import as_array, is_array
from jaxfn.function.context import Context
from jaxfn.function.gradients import Slot, describe


@functools.partial(
    jax.tree_util.register_dataclass,
    data_fields=["leaves"],
    meta_fields=["tree", "types", "marked"],
)
class Outputs:
    """The output as a pytree of its own.

    Attributes:
      leaves: the arrays, or the tangents or cotangents that belong to them.
      tree: what the author's output is made of.
      types: the shape and dtype of each array.
      marked: the positions of the arrays that are marked as not differentiable.
    """

    def __init__(self, leaves: list[Any], tree: Any, types: tuple[Any, ...], marked: tuple):
        self.leaves, self.tree, self.types, self.marked = leaves, tree, types, marked

    def with_leaves(self, leaves: list[Any]) -> Outputs:
        return Outputs(leaves, self.tree, self.types, self.marked)

    def value(self) -> Any:
        """What the caller gets: no gradient flows through what is marked."""
        pairs = enumerate(self.leaves)
        leaves = [jax.lax.stop_gradient(x) if i in self.marked else x for i, x in pairs]
        return self.tree.unflatten(leaves)

    def cotangents(self, materialize: bool) -> tuple[Any, ...]:
        """Of cotangents: what `backward` gets, one for each output."""
        pairs = zip(self.leaves, self.types, strict=True)
        value = self.tree.unflatten([_cotangent(x, t, materialize) for x, t in pairs])
        return value if type(value) is tuple else (value,)

    def slots(self) -> list[Slot]:
        """One for each output."""
        several = type(self.tree.unflatten(self.types)) is tuple
        types = iter(self.types)
        return [
            Slot(f"output {i}", part, tuple(next(types) for _ in range(part.num_leaves)))
            for i, part in enumerate(self.tree.children() if several else [self.tree])
        ]


def make_outputs(
    name: str, context: Context, output: Any, marked: tuple[int, ...] | None = None
) -> Outputs:
    """What the forward pass of `name` returned, checked; `marked` where that is known already."""
    leaves, tree = jax.tree.flatten(output)
    for leaf in leaves:
        if not (is_array(leaf) or isinstance(leaf, bool | int | float | complex)):
            raise TypeError(f"{name}.forward returned {leaf!r}, expected arrays")
    arrays = [as_array(leaf) for leaf in leaves]
    types = tuple(jax.ShapeDtypeStruct(array.shape, array.dtype) for array in arrays)
    if marked is None:
        marked = _positions(name, context._marked, leaves)
    return Outputs(arrays, tree, types, marked)


def _positions(name: str, marked: Sequence[Any], leaves: list[Any]) -> tuple[int, ...]:
    """Where the marked arrays are among the outputs, by identity."""
    positions: dict[int, list[int]] = {}
    for i, leaf in enumerate(leaves):
        positions.setdefault(id(leaf), []).append(i)
    marks = Counter(id(array) for array in jax.tree.leaves(marked))
    for array in jax.tree.leaves(marked):
        places = positions.get(id(array), [])
        if not places:
            raise ValueError(
                f"{name}: ctx.mark_non_differentiable got {describe(jax.typeof(array))}, "
                "which is no output of forward"
            )
        if marks[id(array)] < len(places):
            raise AmbiguousMarkError(
                f"{name}: ctx.mark_non_differentiable got {describe(jax.typeof(array))}, which is "
                f"outputs {' and '.join(map(str, places))} of forward at once: expected one of "
                "them to be another array (jnp.copy), or both to be marked"
            )
    return tuple(sorted({i for array in marks for i in positions[array]}))


class AmbiguousMarkError(ValueError):
    """A marked array is several outputs at once, of which not all are marked."""


def _cotangent(value: Any, array_type: Any, materialize: bool) -> Any:
    """None, or zeros, where there is no cotangent."""
    zero = value is None or isinstance(value, SymbolicZero) or value.dtype == jax.dtypes.float0
    if not zero:
        return value
    if not materialize or jnp.issubdtype(array_type.dtype, jax.dtypes.extended):
        return None  # keys of random numbers have no zeros
    return jnp.zeros(array_type.shape, array_type.dtype)
