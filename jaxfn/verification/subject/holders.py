"""What a function holds besides its arguments: where its arrays are, and the same with others.

A function finds arrays in variables of its closure and of its module, in its defaults, in the
object whose method it is, in what a `functools.partial` fixes; there in modules, containers and
plain objects.
"""

import copy
import functools
import types
from collections.abc import Callable, Mapping
from types import CellType, FunctionType
from typing import Any

import jax
import numpy as np
from jax.core import Tracer

from jaxfn.verification.subject.coordinates import is_inexact_array
from jaxfn.verification.subject.names import parameter_names, path_name

DEEPEST = 6  # objects in objects
MOST = 2_000  # objects that are looked into
# What holds no arrays of a function's own, or so much else that it is not looked into.
OPAQUE = (type, types.ModuleType, np.ndarray, jax.Array, jax.Ref, Tracer, str, bytes)


class Walk:
    """Goes through what a function holds, and builds what holds another array anew.

    Attributes:
        by: arrays to put in, by the identity of those in whose place they come.
        found: the floating arrays that were met, each with the first of its names.
        fixed: the identities of those that cannot be replaced, held as they are by `jax.jit`.
    """

    def __init__(self, by: Mapping[int, Any] | None = None) -> None:
        self.by: Mapping[int, Any] = by or {}
        self.found: dict[int, tuple[str, Any]] = {}
        self.fixed: set[int] = set()
        self.entered: dict[int, Any] = {}  # kept, so that no identity comes twice
        self.depth, self.inside_jit = 0, False

    def __call__(self, value: Any, name: str) -> Any:
        """The value with the arrays replaced; the same object where it holds none of them."""
        if is_array(value):
            self.found.setdefault(id(value), (name.replace("__self__.", "").lstrip("."), value))
            self.fixed |= {id(value)} if self.inside_jit else set()
            return self.by.get(id(value), value)
        build = None if isinstance(value, OPAQUE) else _builder(value)
        full = self.depth >= DEEPEST or len(self.entered) >= MOST
        if build is None or full or id(value) in self.entered:
            return self.entered.get(id(value), value)
        self.entered[id(value)] = value
        self.depth += 1
        new = build(self, value, name)
        self.depth -= 1
        self.entered[id(value)] = new
        self.entered[id(new)] = new
        return new

    def all(self, values: Mapping[Any, Any], named: Callable[[Any], str]) -> dict[Any, Any] | None:
        """The values of a mapping with the arrays replaced, or None where they stay the same."""
        new = {key: self(value, named(key)) for key, value in values.items()}
        return new if any(new[key] is not values[key] for key in values) else None


def is_array(value: Any) -> bool:
    """Whether the value is an array that JAX could differentiate by."""
    return isinstance(value, (jax.Array, np.ndarray)) and is_inexact_array(value)


def held(fun: Any) -> Walk:
    """The floating arrays that a function holds, with their names."""
    walk = Walk()
    walk(fun, "")
    return walk


def rebound(fun: Any, by: Mapping[int, Any]) -> Any:
    """The function with other arrays in the place of some that it holds, by their identities."""
    return Walk(by)(fun, "")


Builder = Callable[[Walk, Any, str], Any]


def _builder(value: Any) -> Builder | None:
    """How a value of its kind is gone through."""
    if isinstance(value, FunctionType):
        return _function
    if isinstance(value, types.MethodType):
        return _method
    if isinstance(value, functools.partial):
        return _partial
    if isinstance(value, jax.stages.Wrapped):
        return _jitted
    if not jax.tree_util.all_leaves([value]):
        return _tree
    return _object if isinstance(getattr(value, "__dict__", None), dict) else None


def _function(walk: Walk, fun: FunctionType, name: str) -> Any:
    cells = dict(zip(fun.__code__.co_freevars, fun.__closure__ or (), strict=True))
    filled = {n: cell.cell_contents for n, cell in cells.items() if is_filled(cell)}
    ours = walk.all(filled, _within(name)) or {}
    used = {n: v for n in fun.__code__.co_names if _is_own(v := fun.__globals__.get(n))}
    of_module = walk.all(used, _within(name))
    places = dict(enumerate(fun.__defaults__ or ()))
    first = fun.__code__.co_argcount - len(places)
    of_place = _within(name)
    defaults = walk.all(places, lambda i: of_place(fun.__code__.co_varnames[first + i]))
    keywords = walk.all(fun.__kwdefaults__ or {}, _within(name))
    if not (ours or of_module or defaults or keywords):
        return fun
    new = FunctionType(
        fun.__code__,
        {**fun.__globals__, **(of_module or {})},
        fun.__name__,
        tuple((defaults or places).values()),
        tuple(CellType(ours[n]) if n in ours else cell for n, cell in cells.items()),
    )
    new.__kwdefaults__ = keywords or fun.__kwdefaults__
    new.__dict__.update(fun.__dict__)
    return new


def is_filled(cell: CellType) -> bool:
    """Whether the variable of a closure has been assigned."""
    try:
        _ = cell.cell_contents
    except ValueError:  # not assigned yet
        return False
    return True


def _is_own(value: Any) -> bool:
    """Whether a variable of a module is looked into: data, and no function of many others."""
    return (value is not None and not callable(value)) or _is_module_of_layers(value)


def _is_module_of_layers(value: Any) -> bool:
    """Whether it is a callable tree, as the modules of Flax NNX and Equinox are."""
    is_code = isinstance(value, (*OPAQUE, FunctionType, functools.partial))
    return not is_code and not jax.tree_util.all_leaves([value])


def _within(name: str) -> Callable[[str], str]:
    return lambda inner: f"{name}.{inner}" if name else inner


def _method(walk: Walk, method: types.MethodType, name: str) -> Any:
    new = walk(method.__self__, name)
    return method if new is method.__self__ else types.MethodType(method.__func__, new)


def _partial(walk: Walk, partial: functools.partial[Any], name: str) -> Any:
    fun = walk(partial.func, name)
    names = parameter_names(partial.func, len(partial.args))
    within = _within(name)
    args = walk.all(dict(enumerate(partial.args)), lambda i: within(names[i]))
    keywords = walk.all(partial.keywords, within)
    if fun is partial.func and args is None and keywords is None:
        return partial
    fixed = partial.args if args is None else tuple(args.values())
    return type(partial)(fun, *fixed, **(keywords or partial.keywords))


def _jitted(walk: Walk, fun: Any, name: str) -> Any:
    """A jitted function is left as it is, and gone through for the names."""
    inner = getattr(fun, "__wrapped__", None)
    outside, walk.inside_jit = walk.inside_jit, True
    walk(inner, name)
    walk.inside_jit = outside
    return fun


def _tree(walk: Walk, tree: Any, name: str) -> Any:
    pairs, structure = jax.tree_util.tree_flatten_with_path(tree)
    leaves = [leaf for _, leaf in pairs]
    new = [walk(leaf, name + path_name(tree, path)) for path, leaf in pairs]
    if all(a is b for a, b in zip(new, leaves, strict=True)):
        return tree
    return structure.unflatten(new)


def _object(walk: Walk, value: Any, name: str) -> Any:
    new = walk.all(vars(value), lambda attribute: f"{name}.{attribute}")
    if new is None:
        return value
    other = copy.copy(value)
    vars(other).update(new)
    return other
