"""Quantisers and discrete choices: the inputs that both sides are given, and what jaxfn computes.

Arrays travel as float64, which holds the numbers of every dtype; each side rounds to its own, which
changes nothing.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import jaxfn

Arrays = dict[str, np.ndarray]
DTYPES = ("float16", "bfloat16", "float32", "float64")


class Grid(NamedTuple):
    """A range of integers and what stands for 0, with the scale or one scale for each channel."""

    scale: tuple[float, ...]
    zero_point: int
    low: int
    high: int


# Scales that are powers of two, so that ties occur, and others.
GRIDS = {
    "int8": Grid((0.0625,), 0, -128, 127),
    "uint8": Grid((0.1,), 131, 0, 255),
    "four_bits": Grid((0.3,), -2, -8, 7),
}
CHANNELS = Grid((0.25, 0.1, 0.7), 3, -8, 7)
LEARNED = {"whole": Grid((0.3,), 0, -8, 7), "channels": Grid((0.5, 0.3, 0.7), 0, -8, 7)}
GRAD_FACTOR = 0.125
TEMPERATURE = 0.7


def values(dtype: str, grid: Grid) -> dict[str, np.ndarray]:
    """x of every kind, in rows for the scales, and a cotangent."""
    rng = np.random.RandomState(0)
    rows = []
    for scale in grid.scale:
        ties = (np.arange(grid.low, grid.high, 7) + 0.5 - grid.zero_point) * scale
        ends = (np.array([grid.low, grid.high]) - grid.zero_point)[:, None] * scale
        around = (ends + np.array([-0.75, -0.5, -0.25, 0, 0.25, 0.5, 0.75]) * scale).ravel()
        drawn = rng.standard_normal(60) * scale * (grid.high - grid.low) / 2
        special = [0.0, -0.0, -scale / 4, 300.0, -300.0]
        # With a scale for each channel PyTorch makes an integer of +inf first, the least there is.
        special += [np.nan, -np.inf] + [np.inf] * (len(grid.scale) == 1)
        rows.append(np.concatenate([ties, around, drawn, special]))
    x = np.array(rows)
    # Of a positive cotangent PyTorch's product with the mask is no −0.
    given = {"x": x, "y_bar": 2 + np.cos(np.arange(x.size)).reshape(x.shape)}
    return {name: np.asarray(a, jnp.dtype(dtype)).astype(float) for name, a in given.items()}


def learned_values(dtype: str, grid: Grid) -> dict[str, np.ndarray]:
    """x and a cotangent for the learned step size.

    PyTorch stops the gradient where x rounds to no level, the paper where x is outside of the
    outermost two: half a step between is left out, and so are ties, for PyTorch multiplies by 1/s.
    """
    v = np.linspace(grid.low - 4, grid.high + 4, 100)[:, None] * np.ones(len(grid.scale))
    between = ((v > grid.high - 0.01) & (v < grid.high + 0.51)) | (
        (v < grid.low + 0.01) & (v > grid.low - 0.51)
    )
    ties = np.abs(v - np.floor(v) - 0.5) < 0.01
    x = v[~(between | ties).any(1)] * np.array(grid.scale)
    given = {"x": x, "y_bar": np.cos(np.arange(x.size)).reshape(x.shape)}
    return {name: np.asarray(a, jnp.dtype(dtype)).astype(float) for name, a in given.items()}


def logits(dtype: str) -> dict[str, np.ndarray]:
    """Logits and a cotangent."""
    rng = np.random.RandomState(0)
    given = {name: rng.standard_normal((6, 10)) for name in ("logits", "y_bar")}
    return {name: a.astype("float32").astype(dtype) for name, a in given.items()}


def fake_quantize(dtype: str, grid: Grid) -> Arrays:
    """y and x̄; the scales are float32, as PyTorch's."""
    given = {name: jnp.asarray(a, dtype) for name, a in values(dtype, grid).items()}
    scale = jnp.asarray(grid.scale, "float32")
    if len(grid.scale) == 1:
        scale, axis = scale[0], None
    else:
        axis = 0

    def fun(x):
        limits = {"quant_min": grid.low, "quant_max": grid.high}
        return jaxfn.fake_quantize(x, scale, grid.zero_point, axis=axis, **limits)

    y, vjp = jax.vjp(fun, given["x"])
    return {"y": np.asarray(y, float), "x_bar": np.asarray(vjp(given["y_bar"])[0], float)}


def lsq(dtype: str, grid: Grid) -> Arrays:
    """y and the gradients of x and the step size."""
    given = {name: jnp.asarray(a, dtype) for name, a in learned_values(dtype, grid).items()}
    step = jnp.asarray(grid.scale, "float32")
    step, axis = (step[0], None) if len(grid.scale) == 1 else (step, 1)

    def fun(x, step):
        return jaxfn.lsq(x, step, bits=4, axis=axis, grad_scale=GRAD_FACTOR)

    y, vjp = jax.vjp(fun, given["x"], step)
    x_bar, step_bar = vjp(given["y_bar"])
    results = {"y": y, "x_bar": x_bar, "step_bar": jnp.atleast_1d(step_bar)}
    return {name: np.asarray(array, float) for name, array in results.items()}


def gumbel_softmax(dtype: str, hard: bool, noise: np.ndarray) -> Arrays:
    """y and the gradient of the logits, with PyTorch's noise in place of ours."""
    given = {name: jnp.asarray(a, dtype) for name, a in logits(dtype).items()}
    key = jax.random.key(0)
    ours = jax.random.gumbel(key, noise.shape, "float32")

    def fun(logits):
        other = logits + (jnp.asarray(noise, dtype) - ours)
        return jaxfn.gumbel_softmax(key, other, temperature=TEMPERATURE, hard=hard)

    y, vjp = jax.vjp(fun, given["logits"])
    return {"y": np.asarray(y), "logits_bar": np.asarray(vjp(given["y_bar"])[0])}
