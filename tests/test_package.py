"""The package as a whole: what it exports, imports, documents and ships."""

from __future__ import annotations

import doctest
import importlib
import inspect
import pkgutil
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import jaxfn
import models

pytestmark = pytest.mark.numbers

ROOT = Path(__file__).parent.parent


def public(module) -> list[tuple[str, object]]:
    values = {name: getattr(module, name) for name in dir(module) if not name.startswith("_")}
    return [
        (f"{module.__name__}.{name}", value)
        for name, value in values.items()
        if getattr(value, "__module__", "").startswith(module.__name__)
    ]


def modules() -> list[str]:
    found = []
    for package in (jaxfn, models):
        found += [m.name for m in pkgutil.walk_packages(package.__path__, f"{package.__name__}.")]
    return found


@pytest.mark.parametrize("name", modules())
def test_examples_in_docstrings_run(name):
    result = doctest.testmod(importlib.import_module(name), optionflags=doctest.ELLIPSIS)
    assert result.failed == 0


@pytest.mark.parametrize(("name", "value"), [*public(jaxfn), *public(models)])
def test_public_names_are_documented(name, value):
    doc = inspect.getdoc(value) or ""
    assert doc, name
    if inspect.isfunction(value):
        sections = re.findall(r"^(\w+):", doc, re.MULTILINE)
        assert {"Args", "Returns"} <= {*sections}, f"{name}: {sections}"
        for parameter in inspect.signature(value).parameters:
            assert re.search(rf"\*?{parameter}:", doc), f"{name}: {parameter} is not documented"


def test_import_loads_nothing_beyond_jax_and_numpy_and_changes_no_setting():
    code = """
import sys, jax, numpy
loaded, settings = set(sys.modules), dict(jax.config.values)
import jaxfn
print(*sorted({name.partition(".")[0] for name in set(sys.modules) - loaded}))
assert dict(jax.config.values) == settings
"""
    command = [sys.executable, "-c", code]
    result = subprocess.run(command, check=True, text=True, capture_output=True, cwd=ROOT)
    allowed = {"jaxfn", "jax", "jaxlib", "numpy", *sys.stdlib_module_names}
    assert set(result.stdout.split()) <= allowed


def test_the_versions_agree():
    with open(ROOT / "pyproject.toml", "rb") as file:
        project = tomllib.load(file)["project"]
    assert project["dynamic"] == ["version"]
    assert f"## {jaxfn.__version__}" in (ROOT / "CHANGELOG.md").read_text()


def snippets() -> list[str]:
    text = (ROOT / "README.md").read_text()
    return re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("snippet", snippets(), ids=lambda s: s.strip().splitlines()[-1][:40])
def test_the_snippets_of_the_readme_run(snippet, tmp_path, monkeypatch, capsys):
    """A snippet asserts, or prints what its comments say."""
    monkeypatch.chdir(tmp_path)
    exec(compile(snippet, "README.md", "exec"), {"__name__": "readme"})
    printed = capsys.readouterr().out
    assert printed or "\nassert " in snippet
    for said in re.findall(r"# prints (.*)", snippet):
        assert said in printed


def test_the_commands_of_the_readme_exist():
    text = (ROOT / "README.md").read_text()
    assert snippets()
    for module in {*re.findall(r"python -m (scripts\.\w+)", text)}:
        assert importlib.util.find_spec(module), module
    targets = re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    for target in {*re.findall(r"`?make (\w+)", text)}:
        assert target in targets, target
