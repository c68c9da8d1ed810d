"""The operations and inputs that the tests of `jaxfn.Function` share."""

from __future__ import annotations

import chex
import jax
import jax.numpy as jnp
import numpy as np

import jaxfn
from tests.parity.functions_arrays import LinearFunction

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
