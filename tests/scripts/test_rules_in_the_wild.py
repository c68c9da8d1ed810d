"""`python -m scripts.rules_in_the_wild`: verdicts as they come, going on, and the document."""

import subprocess
import sys

import pytest

from scripts import rules_in_the_wild
from scripts.command.program import UserError
from scripts.rules_in_the_wild import Config, main
from scripts.wild import document
from scripts.wild.case import Case, Entry, of
from scripts.wild.verdicts import Inventory, read

BROKEN = Entry("jax", "broken", lambda: Case(lambda x: x / None, (1.0,)))
ENTRIES = (Entry("jax", "nn.relu", of("jax.nn:relu", [1.0], order=1)), BROKEN)


@pytest.fixture
def results(tmp_path, monkeypatch):
    """Makes the registry two entries of JAX, without looking through all of JAX for rules."""
    for module in (rules_in_the_wild, document):
        monkeypatch.setattr(module, "REGISTRY", ENTRIES)
    monkeypatch.setattr(rules_in_the_wild, "PACKAGES", ("jax", "missing"))
    errors = {"missing": "ModuleNotFoundError: none"}
    take_stock = lambda package: Inventory(package, "1", error=errors.get(package, ""))  # noqa: E731
    monkeypatch.setattr(rules_in_the_wild, "take_stock", take_stock)
    return tmp_path / "results.jsonl"


def test_a_package_and_going_on(results, capsys):
    first = main(Config(("jax",), only="relu", results=results))
    assert [verdict.verdict for verdict in first] == ["pass"]
    rest = main(Config(("jax",), results=results, verbose=True))
    assert [verdict.function for verdict in rest] == ["broken"]
    assert main(Config(("jax",), results=results)) == []
    again = main(Config(("jax",), only="broken", again=True, results=results))
    assert [verdict.function for verdict in again] == ["broken"]
    inventories, verdicts = read(results)
    assert list(inventories) == ["jax"]
    assert [verdict.verdict for verdict in verdicts.values()] == ["pass", "error"]
    out = capsys.readouterr().out
    assert "jax nn.relu: pass (" in out
    assert "TypeError: unsupported operand" in out


def test_a_package_that_is_not_there(results, capsys):
    assert main(Config(("missing",), results=results)) == []
    assert "missing: ModuleNotFoundError: none" in capsys.readouterr().out


def test_each_of_several_packages_has_its_process(results, monkeypatch, capsys):
    commands = []

    def run(command, check):
        commands.append(command)
        return subprocess.CompletedProcess(command, len(commands) - 1)

    monkeypatch.setattr(subprocess, "run", run)
    assert main(Config(results=results, again=True)) == []
    for command, package in zip(commands, ("jax", "missing"), strict=True):
        assert command[:4] == [sys.executable, "-m", "scripts.rules_in_the_wild", package]
        assert command[4:] == ["--results", str(results), "--only", "", "--again"]
    assert capsys.readouterr().out == "missing: ended with code 1\n"


def test_the_document(results, tmp_path):
    main(Config(("jax",), only="broken", results=results))
    path = tmp_path / "document.md"
    path.write_text(
        "".join(f"{start}\n{end}\n" for start, end in map(document.marks, document.BLOCKS))
    )
    assert main(Config(document=path, results=results)) == []
    assert "| jax | broken | none | error |" in path.read_text()


def test_bad_commands(results):
    with pytest.raises(UserError, match="no_such: no such package among jax, missing"):
        main(Config(("no_such",), results=results))
    with pytest.raises(UserError, match="--only nothing: no such case"):
        main(Config(only="nothing", results=results))
