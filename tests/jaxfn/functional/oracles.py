"""What the rules are held against, and how near they have to come."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np


def cotangent(y: Any, seed: int = 1) -> jax.Array:
    """A standard normal cotangent for an output like `y`."""
    draw = np.random.RandomState(seed).standard_normal(y.shape)
    return jnp.asarray(draw, y.dtype)


def value_and_gradients(
    fun: Callable[..., jax.Array], args: Sequence[jax.Array], y_bar: jax.Array
) -> tuple[jax.Array, ...]:
    """(y, *gradients), one gradient for each argument, of ⟨fun(*args), ȳ⟩."""
    y, vjp = jax.vjp(fun, *args)
    return y, *vjp(y_bar)


def finite_differences(
    fun: Callable[..., jax.Array], args: Sequence[jax.Array], y_bar: jax.Array, step: float = 1e-6
) -> list[np.ndarray]:
    """The gradients by central differences in float64, an element at a time: error about 1e-9."""
    loss = jax.jit(lambda *args: jnp.vdot(fun(*args), y_bar))
    gradients = []
    for i, arg in enumerate(args):
        flat = np.asarray(arg, np.float64).ravel()
        gradient = np.empty_like(flat)
        for j in range(flat.size):
            ends = []
            for end in (flat[j] + step, flat[j] - step):
                moved = flat.copy()
                moved[j] = end
                moved = jnp.asarray(moved.reshape(arg.shape))
                ends.append(float(loss(*args[:i], moved, *args[i + 1 :])))
            gradient[j] = (ends[0] - ends[1]) / (2 * step)
        gradients.append(gradient.reshape(arg.shape))
    return gradients


def assert_close(
    actual: Sequence[Any], expected: Sequence[Any], tolerance: float, what: str = ""
) -> None:
    """Each array within `tolerance` of the expected one, relative to its largest element."""
    assert len(actual) == len(expected)
    for i, (a, e) in enumerate(zip(actual, expected, strict=True)):
        a, e = np.asarray(a, np.float64), np.asarray(e, np.float64)
        assert a.shape == e.shape, f"{what} {i}: shape {a.shape}, expected {e.shape}"
        scale = np.max(np.abs(e), initial=0.0)
        error = np.max(np.abs(a - e), initial=0.0)
        assert error <= tolerance * scale, f"{what} {i}: error {error:.3g} at scale {scale:.3g}"
