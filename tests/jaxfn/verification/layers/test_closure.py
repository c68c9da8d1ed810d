"""The gradients of arrays that the function closes over and gives to a rule."""

from collections import deque

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxfn.verification import gradcheck
from tests.jaxfn.verification.test_gradcheck import X, ruled

W = np.array([[1, 2], [3, 4], [5, 6]], np.float32)


def dense(factor):
    """With a gradient of the weight that is so many times too large."""
    return ruled(lambda x, w: x @ w, lambda x, w, g: (w @ g, factor * jnp.outer(x, g)))


def asked(fun, **options):
    report = gradcheck(fun, (X,), layers=("closure",), raise_exception=False, **options)
    return report, report.check("closure")


def test_a_wrong_gradient_of_a_weight():
    rule, weight = dense(2.0), jnp.asarray(W)
    report, check = asked(lambda x: rule(x, weight))
    assert report.verdict == "fail"
    assert report.cause == "scale"
    assert report.diagnosis.startswith("of what fun closes over: ")
    assert "weight" in report.diagnosis
    assert check.worst is not None
    assert check.worst.path.startswith("weight")


def test_a_right_one():
    rule, weight = dense(1.0), jnp.asarray(W)
    report, check = asked(lambda x: rule(x, weight))
    assert report.verdict == check.verdict == "pass"
    assert report.scope == ()
    assert check.power is not None


def test_none_means_no_gradient():
    weight = jnp.asarray(W)
    rule = ruled(lambda x, w: x @ w, lambda x, w, g: (w @ g, None))
    report, check = asked(lambda x: rule(x, weight))
    assert report.verdict == "pass"
    (note,) = check.notes
    assert note == "weight, which fun closes over, has a gradient of zero by the rule: not checked"
    assert note in report.notes


@pytest.mark.parametrize("holder", [deque, list])
def test_in_a_container(holder):
    """The second is replaced in the function, the first in its program."""
    layers = holder([jnp.asarray(W)])
    for factor, verdict in ((1.0, "pass"), (2.0, "fail")):
        rule = dense(factor)
        report, _ = asked(lambda x, rule=rule: rule(x, layers[0]))
        assert report.verdict == verdict
    name = "layers[0]" if holder is list else "an array float32[3, 2]"
    assert f"gradient of {name} (scale" in report.diagnosis


def test_too_many_elements_are_named():
    rule, layers = dense(2.0), [jnp.ones((3, 7000))]
    report, check = asked(lambda x: rule(x, layers[0]))
    assert check.verdict == "skipped"
    (scope,) = report.scope
    assert scope.startswith("the gradient of layers[0] (float32[3, 7000]), which fun closes over, ")
    assert "PASS, but not shown for the gradient of layers[0]" in " ".join(str(report).split())


def test_what_a_reference_holds_is_not_checked():
    rule, ref, weight = dense(1.0), jax.new_ref(jnp.asarray(W)), jnp.asarray(W[:2, :1])
    said = "the gradient of a jax.Ref of float32[3, 2], which fun closes over, by "
    report, check = asked(lambda x: rule(x, ref[...]))
    assert check.verdict == "skipped"
    assert report.scope[0].startswith(said)
    report, check = asked(lambda x: rule(rule(x, ref[...]), weight))
    assert check.verdict == "pass"
    assert report.scope[0].startswith(said)


def test_an_object_that_cannot_be_copied():
    class Once:
        def __init__(self):
            self.weight = jnp.asarray(W)

        def __copy__(self):
            raise RuntimeError("there is one of it")

    rule, once = dense(2.0), Once()
    report, _ = asked(lambda x: rule(x, once.weight))
    assert "gradient of once.weight (scale" in report.diagnosis
    assert any("RuntimeError: there is one of it" in note for note in report.notes)


def test_a_reference_of_ones_own_says_nothing_of_it():
    rule, weight = dense(2.0), jnp.asarray(W)
    report, check = asked(lambda x: rule(x, weight), reference=lambda x: x @ weight)
    assert check.verdict == "skipped"
    assert "the gradient of weight (float32[3, 2])" in report.scope[0]


def test_nothing_to_check():
    weight = jnp.asarray(W)
    for fun in (lambda x: x @ weight, ruled(jnp.sin, lambda x, g: (g * jnp.cos(x),))):
        report, check = asked(fun)
        assert (report.verdict, check.verdict) == ("pass", "skipped")
        assert check.detail == "skipped because fun gives no array that it closes over to a rule"


def test_no_array_of_the_closure_is_changed():
    rule, weight = dense(1.0), jnp.asarray(W)
    asked(fun := lambda x: rule(x, weight))
    np.testing.assert_array_equal(fun(X), X @ W)
    assert isinstance(weight, jax.Array)
