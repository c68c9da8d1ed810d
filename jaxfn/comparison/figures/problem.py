"""What is compared: a function of arrays alone, made from a function of any arguments."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxfn.verification.subject.names import parameter_names

Arrays = Sequence[jax.Array]
# (differentiable arrays, other arrays) -> (differentiable results, other results)
Flat = Callable[[Arrays, Arrays], tuple[list[jax.Array], list[Any]]]


_PRIMAL, _OTHER, _STATIC = "differentiated", "traced", "static"


@dataclass(frozen=True)
class Leaf:
    """A leaf of the arguments: its name, such as `params['kernel']`, and what happens to it."""

    name: str
    value: Any
    kind: str
    argument: int


@dataclass(frozen=True)
class Problem:
    """The arguments of a function, taken apart.

    Attributes:
      leaves: of the arguments.
      structure: of the arguments.
      cotangents: standard normal, one for each differentiable result.
      others_out: how many of the results cannot be differentiated.
      feeds_itself: whether the results are of the first argument's types, so that the function
        can stand layer on layer.
    """

    leaves: tuple[Leaf, ...]
    structure: Any
    cotangents: tuple[jax.Array, ...]
    others_out: int
    feeds_itself: bool

    @property
    def primals(self) -> tuple[jax.Array, ...]:
        """The arrays that are differentiated with respect to."""
        return tuple(leaf.value for leaf in self.leaves if leaf.kind == _PRIMAL)

    @property
    def others(self) -> tuple[jax.Array, ...]:
        """The arrays that are traced and not differentiated."""
        return tuple(leaf.value for leaf in self.leaves if leaf.kind == _OTHER)

    @property
    def names(self) -> tuple[str, ...]:
        """Of the primals."""
        return tuple(leaf.name for leaf in self.leaves if leaf.kind == _PRIMAL)

    @property
    def other_names(self) -> tuple[str, ...]:
        """Of the others."""
        return tuple(leaf.name for leaf in self.leaves if leaf.kind == _OTHER)

    @property
    def first(self) -> int:
        """How many of the primals belong to the first argument."""
        return sum(leaf.kind == _PRIMAL and leaf.argument == 0 for leaf in self.leaves)

    def flatten(self, fun: Callable[..., Any]) -> Flat:
        """`fun` as a function of arrays alone; what is no array stays as it is."""
        return _flatten(fun, self.leaves, self.structure)


def make_problem(
    fun: Callable[..., Any], args: tuple[Any, ...], argnums: Sequence[int], seed: int
) -> Problem:
    """Takes `args` apart and draws the cotangents.

    Args:
      fun: the function.
      args: its arguments.
      argnums: which of them are differentiated with respect to.
      seed: of the cotangents.

    Raises:
      TypeError: if nothing goes in, or comes out, that can be differentiated.
    """
    names = list(parameter_names(fun, len(args)))
    found, structure = jax.tree_util.tree_flatten_with_path(args)
    leaves = tuple(_leaf(path, value, names, argnums) for path, value in found)
    primals, others = (
        tuple(leaf.value for leaf in leaves if leaf.kind == kind) for kind in (_PRIMAL, _OTHER)
    )
    if not primals:
        raise TypeError("compare: expected a floating or complex array among the arguments")
    outputs, rest = jax.eval_shape(_flatten(fun, leaves, structure), primals, others)
    if not outputs:
        raise TypeError("compare: expected a floating or complex array among the results")
    own = [leaf.value for leaf in leaves if leaf.kind == _PRIMAL and leaf.argument == 0]
    return Problem(
        leaves=leaves,
        structure=structure,
        cotangents=_draw_cotangents(outputs, seed),
        others_out=len(rest),
        feeds_itself=[(a.shape, a.dtype) for a in own] == [(a.shape, a.dtype) for a in outputs],
    )


def _leaf(path: Any, value: Any, names: Sequence[str], argnums: Sequence[int]) -> Leaf:
    argument = path[0].idx
    kind = _STATIC
    if is_array(value):
        value = jnp.asarray(value, jnp.result_type(value))  # of a Python number a full type
        differentiable = jnp.issubdtype(value.dtype, jnp.inexact) and argument in argnums
        kind = _PRIMAL if differentiable else _OTHER
    return Leaf(f"{names[argument]}{jax.tree_util.keystr(path[1:])}", value, kind, argument)


def is_array(value: Any) -> bool:
    """Whether it is traced. Python's integers, booleans and strings steer a function; its numbers
    with a point are arrays."""
    return isinstance(value, jax.Array | np.ndarray | np.generic | float | complex)


def _flatten(fun: Callable[..., Any], leaves: Sequence[Leaf], structure: Any) -> Flat:
    def flat(primals: Arrays, others: Arrays) -> tuple[list[jax.Array], list[Any]]:
        given = {_PRIMAL: iter(primals), _OTHER: iter(others)}
        own = [leaf.value if leaf.kind == _STATIC else next(given[leaf.kind]) for leaf in leaves]
        results = jax.tree.leaves(fun(*structure.unflatten(own)))
        arrays = [jnp.asarray(result) for result in results if is_array(result)]
        floating = [jnp.issubdtype(array.dtype, jnp.inexact) for array in arrays]
        pairs = list(zip(arrays, floating, strict=True))
        return [a for a, f in pairs if f], [a for a, f in pairs if not f]

    return flat


def _draw_cotangents(outputs: Any, seed: int) -> tuple[jax.Array, ...]:
    rng = np.random.RandomState(seed)

    def draw(output: Any) -> jax.Array:
        values = np.asarray(rng.standard_normal(output.shape))
        if jnp.issubdtype(output.dtype, jnp.complexfloating):
            values = values + 1j * np.asarray(rng.standard_normal(output.shape))
        return jnp.asarray(values, output.dtype)

    return tuple(map(draw, outputs))
