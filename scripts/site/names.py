"""The public names of `jaxfn` and `models`, each of which has a page of the reference."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import jaxfn
import models

PACKAGES = jaxfn, models


def public() -> dict[str, Any]:
    """Every public name with what it stands for, those that are imported on demand as well."""
    return {f"{p.__name__}.{name}": value for p in PACKAGES for name, value in _exported(p)}


def members(name: str, module: ModuleType) -> dict[str, Any]:
    """What a public module has that is no public name of its package, such as `surrogates.atan`."""
    package = next(p for p in PACKAGES if name.startswith(f"{p.__name__}."))
    exported = [value for _, value in _exported(package)]
    return {
        f"{name}.{key}": value
        for key, value in vars(module).items()
        if not key.startswith("_")
        and callable(value)
        and f"{getattr(value, '__module__', '')}.".startswith(f"{module.__name__}.")
        and not any(value is other for other in exported)
    }


def _exported(package: ModuleType) -> Iterator[tuple[str, Any]]:
    """What is defined in the package, and the modules that it imports as `name as name`."""
    modules = _imported_as_themselves(package)
    for name in dir(package):
        if name.startswith("_"):
            continue
        value = getattr(package, name)
        if inspect.ismodule(value):
            if name in modules:
                yield name, value
        elif f"{getattr(value, '__module__', '')}.".startswith(f"{package.__name__}."):
            yield name, value


def _imported_as_themselves(package: ModuleType) -> set[str]:
    nodes = ast.walk(ast.parse(inspect.getsource(package)))
    imports = [node for node in nodes if isinstance(node, ast.ImportFrom)]
    return {a.name for node in imports for a in node.names if a.asname == a.name}
