"""Gradients that are declared to be a surrogate's, and their comparison."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxfn
from jaxfn.comparison import compare
from jaxfn.comparison.figures.declared import with_gradient_of
from tests.jaxfn.comparison.helpers import normal, quick

X = normal(4, 5)


def test_the_value_is_exact_and_the_gradient_that_of_the_surrogate():
    fun = with_gradient_of(jnp.round, jnp.sin)
    y, vjp = jax.vjp(fun, 3 * X)
    np.testing.assert_array_equal(y, jnp.round(3 * X))
    np.testing.assert_array_equal(vjp(jnp.ones_like(y))[0], jnp.cos(3 * X))
    assert fun.__name__ == "sin by stop_gradient"
    assert np.isnan(fun(jnp.inf))  # what a rule does better


def test_trees_and_integers():
    def value(x, n):
        return {"rounded": jnp.round(x), "n": n}

    fun = with_gradient_of(value, lambda x, n: {"rounded": 2 * x, "n": n})
    y, vjp = jax.vjp(lambda x: fun(x, jnp.array(3))["rounded"], X)
    np.testing.assert_array_equal(y, jnp.round(X))
    assert vjp(jnp.ones_like(y))[0].tolist() == jnp.full((4, 5), 2.0).tolist()
    assert fun(X, jnp.array(3))["n"] == 3


def test_a_rule_with_a_surrogate_is_compared_with_the_form_by_stop_gradient():
    result = compare(jaxfn.sign_ste, (X[0, :2],), surrogate=jnp.tanh, rounds=1, seconds=0.01)
    assert result.verdict.startswith("refused")  # its gradient is not that of tanh

    def hard_tanh(x):
        return jnp.where(jnp.abs(x) <= 1, x, jnp.sign(x))

    result = compare(jaxfn.sign_ste, (X,), surrogate=hard_tanh, rounds=1, seconds=0.01)
    assert (result.proof.verdict, result.against) == ("pass", "hard_tanh by stop_gradient")
    assert "0.2 times the residual memory" in result.verdict
    assert "same accuracy" in result.verdict
    assert {*result.figures.errors} == {"value", "gradient of x"}


@pytest.mark.parametrize("reference", [None, jnp.cos])
def test_gradients_that_are_not_linear_are_not_measured_against_the_surrogate(reference):
    result = quick(
        lambda x: jaxfn.clip_gradient(jnp.cos(x), -0.1, 0.1),
        (X,),
        surrogate=jnp.cos,
        reference=reference,
        linear_in_cotangent=False,
    )
    measured = {"value"} if reference is None else {"value", "gradient of x"}
    assert {*result.figures.errors} == measured
    assert any("not meant to be equal" in note for note in result.figures.notes) == (not reference)
    assert ("accurate" in result.verdict) == (reference is not None)


def test_without_the_surrogate_the_refusal_says_what_to_declare():
    result = compare(jaxfn.round_ste, (X,), rounds=1, seconds=0.01)
    assert result.figures is None
    assert "declare it with surrogate=" in result.verdict
