"""The ports of real `torch.autograd.Function`s: where they are called, and plain functions with
the derivatives that they are to have."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from tests.parity import functions_arrays as arrays
from tests.parity import functions_elementwise as elementwise


@dataclasses.dataclass(frozen=True)
class Port:
    """A class, by its name in both libraries.

    Attributes:
      inputs: the arguments of `apply`: NumPy arrays in float64, other arrays, and what is none.
      reference: the same function of the same arguments in plain JAX, whose derivative is the
        gradient that the class states.
      twice: whether the derivative of the gradient is the reference's, too.
    """

    name: str
    inputs: tuple[Any, ...]
    reference: Callable[..., Any]
    twice: bool = True

    @property
    def apply(self) -> Callable[..., Any]:
        module = elementwise if hasattr(elementwise, self.name) else arrays
        return getattr(module, self.name).apply

    @property
    def differentiable(self) -> tuple[int, ...]:
        """The positions of the arguments that have a gradient."""
        places = enumerate(self.inputs)
        return tuple(i for i, x in places if getattr(x, "dtype", np.dtype(bool)).kind in "fc")


def normal(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.RandomState(seed).standard_normal(shape)


def straight_through(value: jax.Array, surrogate: jax.Array) -> jax.Array:
    """`value`, with the derivative of `surrogate`."""
    return surrogate + jax.lax.stop_gradient(value - surrogate)


def spike(x):
    surrogate = x / (25 * jnp.abs(x) + 1)
    return straight_through((x > 0).astype(x.dtype), surrogate)


def soft_threshold(x, threshold):
    return jnp.where(jnp.abs(x) > threshold, x - jnp.sign(x) * threshold, 0.0)


def fake_quantize(x, scale, zero_point, low, high):
    level = jnp.round(x / scale) + zero_point
    value = (jnp.clip(level, low, high) - zero_point) * jax.lax.stop_gradient(scale)
    return straight_through(value, jnp.where((level >= low) & (level <= high), x, 0.0))


def huber(x, target, delta):
    error = jnp.abs(x - target)
    return jnp.where(error <= delta, error**2 / 2, delta * error - delta**2 / 2).sum()


def layer_norm(x, weight, bias):
    centred = x - x.mean(-1, keepdims=True)
    return centred / jnp.sqrt((centred**2).mean(-1, keepdims=True) + 1e-5) * weight + bias


def cross_entropy(logits, labels):
    one_hot = jax.nn.one_hot(labels, logits.shape[1], dtype=logits.dtype)
    return -(jax.nn.log_softmax(logits) * one_hot).sum(1).mean()


def conv1d(x, kernel):
    layout = ("NCH", "OIH", "NCH")
    return jax.lax.conv_general_dilated(x, kernel, (1,), "VALID", dimension_numbers=layout)


def max_pool(x, window):
    windows = x.reshape(*x.shape[:-1], -1, window)
    return windows.max(-1), windows.argmax(-1)


def normalize(x):
    norm = jnp.sqrt((x**2).sum(-1, keepdims=True))
    return x / norm, norm


def _spd(size: int) -> np.ndarray:
    factor = normal(size, size)
    return factor @ factor.T + np.eye(size)


X, COMPLEX = normal(4, 6), normal(3, 4) + 1j * normal(3, 4, seed=1)
LABELS = np.array([1, 0, 5, 2])

PORTS = {
    port.name: port
    for port in [
        Port("Exp", (X,), jnp.exp),
        Port("MyReLU", (X,), jax.nn.relu),
        Port("Swish", (X,), jax.nn.silu),
        Port("Cube", (X,), lambda x: (x**3, 3 * x**2)),
        Port("Round", (X,), lambda x: straight_through(jnp.round(x), x), twice=False),
        Port("ReverseGradient", (X, 0.5), lambda x, s: straight_through(x, -s * x), twice=False),
        Port("ClipGradient", (X, -0.5, 0.5), lambda x, low, high: x, twice=False),
        Port("Spike", (X,), spike, twice=False),
        Port("SoftThreshold", (X, np.array(0.5)), soft_threshold),
        Port("FakeQuantize", (X, np.array(0.1), 2, -8, 7), fake_quantize, twice=False),
        Port("SinCos", (X,), lambda x: (jnp.sin(x), jnp.cos(x))),
        Port("Multiply", (X, normal(4, 6, seed=1)), jnp.multiply),
        Port("ComplexMultiply", (COMPLEX, COMPLEX[::-1] + 1), jnp.multiply),
        Port("Huber", (X, normal(4, 6, seed=1), 0.7), huber),
        Port("Dropout", (X, X > -0.5, 0.3), lambda x, keep, rate: x * keep / (1 - rate)),
        Port("LinearFunction", (X, normal(3, 6), normal(3)), lambda x, w, b: x @ w.T + b),
        Port("LayerNorm", (X, normal(6), normal(6, seed=1)), layer_norm),
        Port("SoftmaxCrossEntropy", (X, LABELS), cross_entropy),
        Port("LogSumExp", (X, 1), lambda x, dim: jnp.log(jnp.exp(x).sum(dim))),
        Port("Sort", (X,), lambda x: (jnp.sort(x, -1), jnp.argsort(x, -1))),
        Port("IndexSelect", (X, LABELS[[0, 1, 3, 3]]), lambda x, i: jnp.take(x, i, 0)),
        Port(
            "ScatterAdd", (X, LABELS, 7), lambda x, i, n: jax.ops.segment_sum(x, i, num_segments=n)
        ),
        Port("Conv1d", (normal(2, 3, 8), normal(4, 3, 3)), conv1d),
        Port("CumProd", (X,), lambda x: jnp.exp(jnp.cumsum(jnp.log(x + 0j), -1)).real),
        Port("Inverse", (_spd(4),), lambda x: jnp.linalg.solve(x, jnp.eye(4))),
        Port("Cholesky", (_spd(4),), lambda x: jnp.linalg.cholesky((x + x.T) / 2)),
        Port("MaxPool", (X, 3), max_pool),
        Port("Normalize", (X,), normalize),
        Port(
            "Concatenate",
            (1, X, normal(4, 2, seed=1), normal(4, 1, seed=2)),
            lambda dim, *tensors: jnp.hstack(tensors),
        ),
    ]
}
