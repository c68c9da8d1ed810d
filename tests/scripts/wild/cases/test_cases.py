"""The registry of cases, which no test runs: most of the packages are not installed here."""

from pathlib import Path

import scripts.wild.cases
from scripts.wild.cases import MODULES, REGISTRY, jax_functions, jax_special
from scripts.wild.packages import PACKAGES

DOCUMENT = Path(__file__).parents[4] / "docs" / "rules_in_the_wild.md"


def test_names_are_unique_and_packages_known():
    names = [(entry.package, entry.function) for entry in REGISTRY]
    assert len(names) == len(set(names))
    assert {package for package, _ in names} <= set(PACKAGES)
    assert len(PACKAGES) == len(set(PACKAGES))


def test_every_module_of_cases_is_in_the_registry():
    folder = Path(str(scripts.wild.cases.__file__)).parent
    modules = {file.stem for file in folder.glob("*.py")} - {"__init__"}
    assert {module.__name__.rpartition(".")[2] for module in MODULES} == modules
    assert len(REGISTRY) == sum(len(module.CASES) for module in MODULES)


def test_cases_of_jax_can_be_made():
    made = {e.function: e.make() for module in (jax_functions, jax_special) for e in module.CASES}
    assert made["nn.relu"].fun(*made["nn.relu"].args).shape == (4,)
    assert all(callable(case.fun) for case in made.values())


def test_the_document_has_every_case():
    text = DOCUMENT.read_text()
    for entry in REGISTRY:
        assert f"| {entry.package} | {entry.function} |" in text
