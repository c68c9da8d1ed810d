"""Errors in ulps, and against what they are measured."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxfn.comparison.figures.accuracy import Error, error_of
from tests.jaxfn.comparison.helpers import normal, plain_sin, quick, with_rule


@pytest.mark.parametrize(
    ("dtype", "eps"), [(np.float32, 2.0**-23), (jnp.bfloat16, 2.0**-7), (np.float16, 2.0**-10)]
)
def test_ulps_by_hand(dtype, eps):
    exact = np.array([1.0, -3.0, 0.25])
    # -3 is between 2 and 4, where numbers are 2·eps apart; at 0.25 they are eps/4.
    actual = jnp.asarray(exact + np.array([0, 4, 1]) * eps, dtype)
    assert error_of(actual, exact) == Error(4 * eps / 3, 2.0, 4.0)


def test_what_is_not_finite():
    exact = np.array([np.nan, np.inf, 1.0])
    assert error_of(jnp.asarray(exact, np.float32), exact) == Error(0, 0, 0)
    assert error_of(jnp.array([np.nan, np.inf, np.nan]), exact).ulps == np.inf
    assert error_of(jnp.array([0.0, np.inf, 1.0]), exact).ulps == np.inf
    assert error_of(jnp.zeros(3), np.zeros(3)) == Error(0, 0, 0)
    assert error_of(jnp.zeros((0, 3)), np.zeros((0, 3))) == Error(0, 0, 0)


def test_complex_and_subnormal_numbers():
    assert error_of(jnp.array([3 + 4j]), np.array([3 + 4j])).ulps == 0
    assert error_of(jnp.array([3 + 4j]), np.array([3 + 5j])).relative == pytest.approx(34**-0.5)
    assert error_of(jnp.zeros(1), np.array([1e-45])).ulps < 1


def test_an_inaccurate_rule_is_reported():
    def backward(x, g):
        return ((g * jnp.cos(x)).astype(jnp.bfloat16).astype(x.dtype),)

    coarse = with_rule(jnp.sin, lambda x: (jnp.sin(x), x), backward)
    result = quick(coarse, (normal(50),), reference=plain_sin)
    figures = result.figures
    assert figures.errors_against == "the reference in float64"
    assert figures.errors["value"].rule == figures.errors["value"].reference
    error = figures.errors["gradient of x"]
    assert error.rule.relative == pytest.approx(2.0**-9, rel=0.9)
    assert error.reference.ulps < 3
    assert "less accurate" in result.verdict


@pytest.mark.parametrize(
    ("fun", "reason"),
    [
        (lambda x: jnp.sin(x.astype(jnp.float32)), "lower precision"),
        (lambda x: jax.lax.mul(jnp.sin(x), jnp.ones(3, np.float32)), "refuses it"),
    ],
    ids=["computes in float32", "only takes float32"],
)
def test_without_float64_it_says_so(fun, reason):
    figures = quick(fun, (normal(3),)).figures
    assert figures.errors_against == "the reference"
    assert any(reason in note for note in figures.notes)


def test_float64_has_nothing_to_be_compared_with():
    with jax.enable_x64(True):
        result = quick(jnp.sin, (normal(3, dtype=np.float64),))
    assert result.arguments == ("x float64[3]",)
    assert any("float64 already" in note for note in result.figures.notes)
