"""What counts against a rule and what does not, at points where autodiff or differences mislead."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxfn.verification import gradcheck

# The layers that judge: what counts and what does not, they decide.
JUDGED = "autodiff", "differences"


def ruled(fun, backward):
    op = jax.custom_vjp(fun)
    op.defvjp(lambda *args: (fun(*args), args), lambda args, g: backward(*args, g))
    return op


def test_oscillation_below_the_resolution_of_the_values_is_left_out():
    x = np.array([-2.0, 0.3, 4.0], np.float32)
    assert gradcheck(jax.scipy.special.fresnel, (x,), layers=JUDGED).verdict == "pass"


def test_slope_where_the_values_are_flat_is_not():
    flat = ruled(jnp.tanh, lambda x, g: (g * jnp.where(jnp.abs(x) > 1e4, 1, 1 - jnp.tanh(x) ** 2),))
    for x in (np.float32(0.3), np.array([0.3, -1.0], np.float32)):
        report = gradcheck(flat, (x,), layers=JUDGED, raise_exception=False)
        assert report.verdict == "fail"
        assert "magnitudes up to 1e12" in report.diagnosis


def test_given_point_on_the_bound_of_a_domain_is_inside():
    """The float32 nearest to 0.1 is larger than 0.1."""
    rule = ruled(jnp.sin, lambda x, g: (g * jnp.cos(x),))
    x = np.array([0.1, 0.05], np.float32)
    report = gradcheck(rule, (x,), domain=((0.01, 0.1),), layers=JUDGED)
    assert report.check("differences").detail == ""


def test_longer_steps_confirm_a_rule_at_tiny_elements():
    """Autodiff loses the slope where y is zero but for rounding; beside 1, y is lost altogether."""

    def fun(x, y):
        near = jnp.where(jnp.abs(y) < 1e-12, jax.lax.stop_gradient(y), y)
        return 1.0 + x + near

    rule = ruled(fun, lambda x, y, g: (g, g))
    args = np.array([0.5, -1.0], np.float32), np.array([0.2, 0.1], np.float32)
    assert gradcheck(rule, args, layers=JUDGED).verdict == "pass"


def _inverse_of_tanh(steps):
    def inverse(y, scale):
        def halve(_, ends):
            low, high = ends
            middle = (low + high) / 2
            below = jnp.tanh(scale * middle) < y
            return jnp.where(below, middle, low), jnp.where(below, high, middle)

        ends = jnp.full_like(y, -50.0), jnp.full_like(y, 50.0)
        return sum(jax.lax.fori_loop(0, steps, halve, ends)) / 2

    return inverse


@pytest.mark.parametrize("factor", [1.0, 1.001])
def test_differences_decide_where_autodiff_of_a_bisection_is_zero(factor):
    """The values are in steps of 3e-12, which differences may take for exact."""
    op = jax.custom_jvp(_inverse_of_tanh(45))

    @op.defjvp
    def _(primals, tangents):
        x, scale = op(*primals), primals[1]
        slope = 1 - jnp.tanh(scale * x) ** 2
        return x, factor * (tangents[0] / slope - x * tangents[1]) / scale

    args, domain = (np.float32(0.7), np.float32(1.3)), ((-0.95, 0.95), (0.3, 4.0))
    report = gradcheck(op, args, domain=domain, layers=JUDGED, raise_exception=False)
    assert report.verdict == ("pass" if factor == 1 else "fail")


def test_constants_in_the_given_precision():
    """They are 1e-8 from exact: more, relative to it, of an element in which terms cancel."""

    def fun(x, w):
        return (x @ w) / np.float32(np.sqrt(7))

    rule = ruled(fun, lambda x, w, g: ((s := np.float32(7**-0.5)) * g @ w.T, s * x.T @ g))
    w = np.array([[1.0, -1.0, 1e-6], [0.5, 2.0, -3.0], [1.0, 1.0, 1.0]], np.float32)
    assert gradcheck(rule, (w[:, ::-1].copy(), w), layers=JUDGED).verdict == "pass"


def test_values_that_jump_expect_nothing():
    """0**y is 1 at 0 and 0 beside it: that log(0) is infinite counts as little."""
    rule = ruled(jnp.power, lambda x, y, g: (g * y * x ** (y - 1), g * x**y * jnp.log(x)))
    x, y = np.array([0.5, 2, 10], np.float32), np.array([1.5, -1, 0.3], np.float32)
    assert gradcheck(rule, (x, y), layers=JUDGED).verdict == "pass"


def test_slopes_below_the_rounding_of_the_values():
    """1 + erf is flat at -12, the derivative there is -2.6e-31."""

    def gelu(x):
        return 0.5 * x * (1 + jax.lax.erf(x / np.sqrt(2)))

    def backward(x, g):
        density = jnp.exp(-x * x / 2) / np.sqrt(2 * np.pi)
        return (g * (0.5 * (1 + jax.lax.erf(x / np.sqrt(2))) + x * density),)

    x = np.array([-12.0, 0.5, 3.0], np.float32)
    assert gradcheck(ruled(gelu, backward), (x,), layers=JUDGED).verdict == "pass"


@pytest.mark.parametrize("share", [1, 0, 2])
def test_kinks_that_absorption_makes(share):
    """Of tiny elements |p| - 1 is -1 for all: the first of them may have it all, but not twice."""

    def fun(p):
        return jnp.max(jnp.abs(p) - 1, axis=-1)

    def backward(p, g):
        q = jnp.abs(p) - 1
        first = jnp.arange(p.shape[-1]) == jnp.argmax(q, -1)[:, None]
        tiny = jnp.max(jnp.abs(p), -1, keepdims=True) < 1e-16
        return (g[:, None] * jnp.sign(p) * first * jnp.where(tiny, share, 1),)

    p = np.random.default_rng(0).standard_normal((12, 2)).astype(np.float32)
    report = gradcheck(ruled(fun, backward), (p,), layers=JUDGED, raise_exception=False)
    assert report.verdict == ("fail" if share == 2 else "pass")
