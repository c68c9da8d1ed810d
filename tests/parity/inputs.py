"""The inputs that PyTorch and jaxfn are both given; numpy alone, and the same on every machine
(`RandomState`'s streams are frozen)."""

from __future__ import annotations

import numpy as np

DTYPES = ("float32", "float64")

LEARNING_RATE = 0.05
MOMENTUM = 0.9
STEPS = 10

REGRESSION_RATE = 1e-6
REGRESSION_STEPS = 500


def linear(dtype: str) -> dict[str, np.ndarray]:
    """x, weight in PyTorch's layout [out, in], bias, and the cotangent y_bar."""
    shapes = {"x": (6, 4, 20), "weight": (30, 20), "bias": (30,), "y_bar": (6, 4, 30)}
    return _normal(shapes, dtype)


def special_values(dtype: str) -> dict[str, np.ndarray]:
    """nan, infinities, zeros, subnormal and ordinary numbers, and a cotangent."""
    tiny = float(np.finfo(dtype).smallest_normal) / 4
    x = [np.nan, np.inf, -np.inf, 0.0, -0.0, tiny, -tiny, 1.5, -1.5, 1e30, -1e30]
    y_bar = np.arange(1.0, len(x) + 1)
    return {"x": np.array(x, dtype), "y_bar": y_bar.astype(dtype)}


def membrane() -> dict[str, np.ndarray]:
    """Membrane potentials around the threshold 0, which is among them, and a cotangent."""
    x = np.linspace(-2, 2, 33)
    return {"x": x.astype("float32"), "y_bar": np.cos(7 * x).astype("float32")}


def lenet(dtype: str) -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray]:
    """Weights by PyTorch's names and in its layouts, images NCHW, and labels."""
    rng = np.random.RandomState(0)
    shapes = {"conv1": (6, 1, 3, 3), "conv2": (16, 6, 3, 3)}
    shapes |= {"fc1": (120, 576), "fc2": (84, 120), "fc3": (10, 84)}
    weights = {}
    for layer, shape in shapes.items():
        bound = 1 / np.sqrt(np.prod(shape[1:]))
        weights[f"{layer}.weight"] = rng.uniform(-bound, bound, shape).astype(dtype)
        weights[f"{layer}.bias"] = rng.uniform(-bound, bound, shape[0]).astype(dtype)
    images = rng.uniform(0, 1, (16, 1, 32, 32)).astype(dtype)
    return weights, images, rng.randint(10, size=16)


def regression(dtype: str) -> dict[str, np.ndarray]:
    """x, y and the weights of the original experiment, in PyTorch's use of them (x @ w1 @ w2)."""
    shapes = {"x": (64, 1000), "y": (64, 10), "w1": (1000, 100), "w2": (100, 10)}
    return _normal(shapes, dtype)


def _normal(shapes: dict[str, tuple[int, ...]], dtype: str) -> dict[str, np.ndarray]:
    # Rounded to float32 first: both dtypes start from the same numbers.
    rng = np.random.RandomState(0)
    return {
        name: rng.standard_normal(shape).astype("float32").astype(dtype)
        for name, shape in shapes.items()
    }
