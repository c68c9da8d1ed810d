"""`python -m scripts.rules_in_the_wild`: verdicts, what is missing, and the document's table."""

import importlib
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest

from scripts import rules_in_the_wild
from scripts.program import UserError
from scripts.rules_in_the_wild import END, ERROR, START, Case, Config, Entry, main

ENTRIES = {
    ("jax", "nn.relu"): "custom_jvp",
    ("jax", "scipy.special.logit"): "custom_jvp",
    ("optax", "scale_gradient"): "custom_vjp",
}
DOCUMENT = Path(__file__).parents[2] / "docs" / "rules_in_the_wild.md"


@pytest.fixture
def only(monkeypatch):
    """Makes the registry these entries."""

    def restrict(*entries):
        monkeypatch.setattr(rules_in_the_wild, "REGISTRY", entries)

    return restrict


def test_three_entries_and_the_table(only, tmp_path, capsys):
    registry = rules_in_the_wild.REGISTRY
    only(*(entry for entry in registry if (entry.package, entry.function) in ENTRIES))
    document = tmp_path / "document.md"
    document.write_text(f"before\n{START}\nold\n{END}\nafter\n")
    rows = main(Config(write=document))
    assert {(row.package, row.function): row.kind for row in rows} == ENTRIES
    assert {row.verdict for row in rows} == {"pass"}
    text = document.read_text()
    assert text.startswith(f"before\n{START}\n")
    assert text.endswith(f"{END}\nafter\n")
    assert f"jax {jax.__version__}, optax " in text
    assert "| jax | nn.relu | custom_jvp | pass |" in text
    assert "old" not in text
    assert "jax nn.relu: pass" in capsys.readouterr().out


def test_packages_that_are_missing_are_named(only, capsys):
    only(Entry("no_such_package", "f", lambda: Case(jnp.sin, (1.0,))))
    assert main(Config()) == []
    assert "Not installed: no_such_package." in capsys.readouterr().out


def test_a_function_that_raises(only, capsys):
    def broken(x):
        raise RuntimeError("out of order")

    only(Entry("jax", "broken", lambda: Case(broken, (1.0,))))
    (row,) = main(Config(verbose=True))
    assert (row.verdict, row.report) == (ERROR, "RuntimeError: out of order")
    assert "out of order" in capsys.readouterr().out


def test_bad_commands(tmp_path):
    with pytest.raises(UserError, match="no such entry"):
        main(Config(only="no such function"))
    with pytest.raises(UserError, match="there is none"):
        main(Config(only="nn.relu6", write=tmp_path / "document.md"))
    unmarked = tmp_path / "unmarked.md"
    unmarked.write_text("nothing\n")
    with pytest.raises(UserError, match="expected the lines"):
        main(Config(only="nn.relu6", write=unmarked))


def test_names_are_unique():
    names = [(entry.package, entry.function) for entry in rules_in_the_wild.REGISTRY]
    assert len(names) == len(set(names))


def test_the_document_has_every_entry():
    text = DOCUMENT.read_text()
    for entry in rules_in_the_wild.REGISTRY:
        assert f"| {entry.package} | {entry.function} |" in text


def test_get_of_a_nested_name():
    assert rules_in_the_wild.get("jax:numpy.sin") is importlib.import_module("jax.numpy").sin
