"""The primal of the forward rule, where it is not finite too; integers reach it as JAX's arrays."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxfn.verification import gradcheck
from tests.jaxfn.verification.test_gradcheck import X, ruled


def _log_without_minus_infinity(x):
    y = jnp.log(x)
    return jnp.where(jnp.isfinite(y), y, 0)


def _by_vjp():
    op = jax.custom_vjp(jnp.log)
    op.defvjp(lambda x: (_log_without_minus_infinity(x), x), lambda x, g: (g / x,))
    return op


def _by_jvp():
    op = jax.custom_jvp(jnp.log)
    op.defjvp(lambda x, t: (_log_without_minus_infinity(*x), t[0] / x[0]))
    return op


@pytest.mark.parametrize("make", [_by_vjp, _by_jvp])
def test_primal_that_is_not_finite_at_the_given_point(make):
    x = np.array([0.0, 1.0], np.float32)
    report = gradcheck(make(), (x,), layers=("types", "primal"), raise_exception=False)
    assert report.cause == "primal"
    assert "rule 0, expected -inf" in report.diagnosis


@pytest.mark.parametrize("x", [[0.0, 1.0], [-1.0, 2.0], [np.inf, 1.0]])
def test_primal_that_is_the_same_minus_infinity_or_nan(x):
    rule = ruled(jnp.log, lambda x, g: (g / x,))
    assert (
        gradcheck(rule, (np.array(x, np.float32),), layers=("types", "primal"))
        .check("primal")
        .verdict
        == "pass"
    )


def test_integers_are_indexed_by_traced_ones():
    def weighted(w, sizes):
        def step(total, i):
            return total + w.sum() * sizes[i], None

        return jax.lax.scan(step, 0.0 * w.sum(), jnp.arange(2))[0]

    asked = "types", "primal", "autodiff", "determinism"
    rule = ruled(weighted, lambda w, sizes, g: (g * jnp.full_like(w, 1) * sizes[:2].sum(), None))
    assert (
        gradcheck(rule, (np.ones(3, np.float32), np.array([2, 3])), layers=asked).verdict == "pass"
    )


def test_structure_and_integers_of_the_forward_rule():
    """JAX takes a list for a tuple, and does not look at what is not differentiated."""
    as_a_list = jax.custom_vjp(lambda x: (jnp.sin(x), x))
    as_a_list.defvjp(lambda x: ([jnp.sin(x), x], x), lambda x, g: (g[0] * jnp.cos(x) + g[1],))
    place = jax.custom_vjp(lambda x: (jnp.max(x), jnp.argmax(x)))
    place.defvjp(
        lambda x: ((jnp.max(x), jnp.argmin(x)), x), lambda x, g: (g[0] * (x == jnp.max(x)),)
    )
    for rule, said in ((as_a_list, "PyTreeDef([*, *])"), (place, "other integers")):
        report = gradcheck(rule, (X,), layers=("types", "primal"), raise_exception=False)
        assert report.cause == "primal"
        assert said in report.diagnosis


def test_shape_of_the_forward_rule():
    rule = jax.custom_vjp(lambda x: jnp.sum(x))
    rule.defvjp(lambda x: (jnp.sum(x, keepdims=True), x), lambda x, g: (g * jnp.ones_like(x),))
    report = gradcheck(rule, (X,), layers=("types", "primal"), raise_exception=False)
    assert "out has the shape [1] from the forward rule" in report.diagnosis
