"""Smooth functions of which autodiff is wrong where their parts have a kink."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxfn.verification import gradcheck
from tests.jaxfn.verification.test_gradcheck import JUDGED, ruled

ZERO = np.zeros(3, np.float32)
MOVED = np.array([0.7, -1.5], np.float32)


def softplus(x):
    return jnp.maximum(x, 0) + jnp.log1p(jnp.exp(-jnp.abs(x)))


def by_autodiff(fun):
    return ruled(fun, lambda x, g: jax.vjp(fun, x)[1](g))


@pytest.mark.parametrize("fun", [softplus, by_autodiff(softplus)])
def test_at_the_given_point(fun):
    report = gradcheck(fun, (ZERO,), layers=JUDGED, raise_exception=False)
    assert report.verdict == "fail"
    assert report.check("differences").verdict == "fail"
    assert "between 0.5 and 0.5 by differences" in report.check("differences").detail


def test_at_points_that_are_moved_to():
    fun = by_autodiff(lambda x: jax.nn.relu(x) + jnp.log1p(jnp.exp(-jnp.abs(x))))
    assert gradcheck(fun, (MOVED,), layers=JUDGED, raise_exception=False).verdict == "fail"


def test_kinks_of_parts_at_which_autodiff_is_right():
    def log_cosh(x):
        return jnp.abs(x) + jnp.log1p(jnp.exp(-2 * jnp.abs(x)))

    for fun in log_cosh, jax.nn.elu, jnp.abs, jax.nn.relu:
        assert gradcheck(fun, (ZERO,), layers=JUDGED).verdict == "pass"
