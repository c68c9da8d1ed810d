"""Cases of the cross-entropy over a vocabulary. The labels and which tokens count are fixed, the
same for each example of a batch where it may be cut in two."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np

import jaxfn
from scripts.cases.case import Case, make_case

_LABELS = np.array([2, 0, 6, 2], np.int32)
_COUNTING = np.array([True, False, True, True])


def _logits(x: jax.Array, weight: jax.Array, bias: jax.Array | None) -> jax.Array:
    z = jnp.einsum("...i,iv->...v", x, weight)
    return z if bias is None else z + bias


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
    z = _logits(x, weight, bias).astype(jnp.promote_types(x.dtype, jnp.float32))
    if soft_cap is not None:
        z = soft_cap * jnp.tanh(z / soft_cap)
    classes = z.shape[-1]
    target = jax.nn.one_hot(labels, classes, dtype=z.dtype)
    target = (1 - label_smoothing) * target + label_smoothing / classes
    losses = -jnp.sum(target * jax.nn.log_softmax(z), axis=-1)
    losses += z_loss * jax.nn.logsumexp(z, axis=-1) ** 2
    counting = np.ones(losses.shape, bool) if where is None else where
    losses = jnp.where(counting, losses, 0)
    if reduction != "none":
        losses = jnp.sum(losses) / (np.sum(counting) if reduction == "mean" else 1)
    return losses.astype(x.dtype)


def _operation(
    x: jax.Array, weight: jax.Array, bias: jax.Array | None = None, *, labels: np.ndarray, **options
) -> jax.Array:
    return jaxfn.linear_cross_entropy(x, weight, labels, bias, **options)


def _each_token(fun, x, weight, bias, **options):
    """The losses of any number of tokens of the same label."""
    labels = np.full(x.shape[:-1], 3, np.int32)
    return fun(x, weight, bias, labels=labels, reduction="none", **options)


def _case(name: str, *arrays, per_example: bool = False, **options) -> Case:
    operation, reference = (
        functools.partial(fun, labels=_LABELS, **options) for fun in (_operation, _reference)
    )
    return make_case(name, operation, reference, *arrays, per_example=per_example)


_X, _WEIGHT, _BIAS = ((4, 5), True), ((5, 7), False), ((7,), False)

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
    ),
    make_case(
        "linear_cross_entropy_none",
        functools.partial(_each_token, _operation),
        functools.partial(_each_token, _reference),
        _X,
        _WEIGHT,
        _BIAS,
    ),
)
