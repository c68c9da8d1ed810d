"""What a function calls its arguments, and what is inside of them."""

import inspect
from collections.abc import Callable, Sequence
from typing import Any

import jax
from jax.tree_util import DictKey, FlattenedIndexKey, GetAttrKey, SequenceKey

POSITIONAL = inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD


def parameter_names(fun: Callable[..., Any], count: int) -> tuple[str, ...]:
    """The names of the first arguments; `args[i]` where the function's signature has none."""
    numbered = tuple(f"args[{i}]" for i in range(count))
    try:
        parameters = inspect.signature(fun).parameters.values()
    except (TypeError, ValueError):  # built in, or its signature is not described
        return numbered
    named = tuple(p.name for p in parameters if p.kind in POSITIONAL)[:count]
    return named + numbered[len(named) :]


def with_names(fun: Callable[..., Any], names: Sequence[str]) -> Callable[..., Any]:
    """A function of `*args` with a signature that names them, unless one has no name."""
    if all(map(str.isidentifier, names)) and len(set(names)) == len(names):
        kind = inspect.Parameter.POSITIONAL_ONLY
        signature = inspect.Signature([inspect.Parameter(name, kind) for name in names])
        fun.__signature__ = signature  # pyright: ignore[reportFunctionMemberAccess]
    return fun


def path_name(tree: Any, path: Sequence[Any]) -> str:
    """Where a leaf stands in a tree, as one writes it in Python: `.layers[0].kernel`.

    JAX ends the path to a parameter of Flax NNX with `.value`, which nobody writes, and gives a
    number to the parts of nodes that do not name them, such as a `BCOO`.
    """
    said, node = "", tree
    for key in path:
        if isinstance(key, GetAttrKey) and key.name == "value" and _is_variable(node):
            continue
        if isinstance(key, FlattenedIndexKey) and (name := _attribute(node, key.key)):
            key = GetAttrKey(name)
        said += jax.tree_util.keystr((key,))
        node = _inside(node, key)
    return said


def _is_variable(node: Any) -> bool:
    """Whether it is a parameter, or other state, of Flax NNX."""
    return any(c.__name__ == "Variable" and "flax" in c.__module__ for c in type(node).__mro__)


def _attribute(node: Any, index: int) -> str:
    """The attribute that holds the part of a node that has this number; empty for none."""
    children = jax.tree.leaves(node, is_leaf=lambda part: part is not node)
    attributes = [*getattr(node, "__dict__", ()), "args", "keywords"]
    if index >= len(children):
        return ""
    return next((n for n in attributes if getattr(node, n, None) is children[index]), "")


def _inside(node: Any, key: Any) -> Any:
    """The part of a node at a key; None where it cannot be had."""
    try:
        if isinstance(key, GetAttrKey):
            return getattr(node, key.name)
        if isinstance(key, DictKey):
            return node[key.key]
        return node[key.idx] if isinstance(key, SequenceKey) else None
    except (AttributeError, KeyError, IndexError, TypeError):  # a key of the node's own making
        return None
