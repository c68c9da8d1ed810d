"""A report says which option would settle it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxfn.verification import gradcheck

X = np.array([0.5, -1.25, 2.0], np.float32)


def ruled(fun, backward):
    op = jax.custom_vjp(fun)
    op.defvjp(lambda x: (fun(x), x), lambda x, g: (backward(x, g),))
    return op


def counted(x):
    """The cube of x by a loop that autodiff does not go back through."""
    return jax.lax.while_loop(lambda s: s[0] < 3, lambda s: (s[0] + 1, s[1] * x), (0, x * 0 + 1))[1]


CASES = {
    "straight-through": (ruled(lambda x: jnp.round(x), lambda x, g: g), "surrogate="),
    "a loop": (ruled(counted, lambda x, g: 2 * g * x**2), "reference="),
    "wrong far away": (
        ruled(lambda x: x * x, lambda x, g: jnp.where(jnp.abs(x) > 9, 0, 2 * x) * g),
        "domain=",
    ),
    "wrong at the given point": (ruled(lambda x: x * x, lambda x, g: 3 * x * g), ""),
}


@pytest.mark.parametrize("name", CASES)
def test_hint(name):
    fun, option = CASES[name]
    layers = ("autodiff", "differences")
    report = gradcheck(fun, (X,), layers=layers, raise_exception=False)
    assert report.verdict == "fail"
    assert (option in report.hint) if option else report.hint == ""
    assert ("hint: " in str(report)) == bool(option)
    assert report.to_dict()["hint"] == report.hint


def test_none_for_a_right_rule_or_with_a_domain():
    assert gradcheck(jnp.sin, (X,), layers=("autodiff",)).hint == ""
    fun, _ = CASES["wrong far away"]
    report = gradcheck(fun, (X,), layers=("autodiff",), domain=((-99, 99),), raise_exception=False)
    assert (report.verdict, report.hint) == ("fail", "")
