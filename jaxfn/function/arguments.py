"""The arguments of one call: which of their leaves are arrays, and everything else about them."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxfn._jax_internals import mesh_axes, vary_over
from jaxfn.function.gradients import NUMBER, Slot, differentiable


class Arguments:
    """The bound arguments without their arrays: what they are made of outlives the call.

    Attributes:
      inputs: for each argument its name and the types of its leaves.
      tree: of the tuple of all arguments.
      leaves: of that tree; `ARRAY` in the place of an array.
      types: of the arrays.
      owners: for each array, the argument that it belongs to.
    """

    def __init__(
        self, bound: inspect.BoundArguments, passed: set[str], leaves: list[Any], tree: Any
    ):
        self.tree = tree
        self.leaves = [ARRAY if is_array(leaf) else leaf for leaf in leaves]
        self.positional, self.keywords = len(bound.args), tuple(bound.kwargs)
        types = iter([_type(leaf) for leaf in leaves])
        self.inputs = [
            Slot(
                f"input {i} ({name})",
                part,
                tuple(next(types) for _ in range(part.num_leaves)),
                free,
            )
            for i, ((name, free), part) in enumerate(
                zip(_names(bound, passed), tree.children(), strict=True)
            )
        ]
        owned = [
            (i, t) for i, one in enumerate(self.inputs) for t in one.types if hasattr(t, "dtype")
        ]
        self.owners = [i for i, _ in owned]
        self.types = [t for _, t in owned]

    def fill(self, arrays: Iterable[Any]) -> tuple[Any, ...]:
        """The arguments with these arrays."""
        left = iter(arrays)
        return self.tree.unflatten([next(left) if leaf is ARRAY else leaf for leaf in self.leaves])

    def describe(self, values: Iterable[Any], number: Any = None) -> tuple[Any, ...]:
        """The arguments with these values for the arrays, `number` for the Python numbers, and None
        for what is neither."""
        left = iter(values)
        others = [number if _type(leaf) is NUMBER else None for leaf in self.leaves]
        pairs = zip(self.leaves, others, strict=True)
        return self.tree.unflatten([next(left) if leaf is ARRAY else x for leaf, x in pairs])

    def split(self, inputs: tuple[Any, ...]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The tuple of all arguments as positional and keyword arguments."""
        keywords = zip(self.keywords, inputs[self.positional :], strict=True)
        return inputs[: self.positional], dict(keywords)

    def by_input(self, flags: Sequence[bool]) -> tuple[bool, ...]:
        """Flags for arrays as flags for arguments: whether any of an argument's arrays has one."""
        flagged = {i for i, flag in zip(self.owners, flags, strict=True) if flag}
        return tuple(i in flagged for i in range(len(self.inputs)))

    def functions(self) -> Iterator[tuple[str, Callable[..., Any]]]:
        """The functions among the arguments, each with the name of its argument."""
        left = iter(self.leaves)
        for one in self.inputs:
            for _ in one.types:
                if callable(leaf := next(left)):
                    yield one.name, leaf


class _Array:
    """In the place of an array."""


ARRAY = _Array()


def bind(
    name: str, signature: inspect.Signature, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[list[jax.Array], Arguments]:
    """The arrays in the arguments of a call of `name`, and the rest of them."""
    try:
        bound = signature.bind(*args, **kwargs)
    except TypeError as error:
        raise TypeError(f"{name}: {error}") from None
    passed = {*bound.arguments}
    bound.apply_defaults()
    leaves, tree = jax.tree.flatten((*bound.args, *bound.kwargs.values()))
    leaves = _alike([as_array(leaf) if is_array(leaf) else leaf for leaf in leaves])
    arrays = [leaf for leaf in leaves if isinstance(leaf, jax.Array)]
    return arrays, Arguments(bound, passed, leaves, tree)


def is_array(leaf: Any) -> bool:
    """Whether `leaf` is an array to JAX; Python's numbers are none here."""
    if isinstance(leaf, np.ndarray | np.generic):
        return leaf.dtype.kind not in "OSUMm"  # objects, text and dates
    return isinstance(leaf, jax.Array) or hasattr(leaf, "__jax_array__")


def as_array(leaf: Any) -> jax.Array:
    return leaf if isinstance(leaf, jax.Array) else jnp.asarray(leaf)


def _type(leaf: Any) -> Any:
    if is_array(leaf):
        return jax.typeof(leaf)
    # JAX has subclasses of its own of Python's numbers.
    number = isinstance(leaf, int | float | complex) and not isinstance(leaf, bool)
    return NUMBER if number else None


def _alike(leaves: list[Any]) -> list[Any]:
    """The arrays as ones that vary along the same mesh axes, inside a `shard_map`.

    JAX then sums the gradient of an array that is the same on all devices over these, which is
    what it does for its own operations.
    """
    types = [jax.typeof(leaf) for leaf in leaves if isinstance(leaf, jax.Array)]
    axes = frozenset().union(*map(mesh_axes, types))
    if not axes:
        return leaves
    return [
        vary_over(leaf, axes)
        if isinstance(leaf, jax.Array) and differentiable(jax.typeof(leaf))
        else leaf
        for leaf in leaves
    ]


def _names(bound: inspect.BoundArguments, passed: set[str]) -> list[tuple[str, bool]]:
    """The name of each argument, and whether the caller left it to its default."""
    names = []
    for name, value in bound.arguments.items():
        kind, default = bound.signature.parameters[name].kind, name not in passed
        if kind is inspect.Parameter.VAR_POSITIONAL:
            names += [(f"{name}[{i}]", default) for i in range(len(value))]
        elif kind is inspect.Parameter.VAR_KEYWORD:
            names += [(key, default) for key in value]
        else:
            names.append((name, default))
    return names
