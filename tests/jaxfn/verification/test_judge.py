"""What counts against a rule and what does not, at points where autodiff or differences mislead."""

import jax
import jax.numpy as jnp
import numpy as np

from jaxfn.verification import gradcheck


def ruled(fun, backward):
    op = jax.custom_vjp(fun)
    op.defvjp(lambda *args: (fun(*args), args), lambda args, g: backward(*args, g))
    return op


def test_oscillation_below_the_resolution_of_the_values_is_left_out():
    x = np.array([-2.0, 0.3, 4.0], np.float32)
    assert gradcheck(jax.scipy.special.fresnel, (x,), order=1).verdict == "pass"


def test_slope_where_the_values_are_flat_is_not():
    flat = ruled(jnp.tanh, lambda x, g: (g * jnp.where(jnp.abs(x) > 1e4, 1, 1 - jnp.tanh(x) ** 2),))
    for x in (np.float32(0.3), np.array([0.3, -1.0], np.float32)):
        report = gradcheck(flat, (x,), order=1, raise_exception=False)
        assert report.verdict == "fail"
        assert "magnitudes up to 1e12" in report.diagnosis


def test_given_point_on_the_bound_of_a_domain_is_inside():
    """The float32 nearest to 0.1 is larger than 0.1."""
    rule = ruled(jnp.sin, lambda x, g: (g * jnp.cos(x),))
    x = np.array([0.1, 0.05], np.float32)
    report = gradcheck(rule, (x,), domain=((0.01, 0.1),), order=1)
    assert report.check("differences").detail == ""


def test_longer_steps_confirm_a_rule_at_tiny_elements():
    """Autodiff loses the slope where y is zero but for rounding; beside 1, y is lost altogether."""

    def fun(x, y):
        near = jnp.where(jnp.abs(y) < 1e-12, jax.lax.stop_gradient(y), y)
        return 1.0 + x + near

    rule = ruled(fun, lambda x, y, g: (g, g))
    args = np.array([0.5, -1.0], np.float32), np.array([0.2, 0.1], np.float32)
    assert gradcheck(rule, args, order=1).verdict == "pass"
