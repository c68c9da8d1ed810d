"""Finds the custom rules of an installed package.

Two ways, put together. The package's modules are imported and walked, and every `jax.custom_jvp`
and `jax.custom_vjp` object that they hold is listed, those in classes, closures and wrappers
included. The sources are parsed, too: that finds rules which a function makes anew at each call,
and those of modules that cannot be imported here (a GPU's compiler is missing, say).

A rule is known by the file and line of the function that has it, which is what `jaxfn.custom_rules`
tells of a rule in a trace. So a case can be matched with the rules that it meets.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import importlib.util
import io
import pkgutil
import sys
import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any, NamedTuple

import jax

from scripts.wild.source import Place, places

OBJECTS = (jax.custom_jvp, jax.custom_vjp)
SKIPPED = ("test", "conftest", "__main__", "benchmark", "examples", "example", "setup")
DEPTH = 6  # of closures, wrappers and attributes, one inside another


class Rule(NamedTuple):
    """A custom rule of a package.

    Attributes:
      package: that has it.
      name: of the function, with its module.
      kind: "custom_jvp", "custom_vjp", or what else its decorator is called.
      source: "file:line" of the function, relative to the folder of installed packages.
      made: "import" if importing the package makes it, "call" if a function makes it, "not
        imported" if its module cannot be imported here.
    """

    package: str
    name: str
    kind: str
    source: str
    made: str


class Found(NamedTuple):
    """The rules of a package, and the modules that cannot be imported, with the reason."""

    rules: tuple[Rule, ...]
    failed: dict[str, str]


def find(package: str) -> Found:
    """Lists the custom rules of a package.

    Args:
      package: the name under which it is imported.

    Returns:
      The rules, in the order of their sources, and the modules that cannot be imported.

    Raises:
      ImportError: if the package itself cannot be imported.
    """
    importlib.import_module(package)
    modules, failed = _import_all(package)
    objects = {rule.source: rule for rule in _objects(package, modules)}
    rules = dict(objects)
    for file in _files(package):
        for place in places(file.read_text(encoding="utf-8", errors="replace")):
            source, module = f"{_relative(file)}:{place.line}", _module_name(file)
            made = "call" if place.inside else "import" if module in sys.modules else "not imported"
            rule = Rule(package, f"{module}.{place.name}", place.kind, source, made)
            if made != "import" or _is_there(place, sys.modules[module]):
                rules.setdefault(source, rule)
    return Found(tuple(sorted(rules.values(), key=_order)), failed)


def relative(source: str | None) -> str:
    """The "file:line" of a rule in a trace, as a `Rule` has it.

    Args:
      source: a file's whole path, a colon and a line; None if JAX does not know.

    Returns:
      The same with the folder of installed packages cut off; "" for None.
    """
    if source is None:
        return ""
    file, _, line = source.rpartition(":")
    return f"{_relative(Path(file))}:{line}"


def _is_there(place: Place, module: ModuleType) -> bool:
    """Whether a place at the top of a module was reached: not in a branch that was not taken."""
    value = getattr(module, place.name, None)
    if not isinstance(value, FunctionType):
        return value is not None
    return _unwrapped(value).__code__.co_firstlineno == place.line


def _order(rule: Rule) -> tuple[str, int]:
    file, _, line = rule.source.rpartition(":")
    return file, int(line)


def _relative(file: Path) -> str:
    folders = [f for f in sys.path if f and file.is_relative_to(f) and Path(f).is_dir()]
    # An environment may lie within a folder of the path: the innermost is the package's.
    return file.relative_to(max(folders, key=len)).as_posix() if folders else file.as_posix()


def _module_name(file: Path) -> str:
    parts = list(Path(_relative(file)).with_suffix("").parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _is_skipped(name: str) -> bool:
    last = name.rpartition(".")[2]
    return last.endswith("_test") or last.startswith("test_") or last.rstrip("s") in SKIPPED


def _import_all(package: str) -> tuple[list[ModuleType], dict[str, str]]:
    modules, failed, names = [], {}, [package]
    for name in names:  # grows: each package adds what is in it
        try:
            with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                module = importlib.import_module(name)
        except (Exception, SystemExit) as error:  # whatever a module raises is its reason
            lines = str(error).strip().splitlines() or [""]
            failed[name] = f"{type(error).__name__}: {lines[0]}"
            continue
        modules.append(module)
        for found in pkgutil.iter_modules(getattr(module, "__path__", ())):
            if not _is_skipped(found.name):
                names.append(f"{name}.{found.name}")
    return modules, failed


def _files(package: str) -> Iterator[Path]:
    spec = importlib.util.find_spec(package)
    folders = (spec.submodule_search_locations or ()) if spec else ()
    for folder in map(Path, folders):
        for file in sorted(folder.rglob("*.py")):
            if not any(map(_is_skipped, file.relative_to(folder).with_suffix("").parts)):
                yield file


def _objects(package: str, modules: Iterable[ModuleType]) -> Iterator[Rule]:
    folder = Path(str(importlib.import_module(package).__file__)).parent
    seen: dict[int, Any] = {}
    for module in modules:
        for value in list(vars(module).values()):
            for rule in _rules_in(value, package, seen, DEPTH):
                code = getattr(_unwrapped(rule), "__code__", None)
                if code is not None and Path(code.co_filename).is_relative_to(folder):
                    file = Path(code.co_filename)
                    source = f"{_relative(file)}:{code.co_firstlineno}"
                    name = f"{_module_name(file)}.{code.co_name}"
                    kind = type(rule).__name__
                    yield Rule(package, name, kind, source, "import")


def _unwrapped(fun: Any) -> Any:
    while isinstance(fun, functools.partial) or hasattr(fun, "__wrapped__"):
        fun = fun.func if isinstance(fun, functools.partial) else fun.__wrapped__
    return fun


def _rules_in(value: Any, package: str, seen: dict[int, Any], depth: int) -> Iterator[Any]:
    """The rules that an object is, holds or wraps."""
    if id(value) in seen or depth == 0:
        return
    seen[id(value)] = value  # kept alive: its id is its own
    if isinstance(value, OBJECTS):
        yield value
    for inner in _inside(value, package):
        yield from _rules_in(inner, package, seen, depth - 1)


def _inside(value: Any, package: str) -> list[Any]:
    if isinstance(value, ModuleType):
        return []
    if isinstance(value, functools.partial):
        return [value.func, *value.args, *value.keywords.values()]
    if isinstance(value, (staticmethod, classmethod)):
        return [value.__func__]
    if isinstance(value, property):
        return [value.fget]
    if isinstance(value, (list, tuple)):
        return list(value)[:100]
    if isinstance(value, dict):
        return list(value.values())[:100]
    inside = [value.__wrapped__] if "__wrapped__" in _attributes(value) else []
    if isinstance(value, FunctionType):
        return inside + [cell.cell_contents for cell in value.__closure__ or () if _is_full(cell)]
    owner = value if isinstance(value, type) else type(value)
    if isinstance(value, OBJECTS) or _belongs(owner, package):
        inside += list(_attributes(value).values())
    return inside


def _attributes(value: Any) -> dict[str, Any]:
    return dict(getattr(value, "__dict__", {}))


def _belongs(owner: type, package: str) -> bool:
    return str(getattr(owner, "__module__", "")).partition(".")[0] == package.partition(".")[0]


def _is_full(cell: Any) -> bool:
    try:
        _ = cell.cell_contents
    except ValueError:  # a name that is not bound yet
        return False
    return True
