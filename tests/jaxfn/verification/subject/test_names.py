"""A function's own names for its arguments."""

import functools

import jax
import jax.numpy as jnp
import pytest

import jaxfn
from jaxfn.verification.subject.coordinates import Arguments
from jaxfn.verification.subject.names import parameter_names, with_names


class Square(jaxfn.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x * x

    @staticmethod
    def backward(ctx, g):
        (x,) = ctx.saved_tensors
        return 2 * x * g


class Layer:
    def __call__(self, inputs, mask=None):
        return inputs


@jax.custom_vjp
def ruled(x, weight):
    return x @ weight


@pytest.mark.parametrize(
    ("fun", "count", "names"),
    [
        (lambda x, y: x + y, 2, ("x", "y")),
        (ruled, 2, ("x", "weight")),
        (Square.apply, 1, ("x",)),
        (functools.partial(ruled, None), 1, ("weight",)),
        (Layer(), 1, ("inputs",)),
        (Layer().__call__, 2, ("inputs", "mask")),
        (lambda *args: args, 2, ("args[0]", "args[1]")),
        (lambda x, *rest: x, 3, ("x", "args[1]", "args[2]")),
        (max, 1, ("args[0]",)),
    ],
)
def test_names(fun, count, names):
    assert parameter_names(fun, count) == names


def test_paths_begin_with_names():
    args = ({"w": jnp.ones(2)}, [1, jnp.ones(2)], jnp.ones(()))
    paths = Arguments(args, ("params", "inputs", "t")).paths
    assert paths == ["params['w']", "inputs[0]", "inputs[1]", "t"]


def test_a_signature_for_a_function_of_any_arguments():
    assert parameter_names(with_names(lambda *a: a, ("x", "t")), 2) == ("x", "t")
    assert parameter_names(with_names(lambda *a: a, ("x", "args[1]")), 2) == ("args[0]", "args[1]")
