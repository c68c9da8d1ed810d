"""Tangent rules that add a constant, square, or clip: asked in forward mode."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxfn.verification import gradcheck
from jaxfn.verification.layers.tangents import tangent_fault
from jaxfn.verification.points.probes import GIVEN, Probe
from jaxfn.verification.subject.coordinates import Arguments
from jaxfn.verification.subject.programs import Engine
from tests.jaxfn.verification.test_gradcheck import X


def with_tangents(rule):
    sine = jax.custom_jvp(jnp.sin)
    sine.defjvp(lambda x, t: (sine(*x), rule(jnp.cos(x[0]) * t[0])))
    return sine


def fault(fun, raises=False):
    arguments = Arguments((X,))
    given = Probe("the given point", GIVEN, arguments.given, ())
    return tangent_fault(Engine(fun, arguments, False), given, raises)


def test_linear_ones():
    assert fault(jnp.sin) == ""
    assert fault(with_tangents(lambda t: 3 * t)) == ""
    assert fault(with_tangents(lambda t: jnp.where(t != t, 0, t))) == ""


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        (lambda t: t + 1, "that of zero is not zero, but 1"),
        (jnp.abs, "-1 times a tangent does not give -1 times the result"),
        (lambda t: t**3, "2 times a tangent does not give 2 times the result"),
        (lambda t: jnp.clip(t, -8, 8), "1000 times a tangent does not give 1000 times the result"),
    ],
)
def test_others(rule, said):
    assert fault(with_tangents(rule)) == said


def test_nan_counts_only_of_a_rule_that_cannot_be_transposed():
    rule = with_tangents(jnp.nan_to_num)
    assert fault(rule) == ""
    assert "a tangent of nan gives a finite result" in fault(rule, raises=True)


def test_without_forward_mode_nothing_is_said():
    op = jax.custom_vjp(jnp.sin)
    op.defvjp(lambda x: (jnp.sin(x), x), lambda x, g: (g * jnp.cos(x),))
    assert fault(op) == ""


def test_a_constant_that_transposing_drops_is_found_by_linearity():
    rule = with_tangents(lambda t: t + 1)
    report = gradcheck(rule, (X,), layers=("linearity",), raise_exception=False)
    assert report.verdict == "fail"
    assert "that of zero is not zero, but 1" in report.diagnosis
    assert report.cause == "nonlinear"
    assert np.isfinite(np.asarray(jax.grad(lambda x: rule(x).sum())(X))).all()
