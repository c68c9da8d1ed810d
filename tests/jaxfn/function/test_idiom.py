"""`jaxfn.Function`: the class, its two-part form, and how it is called."""

from __future__ import annotations

import re

import jax
import pytest

import jaxfn
from tests.jaxfn.function.operations import B, W, X
from tests.parity.functions_arrays import LinearFunction
from tests.parity.functions_elementwise import Cube


def test_the_two_part_form():
    slope = jax.grad(lambda x: Cube.apply(x)[0])(2.0)
    assert slope == 12.0
    assert jax.grad(jax.grad(lambda x: Cube.apply(x)[0]))(2.0) == 12.0
    assert jax.grad(lambda x: Cube.apply(x)[1])(2.0) == 12.0


def test_the_two_part_form_is_guarded_too():
    class Twice(jaxfn.Function):
        @staticmethod
        def forward(x):
            return 2 * x

        @staticmethod
        def setup_context(ctx, inputs, output):
            pass

        @staticmethod
        def backward(ctx, grad):
            return 2 * grad

    class Thrice(Twice):
        @staticmethod
        def forward(x):
            return Twice.forward(x) + x  # inside an operation it is a function like any other

        @staticmethod
        def backward(ctx, grad):
            return 3 * grad

    with pytest.raises(TypeError, match=r"Twice\.forward was called directly"):
        Twice.forward(1.0)
    assert Thrice.apply(2.0) == 6.0
    assert jax.grad(Thrice.apply)(2.0) == 3.0


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: LinearFunction.apply(X), "LinearFunction: missing a required argument: 'weight'"),
        (lambda: LinearFunction.apply(X, W, B, 1), "LinearFunction: too many positional arguments"),
        (lambda: LinearFunction.apply(X, w=W), "LinearFunction: "),
        (
            lambda: LinearFunction.forward(None, X, W),
            "LinearFunction.forward was called directly, without its backward: call "
            "LinearFunction.apply(...)",
        ),
        (
            lambda: LinearFunction(),
            "LinearFunction is not instantiated: call LinearFunction.apply(...)",
        ),
        (lambda: jaxfn.function(3), "function: expected forward to be callable, got int"),
        (
            lambda: jaxfn.function(lambda x: x)(1.0),
            "<lambda> has neither a backward nor a jvp rule",
        ),
    ],
)
def test_wrong_calls(call, message):
    with pytest.raises(TypeError, match=re.escape(message)):
        call()


def test_wrong_classes():
    with pytest.raises(
        TypeError, match=r"Empty.forward takes no ctx: expected forward\(ctx, ...\)"
    ):

        class Empty(jaxfn.Function):
            @staticmethod
            def forward():
                return 0.0

    with pytest.raises(TypeError, match="Batched has a vmap rule: expected forward"):

        class Batched(jaxfn.Function):
            @staticmethod
            def forward(ctx, x):
                return x

            @staticmethod
            def vmap(info, in_dims, x):
                return x, 0

    class Half(jaxfn.Function):
        @staticmethod
        def forward(ctx, x):
            return x

    with pytest.raises(TypeError, match="Half has neither a backward nor a jvp rule"):
        Half.apply(1.0)
