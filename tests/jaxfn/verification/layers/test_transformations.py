"""Transformations under which a rule raises: a failure where the function works."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxfn
from jaxfn.verification import gradcheck
from jaxfn.verification.layers.variants import Points
from tests.jaxfn.verification.test_gradcheck import X, ruled


def asked(fun, *args):
    given = args or (X,)
    report = gradcheck(fun, given, layers=("transformations",), raise_exception=False)
    return report, report.check("transformations")


def mapped(out_dims):
    """An operation with a `vmap` rule that says where the batch of its output is."""

    class Double(jaxfn.Function):
        @staticmethod
        def forward(x):
            return 2 * x

        @staticmethod
        def setup_context(ctx, inputs, output):
            pass

        @staticmethod
        def backward(ctx, g):
            return 2 * g

        @staticmethod
        def vmap(info, in_dims, x):
            return 2 * x, out_dims

    return Double.apply


def test_a_rule_that_breaks_under_vmap_is_a_failure():
    report, check = asked(mapped(None))
    assert report.verdict == "fail"
    assert report.cause == "vmap"
    assert check.detail == report.diagnosis
    assert report.diagnosis.startswith(
        "the rule raises, where the function without it works, under vmap"
    )


def test_variants_beside_one_that_raises_are_compiled_together(monkeypatch):
    compiled = []
    evaluated = Points.evaluated

    def seen(points, run):
        found = evaluated(points, run)
        compiled.append(set(found))
        return found

    monkeypatch.setattr(Points, "evaluated", seen)
    asked(mapped(None))
    assert compiled[0] == {"jit", "checkpoint", "scan", "vmap over the cotangent"}


def test_a_vmap_rule_that_is_right():
    report, check = asked(mapped(0))
    assert report.verdict == "pass"
    assert "vmap" not in check.detail


def test_a_vmap_rule_that_raises():
    @jax.custom_batching.custom_vmap
    def double(x):
        return 2 * x

    def batched(size, is_batched, x):
        raise NotImplementedError("no batches")

    double.def_vmap(batched)
    report, _ = asked(ruled(lambda x: double(x), lambda x, g: (2 * g,)))
    assert report.cause == "vmap"
    assert report.diagnosis.endswith("NotImplementedError: no batches")


def test_a_function_that_has_no_vmap_itself_is_no_failure():
    def sine(x):
        return jax.pure_callback(lambda x: np.asarray(np.sin(x), x.dtype), jax.typeof(x), x)

    op = jax.custom_vjp(sine)
    op.defvjp(lambda x: (op(x), x), lambda x, g: (g * jnp.cos(x),))
    report, check = asked(op)
    assert report.verdict == "pass"
    assert "vmap, batch 3 skipped because NotImplementedError" in check.detail


@pytest.mark.parametrize(
    "backward",
    [
        lambda x, g: (np.asarray(g) * np.cos(np.asarray(x)),),
        lambda x, g: (jnp.cos(x) * (g if g.sum() > 0 else 1.0 * g),),
    ],
)
def test_a_rule_that_works_without_jit_alone(backward):
    report, _ = asked(ruled(jnp.sin, backward))
    assert report.verdict == "fail"
    assert report.cause == "jit"
    assert report.diagnosis.startswith("the function works under jit, its rule without jit alone: ")


def test_a_function_that_works_without_jit_alone():
    def sine(x):
        return jnp.sin(x) if x[0] > 0 else 1 * jnp.sin(x)

    report, check = asked(ruled(sine, lambda x, g: (g * jnp.cos(x),)))
    assert report.verdict == "pass"
    assert check.detail == "skipped because fun cannot be traced"


@pytest.mark.parametrize("method", [None, "sequential"])
def test_a_callback_without_a_vmap_method_is_a_warning(method):
    def backward(x, g):
        def host(x, g):
            return np.asarray(np.cos(x) * g, x.dtype)

        return (jax.pure_callback(host, jax.typeof(x), x, g, vmap_method=method),)

    report, check = asked(ruled(jnp.sin, backward))
    assert report.verdict == "pass"
    assert report.warnings == check.warnings
    said = "the rule's callback cannot be used under vmap"
    assert [warning.startswith(said) for warning in report.warnings] == [True] * (method is None)


def test_a_reference_that_is_an_argument():
    op = jax.custom_vjp(lambda x, seen: 2 * x)

    def backward(seen, g):
        seen[...] = g
        return 2 * g, None

    op.defvjp(lambda x, seen: (2 * x, seen), backward)
    report, _ = asked(op, X, jax.new_ref(jnp.zeros(3)))
    assert report.verdict == "pass"
