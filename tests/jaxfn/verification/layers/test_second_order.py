"""The derivative of the rule: what is expected is said, and what is not to be blamed on it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

import jaxfn
from jaxfn.verification import gradcheck
from tests.jaxfn.verification.test_gradcheck import X, ruled

# Of a rule that is right: with those before it, without which it is not asked.
ASKED = "autodiff", "differences", "second order"


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
    report = gradcheck(op, (X,), layers=("second order",), raise_exception=False)
    assert report.cause == "second-order"
    assert "not the derivative of the value" in report.diagnosis
    worst = report.check("second order").worst
    assert worst is not None
    assert np.isfinite(worst.reference)


def test_differences_say_what_they_expected():
    op = _with_rule(lambda x: 1 / (1.5 - jnp.tanh(lax.stop_gradient(x)) ** 2 / 2))
    report = gradcheck(op, (X,), layers=("second order",), raise_exception=False)
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
    assert gradcheck(ruled(jnp.abs, backward), (z,), layers=ASKED).verdict == "pass"


def test_where_the_gradient_is_not_finite_its_derivative_need_not_agree():
    # at x = y = 0, where the check goes on its own, the gradient of x·log y is −∞ and nan
    args = jnp.zeros(1), jnp.array([2.0])
    assert gradcheck(jax.scipy.special.xlogy, args, layers=ASKED).verdict == "pass"


@pytest.mark.parametrize(
    ("backward", "said"),
    [
        (
            lambda x, g: g * lax.stop_gradient(jnp.sin(x) + x * jnp.cos(x)),
            "with respect to the arguments it is zero, as where a residual is cut off",
        ),
        (
            lambda x, g: lax.stop_gradient(g) * (jnp.sin(x) + x * jnp.cos(x)),
            "with respect to the cotangent it is zero",
        ),
        (
            lambda x, g: g * jax.grad(_half_as_steep)(x),
            "with respect to the arguments it is 0.5 times the expected one",
        ),
    ],
)
def test_a_failure_says_by_what_and_how(backward, said):
    def elementwise(x, g):
        return (jax.vmap(backward)(x, g),)

    rule = ruled(lambda x: x * jnp.sin(x), elementwise)
    report = gradcheck(rule, (X,), layers=("second order",), raise_exception=False)
    assert report.cause == "second-order"
    assert said in report.diagnosis


def _half_as_steep(x):
    """x·sin x, whose second derivative is half of what it should be."""

    @jax.custom_jvp
    def slope(x):
        return jnp.sin(x) + x * jnp.cos(x)

    slope.defjvp(lambda x, t: (slope(*x), t[0] * (2 * jnp.cos(*x) - x[0] * jnp.sin(*x)) / 2))
    integral = jax.custom_jvp(lambda x: x * jnp.sin(x))
    integral.defjvp(lambda x, t: (integral(*x), t[0] * slope(*x)))
    return integral(x)


def test_a_rule_that_is_declared_not_linear_and_calls_itself():
    report = gradcheck(
        lambda x: jaxfn.clip_gradient(x, -1.0, 1.0),
        (X,),
        layers=("second order",),
        linear_in_cotangent=False,
    )
    assert report.check("second order").verdict == "pass"
