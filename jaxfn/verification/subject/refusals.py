"""What cannot be checked, and the arrays that are out of sight: each with what to do instead."""

import functools
from collections.abc import Iterator, MappingView
from types import FunctionType
from typing import Any

import jax
import numpy as np
from jax.core import Tracer

from jaxfn.verification.subject.coordinates import Arguments, is_inexact, is_known
from jaxfn.verification.subject.holders import Walk
from jaxfn.verification.subject.names import parameter_names, path_name


def validate(fun: Any, args: Any, order: int) -> None:
    """Refuses what cannot be checked, with a message that says what was expected."""
    if not callable(fun):
        raise TypeError(f"gradcheck: expected fun to be callable, got {type(fun).__name__}")
    if not isinstance(args, tuple):
        raise TypeError(
            f"gradcheck: expected args to be a tuple of pytrees, got {type(args).__name__}"
        )
    if order not in (1, 2):
        raise ValueError(f"gradcheck: expected order to be 1 or 2, got {order!r}")
    for name, leaf in _named_leaves(fun, args):
        if fault := _fault(name, leaf):
            raise TypeError(f"gradcheck: {fault}")
    if not any(is_inexact(leaf) for leaf in jax.tree.leaves(args)):
        inside = unseen(Arguments(args, parameter_names(fun, len(args))))
        said = next(inside, "there is no argument to differentiate")
        raise ValueError(
            "gradcheck: expected at least one floating or complex array in args, got none: " + said
        )


def _named_leaves(fun: Any, args: tuple[Any, ...]) -> list[tuple[str, Any]]:
    """The leaves of the arguments with their names."""
    try:
        # an iterator is declared a leaf, which JAX warns of otherwise
        arguments, _ = jax.tree_util.tree_flatten_with_path(args, is_leaf=_is_iterator)
    except ValueError as error:
        raise TypeError(
            f"gradcheck: expected args to be pytrees, which JAX does not take them for ({error}): "
            "give the keys of a dictionary one type, such as str"
        ) from error
    names = parameter_names(fun, len(args))
    return [
        (names[path[0].idx] + path_name(args[path[0].idx], path[1:]), leaf)
        for path, leaf in arguments
    ]


def _is_iterator(value: Any) -> bool:
    return isinstance(value, Iterator | MappingView)


def _fault(name: str, leaf: Any) -> str:
    """What is wrong with a leaf of the arguments, and what to do; empty if nothing is."""
    if isinstance(leaf, Tracer):
        return (
            f"expected concrete arrays in args, got a tracer, {name}; "
            "call gradcheck outside jit, vmap and grad"
        )
    if isinstance(leaf, jax.ShapeDtypeStruct):
        return (
            f"expected concrete arrays in args, got a ShapeDtypeStruct, {name}, which has no "
            f"values: give an array, such as jax.random.normal(key, {leaf.shape})"
        )
    if _is_iterator(leaf):
        return (
            f"expected pytrees in args, got a {type(leaf).__name__}, {name}, which is none: give "
            f"tuple({name})"
        )
    if isinstance(leaf, np.ma.MaskedArray):
        return f"expected arrays that JAX has, got a masked array, {name}: give {name}.filled(0)"
    of_numpy = isinstance(leaf, np.ndarray | np.generic) and leaf.dtype.kind in "fc"
    if of_numpy and not is_known(leaf.dtype):
        return f"expected arrays that JAX has, got {leaf.dtype}, {name}: give {name} in float64"
    return ""


def unseen(arguments: Arguments) -> Iterator[str]:
    """What is to be said of objects that hold arrays, and are no pytrees."""
    for value, name in arguments.held:
        walk = Walk()
        walk(value, name)
        if walk.found and not isinstance(value, FunctionType | functools.partial):
            yield _of_no_tree(name, value, next(iter(walk.found.values()))[0])


def _of_no_tree(name: str, value: Any, inside: str) -> str:
    kind = type(value).__name__
    return (
        f"{name}, a {kind}, is no pytree, so that {inside} in it is no argument to differentiate: "
        f"register {kind} with jax.tree_util.register_dataclass, or give the array itself"
    )
