"""Each operation has a plain form that computes the same, and rows beside it."""

from __future__ import annotations

import chex
import jax
import pytest

from scripts.benchmarks import operations
from scripts.benchmarks.operations import cifar, plain, pool_gradient
from scripts.benchmarks.timing import Effort
from scripts.cases import CASES
from tests.jaxfn.functional.oracles import cotangent, value_and_gradients

pytestmark = pytest.mark.numbers

QUICK = Effort(repeats=1, seconds=0.01)


@pytest.mark.parametrize(
    "case", [c for c in CASES.values() if plain(c.operation)], ids=lambda case: case.name
)
def test_the_plain_form_computes_the_same(case):
    def both(y_bar, *args):
        forms = (plain(case.operation), case.reference)
        return [value_and_gradients(form, args, y_bar) for form in forms]

    y_bar = cotangent(jax.eval_shape(case.operation, *case.args()))
    chex.assert_trees_all_close(*jax.jit(both)(y_bar, *case.args()), rtol=1e-5, atol=1e-5)


def test_an_operation_without_a_plain_form():
    assert plain(jax.numpy.sin) is None


@pytest.mark.optimized
def test_rows_of_an_operation():
    groups = [*operations.operations([CASES["relu"]], QUICK)]
    assert [rows[0].group for rows in groups] == ["relu, forward", "relu, forward and backward"]
    for rows in groups:
        assert [row.contestant for row in rows] == ["jaxfn", "plain JAX"]
        ours, theirs = (row.timing.median for row in rows)
        assert rows[0].figures["speed_against_plain"] == theirs / ours
        assert "temporary_bytes" in rows[0].figures


@pytest.mark.optimized
def test_the_gradient_of_pooling_alone_keeps_no_forward_pass():
    alone, both, *_ = pool_gradient(QUICK, batch=8)
    assert alone[0].group == "max_pool2d 8×30×30×6, backward alone"
    assert both[0].group == "max_pool2d 8×30×30×6, forward and backward"
    assert alone[0].figures["temporary_bytes"] < both[0].figures["temporary_bytes"]


def test_layers_for_cifar(monkeypatch):
    shapes = {}

    def record(name, operation, other, args, effort):
        shapes[name] = jax.eval_shape(operation, *args).shape
        assert jax.eval_shape(other, *args).shape == shapes[name]
        yield []

    monkeypatch.setattr(operations, "_against_plain", record)
    assert len([*cifar(QUICK, batch=2)]) == 4
    assert [*shapes.values()] == [
        (2, 28, 28, 64),
        (2, 14, 14, 64),
        (2, 14, 14, 64),
        (2, 10, 10, 64),
    ]
