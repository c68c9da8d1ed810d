"""A gradient of a wrong shape, dtype, number or structure is named."""

from __future__ import annotations

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxfn
from tests.parity.functions_arrays import LinearFunction

pytestmark = pytest.mark.numbers

X, W, B = jnp.ones((64, 20)), jnp.ones((30, 20)), jnp.ones(30)


def returning(*gradients):
    """`LinearFunction` with a backward rule that returns these."""

    class Linear(LinearFunction):
        @staticmethod
        def backward(ctx, grad):
            return gradients if len(gradients) != 1 else gradients[0]

    Linear.__name__ = "LinearFunction"
    return Linear.apply


X_BAR, W_BAR, B_BAR = jnp.ones_like(X), jnp.ones_like(W), jnp.ones_like(B)
CALL = "LinearFunction.backward returned "


@pytest.mark.parametrize(
    ("gradients", "error", "message"),
    [
        (
            (X_BAR, W_BAR.T, B_BAR),
            ValueError,
            "for input 1 (weight) a float32[20,30], expected float32[30,20]",
        ),
        (
            (X_BAR, W_BAR, jnp.ones((64, 30))),
            ValueError,
            "for input 2 (bias) a float32[64,30], expected float32[30]: broadcasting expanded the "
            "argument, so sum over axis 0",
        ),
        (
            (X_BAR, jnp.ones((2, 3, 30, 20)), B_BAR),
            ValueError,
            "for input 1 (weight) a float32[2,3,30,20], expected float32[30,20]: broadcasting "
            "expanded the argument, so sum over axes (0, 1)",
        ),
        (
            (X_BAR, W_BAR.astype("bfloat16"), B_BAR),
            TypeError,
            "for input 1 (weight) a bfloat16[30,20], expected float32[30,20]: cast it, as with "
            ".astype(float32)",
        ),
        (
            (X_BAR, W_BAR + 1j, B_BAR),
            TypeError,
            "for input 1 (weight) a complex64[30,20], expected float32[30,20]: the gradient of a "
            "real argument is the real part",
        ),
        (
            (X_BAR, jnp.ones((30, 20), int), B_BAR),
            TypeError,
            "for input 1 (weight) an int32[30,20], expected float32[30,20]",
        ),
        (
            (X_BAR, W_BAR, {"bias": B_BAR}),
            TypeError,
            "for input 2 (bias) {'bias': 'float32[30]'}, expected float32[30]",
        ),
        ((X_BAR, {}, B_BAR), TypeError, "for input 1 (weight) {}, expected float32[30,20]"),
        ((X_BAR, "w", B_BAR), TypeError, "for input 1 (weight) a str, expected float32[30,20]"),
        (
            (X_BAR, W_BAR),
            ValueError,
            "2 values, expected 3, for input 0 (input), input 1 (weight), input 2 (bias); None "
            "stands for zeros",
        ),
        (
            (X_BAR,),
            ValueError,
            "1 value, expected 3, for input 0 (input), input 1 (weight), input 2 (bias); None "
            "stands for zeros",
        ),
        (
            (X_BAR, W_BAR, B_BAR, B_BAR),
            ValueError,
            "4 values, expected 3, for input 0 (input), input 1 (weight), input 2 (bias); None "
            "stands for zeros",
        ),
        (([X_BAR, W_BAR, B_BAR],), ValueError, "1 value, expected 3"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_wrong_gradient_is_named(gradients, error, message):
    def loss(*args):
        return jnp.sum(returning(*gradients)(*args))

    for grad in (jax.grad(loss, (0, 1, 2)), jax.jit(jax.grad(loss)), jax.grad(jax.jit(loss))):
        with pytest.raises(error, match=re.escape(CALL + message)):
            grad(X, W, B)


def test_values_that_pass():
    def loss(*args):
        return jnp.sum(returning(X_BAR, None, B_BAR, None)(*args))  # None more than needed

    grads = jax.grad(loss, (0, 1, 2))(X, W, B)
    assert [float(g.sum()) for g in grads] == [64 * 20, 0, 30]
    # An argument that is left to its default needs no gradient in the answer, as in PyTorch.
    assert jax.grad(lambda w: jnp.sum(returning(X_BAR, W_BAR)(X, w)))(W).shape == W.shape
    # NumPy arrays and Python numbers are as good as JAX arrays.
    numpy = returning(np.ones(X.shape, np.float32), None)
    assert jax.grad(lambda x: jnp.sum(numpy(x, W)))(X).dtype == X.dtype


def scale(backward):
    class Scale(jaxfn.Function):
        @staticmethod
        def forward(ctx, x, other):
            return x * 2

    Scale.backward = staticmethod(backward)
    return Scale.apply


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (
            "text",
            "for input 1 (other) a float32[], expected None: what is no array has no gradient",
        ),
        (
            jnp.arange(3),
            "for input 1 (other) a float32[], expected None: int32[3] has no gradient",
        ),
        (None, "for input 1 (other) float32[], expected None"),
        (
            {"w": jnp.ones(3), "n": "name"},
            "for input 1 (other) float32[], expected {'n': 'None', 'w': 'float32[3]'}",
        ),
    ],
    ids=["text", "integers", "none", "tree"],
)
def test_a_gradient_of_what_has_none(other, message):
    operation = scale(lambda ctx, grad: (2 * grad, jnp.float32(1.0)))
    with pytest.raises(TypeError, match=re.escape(f"Scale.backward returned {message}")):
        jax.grad(lambda x: operation(x, other))(1.0)


def test_the_gradient_of_a_python_number_is_dropped():
    # The same rule has to do for an operation that is called with an array there.
    operation = scale(lambda ctx, grad: (2 * grad, jnp.float32(1.0)))
    assert jax.grad(operation)(1.0, 2.0) == 2.0
    assert jax.grad(operation, 1)(1.0, 2.0) == 1.0


def test_a_wrong_gradient_inside_a_tree_is_named_by_its_path():
    operation = scale(lambda ctx, grad: (grad, {"a": [None, jnp.ones(2)], "b": None}))
    other = {"a": [jnp.ones(3), jnp.ones(3)], "b": {"c": jnp.ones(3)}}
    message = "for input 1 (other) at ['a'][1] a float32[2], expected float32[3]"
    with pytest.raises(ValueError, match=re.escape(message)):
        jax.grad(operation, 1)(1.0, other)


def test_a_column_that_broadcasting_expanded():
    operation = scale(lambda ctx, grad: (grad, jnp.ones((5, 4, 3))))
    message = (
        "a float32[5,4,3], expected float32[4,1]: broadcasting expanded the argument, so sum over "
        "axes (0, 2) and reshape it to [4, 1]"
    )
    with pytest.raises(ValueError, match=re.escape(message)):
        jax.grad(operation, 1)(1.0, jnp.ones((4, 1)))
