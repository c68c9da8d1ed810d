"""A rule that raises where the function does not: what is said names the user's mistake."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxfn.verification import gradcheck
from tests.jaxfn.verification.test_gradcheck import X, ruled


def with_tangents(rule):
    double = jax.custom_jvp(lambda x: 2 * x)
    double.defjvp(lambda primals, tangents: (double(*primals), rule(*tangents)))
    return double


def asked(fun, *args):
    return gradcheck(fun, args, layers=("types",), raise_exception=False)


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        (lambda t: jnp.nan_to_num(2 * t), "a tangent of nan gives a finite result"),
        (lambda t: 2 * jnp.abs(t), "-1 times a tangent does not give -1 times the result"),
        (lambda t: 2 * jnp.exp(t), "that of zero is not zero, but 2"),
    ],
)
def test_a_tangent_rule_that_is_not_linear(rule, said):
    report = asked(with_tangents(rule), X)
    assert report.verdict == "fail"
    assert report.cause == "nonlinear"
    assert f"the tangent rule is not linear in the tangents: {said}" in report.diagnosis


def test_a_backward_rule_that_raises():
    def backward(x, g):
        raise RuntimeError("not written yet")

    report = asked(ruled(jnp.sin, backward), X)
    assert report.diagnosis == (
        "differentiating raises where the function does not: RuntimeError: not written yet"
    )
    assert report.cause == ""


def test_an_error_without_a_text_is_placed():
    def backward(x, g):
        raise ValueError

    assert (
        "ValueError without a message in backward, line"
        in asked(ruled(jnp.sin, backward), X).diagnosis
    )


def masked(slope, positions=(1,)):
    rule = functools.partial(jax.custom_vjp, nondiff_argnums=positions)(lambda a, m: a * m)
    rule.defvjp(lambda a, m: (a * m, None), lambda m, _, g: (slope * g * m,))
    return rule


@pytest.mark.parametrize("mask", [np.array([True, False, True]), np.array([2.0, 0.5, 1], "f4")])
def test_arrays_that_are_static_for_the_rule_are_held(mask):
    for slope, verdict in ((1.0, "pass"), (2.0, "fail")):
        report = gradcheck(
            masked(slope), (X, mask), layers=("types", "autodiff"), raise_exception=False
        )
        assert report.verdict == verdict
        (note,) = [note for note in report.notes if "nondiff_argnums" in note]
        assert note.startswith("m goes to nondiff_argnums of a rule")
        assert "close over it" in note


def test_a_python_number_is_static():
    def rule(slope):
        return ruled(lambda x, s: x * s, lambda x, s, g: (slope * g * s, None))

    for slope, verdict in ((1.0, "pass"), (2.0, "fail")):
        report = gradcheck(
            rule(slope), (X, 2.0), layers=("types", "autodiff"), raise_exception=False
        )
        assert report.verdict == verdict
        assert any("s is a Python number, which is static" in note for note in report.notes)


def test_an_array_of_no_dimension_is_differentiated():
    rule = ruled(lambda x, s: x * s, lambda x, s, g: (g * s, 2 * jnp.sum(g * x)))
    report = gradcheck(rule, (X, np.float32(2)), layers=("autodiff",), raise_exception=False)
    assert report.verdict == "fail"
    assert "s" in report.diagnosis


def test_what_the_function_itself_raises_is_raised():
    def fun(x):
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        asked(fun, X)
