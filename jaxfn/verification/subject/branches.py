"""Where a program treats integers otherwise: the constants that it compares them with.

A padding id, an index to ignore, a start past the end of what is sliced: values that the given
integers need not have, and for which a rule has to be right as well.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import jax
import numpy as np
from jax.extend import core as jex

from jaxfn.verification.subject.jaxprs import inner_jaxprs

COMPARISONS = {"eq": (0,), "ne": (0,), "lt": (-1, 0), "ge": (-1, 0), "le": (0, 1), "gt": (0, 1)}
SLICES = {"dynamic_slice": 1, "dynamic_update_slice": 2}  # where the starts stand among the inputs
# of functions that are called: their inputs are those of the call
CALLS = {"pjit", "jit", "closed_call", "core_call", "remat2", "checkpoint", "custom_vjp_call"}
CALLS |= {"eval_jaxpr", "custom_jvp_call", "custom_vjp_call_jaxpr"}


@dataclass(frozen=True)
class Branches:
    """What was found on the way, by the position of the integer argument."""

    found: dict[int, set[int]] = field(default_factory=dict)

    def add(self, arguments: frozenset[int], values: Iterator[int]) -> None:
        for value in values:
            for k in arguments:
                self.found.setdefault(k, set()).add(value)


def branch_values(traced: Any, first: int, count: int) -> list[tuple[int, ...]]:
    """The values on both sides of each constant that an integer argument is compared with.

    Args:
        traced: a closed jaxpr.
        first: the position of the first integer argument among its inputs.
        count: how many there are.
    """
    branches = Branches()
    jaxpr = traced.jaxpr
    known = {v: c for v, c in zip(jaxpr.constvars, traced.consts, strict=True) if np.size(c) == 1}
    tainted = {jaxpr.invars[first + k]: frozenset([k]) for k in range(count)}
    _walk(jaxpr, tainted, known, branches)
    return [tuple(sorted(branches.found.get(k, ()))) for k in range(count)]


def _walk(jaxpr: Any, tainted: dict[Any, frozenset[int]], known: Any, branches: Branches) -> None:
    for eqn in jaxpr.eqns:
        of = [
            tainted.get(v, frozenset()) if isinstance(v, jex.Var) else frozenset()
            for v in eqn.invars
        ]
        union = frozenset().union(*of)
        if not union:
            continue
        name = eqn.primitive.name
        if name in COMPARISONS and not _normalises(eqn, jaxpr):
            for one, other in ((0, 1), (1, 0)):
                value = _value(eqn.invars[other], known)
                if of[one] and value is not None:
                    sides = COMPARISONS[name] if one == 0 else [-s for s in COMPARISONS[name]]
                    branches.add(of[one], (value + side for side in sides))
        if name in SLICES:
            _add_starts(eqn, of, branches)
        for inner in inner_jaxprs(eqn):
            if name in CALLS and len(inner.invars) == len(eqn.invars):
                pairs = list(zip(inner.invars, eqn.invars, of, strict=True))
                inside = {v: o for v, _, o in pairs if o}
                values = {v: _value(outer, known) for v, outer, _ in pairs}
                _walk(inner, inside, {v: c for v, c in values.items() if c is not None}, branches)
        for out in eqn.outvars:
            if jax.numpy.issubdtype(getattr(out.aval, "dtype", np.float32), np.integer):
                tainted[out] = union


def _value(var: Any, known: Any) -> int | None:
    """The integer that a variable always holds, if it is known."""
    value = var.val if isinstance(var, jex.Literal) else known.get(var)
    if not jax.numpy.issubdtype(getattr(value, "dtype", type(value)), np.integer):
        return None  # none, or a float, or a key, which is no array of numpy
    array = np.asarray(value)
    return int(array.reshape(())) if array.size == 1 else None


def _normalises(eqn: Any, jaxpr: Any) -> bool:
    """Whether a comparison serves to count a negative index from the end, as indexing does."""
    (out,) = eqn.outvars
    uses = [other for other in jaxpr.eqns if any(v is out for v in other.invars)]
    return bool(uses) and all(
        use.primitive.name == "select_n" and use.outvars[0].aval.dtype.kind in "iu" for use in uses
    )


def _add_starts(eqn: Any, of: list[frozenset[int]], branches: Branches) -> None:
    """The first start at which a slice would reach beyond the end of what it is taken from."""
    operand, starts = eqn.invars[0].aval.shape, SLICES[eqn.primitive.name]
    sizes = eqn.params.get("slice_sizes") or eqn.invars[1].aval.shape
    for axis, arguments in enumerate(of[starts : starts + len(operand)]):
        if arguments and sizes[axis] < operand[axis]:
            branches.add(arguments, iter((operand[axis] - sizes[axis] + 1,)))
