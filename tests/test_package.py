"""The package as a whole: what it exports, imports, documents and ships."""

from __future__ import annotations

import doctest
import importlib.util
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
from jaxfn import functional
from jaxfn.commands.main import COMMANDS, NEEDS
from scripts.cases import CASES

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


def test_the_extra_is_what_the_commands_need():
    with open(ROOT / "pyproject.toml", "rb") as file:
        extras = tomllib.load(file)["project"]["optional-dependencies"]
    assert [re.split("[>=]", package)[0] for package in extras["cli"]] == [*NEEDS]


README = ROOT / "README.md"
DOCS = ROOT / "docs"
INCLUDES = [DOCS / "index.md", DOCS / "contributing.md"]  # the site's, of what is outside of docs/
PAGES = [README, ROOT / "CONTRIBUTING.md", *sorted({*DOCS.glob("*.md")} - {*INCLUDES})]
# Their snippets run in order when the site is made; the last one's in test_guide.py, too.
GUIDES = [
    DOCS / f"{name}.md"
    for name in ("first_rule", "is_it_right", "step_audited", "does_it_pay", "from_pytorch")
]


def snippets() -> list[tuple[str, str]]:
    return [
        (page.name, snippet)
        for page in PAGES
        if page not in GUIDES
        for snippet in re.findall(
            r"^```python\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL
        )
    ]


@pytest.mark.parametrize(
    ("page", "snippet"),
    snippets(),
    ids=[f"{page}: {snippet.strip().splitlines()[-1][:40]}" for page, snippet in snippets()],
)
def test_the_snippets_of_the_pages_run(page, snippet, tmp_path, monkeypatch, capsys):
    """A snippet asserts, or prints what its comments say."""
    monkeypatch.chdir(tmp_path)
    exec(compile(snippet, page, "exec"), {"__name__": "page"})
    printed = capsys.readouterr().out
    assert printed or "\nassert " in snippet
    for said in re.findall(r"# prints (.*)", snippet):
        assert said in printed


def test_the_readme_is_read_in_three_minutes():
    assert len(README.read_text().splitlines()) <= 140


def test_the_site_has_every_page_once():
    text = (DOCS / "index.md").read_text()
    listed = re.findall(r"^(?:[\w ]+<)?(\w+)>?$", text, re.MULTILINE)
    wanted = {page.stem for page in PAGES[2:]} | {"contributing"}
    assert sorted(listed) == sorted(wanted)
    for shown in INCLUDES:
        (path,) = re.findall(r"^```{include} (\S+)$", shown.read_text(), re.MULTILINE)
        assert (DOCS / path).resolve() in PAGES[:2]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_to_files_and_headings(page):
    links = re.findall(r"\]\(([^)\s]+)\)", page.read_text())
    assert links or page.name == "rules_in_the_wild.md"
    for link in links:
        if re.match(r"https?:", link):
            continue
        path, _, heading = link.partition("#")
        target = page.parent / path if path else page
        assert target.is_file(), link
        if heading:
            assert heading in anchors(target), link


def anchors(page: Path) -> set[str]:
    """The headings of a page as links name them."""
    headings = re.findall(r"^#+ (.*)", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_the_readme_leads_to_every_page_and_back():
    for page in PAGES[2:]:
        assert f"](docs/{page.name})" in README.read_text()
        assert "](../README.md)" in page.read_text(), page.name


def row(name: str) -> str:
    """That of an operation in the table of operations."""
    text = (ROOT / "docs" / "operations.md").read_text()
    (found,) = re.findall(rf"^\|.*`(?:jaxfn\.)?{name}\(.*$", text, re.MULTILINE)
    return found


@pytest.mark.parametrize("name", [n for n, v in vars(functional).items() if inspect.isfunction(v)])
def test_every_operation_has_a_row(name):
    assert row(name)


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_a_row_says_whether_an_operation_has_both_modes(case):
    names = (name for name in vars(functional) if case.name.startswith(name))
    rules = jaxfn.custom_rules(case.operation, *case.args())
    assert ("both modes" in row(max(names, key=len))) == all(r.kind == "custom_jvp" for r in rules)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_commands_of_the_pages_exist(page):
    text = page.read_text()
    for module in {*re.findall(r"python -m (scripts\.\w+)", text)}:
        assert importlib.util.find_spec(module), module
    assert {*re.findall(r"python -m jaxfn (\w+)", text)} <= COMMANDS.keys()
    targets = re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    for target in {*re.findall(r"`?make (\w+)", text)}:
        assert target in targets, target
