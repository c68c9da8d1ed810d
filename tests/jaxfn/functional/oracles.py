"""What the rules are held against, and how near they have to come."""

from __future__ import annotations

import functools
import re
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


@functools.cache
def compiled(fun: Callable[..., jax.Array]) -> Callable[..., Any]:
    """`value_and_gradients` as a function of ȳ and the arguments, compiled once for all tests."""
    return jax.jit(lambda y_bar, *args: value_and_gradients(fun, args, y_bar))


def exact(reference: Callable[..., jax.Array], args: Sequence[Any], y_bar: Any) -> list[np.ndarray]:
    """(y, *gradients) of the reference, differentiated by JAX, in float64."""
    with jax.enable_x64(True):
        wide = [np.asarray(array, np.float64) for array in (y_bar, *args)]
        return [np.asarray(array) for array in compiled(reference)(*wide)]


def finite_differences(
    fun: Callable[..., jax.Array], args: Sequence[jax.Array], y_bar: jax.Array, step: float = 1e-6
) -> list[np.ndarray]:
    """The gradients by central differences in float64, an element at a time: error about 1e-9."""
    fun, y_bar = jax.jit(fun), np.asarray(y_bar)
    args = [np.asarray(arg, np.float64) for arg in args]
    gradients = []
    for i, arg in enumerate(args):
        gradient = np.empty(arg.size)
        for j in range(arg.size):
            ends = []
            for end in (step, -step):
                moved = arg.copy()
                moved.flat[j] += end
                ends.append(np.vdot(fun(*args[:i], moved, *args[i + 1 :]), y_bar))
            gradient[j] = (ends[0] - ends[1]) / (2 * step)
        gradients.append(gradient.reshape(arg.shape))
    return gradients


def dtypes_of_sums(fun: Callable[..., Any], *args: Any) -> list[str]:
    """The dtype of each sum in what `fun` is traced to: "f32", "bf16". Its result does not tell:
    on some platforms XLA sums 16-bit numbers in float32 on its own."""
    return re.findall(r":(\w+)\[[\d,]*\] = reduce_sum", str(jax.make_jaxpr(fun)(*args)))


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
