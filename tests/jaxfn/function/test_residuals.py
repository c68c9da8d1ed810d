"""What needs no gradient is neither kept nor computed."""

from __future__ import annotations

import functools
import re

import chex
import jax
import jax.numpy as jnp
import pytest

from tests.jaxfn.function.operations import B, Pruned, W, X, assert_close, linear, normal, total

pytestmark = pytest.mark.numbers


@pytest.mark.parametrize("argnums", [(0,), (1,), (2,), (0, 1), (0, 2), (1, 2), (0, 1, 2)], ids=str)
@pytest.mark.parametrize("jit", [False, True])
def test_only_the_wanted_gradients_are_in_the_jaxpr(argnums, jit):
    fun = jax.jit(lambda *args: linear(*args)) if jit else linear
    text = str(jax.make_jaxpr(jax.grad(total(fun), argnums))(X, W, B))
    assert text.count("dot_general[") == 1 + len({0, 1} & {*argnums})
    assert text.count("reduce_sum") == 1 + (2 in argnums)


@pytest.mark.optimized
@pytest.mark.parametrize("argnums", [(0,), (1,), (0, 1)], ids=str)
def test_a_gradient_that_nobody_asked_for_is_dropped_with_its_work(argnums):
    class Careless(Pruned):
        @staticmethod
        def forward(ctx, x, weight):
            ctx.save_for_backward(x, weight)
            return x @ weight

        @staticmethod
        def backward(ctx, grad):
            x, weight = ctx.saved_tensors
            return grad @ weight.T, x.T @ grad

    gradient = jax.grad(total(Careless.apply), argnums)
    compiled = jax.jit(gradient).lower(X, W.T).compile().as_text()
    assert len(re.findall(r" dot\(", compiled)) == 1 + len(argnums)


def test_only_the_residuals_of_the_wanted_gradients_are_kept():
    for argnum, kept in ((0, W.T), (1, X)):
        args = [X, W.T]

        def one(value, argnum=argnum, args=args):
            return Pruned.apply(*args[:argnum], value, *args[argnum + 1 :])

        (leaf,) = [a for a in jax.tree.leaves(jax.vjp(one, args[argnum])[1]) if a.size]
        chex.assert_trees_all_equal(leaf, kept)


@pytest.mark.parametrize("operation", [Pruned.apply, lambda x, w: linear(x, w.T)])
def test_one_compiled_call_that_is_differentiated_in_several_ways(operation):
    # The calls share a jaxpr, and each has other arguments that need a gradient.
    stop = jax.lax.stop_gradient

    def loss(operation, x, w):
        y = operation(x, w) + 2 * operation(stop(x), w) + 3 * operation(x, stop(w))
        return jnp.sum(jnp.sin(y))

    def backwards(operation):
        return lambda w, x: operation(x, w)

    # `jax.jit` traces a function anew that it has not seen.
    for turn, args in ((lambda f: lambda *a: f(*a), (X, W.T)), (backwards, (W.T, X))):
        actual = jax.grad(functools.partial(loss, jax.jit(turn(operation))), (0, 1))
        expected = jax.grad(functools.partial(loss, turn(jnp.matmul)), (0, 1))(*args)
        assert_close(actual(*args), expected)
        assert_close(jax.jit(actual)(*args), expected)


def test_a_layer_that_is_applied_twice_to_fixed_data():
    layer = jax.jit(Pruned.apply)
    weight = normal(3, 3)
    grad = jax.grad(lambda w: jnp.sum(layer(layer(X, w), w)))(weight)
    assert_close(grad, jax.grad(lambda w: jnp.sum(X @ w @ w))(weight))
