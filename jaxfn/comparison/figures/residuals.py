"""What is kept between forward and backward pass, leaf by leaf."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import jax
from jax.extend import core as jex

from jaxfn._jax_internals import AnyJaxpr
from jaxfn.comparison.figures.jaxprs import Origins, open_jaxpr, producer

NEW, ARGUMENT, OUTPUT, CONSTANT = "new", "argument", "output", "constant"


@dataclass(frozen=True)
class Residual:
    """A value that JAX's autodiff keeps for the backward pass.

    Attributes:
      kind: `"new"` for a buffer that is there for this purpose alone; `"argument"`, `"output"` or
        `"constant"` if it is one of the function's arguments or results, or an array that it
        closes over: kept as well, but not beside what is there anyhow.
      origin: the argument's name, the result's number, or the operation that computed it.
      shape: of the array.
      dtype: of the array.
      nbytes: of the array.
    """

    kind: str
    origin: str
    shape: tuple[int, ...]
    dtype: str
    nbytes: int


@dataclass(frozen=True)
class Residuals:
    """All that is kept.

    Attributes:
      leaves: each value once, however often it is kept.
      duplicates: how many more times values of `leaves` were kept.
      read_when_compiled: the bytes that the backward half reads besides the cotangents, compiled
        apart from the forward half; None if the platform does not tell.
    """

    leaves: tuple[Residual, ...]
    duplicates: int
    read_when_compiled: int | None = None

    def nbytes(self, kind: str) -> int:
        """The bytes of the leaves of that kind."""
        return sum(leaf.nbytes for leaf in self.leaves if leaf.kind == kind)


def find_residuals(
    jaxpr: AnyJaxpr, arguments: tuple[str, ...], outputs: int, read_when_compiled: int | None
) -> Residuals:
    """Reads the residuals off the jaxpr of a forward pass.

    Args:
      jaxpr: of a function that returns its results and then the leaves of a pullback.
      arguments: the names of its inputs.
      outputs: how many results stand before the residuals.
      read_when_compiled: goes into the result.
    """
    jaxpr = open_jaxpr(jaxpr)
    origins = Origins(jaxpr)
    names: dict[Any, tuple[str, str]] = {}
    for i, var in enumerate(jaxpr.outvars[:outputs]):
        names[origins.origin_of(var)] = (OUTPUT, f"output {i}" if outputs > 1 else "the output")
    for var in jaxpr.constvars:
        names[origins.origin_of(var)] = (CONSTANT, "closed over")
    for var, name in zip(jaxpr.invars, arguments, strict=True):
        names[origins.origin_of(var)] = (ARGUMENT, name)
    leaves: dict[Any, Residual] = {}
    for var in jaxpr.outvars[outputs:]:
        origin = origins.origin_of(var)
        if origin not in leaves:
            literal = not isinstance(var, jex.Var)
            other = (CONSTANT, "closed over") if literal else (NEW, producer(jaxpr, var))
            leaves[origin] = _residual(*names.get(origin, other), var.aval)
    duplicates = len(jaxpr.outvars) - outputs - len(leaves)
    return Residuals(tuple(leaves.values()), duplicates, read_when_compiled)


def _residual(kind: str, origin: str, aval: Any) -> Residual:
    nbytes = math.prod(aval.shape) * aval.dtype.itemsize
    return Residual(kind, origin, tuple(aval.shape), str(aval.dtype), nbytes)


def nbytes_of(arrays: Any) -> int:
    """The bytes of all arrays in a tree."""
    return sum(array.nbytes for array in jax.tree.leaves(arrays))
