"""What is changed in place or traced elsewhere is refused."""

from __future__ import annotations

import re
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxfn

pytestmark = pytest.mark.numbers


def test_arguments_do_not_change_in_place():
    class Doubled(jaxfn.Function):
        @staticmethod
        def forward(ctx, values):
            values[0] = values[0] * 2
            return values[0]

        @staticmethod
        def backward(ctx, grad):
            return [2 * grad]

    values = [jnp.ones(3)]
    with pytest.raises(TypeError, match=r"Doubled\.forward changed an argument in place"):
        Doubled.apply(values)
    assert values[0][0] == 1
    with pytest.raises(TypeError, match="JAX arrays are immutable"):  # a NumPy array too is one
        Doubled.apply(np.ones(3))


def test_closing_over_a_traced_value():
    def forward_closes(w):
        @jaxfn.function
        def op(x):
            return x * w, None

        op.defbackward(lambda _, grad: grad)
        return op(2.0)

    def backward_closes(w):
        class Op(jaxfn.Function):
            @staticmethod
            def forward(ctx, x):
                return x

            @staticmethod
            def backward(ctx, grad):
                return grad * w

        return Op.apply(2.0)

    def argument_closes(w):
        @jaxfn.function
        def op(fun, x):
            return fun(x), None

        op.defbackward(lambda _, grad: (None, grad))
        return op(lambda x: x * w, 2.0)

    for fun, what in [
        (forward_closes, "op.forward"),
        (backward_closes, "Op.backward"),
        (argument_closes, "op: input 0 (fun)"),
    ]:
        message = re.escape(f"{what} closes over the traced value w; make it an argument")
        for transformed in (jax.grad(fun), jax.jit(fun)):
            with pytest.raises(TypeError, match=message):
                transformed(3.0)


def test_saving_a_value_that_was_traced_elsewhere():
    elsewhere = types.SimpleNamespace()

    class Op(jaxfn.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(elsewhere.value)
            return x * 2

        @staticmethod
        def backward(ctx, grad):
            return grad * ctx.saved_tensors[0]

    def loss(w):
        elsewhere.value = w * 3
        return Op.apply(w)

    with pytest.raises(jax.errors.UnexpectedTracerError) as raised:
        jax.grad(loss)(1.0)
    assert "Op uses or saves a value that was traced outside of it" in raised.value.__notes__[0]
