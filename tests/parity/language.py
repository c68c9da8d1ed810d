"""Operations of language models: the inputs that both sides are given, and what jaxfn computes."""

from __future__ import annotations

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

import jaxfn

Arrays = dict[str, np.ndarray]
DTYPES = ("float32", "float64")
IGNORED = -100  # PyTorch's label of a token that does not count
LABELS = np.array([3, 0, IGNORED, 6, 6, 1])
SMOOTHING = 0.1
_ROWS, _FEATURES = (4, 5, 6), (6,)
_QUERY, _KEY = (2, 5, 4, 3), (2, 7, 2, 3)  # [B, T, N, H]


def _cross_entropy(x: jax.Array, weight: jax.Array, bias: jax.Array, **options) -> jax.Array:
    kept = LABELS != IGNORED
    return jaxfn.linear_cross_entropy(x, weight, LABELS, bias, where=kept, **options)


_HEAD = ((6, 3), (3, 7), (7,))
_reduced = {
    f"cross_entropy_{reduction}": (
        functools.partial(_cross_entropy, reduction=reduction, label_smoothing=SMOOTHING),
        _HEAD,
    )
    for reduction in ("mean", "sum", "none")
}

# Each with the shapes of its arguments.
OPERATIONS: dict[str, tuple[Callable[..., jax.Array], tuple[tuple[int, ...], ...]]] = {
    "rms_norm": (jaxfn.rms_norm, (_ROWS, _FEATURES)),
    "layer_norm": (jaxfn.layer_norm, (_ROWS, _FEATURES, _FEATURES)),
    "silu": (jaxfn.silu, (_ROWS,)),
    "gelu_tanh": (jaxfn.gelu, (_ROWS,)),
    "gelu_none": (functools.partial(jaxfn.gelu, approximate=False), (_ROWS,)),
    "attention": (jaxfn.dot_product_attention, (_QUERY, _KEY, _KEY)),
    "attention_causal": (
        functools.partial(jaxfn.dot_product_attention, is_causal=True),
        (_QUERY, _KEY, _KEY),
    ),
    "attention_bias": (
        functools.partial(jaxfn.dot_product_attention, scale=0.3),
        (_QUERY, _KEY, _KEY, (1, 4, 5, 7)),
    ),
    **_reduced,
}


def inputs(name: str, dtype: str) -> list[np.ndarray]:
    """The arguments of an operation."""
    rng = np.random.RandomState(0)
    return [rng.standard_normal(shape).astype(dtype) for shape in OPERATIONS[name][1]]


def cotangent(shape: tuple[int, ...], dtype: str) -> np.ndarray:
    return np.cos(np.arange(np.prod(shape, dtype=int))).reshape(shape).astype(dtype)


def results(name: str, dtype: str) -> Arrays:
    """y, and the gradient of each argument by its place."""
    y, vjp = jax.vjp(OPERATIONS[name][0], *map(jnp.asarray, inputs(name, dtype)))
    found = {"y": y} | {
        str(i): gradient for i, gradient in enumerate(vjp(jnp.asarray(cotangent(y.shape, dtype))))
    }
    return {name: np.asarray(array) for name, array in found.items()}
