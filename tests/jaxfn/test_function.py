"""`jaxfn.Function` and `jaxfn.function`: every feature."""

from __future__ import annotations

import functools
import itertools
import re
from typing import NamedTuple

import chex
import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import pytest

import jaxfn
from tests.parity.functions_arrays import LinearFunction, Sort
from tests.parity.functions_elementwise import (
    Cube,
    ReverseGradient,
    Spike,
)

linear = LinearFunction.apply


def plain_linear(x, weight, bias=None):
    y = x @ weight.T
    return y if bias is None else y + bias


def normal(*shape: int, seed: int = 0) -> jax.Array:
    return jnp.asarray(np.random.RandomState(seed).standard_normal(shape), np.float32)


X, W, B = normal(4, 3), normal(2, 3, seed=1), normal(2, seed=2)


def total(fun):
    return lambda *args: jnp.sum(jnp.sin(fun(*args)))


def assert_close(actual, expected, tolerance=2e-6):
    chex.assert_trees_all_close(actual, expected, rtol=tolerance, atol=tolerance)


class Pruned(jaxfn.Function):
    """A product that keeps only what the wanted gradients need."""

    @staticmethod
    def forward(ctx, x, weight):
        needs_x, needs_weight = ctx.needs_input_grad
        ctx.save_for_backward(x if needs_weight else None, weight if needs_x else None)
        return x @ weight

    @staticmethod
    def backward(ctx, grad):
        x, weight = ctx.saved_tensors
        grad_x = None if weight is None else grad @ weight.T
        return grad_x, None if x is None else x.T @ grad


class Scaled(jaxfn.Function):
    """Both rules, with a factor of its own each, so that one sees which one is used."""

    @staticmethod
    def forward(ctx, x, y):
        ctx.save_for_backward(x, y)
        ctx.save_for_forward(x, y)
        return x**2 * y

    @staticmethod
    def backward(ctx, grad):
        x, y = ctx.saved_tensors
        return 3 * (2 * x * y * grad), 3 * (x**2 * grad)

    @staticmethod
    def jvp(ctx, x_dot, y_dot):
        x, y = ctx.saved_tensors
        return 2 * (2 * x * y * x_dot + x**2 * y_dot)


def scaled_reference(x, y):
    return x**2 * y


# The arguments.


@pytest.mark.parametrize(
    ("args", "kwargs"),
    [
        ((X, W), {}),
        ((X, W, None), {}),
        ((X, W, B), {}),
        ((X,), {"weight": W}),
        ((), {"weight": W, "input": X, "bias": B}),
    ],
    ids=["two", "none", "three", "keyword", "keywords"],
)
def test_optional_arguments_and_keywords(args, kwargs):
    def loss(fun, args, kwargs):
        return jnp.sum(jnp.sin(fun(*args, **kwargs)))

    def reference(input, weight, bias=None):
        return plain_linear(input, weight, bias)

    actual = jax.grad(functools.partial(loss, linear), (0, 1))(args, kwargs)
    assert_close(actual, jax.grad(functools.partial(loss, reference), (0, 1))(args, kwargs))


def test_keyword_only_and_variable_arguments():
    class Weighted(jaxfn.Function):
        @staticmethod
        def forward(ctx, *tensors, weight, **others):
            ctx.weight, ctx.sizes = weight, (len(tensors), len(others))
            return weight * (sum(tensors) + sum(others.values()))

        @staticmethod
        def backward(ctx, grad):
            tensors, others = ctx.sizes
            part = ctx.weight * grad
            return *[part] * tensors, grad.sum() * 7, *[part] * others

    x, weight = jnp.ones(3), jnp.float32(2.0)

    def loss(x, y, z, weight):
        return Weighted.apply(x, y, weight=weight, z=z).sum()

    grads = jax.jit(jax.grad(loss, (0, 1, 2, 3)))(x, x, x, weight)
    assert_close(grads, (2 * x, 2 * x, 2 * x, jnp.float32(21.0)))


def test_what_is_no_array_reaches_the_rules_as_it_is():
    seen = []

    class Steered(jaxfn.Function):
        @staticmethod
        def forward(ctx, fun, x, options, axis=None):
            ctx.options = options
            seen.append((fun, options, axis))
            return fun(x)

        @staticmethod
        def backward(ctx, grad):
            assert isinstance(ctx.options["name"], str)
            return None, ctx.options["scale"] * grad, None, None

    options = {"name": "unhashable", "scale": 3, "list": [1, "two", {4}]}
    x = jnp.arange(3.0)
    run = lambda x: Steered.apply(jnp.sin, x, options, axis=slice(2)).sum()  # noqa: E731
    for grad in (jax.grad(run), jax.jit(jax.grad(run)), jax.grad(jax.jit(run))):
        chex.assert_trees_all_equal(grad(x), jnp.full(3, 3.0))
    assert all(entry == (jnp.sin, options, slice(2)) for entry in seen)


def test_pytrees_as_arguments_and_outputs():
    class Layer(NamedTuple):
        weight: jax.Array
        bias: jax.Array | None
        activation: str

    class Network(jaxfn.Function):
        @staticmethod
        def forward(ctx, layers, x):
            ctx.save_for_backward(x)
            return {"y": sum(layer.weight * x for layer in layers), "n": len(layers)}

        @staticmethod
        def backward(ctx, grad):
            (x,) = ctx.saved_tensors
            assert grad["n"].dtype == jnp.int32
            return [Layer((grad["y"] * x), None, None), None], None

    layers = [Layer(jnp.full(3, 2.0), None, "relu"), Layer(jnp.full(3, 5.0), jnp.ones(2), "tanh")]
    x = jnp.arange(3.0)
    weights = jax.grad(
        lambda w: Network.apply([layers[0]._replace(weight=w), layers[1]], x)["y"].sum()
    )(layers[0].weight)
    chex.assert_trees_all_equal(weights, x)
    zero = jax.grad(lambda b: Network.apply([layers[0], layers[1]._replace(bias=b)], x)["y"].sum())
    chex.assert_trees_all_equal(zero(layers[1].bias), jnp.zeros(2))


def test_integers_bools_and_keys_have_no_gradient():
    class Noisy(jaxfn.Function):
        @staticmethod
        def forward(ctx, x, index, mask, key):
            assert ctx.needs_input_grad in [(True, False, False, False), (False,) * 4]
            ctx.save_for_backward(index, mask, key)
            noise = jax.random.normal(key, x.shape)
            return jnp.where(mask, x[index] + noise, 0), jax.random.split(key)[0]

        @staticmethod
        def backward(ctx, grad, grad_key):
            index, mask, key = ctx.saved_tensors
            assert grad_key is None
            assert jnp.issubdtype(key.dtype, jax.dtypes.prng_key)
            return jnp.zeros_like(grad).at[index].add(jnp.where(mask, grad, 0)), None, None, None

    args = (jnp.arange(3.0), jnp.array([2, 0, 0]), jnp.array([True, True, False]))
    key = jax.random.key(0)
    for run in (Noisy.apply, jax.jit(Noisy.apply)):
        grads = jax.grad(lambda *a, r=run: r(*a, key)[0].sum(), (0, 1, 2), allow_int=True)(*args)
        chex.assert_trees_all_equal(grads[0], jnp.array([1.0, 0.0, 1.0]))
        assert [g.dtype for g in grads[1:]] == [jax.dtypes.float0] * 2


def test_numpy_arrays_become_jax_arrays():
    class First(jaxfn.Function):
        @staticmethod
        def forward(ctx, x):
            assert isinstance(x, jax.Array)
            return x[0]

        @staticmethod
        def backward(ctx, grad):
            return jnp.zeros(3).at[0].set(grad)

    assert First.apply(np.arange(3.0)) == 0
    assert isinstance(First.apply(np.arange(3.0)), jax.Array)


def test_without_any_array_the_operation_is_its_forward_pass():
    assert ReverseGradient.apply(2.0, 3) == 2.0


def test_a_number_that_is_differentiated_is_an_array():
    assert jax.value_and_grad(Spike.apply)(0.0) == (0.0, 1.0)  # its forward pass calls `astype`
    assert jax.jvp(Scaled.apply, (2.0, 1.0), (1.0, 0.0)) == (4.0, 8.0)


# The context.


def test_attributes_arrays_become_residuals_and_the_rest_is_static():
    class Kept(jaxfn.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.tree = {"twice": 2 * x, "name": "static", "table": np.arange(3)}
            y, ctx.pullback = jax.vjp(jnp.sin, x)
            return y

        @staticmethod
        def backward(ctx, grad):
            assert isinstance(ctx.tree["table"], np.ndarray)
            assert ctx.tree["name"] == "static"
            (sine,) = ctx.pullback(grad)
            return sine + 0 * ctx.tree["twice"]

    x = jnp.arange(3.0)
    for grad in (jax.grad, lambda f: jax.jit(jax.grad(f)), lambda f: jax.grad(jax.jit(f))):
        assert_close(grad(lambda x: Kept.apply(x).sum())(x), jnp.cos(x))
    kept = [leaf for leaf in jax.tree.leaves(jax.vjp(Kept.apply, x)[1]) if leaf.size]
    assert sorted(np.asarray(leaf).tolist() for leaf in kept) == sorted(
        [[0.0, 2.0, 4.0], jnp.cos(x).tolist()]
    )


def test_materialize_grads():
    seen = {}

    class Pair(jaxfn.Function):
        @staticmethod
        def forward(ctx, x, materialize):
            ctx.set_materialize_grads(materialize)
            return x, 2 * x, jnp.zeros(2, int)

        @staticmethod
        def backward(ctx, one, two, index):
            seen.update(two=two, index=index)
            return one, None

    for materialize in (True, False):
        grad = jax.grad(lambda x, m=materialize: Pair.apply(x, m)[0].sum())(jnp.ones(3))
        chex.assert_trees_all_equal(grad, jnp.ones(3))
        if materialize:
            chex.assert_trees_all_equal(seen, {"two": jnp.zeros(3), "index": jnp.zeros(2, int)})
        else:
            assert seen == {"two": None, "index": None}


def test_no_gradient_flows_through_a_marked_output():
    class Marked(jaxfn.Function):
        @staticmethod
        def forward(ctx, x):
            y = 2 * x
            ctx.mark_non_differentiable(y)
            return x, y

        @staticmethod
        def backward(ctx, one, two):
            return one + two

    def loss(x):
        one, two = Marked.apply(x)
        return jnp.sum(one) + jnp.sum(5 * two)

    for run in (loss, jax.jit(loss)):
        chex.assert_trees_all_equal(jax.grad(run)(jnp.ones(3)), jnp.ones(3))
    values, index = jax.vmap(Sort.apply)(X)
    chex.assert_trees_all_equal(values, jnp.take_along_axis(X, index, -1))


def test_the_two_part_form():
    slope = jax.grad(lambda x: Cube.apply(x)[0])(2.0)
    assert slope == 12.0
    assert jax.grad(jax.grad(lambda x: Cube.apply(x)[0]))(2.0) == 12.0
    assert jax.grad(lambda x: Cube.apply(x)[1])(2.0) == 12.0


# What needs no gradient.


@pytest.mark.parametrize("argnums", [(0,), (1,), (2,), (0, 1), (0, 2), (1, 2), (0, 1, 2)], ids=str)
@pytest.mark.parametrize("jit", [False, True])
def test_only_the_wanted_gradients_are_in_the_jaxpr(argnums, jit):
    fun = jax.jit(lambda *args: linear(*args)) if jit else linear
    text = str(jax.make_jaxpr(jax.grad(total(fun), argnums))(X, W, B))
    assert text.count("dot_general[") == 1 + len({0, 1} & {*argnums})
    assert text.count("reduce_sum") == 1 + (2 in argnums)


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


def test_attributes_may_depend_on_what_is_needed():
    class Flagged(jaxfn.Function):
        @staticmethod
        def forward(ctx, x, y):
            ctx.flags = ctx.needs_input_grad
            ctx.save_for_backward(x, y)
            return x * y

        @staticmethod
        def backward(ctx, grad):
            x, y = ctx.saved_tensors
            return grad * y if ctx.flags[0] else None, grad * x if ctx.flags[1] else None

    stop = jax.lax.stop_gradient
    for order in itertools.permutations(range(3)):
        jitted = jax.jit(lambda x, y: Flagged.apply(x, y))  # traced anew

        def loss(x, y, jitted=jitted, order=order):
            calls = [(x, y), (stop(x), y), (x, stop(y))]
            return sum((i + 1) * jitted(*calls[i]) for i in order)

        assert jax.grad(loss, (0, 1))(2.0, 3.0) == (4 * 3.0, 3 * 2.0)
    # One after the other.
    assert jax.grad(jitted, 0)(2.0, 3.0) == 3.0
    assert jax.grad(jitted, 1)(2.0, 3.0) == 2.0


# The decorator.


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
