"""Which names have a page."""

import inspect

import jaxfn
import models
from jaxfn.functional import surrogates
from scripts.site.names import members, public


def test_they_are_what_the_packages_export_and_nothing_else():
    for package in (jaxfn, models):
        defined = {
            f"{package.__name__}.{name}"
            for name in dir(package)
            if not name.startswith("_")
            and getattr(getattr(package, name), "__module__", "").startswith(package.__name__)
        }
        pages = {name for name in public() if name.startswith(f"{package.__name__}.")}
        modules = {name for name in pages if inspect.ismodule(public()[name])}
        assert pages - modules == defined


def test_names_that_are_imported_on_demand_are_among_them():
    assert {f"jaxfn.{name}" for name in jaxfn._ON_DEMAND} <= set(public())


def test_modules_are_those_that_are_exported_by_name():
    modules = {name for name, value in public().items() if inspect.ismodule(value)}
    assert "jaxfn.surrogates" in modules
    assert "models.lenet" in modules
    assert modules.isdisjoint({"jaxfn.functional", "jaxfn.importlib", "models.layers"})


def test_a_module_shows_what_its_package_does_not():
    assert set(members("jaxfn.surrogates", surrogates)) == {
        f"jaxfn.surrogates.{name}" for name in surrogates.BY_NAME
    }
    assert set(members("models.lenet", models.lenet)) == {
        "models.lenet.from_torch",
        "models.lenet.to_torch",
    }
