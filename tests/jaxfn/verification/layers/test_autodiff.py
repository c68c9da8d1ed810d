"""Errors at points that the check moves to; rules that follow no derivative at any scale."""

import jax
import jax.numpy as jnp
import pytest

from jaxfn.verification import gradcheck
from tests.jaxfn.verification.test_gradcheck import X, ruled


def asked(rule, **options):
    return gradcheck(rule, (X,), layers=("autodiff",), raise_exception=False, **options)


@pytest.mark.parametrize(("factor", "verdict"), [(1.0, "pass"), (2.5, "fail")])
def test_a_factor_at_zero_which_is_not_given(factor, verdict):
    def backward(x, g):
        return (g * jnp.where(x == 0, factor, 1) * jax.nn.sigmoid(x),)

    report = asked(ruled(jax.nn.softplus, backward))
    assert report.verdict == verdict
    assert "where x == 0: " in report.diagnosis or verdict == "pass"


def test_the_sign_of_the_cotangent_cannot_be_compared():
    rule = ruled(lambda x: 3 * x, lambda x, g: (jnp.sign(g),))
    report = asked(rule, linear_in_cotangent=False)
    assert report.verdict == "inconclusive"
    assert "the rule is linear at no scale of the cotangent" in report.check("autodiff").detail
    assert asked(rule).verdict == "fail"
