"""The tables of the document."""

import pytest

from scripts.command.program import UserError
from scripts.wild import document
from scripts.wild.case import Entry, of
from scripts.wild.find import Rule
from scripts.wild.verdicts import Inventory, Verdict

RULES = tuple(
    Rule("toy", f"toy.{name}", "custom_jvp", f"toy.py:{line}", made)
    for line, (name, made) in enumerate({"f": "import", "g": "call", "h": "not imported"}.items())
)
STOCK = {
    "toy": Inventory("toy", "1.2", RULES, python="3.11"),
    "broken": Inventory("broken", "0.1", error="ImportError: no | yes", python="3.11"),
}


def verdict(function, outcome, rules=()):
    common = {"note": "", "version": "1.2", "kind": "custom_jvp", "seconds": 1.5, "report": ""}
    dated = {"date": "2026-01-02", "checker": "abcd"}
    return Verdict(
        package="toy", function=function, verdict=outcome, rules=rules, **common, **dated
    )


@pytest.fixture
def written(tmp_path, monkeypatch):
    entries = tuple(Entry("toy", name, of("jax.numpy:sin", [1.0])) for name in ("f", "g", "new"))
    monkeypatch.setattr(document, "REGISTRY", entries)
    monkeypatch.setattr(document, "PACKAGES", ("toy", "broken", "absent"))
    path = tmp_path / "document.md"
    path.write_text(
        "".join(f"{start}\nold\n{end}\n" for start, end in map(document.marks, document.BLOCKS))
    )
    verdicts = [verdict("f", "pass", ("toy.py:0",)), verdict("g", "fail"), verdict("gone", "fail")]
    document.write(path, STOCK, {(v.package, v.function): v for v in verdicts})
    return path.read_text()


def test_what_was_run(written):
    assert "Run on 2026-01-02, Python 3.11, a CPU: 2 packages with 3 rules" in written
    assert "2 cases in 3 s: 1 pass, 1 fail." in written
    assert "abcd (2)" in written
    assert "old" not in written


def test_rules_and_those_without_a_case(written):
    assert "| toy | 1.2 | 3 | 1 | 2 |" in written
    assert "Cannot be imported here: `broken` 0.1 (ImportError: no | yes)." in written
    assert "| `toy.g` | custom_jvp | at each call | no case written yet |" in written
    assert "| `toy.h` | custom_jvp | not imported | no case written yet |" in written
    assert "`toy.f`" not in written


def test_verdicts(written):
    assert "| toy | f | custom_jvp | pass | 1.5 |  |" in written
    assert "| toy | new |  | not checked |  |  |" in written
    assert "gone" not in written


def test_no_document_or_no_marks(tmp_path):
    with pytest.raises(UserError, match="there is none"):
        document.write(tmp_path / "none.md", {}, {})
    unmarked = tmp_path / "unmarked.md"
    unmarked.write_text("nothing\n")
    with pytest.raises(UserError, match="expected the lines"):
        document.write(unmarked, {}, {})
