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
        yield from (cell.cell_contents for cell in fun.__closure__ or () if _is_full(cell))


def _leaves(content: Any) -> list[Any]:
    """The leaves of a tree; what is no tree that JAX can take apart is one leaf."""
    try:
        return jax.tree.leaves(content)
    except (TypeError, ValueError):  # keys that cannot be sorted
        return [content]


def _is_full(cell: CellType) -> bool:
    try:
        _ = cell.cell_contents
    except ValueError:  # not assigned yet
        return False
    return True


def traced(*functions: Any) -> list[Tracer]:
    """The values of a trace that functions close over, each once."""
    found = [leaf for fun in functions for leaf in cells(fun) if isinstance(leaf, Tracer)]
    return list({id(tracer): tracer for tracer in found}.values())


def replaced(value: Any, new: Callable[[Any], Any], depth: int = DEPTH) -> Any:
    """A value with `new` of every leaf, in closures as well; the same object if none is another."""
    if isinstance(value, functools.partial):
        parts = [replaced(part, new, depth - 1) for part in _contents(value)]
        if _same(parts, list(_contents(value))):
            return value
        fun, count = parts[0], len(value.args)
        return functools.partial(
            fun, *parts[1 : 1 + count], **dict(zip(value.keywords, parts[1 + count :], strict=True))
        )
    if isinstance(value, FunctionType):
        return _rebound(value, new, depth)
    try:
        leaves, tree = jax.tree.flatten(value)
    except (TypeError, ValueError):  # no tree
        return value
    others = [
        replaced(leaf, new, depth - 1) if _is_function(leaf) else new(leaf) for leaf in leaves
    ]
    return value if _same(others, leaves) else tree.unflatten(others)


def _rebound(fun: FunctionType, new: Callable[[Any], Any], depth: int) -> FunctionType:
    if not depth or not fun.__closure__:
        return fun
    inside = [
        CellType(other) if other is not cell.cell_contents else cell
        for cell in fun.__closure__
        if _is_full(cell)
        for other in [replaced(cell.cell_contents, new, depth - 1)]
    ]
    if len(inside) < len(fun.__closure__) or _same(inside, list(fun.__closure__)):
        return fun
    copy = FunctionType(
        fun.__code__, fun.__globals__, fun.__name__, fun.__defaults__, tuple(inside)
    )
    copy.__kwdefaults__ = fun.__kwdefaults__
    functools.update_wrapper(copy, fun)
    return copy


def _is_function(leaf: Any) -> bool:
    return isinstance(leaf, (FunctionType, functools.partial))


def _same(some: list[Any], others: list[Any]) -> bool:
    return all(a is b for a, b in zip(some, others, strict=True))


def written(value: Any, depth: int = DEPTH) -> str:
    """What tells a static value from others: its text, for an array its type, for a function the
    place at which it is defined and what it closes over."""
    if isinstance(value, (jax.Array, np.ndarray)):
        return f"{value.dtype}{list(value.shape)}"
    inner = (
        [written(leaf, depth - 1) for c in _contents(value) for leaf in _leaves(c)] if depth else []
    )
    if isinstance(value, functools.partial):
        return f"partial({', '.join(inner)})"
    if isinstance(value, FunctionType):
        place = f"{value.__code__.co_filename}:{value.__code__.co_firstlineno}"
        return f"{value.__qualname__} {place} {inner}"
    return ADDRESS.sub("", repr(value))
