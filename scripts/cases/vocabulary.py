"""Cases of the cross-entropy over a vocabulary. Labels, and which tokens count, are fixed: of any
number of tokens they go round, and where a batch may be cut in two all have the same."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import jaxfn
from scripts.cases.case import Case, make_case

_LABELS = np.array([2, 0, 6, 2], np.int32)
_COUNTING = np.array([True, False, True, True])


def _go_round(values: Any, x: jax.Array) -> np.ndarray:
    """One of them for each token."""
    return np.resize(values, x.shape[:-1])


def _reference(
    x: jax.Array,
    weight: jax.Array,
    bias: jax.Array | None = None,
    *,
    labels: np.ndarray,
    where: np.ndarray | None = None,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
    z_loss: float = 0.0,
    soft_cap: float | None = None,
) -> jax.Array:
    """The cross-entropy of a distribution, not of a label, with all logits in memory."""
    z = jnp.einsum("...i,iv->...v", x, weight)
    z = (z if bias is None else z + bias).astype(jnp.promote_types(x.dtype, jnp.float32))
    if soft_cap is not None:
        z = soft_cap * jnp.tanh(z / soft_cap)
    classes = z.shape[-1]
    target = jax.nn.one_hot(_go_round(labels, x), classes, dtype=z.dtype)
    target = (1 - label_smoothing) * target + label_smoothing / classes
    losses = -jnp.sum(target * jax.nn.log_softmax(z), axis=-1)
    losses += z_loss * jax.nn.logsumexp(z, axis=-1) ** 2
    counting = _go_round([True] if where is None else where, x)
    losses = jnp.where(counting, losses, 0)
    if reduction != "none":
        losses = jnp.sum(losses) / (np.sum(counting) if reduction == "mean" else 1)
    return losses.astype(x.dtype)


def _operation(
    x: jax.Array,
    weight: jax.Array,
    bias: jax.Array | None = None,
    *,
    labels: np.ndarray,
    where: np.ndarray | None = None,
    **options,
) -> jax.Array:
    where = None if where is None else _go_round(where, x)
    labels = _go_round(labels, x)
    return jaxfn.linear_cross_entropy(x, weight, labels, bias, where=where, **options)


def _small_logits(x: jax.Array, weight: jax.Array, *bias: jax.Array) -> tuple[jax.Array, ...]:
    """Not so large that the rounding of the logits is what a gradient consists of."""
    return x, weight / 4, *bias


def _case(name: str, *arrays, labels: np.ndarray = _LABELS, every: bool = False, **options) -> Case:
    operation, reference = (
        functools.partial(fun, labels=labels, **options) for fun in (_operation, _reference)
    )
    per_example = options.get("reduction") == "none"
    return make_case(
        name,
        operation,
        reference,
        *arrays,
        per_example=per_example,
        timed_shapes=_TIMED[: len(arrays)],
        every_transformation=every,
        prepare=_small_logits,
    )


_TIMED = ((512, 128), (128, 8192), (8192,))
_X, _WEIGHT, _BIAS = ((4, 5), True), ((5, 7), False), ((7,), False)

# There are two rules: of a number, and of a loss for each token.
CASES: tuple[Case, ...] = (
    _case("linear_cross_entropy", _X, _WEIGHT),
    _case("linear_cross_entropy_sum", _X, _WEIGHT, _BIAS, reduction="sum"),
    _case(
        "linear_cross_entropy_all_terms",
        _X,
        _WEIGHT,
        _BIAS,
        where=_COUNTING,
        label_smoothing=0.1,
        z_loss=0.01,
        soft_cap=2.0,
        every=True,
    ),
    _case(
        "linear_cross_entropy_none",
        _X,
        _WEIGHT,
        _BIAS,
        labels=np.array([3], np.int32),
        reduction="none",
        every=True,
    ),
)
