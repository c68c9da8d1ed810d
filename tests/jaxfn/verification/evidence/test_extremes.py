"""Digits that a right rule loses at extreme magnitudes are warnings; errors there are errors."""

import jax.numpy as jnp
import numpy as np
import pytest

from jaxfn.verification import GradcheckError, gradcheck
from tests.jaxfn.verification.test_gradcheck import JUDGED, ruled

X = np.array([1, 3], np.float32)


def slope(x):
    """The derivative of x tanh(x), with an ulp less of the tangens."""
    t = jnp.tanh(x) * (1 - jnp.finfo(x.dtype).eps)
    return t + x * (1 - t * t)


def with_slope(change=lambda x: 1.0):
    return ruled(lambda x: x * jnp.tanh(x), lambda x, g: (g * change(x) * slope(x),))


def test_lost_digits_are_a_warning():
    report = gradcheck(with_slope(), (X,), layers=("autodiff",))
    assert report.verdict == "pass"
    (warning,) = report.warnings
    assert warning.startswith("the gradient of x loses its digits at magnitudes from ")
    assert f"warning: {warning[:40]}" in str(report)
    assert report.check("autodiff").warnings == report.warnings


def test_strict_makes_it_a_failure():
    report = gradcheck(with_slope(), (X,), layers=("autodiff",), strict=True, raise_exception=False)
    assert report.verdict == "fail"
    assert report.cause == "warning"
    assert report.diagnosis == report.warnings[0]
    with pytest.raises(GradcheckError, match="loses its digits"):
        gradcheck(with_slope(), (X,), layers=("autodiff",), strict=True)


@pytest.mark.parametrize("factor", [0.5, -1.0, np.nan])
def test_an_error_is_one_at_any_magnitude(factor):
    rule = with_slope(lambda x: jnp.where(jnp.abs(x) > 1e11, factor, 1.0))
    report = gradcheck(rule, (X,), layers=JUDGED, raise_exception=False)
    assert report.verdict == "fail"


def test_a_rule_that_keeps_its_digits_has_no_warnings():
    rule = ruled(jnp.tanh, lambda x, g: (g / jnp.cosh(x) ** 2,))
    report = gradcheck(rule, (X,), layers=("autodiff",), strict=True)
    assert report.verdict == "pass"
    assert report.warnings == ()
