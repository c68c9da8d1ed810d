"""`custom_rules`: which rules a function applies, and where."""

import doctest
import importlib
import inspect

import jax
import jax.numpy as jnp

from jaxfn import autodiff, custom_rules
from jaxfn.autodiff import CustomRule
from tests.jaxfn.planted_rules import X, body, with_custom_vjp


def test_custom_rules_names_each_rule_and_place():
    wave = with_custom_vjp(lambda x: jax.nn.relu(body(x)))

    def step(carry, _):
        return wave(wave(carry)), None

    @jax.jit
    def fun(x):
        x = jax.lax.scan(step, x, None, length=3)[0]
        return jax.lax.cond(x.sum() > 0, jax.checkpoint(jax.nn.relu), jnp.sin, x)

    wave_line = inspect.getsourcelines(wave)[1]
    relu_source = custom_rules(jax.nn.relu, X)[0].source
    assert relu_source is not None
    assert "jax" in relu_source
    inside = "jit(fun)/scan"
    assert custom_rules(fun, X) == (
        CustomRule("custom_vjp", "<lambda>", f"{__file__}:{wave_line}", inside, 2),
        CustomRule("custom_jvp", "relu", relu_source, inside + "/custom_vjp(<lambda>)", 2),
        CustomRule("custom_jvp", "relu", relu_source, "jit(fun)/cond.branches[1]/checkpoint", 1),
    )


def test_custom_rules_says_what_autodiff_left():
    def fun(x, *, op):
        return jax.nn.relu(op(x))

    op = with_custom_vjp(body)
    assert [rule.kind for rule in custom_rules(fun, X, op=op)] == ["custom_vjp", "custom_jvp"]
    assert [rule.kind for rule in custom_rules(autodiff(fun), X, op=op)] == ["custom_jvp"]
    assert custom_rules(autodiff(fun, custom_jvp=True), X, op=op) == ()
    assert custom_rules(jnp.sin, X) == ()


def test_examples_run():
    # `jaxfn.autodiff` is the function.
    assert doctest.testmod(importlib.import_module("jaxfn.autodiff")).failed == 0
