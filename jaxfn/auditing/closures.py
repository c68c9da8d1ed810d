"""What a function closes over: found, told apart, and replaced.

A rule that is made inside of another function closes over what that function was called with. While
a program is traced these are values of the trace, which mean nothing outside of it.
"""

import functools
import re
from collections.abc import Callable, Iterator
from types import CellType, FunctionType
from typing import Any

import jax
import numpy as np
from jax.core import Tracer

from jaxfn import _jax_internals as internals
from jaxfn.verification.subject.holders import is_filled

DEPTH = 5  # of functions, one in the closure of another
ADDRESS = re.compile(r" at 0x[0-9a-f]+")


def cells(fun: Any, depth: int = DEPTH) -> Iterator[Any]:
    """The leaves of what a function closes over, or has bound, functions among them in turn."""
    for content in _contents(fun) if depth else ():
        for leaf in _leaves(content):
            yield leaf
            yield from cells(leaf, depth - 1)


def _contents(fun: Any) -> Iterator[Any]:
    if isinstance(fun, functools.partial):
        yield from (fun.func, *fun.args, *fun.keywords.values())
    elif isinstance(fun, FunctionType):
        yield from (cell.cell_contents for cell in fun.__closure__ or () if is_filled(cell))
    elif internals.is_rule(fun):
        yield from internals.functions_of(fun)


def _leaves(content: Any) -> list[Any]:
    """The leaves of a tree; what is no tree that JAX can take apart is one leaf."""
    try:
        return jax.tree.leaves(content)
    except (TypeError, ValueError):  # keys that cannot be sorted
        return [content]


def traced(fun: Any) -> list[Tracer]:
    """The values of a trace that a function or a rule closes over, each once."""
    found = [leaf for leaf in cells(fun) if isinstance(leaf, Tracer)]
    return list({id(tracer): tracer for tracer in found}.values())


def replaced(value: Any, new: Callable[[Any], Any], known: dict[int, Any] | None = None) -> Any:
    """A value with `new` of every leaf, in closures and rules as well.

    What holds nothing that is replaced stays the same object. Functions may close over themselves:
    `known` has those that have been met.
    """
    known = {} if known is None else known
    if id(value) in known:
        return known[id(value)]
    if isinstance(value, (functools.partial, FunctionType)) or internals.is_rule(value):
        if all(new(leaf) is leaf for leaf in cells(value)):
            return value
        return _rebound(value, new, known)
    try:
        leaves, tree = jax.tree.flatten(value)
    except (TypeError, ValueError):  # no tree
        return value
    if len(leaves) == 1 and leaves[0] is value:
        return new(value)
    others = [replaced(leaf, new, known) for leaf in leaves]
    same = all(a is b for a, b in zip(leaves, others, strict=True))
    return value if same else tree.unflatten(others)


def _rebound(value: Any, new: Callable[[Any], Any], known: dict[int, Any]) -> Any:
    if isinstance(value, functools.partial):
        fun, *args = (replaced(part, new, known) for part in (value.func, *value.args))
        words = {name: replaced(part, new, known) for name, part in value.keywords.items()}
        return functools.partial(fun, *args, **words)
    if internals.is_rule(value):
        known[id(value)] = other = internals.copy_of(value)
        internals.exchange_functions(other, lambda part: replaced(part, new, known))
        return other
    inside = [CellType() for _ in value.__closure__ or ()]
    copy = FunctionType(
        value.__code__, value.__globals__, value.__name__, value.__defaults__, tuple(inside)
    )
    copy.__kwdefaults__ = value.__kwdefaults__
    functools.update_wrapper(copy, value)
    known[id(value)] = copy
    for cell, old in zip(inside, value.__closure__ or (), strict=True):
        if is_filled(old):
            cell.cell_contents = replaced(old.cell_contents, new, known)
    return copy


def written(value: Any, depth: int = DEPTH) -> str:
    """What tells a static value from others.

    Args:
        value: an argument of a rule, or a function.
        depth: of functions, one in the closure of another, that are looked into.

    Returns:
        Its text without addresses; for an array its type, for a function the place at which it is
        defined and what it closes over.

    Raises:
        Exception: what the value's own `__repr__` raises.
    """
    if isinstance(value, (jax.Array, np.ndarray)):
        return f"{value.dtype}{list(value.shape)}"
    contents = _contents(value) if depth else ()
    inner = [written(leaf, depth - 1) for content in contents for leaf in _leaves(content)]
    if isinstance(value, functools.partial):
        return f"partial({', '.join(inner)})"
    if isinstance(value, FunctionType):
        place = f"{value.__code__.co_filename}:{value.__code__.co_firstlineno}"
        return f"{value.__qualname__} {place} {inner}"
    return f"rule {inner}" if internals.is_rule(value) else ADDRESS.sub("", repr(value))
