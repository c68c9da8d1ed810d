"""`jaxfn.Function` beside `jax.custom_vjp`, and beside the rest of the library."""

from __future__ import annotations

import functools
import re

import chex
import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import jaxfn
from tests.jaxfn.function.operations import (
    B,
    W,
    X,
    linear,
    normal,
    plain_linear,
    total,
)
from tests.parity.functions_arrays import Concatenate
from tests.parity.functions_elementwise import (
    ClipGradient,
    Multiply,
    ReverseGradient,
)

pytestmark = pytest.mark.numbers


def test_the_rule_is_found_by_its_name_and_place_and_taken_out():
    (rule,) = jaxfn.custom_rules(linear, X, W, B)
    assert (rule.kind, rule.name) == ("custom_vjp", "LinearFunction")
    assert "functions_arrays.py:" in rule.source

    grad = jax.grad(lambda x: jaxfn.autodiff(ReverseGradient.apply)(x, 0.5).sum())
    chex.assert_trees_all_equal(grad(X), jnp.ones_like(X))
    assert jaxfn.custom_rules(jaxfn.autodiff(ReverseGradient.apply), X, 0.5) == ()
    rules = jaxfn.custom_rules(jaxfn.autodiff(Multiply.apply, custom_jvp=True), X, X)
    assert rules == ()


@pytest.mark.parametrize(
    "operation", [linear, Multiply.apply, Concatenate.apply], ids=lambda f: f.__qualname__
)
def test_gradcheck(operation):
    args = {linear: (X, W, B), Multiply.apply: (X, X + 1)}.get(operation, (1, X, X[:, :1]))
    assert jaxfn.gradcheck(operation, args, order=1).verdict == "pass"


def test_gradcheck_fails_a_wrong_rule_and_knows_a_surrogate():
    report = jaxfn.gradcheck(lambda x: ReverseGradient.apply(x, 1.0), (X,), raise_exception=False)
    assert report.verdict == "fail"
    surrogate = dict(surrogate=lambda x: -x, order=1)
    assert (
        jaxfn.gradcheck(lambda x: ReverseGradient.apply(x, 1.0), (X,), **surrogate).verdict
        == "pass"
    )


@pytest.mark.optimized
def test_compare():
    result = jaxfn.compare(linear, (X, W, B), seconds=0.01)
    assert "LinearFunction" in str(result)


@jax.custom_vjp
def by_hand(x, weight, bias):
    return plain_linear(x, weight, bias)


def by_hand_fwd(x, weight, bias):
    return plain_linear(x, weight, bias), (x, weight, bias)


def by_hand_bwd(saved, grad):
    x, weight, _ = saved
    return grad @ weight, grad.T @ x, grad.sum(0)


by_hand.defvjp(by_hand_fwd, by_hand_bwd)


def program(fun, *args) -> str:
    """The compiled program, without the places in the source that it comes from."""
    text = jax.jit(fun).lower(*args).compile().as_text()
    tables = r"^(FileNames|FunctionNames|FileLocations|StackFrames)\n(.+\n)*"
    return re.sub(r", metadata=\{[^}]*\}", "", re.sub(tables, "", text, flags=re.MULTILINE))


def in_a_row(fun, x, weights):
    return jnp.sum(jax.lax.scan(lambda h, w: (jnp.tanh(fun(h, w, B)), None), x, weights)[0])


@pytest.mark.optimized
@pytest.mark.parametrize(
    ("loss", "args"),
    [(lambda fun, *args: total(fun)(*args), (X, W, B)), (in_a_row, (X[:, :2], normal(3, 2, 2)))],
    ids=["alone", "scan"],
)
def test_the_compiled_program_is_that_of_custom_vjp(loss, args):
    def gradients(fun):
        return jax.value_and_grad(functools.partial(loss, fun), tuple(range(len(args))))

    assert program(gradients(linear), *args) == program(gradients(by_hand), *args)


def test_what_is_kept_between_jitted_passes_is_what_custom_vjp_keeps():
    for fun in (linear, by_hand):
        kept = jax.tree.leaves(jax.vjp(jax.jit(fun), X, W, B)[1])
        assert sorted(leaf.shape for leaf in kept) == [(2,), (2, 3), (4, 3)]


def test_the_jaxpr_is_that_of_custom_vjp():
    def equations(fun):
        return [
            eqn.primitive.name
            for eqn in jax.make_jaxpr(jax.grad(total(fun), (0, 1, 2)))(X, W, B).eqns
        ]

    assert equations(linear) == equations(by_hand)


def test_a_bare_array_is_the_output_however_it_is_nested():
    low = ClipGradient.apply(X, low=-0.1)
    chex.assert_trees_all_equal(low, X)
    grad = jax.grad(lambda x: jnp.sum(5 * ClipGradient.apply(x, high=0.5)))(X)
    chex.assert_trees_all_equal(grad, jnp.full_like(X, 0.5))


@settings(deadline=None, max_examples=15)
@given(
    shape=st.lists(st.integers(0, 3), max_size=3),
    dtype=st.sampled_from(["float16", "bfloat16", "float32", "complex64"]),
)
def test_any_shape_and_dtype(shape, dtype):
    one, two, four = (jnp.asarray(np.full(shape, value), dtype) for value in (1, 2, 4))

    @jax.jit
    def gradients(x, y):
        product, vjp = jax.vjp(Multiply.apply, x, y)
        return vjp(product)

    grads = gradients(one, two)
    chex.assert_trees_all_equal_shapes_and_dtypes(grads, (one, one))
    chex.assert_trees_all_equal(grads, (four, two))
