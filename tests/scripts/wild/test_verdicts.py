"""Checking the cases, and the file of results."""

import jax

from scripts.wild.case import Case, Entry, of
from scripts.wild.find import Rule
from scripts.wild.verdicts import (
    ERROR,
    Inventory,
    append,
    checker,
    examine,
    read,
    take_stock,
    version,
)


def test_examine():
    verdict = examine(Entry("jax", "relu", of("jax.nn:relu", [1.0], order=1), rules=("a.name",)))
    assert (verdict.package, verdict.function, verdict.verdict) == ("jax", "relu", "pass")
    assert verdict.kind == "custom_jvp"
    assert verdict.rules[0].startswith("jax/_src/nn/functions.py:")
    assert verdict.rules[-1] == "a.name"
    assert verdict.version == jax.__version__
    assert verdict.checker == checker()
    assert verdict.report.startswith("gradcheck of relu: PASS")


def test_a_function_that_raises():
    def broken(x):
        raise RuntimeError("out of order (/home/somebody/module.py)\nand more")

    verdict = examine(Entry("jax", "broken", lambda: Case(broken, (1.0,))))
    assert (verdict.verdict, verdict.report) == (ERROR, "RuntimeError: out of order")
    assert verdict.kind == "none"


def test_take_stock(toy_package):
    inventory = take_stock("toyrules")
    assert len(inventory.rules) == 5
    assert (inventory.version, inventory.error) == ("", "")
    assert take_stock("no_such_package").error.startswith("ModuleNotFoundError")
    assert version("jax.numpy") == jax.__version__


def test_later_lines_count(tmp_path):
    path = tmp_path / "new" / "results.jsonl"
    rule = Rule("p", "p.f", "custom_jvp", "p.py:1", "import")
    stock = [Inventory("p", "1"), Inventory("p", "2", (rule,), {"p.m": "ImportError: no"})]
    first = examine(Entry("jax", "first", lambda: Case(len, ())))
    for record in (*stock, first):
        append(path, record)
    assert read(path) == ({"p": stock[1]}, {("jax", "first"): first})
    assert read(tmp_path / "none") == ({}, {})
