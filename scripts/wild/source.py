"""Finds where a Python source makes custom rules, without running it."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import NamedTuple

# JAX's own, Equinox's, and TensorFlow Probability's, which are made of JAX's
MAKERS = (
    "custom_jvp",
    "custom_vjp",
    "filter_custom_jvp",
    "filter_custom_vjp",
    "custom_gradient",
)
Function = ast.FunctionDef | ast.Lambda


class Place(NamedTuple):
    """A place where a rule is made: by a decorator, or by a call such as `jax.custom_vjp(f)`.

    Attributes:
      name: of the function that gets the rule.
      kind: which of `MAKERS`.
      line: where that function begins, its first decorator's line; if it is defined elsewhere, the
        line of the call.
      inside: whether it stands in a function, and so is made at each call.
    """

    name: str
    kind: str
    line: int
    inside: bool


def places(text: str) -> list[Place]:
    """Lists the places of a source.

    Args:
      text: the source.

    Returns:
      The places, each line once; none if the text is not Python.

    Example:
      >>> places("@jax.custom_jvp\\ndef f(x): return x")
      [Place(name='f', kind='custom_jvp', line=1, inside=False)]
    """
    if not any(maker in text for maker in MAKERS):
        return []
    try:
        tree = ast.parse(text)
    except SyntaxError:
        return []
    found = {place.line: place for place in _walk(tree, False, _functions(tree))}
    return list(found.values())


def _functions(tree: ast.AST) -> dict[str, int]:
    return {
        node.name: _first_line(node) for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)
    }


def _first_line(node: ast.FunctionDef) -> int:
    return min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])


def _walk(node: ast.AST, inside: bool, functions: dict[str, int]) -> Iterator[Place]:
    if isinstance(node, ast.FunctionDef):
        for decorator in node.decorator_list:
            if kind := _maker(decorator):
                yield Place(node.name, kind, _first_line(node), inside)
        children: list[ast.AST] = [*node.body]
    else:
        if isinstance(node, ast.Call) and (kind := _maker(node)) and node.args:
            named = node.args[-1]  # functools.partial(custom_jvp, f), custom_jvp(f)
            name = named.id if isinstance(named, ast.Name) else "<lambda>"
            yield Place(name, kind, functions.get(name, named.lineno), inside)
        children = list(ast.iter_child_nodes(node))
    for child in children:
        yield from _walk(child, inside or isinstance(node, Function), functions)


def _maker(node: ast.AST) -> str:
    """The maker that a decorator or call names: `m`, `jax.m`, `m(...)`, `partial(m, ...)`."""
    if isinstance(node, ast.Call):
        return _maker(node.func) or (_maker(node.args[0]) if _is_partial(node) else "")
    name = node.attr if isinstance(node, ast.Attribute) else getattr(node, "id", "")
    return name if name in MAKERS else ""


def _is_partial(node: ast.Call) -> bool:
    name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
    return name == "partial" and bool(node.args)
