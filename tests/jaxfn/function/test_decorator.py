"""`jaxfn.function`: the rules as functions, without a class."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import pytest

import jaxfn
from tests.jaxfn.function.operations import W, X, assert_close, total

pytestmark = pytest.mark.numbers


@jaxfn.function
def product(x, weight, *, precision=None, needs_input_grad):
    needs_x, needs_weight, _ = needs_input_grad
    kept = (x if needs_weight else None, weight if needs_x else None, precision)
    return jnp.dot(x, weight, precision=precision), kept


@product.defbackward
def product_backward(residuals, grad):
    x, weight, precision = residuals
    dot = functools.partial(jnp.dot, precision=precision)
    grad_x = None if weight is None else dot(grad, weight.T)
    return grad_x, None if x is None else dot(x.T, grad)


def test_the_decorator():
    assert str(jax.make_jaxpr(jax.grad(total(product)))(X, W.T)).count("dot_general[") == 2
    for run in (product, jax.jit(product)):
        expected = jax.grad(total(jnp.matmul), (0, 1))(X, W.T)
        assert_close(jax.grad(total(run), (0, 1))(X, W.T), expected)
    assert_close(product(weight=W.T, x=X, precision="highest"), X @ W.T)
    (rule,) = jaxfn.custom_rules(product, X, W.T)
    assert (rule.kind, rule.name) == ("custom_vjp", "product")


def test_the_decorator_with_a_jvp_rule():
    @jaxfn.function
    def sine(x):
        return jnp.sin(x), jnp.cos(x)

    @sine.defbackward
    def _(cos, grad):
        return 3 * cos * grad

    @sine.defjvp
    def _(cos, dot):
        return 2 * cos * dot

    assert_close(jax.jvp(sine, (1.0,), (1.0,))[1], 2 * jnp.cos(1.0))
    assert_close(jax.grad(sine)(1.0), 3 * jnp.cos(1.0))
