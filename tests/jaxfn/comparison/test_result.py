"""What a comparison is besides its table and its picture: dicts and JSON."""

from __future__ import annotations

import dataclasses
import json

import jax
import pytest

import jaxfn
from jaxfn.comparison.figures.records import Pair
from tests.jaxfn.comparison import synthetic
from tests.jaxfn.comparison.helpers import FAILED, normal, quick, wrong_sin

SIZE = 8 * 16  # elements of what `relu` was compared with


def test_json_holds_everything(relu):
    found = json.loads(relu.to_json(indent=1))
    assert (found["name"], found["against"], found["seed"]) == ("relu", "autodiff", 3)
    assert found["proof"]["verdict"] == "pass"
    assert {"jax", "jaxlib", "jaxfn", "python", "device", "date"} <= set(found["environment"])
    assert found["environment"]["jax"] == jax.__version__
    assert found["environment"]["jaxfn"] == jaxfn.__version__
    figures = found["figures"]
    assert figures["residuals"]["rule"]["leaves"][0]["nbytes"] == SIZE
    assert figures["programs"]["value"]["rule"]["flops"]["total"] == SIZE
    assert set(figures["stages"]) == {"trace", "lower", "compile"}


def test_json_of_a_refusal_has_no_figures_and_the_given_name():
    found = json.loads(quick(wrong_sin, (normal(3),), proof=FAILED, name="mine").to_json())
    assert (found["name"], found["figures"]) == ("mine", None)


def test_json_of_a_rule_alone_has_no_reference():
    result = synthetic.comparison(figures=synthetic.alone(), against="")
    found = json.loads(result.to_json())
    figures = found["figures"]
    assert found["against"] == ""
    assert figures["residuals"]["reference"] is None
    for part in ("errors", "programs", "times", "stages"):
        assert {pair["reference"] for pair in figures[part].values()} == {None}
    assert figures["times"]["value"]["rule"]["median"] == 1.0


def test_what_is_not_finite_is_a_string():
    errors = {"value": Pair(synthetic.error(float("inf")), synthetic.error(1.0))}
    result = synthetic.comparison(figures=synthetic.figures(errors=errors))
    assert json.loads(result.to_json())["figures"]["errors"]["value"]["rule"]["ulps"] == "inf"


def test_it_is_made_once():
    with pytest.raises(dataclasses.FrozenInstanceError):
        synthetic.comparison().verdict = "another"
