"""What an operation takes: optional and keyword arguments, pytrees, what is no array."""

from __future__ import annotations

import functools
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxfn
from tests.jaxfn.function.operations import B, Scaled, W, X, assert_close, linear, plain_linear
from tests.parity.functions_elementwise import ReverseGradient, Spike

pytestmark = pytest.mark.numbers


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
