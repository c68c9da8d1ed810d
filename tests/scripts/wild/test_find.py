"""`find`: rules by walking the modules and by reading the sources."""

import pytest

import jaxfn
from scripts.wild.find import find, relative


@pytest.fixture
def found(toy_package):
    return find("toyrules")


def test_every_rule_once_and_how_it_is_made(found):
    assert {(rule.name, rule.kind, rule.made) for rule in found.rules} == {
        ("toyrules.square", "custom_jvp", "import"),
        ("toyrules.cube", "custom_vjp", "import"),
        ("toyrules.hidden.body", "custom_jvp", "import"),
        ("toyrules.inner", "custom_jvp", "call"),
        ("toyrules.broken.unreachable", "custom_vjp", "not imported"),
    }
    assert len(found.rules) == 5


def test_modules_that_cannot_be_imported(found):
    assert list(found.failed) == ["toyrules.broken"]
    assert "no_such_module" in found.failed["toyrules.broken"]


def test_sources_are_those_of_a_trace(found):
    from toyrules import made_anew, square  # pyright: ignore[reportMissingImports]

    sources = {rule.name: rule.source for rule in found.rules}
    for fun, name in ((square, "toyrules.square"), (made_anew, "toyrules.inner")):
        (rule,) = jaxfn.custom_rules(fun, 1.0)
        assert relative(rule.source) == sources[name]


def test_a_rule_of_another_package_is_not_counted(found):
    assert all(rule.source.startswith("toyrules/") for rule in found.rules)
    assert relative(None) == ""


def test_no_such_package():
    with pytest.raises(ImportError):
        find("no_such_package")
