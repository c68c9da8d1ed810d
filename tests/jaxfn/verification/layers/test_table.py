"""The table of layers: what is asked, what beside it, what is refused, how one is added."""

import dataclasses
import importlib
import inspect
import pkgutil

import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from jaxfn import verification
from jaxfn.verification import gradcheck
from jaxfn.verification.evidence.agreement import Comparison
from jaxfn.verification.evidence.observation import Observation
from jaxfn.verification.layers.observed import Observed
from jaxfn.verification.layers.table import LAYERS
from jaxfn.verification.report import Check
from jaxfn.verification.subject.subject import Subject
from tests.jaxfn.verification.test_gradcheck import X, ruled

sine = ruled(jnp.sin, lambda x, g: (g * jnp.cos(x),))


def names(report):
    return [check.name for check in report.checks]


def test_only_those_are_asked_in_the_order_of_the_table(monkeypatch):
    for name in LAYERS.keys() - {"linearity", "autodiff", "types"}:
        monkeypatch.setitem(LAYERS, name, lambda observed, name=name: pytest.fail(name))
    report = gradcheck(sine, (X,), layers=("autodiff", "types", "linearity"))
    assert names(report) == ["types", "linearity", "autodiff"]
    assert report.verdict == "pass"


def test_all_are_asked_by_default(monkeypatch):
    for name in LAYERS:
        check = Check(name, "pass", "nothing", "anything")
        monkeypatch.setitem(LAYERS, name, lambda observed, check=check: check)
    assert names(gradcheck(sine, (X,))) == list(LAYERS)
    assert names(gradcheck(sine, (X,), order=1)) == [n for n in LAYERS if n != "second order"]


def test_what_a_layer_rests_on_is_asked_and_not_reported():
    """Differences say that gradients are stopped, for which the value's derivative is left out."""
    rule = ruled(lambda x: x * lax.stop_gradient(x), lambda x, g: (g * x,))
    report = gradcheck(rule, (X,), layers=("second order",))
    assert names(report) == ["second order"]
    assert report.verdict == "pass"


def test_of_a_rule_that_fails_what_rests_on_it_is_not_asked(monkeypatch):
    asked = []
    for name in "shapes", "precision":
        monkeypatch.setitem(LAYERS, name, lambda observed, name=name: asked.append(name))
    wrong = ruled(jnp.sin, lambda x, g: (2 * g * jnp.cos(x),))
    layers = "autodiff", "shapes", "precision"
    report = gradcheck(wrong, (X,), layers=layers, raise_exception=False)
    assert names(report) == list(layers)
    for name in "shapes", "precision":
        assert report.check(name).verdict == "skipped"
        assert report.check(name).detail == "not run, for the rule has failed already"
    assert asked == []


@pytest.mark.parametrize(
    ("error", "layers", "order"),
    [
        (ValueError, ("autodif",), 2),
        (ValueError, ("autodiff", "no such"), 2),
        (ValueError, (), 2),
        (ValueError, ("second order",), 1),
        (TypeError, "autodiff", 2),
        (TypeError, 3, 2),
    ],
)
def test_names_that_there_are_not(error, layers, order):
    with pytest.raises(error, match="expected layers") as caught:
        gradcheck(sine, (X,), layers=layers, order=order)
    assert str(caught.value).endswith(f"got {layers!r}")


def test_a_new_layer_is_one_line(monkeypatch):
    def mine(observed):
        assert isinstance(observed, Observed)
        assert isinstance(observed.subject, Subject)
        assert observed.verdict("autodiff") == "pass"
        return Check("mine", "pass", "that it is asked", "all else")

    monkeypatch.setitem(LAYERS, "mine", mine)
    report = gradcheck(sine, (X,), layers=("mine", "autodiff"))
    assert names(report) == ["autodiff", "mine"]
    assert report.check("mine").shows == "that it is asked"


def records():
    """Every dataclass that the package defines."""
    path, prefix = verification.__path__, verification.__name__ + "."
    modules = [importlib.import_module(m.name) for m in pkgutil.walk_packages(path, prefix)]
    return {
        found
        for module in modules
        for _, found in inspect.getmembers(module, dataclasses.is_dataclass)
        if found.__module__ == module.__name__
    }


def test_every_record_is_frozen():
    found = records()
    assert {Subject, Observation, Comparison, Observed, Check} <= found
    assert [record for record in found if not record.__dataclass_params__.frozen] == []


def test_arrays_of_a_comparison_are_read_only(monkeypatch):
    seen = []

    def look(observed):
        seen.append(observed)
        return Check("types", "pass", "", "")

    monkeypatch.setitem(LAYERS, "types", look)
    gradcheck(sine, (X,), layers=("types",))
    (observed,) = seen
    arrays = {
        field.name: value
        for field in dataclasses.fields(observed.found)
        if isinstance(value := getattr(observed.found, field.name), np.ndarray)
    }
    assert {"rule", "reference", "cotangents", "tolerance", "bad", "low"} <= arrays.keys()
    assert [name for name, array in arrays.items() if array.flags.writeable] == []
    with pytest.raises(ValueError, match="read-only"):
        observed.found.rule[0, 0] = 1
    with pytest.raises(dataclasses.FrozenInstanceError):
        observed.found.rule = observed.found.rule
