"""The derivative of the rule: what is expected is said, and what is not to be blamed on it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from jaxfn.verification import gradcheck
from tests.jaxfn.verification.test_gradcheck import X, ruled


def _inverse(y):
    """Of x + tanh(x)/2, by halving an interval: autodiff of it is 0."""

    def halve(_, ends):
        middle = sum(ends) / 2
        below = middle + jnp.tanh(middle) / 2 < y
        return jnp.where(below, middle, ends[0]), jnp.where(below, ends[1], middle)

    return sum(lax.fori_loop(0, 70, halve, (jnp.full_like(y, -50), jnp.full_like(y, 50)))) / 2


def _with_rule(slope):
    op = jax.custom_jvp(_inverse)
    op.defjvp(lambda y, t: (_inverse(*y), t[0] * slope(op(*y))))
    return op


def test_a_value_without_derivative_is_told_from_a_gradient_without():
    op = _with_rule(lambda x: 1 / (1.5 - jnp.tanh(x) ** 2 / 2))
    report = gradcheck(op, (X,), raise_exception=False)
    assert report.cause == "second-order"
    assert "not the derivative of the value" in report.diagnosis
    worst = report.check("second order").worst
    assert worst is not None
    assert np.isfinite(worst.reference)


def test_differences_say_what_they_expected():
    op = _with_rule(lambda x: 1 / (1.5 - jnp.tanh(lax.stop_gradient(x)) ** 2 / 2))
    report = gradcheck(op, (X,), raise_exception=False)
    assert report.cause == "second-order"
    worst = report.check("second order").worst
    assert worst is not None
    assert worst.rule == pytest.approx(0, abs=1e-12)
    assert 0.01 < abs(worst.reference) < 10


def test_a_kink_of_the_gradient_has_no_second_derivative():
    def backward(z, g):
        size = jnp.abs(z)
        return (g * jnp.where(size == 0, 0, jnp.conj(z) / jnp.where(size == 0, 1, size)),)

    z = np.array([0, 1 + 1j, -2j], np.complex64)
    assert gradcheck(ruled(jnp.abs, backward), (z,)).verdict == "pass"
