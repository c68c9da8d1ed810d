"""The cross-entropy of a linear map's logits, without the logits."""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.custom_derivatives import SymbolicZero
from jax.typing import ArrayLike, DTypeLike

from jaxfn._jax_internals import checkpointed_tangent
from jaxfn.functional import _token_chunks
from jaxfn.functional._checks import as_array, check_number, check_rank, concrete
from jaxfn.functional._rules import accumulator

_OP = "linear_cross_entropy"


class _Terms(NamedTuple):
    """What the loss of a token consists of."""

    label_smoothing: float
    z_loss: float
    soft_cap: float | None


def linear_cross_entropy(
    x: ArrayLike,
    weight: ArrayLike,
    labels: ArrayLike,
    bias: ArrayLike | None = None,
    *,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
    z_loss: float = 0.0,
    soft_cap: float | None = None,
    where: ArrayLike | None = None,
) -> jax.Array:
    x, weight, labels, bias, where = _checked(x, weight, labels, bias, where)
    terms = _terms(label_smoothing, z_loss, soft_cap)
    _check_labels(labels, weight.shape[1], where)
    dtype = jnp.result_type(*(a for a in (x, weight, bias) if a is not None))
    tokens = x.reshape(-1, x.shape[-1])
    labels = labels.reshape(-1)
    kept = None if where is None else where.reshape(-1)
    if reduction == "none":
        return _each(tokens, weight, bias, labels, kept, terms).reshape(x.shape[:-1]).astype(dtype)
    total = _total(tokens, weight, bias, labels, kept, terms)
    if reduction == "mean":
        count = labels.size if kept is None else jnp.sum(kept)
        total = total / jnp.maximum(count, 1).astype(total.dtype)
    return total.astype(dtype)


# --- the mathematics of a chunk --------------------------------------------------------------


def _logits(x: jax.Array, weight: jax.Array, bias: jax.Array | None) -> jax.Array:
    """x·W + b for one chunk, `[groups, rows, classes]`, in float32 at least."""
    z = lax.dot_general(
        x, weight, (((2,), (0,)), ((), ())), preferred_element_type=accumulator(weight.dtype)
    )
    return z if bias is None else z + bias


def _capped(z: jax.Array, terms: _Terms) -> jax.Array:
    return z if terms.soft_cap is None else terms.soft_cap * jnp.tanh(z / terms.soft_cap)


class _Normalizer(NamedTuple):
    """Σ exp(z) = exp(m)·s, with the largest logit m."""

    m: jax.Array
    s: jax.Array


def _normalizer(z: jax.Array, labels: jax.Array) -> _Normalizer:
    m = lax.stop_gradient(jnp.max(z, axis=-1))
    s = jnp.sum(jnp.exp(z - m[..., None]), axis=-1)
    known = (labels >= 0) & (labels < z.shape[-1])
    return _Normalizer(m, jnp.where(known, s, jnp.nan))


def _losses(
    z: jax.Array, normalizer: _Normalizer, labels: jax.Array, kept: Any, terms: _Terms
) -> jax.Array:
    # ℓ = lse − (1−ε) z_label − ε/V Σ z + ζ lse² with lse = m + log s; the logits enter as
    # differences from m, so that large ones lose no digits.
    m, s = normalizer
    smoothing = terms.label_smoothing
    log_s = jnp.log(s)
    own = jnp.take_along_axis(z, labels[..., None], axis=-1, mode="clip")[..., 0]
    loss = log_s - (1 - smoothing) * (own - m)
    if smoothing:
        loss = loss - smoothing * jnp.mean(z - m[..., None], axis=-1)
    if terms.z_loss:
        loss = loss + terms.z_loss * jnp.square(m + log_s)
    return loss if kept is None else jnp.where(kept, loss, 0)


def _slopes(
    z: jax.Array, normalizer: _Normalizer, labels: jax.Array, kept: Any, terms: _Terms
) -> jax.Array:
    # ∂ℓ/∂z_v = p_v (1 + 2 ζ lse) − (1−ε) [v is the label] − ε/V with p = exp(z − m) / s; before
    # the cap, z = c·tanh(·/c), it is that times 1 − (z/c)².
    m, s = normalizer
    factor, one = 1 / s, jnp.ones_like(s)
    if terms.z_loss:
        factor = factor * (1 + 2 * terms.z_loss * (m + jnp.log(s)))
    if kept is not None:
        factor, one = jnp.where(kept, factor, 0), kept.astype(s.dtype)
    # Nothing here is as large as z and the same in each step: JAX would keep it beside the loop.
    is_label = lax.iota(labels.dtype, z.shape[-1]) == labels[..., None]
    d = jnp.exp(z - m[..., None]) * factor[..., None]
    d = d - is_label * ((1 - terms.label_smoothing) * one)[..., None]
    if terms.label_smoothing:
        d = d - (terms.label_smoothing / z.shape[-1] * one)[..., None]
    if terms.soft_cap is not None:
        d = d * (1 - jnp.square(z / terms.soft_cap))
    return d


# --- all chunks ------------------------------------------------------------------------------


def _prepared(x: Any, weight: Any, bias: Any, labels: Any, kept: Any) -> tuple[Any, ...]:
    """The layout, (x, labels, kept) in chunks, and the weight and bias in the dtypes in which they
    are multiplied and added."""
    layout = _token_chunks.layout(x.shape[0], weight.shape[1])
    common = jnp.result_type(*(a for a in (x, weight, bias) if a is not None))
    if kept is None and layout.filled:
        kept = jnp.ones(labels.shape, bool)
    if kept is not None:
        x = jnp.where(kept[:, None], x, 0)  # 0·nan is nan in W̄, but what is masked has no part
    chunks = jax.tree.map(layout.split, (x.astype(common), labels, kept))
    wide = None if bias is None else bias.astype(accumulator(common))
    return layout, chunks, weight.astype(common), wide


def _all_losses(
    x: Any, weight: Any, bias: Any, labels: Any, kept: Any, terms: _Terms
) -> tuple[jax.Array, _Normalizer]:
    """The loss of each token, and its normaliser."""
    layout, chunks, weight, bias = _prepared(x, weight, bias, labels, kept)

    @functools.partial(jax.checkpoint, prevent_cse=False)
    def step(chunk: Any, weight: Any, bias: Any) -> Any:
        x, labels, kept = chunk
        z = _capped(_logits(x, weight, bias), terms)
        normalizer = _normalizer(z, labels)
        return _losses(z, normalizer, labels, kept, terms), normalizer

    _, found = _token_chunks.scan(
        lambda _, chunk: (None, step(chunk, weight, bias)), None, chunks, (weight, bias)
    )
    return jax.tree.map(layout.join, found)


@functools.partial(jax.custom_jvp, nondiff_argnums=(5,))
def _total(x: Any, weight: Any, bias: Any, labels: Any, kept: Any, terms: _Terms) -> jax.Array:
    return jnp.sum(_all_losses(x, weight, bias, labels, kept, terms)[0])


@functools.partial(_total.defjvp, symbolic_zeros=True)
def _total_jvp(terms: _Terms, primals: Any, tangents: Any) -> Any:
    # L = Σ ℓ is a number, so that its gradients can be had before anything is known of L̄:
    #   d = ∂ℓ/∂z,   x̄ = d Wᵀ,   W̄ = xᵀ d,   b̄ = Σ d,   and L̇ = ⟨x̄, ẋ⟩ + ⟨W̄, Ẇ⟩ + ⟨b̄, ḃ⟩,
    # of which JAX makes L̄·x̄, L̄·W̄ and L̄·b̄. A chunk's logits are made once, and never kept.
    x, weight, bias, labels, kept = primals
    dots = tangents[:3]
    needed = tuple(dot is not None and not isinstance(dot, SymbolicZero) for dot in dots)
    total, gradients = _total_and_gradients(x, weight, bias, labels, kept, terms, needed)
    total_dot = jnp.zeros_like(total)
    for gradient, dot in zip(gradients, dots, strict=True):
        if gradient is not None:
            wide = total.dtype
            total_dot = total_dot + jnp.sum(gradient.astype(wide) * dot.astype(wide))
    return total, total_dot


def _total_and_gradients(
    x: Any, weight: Any, bias: Any, labels: Any, kept: Any, terms: _Terms, needed: Any
) -> tuple[jax.Array, tuple[Any, Any, Any]]:
    layout, chunks, wide_weight, wide_bias = _prepared(x, weight, bias, labels, kept)
    wide = accumulator(wide_weight.dtype)
    of_x, of_weight, of_bias = needed

    @functools.partial(jax.checkpoint, prevent_cse=False)
    def step(sums: Any, chunk: Any, weight: Any, bias: Any) -> Any:
        weight_bar, bias_bar = sums
        x, labels, kept = chunk
        z = _capped(_logits(x, weight, bias), terms)
        normalizer = _normalizer(z, labels)
        losses = _losses(z, normalizer, labels, kept, terms)
        d = _slopes(z, normalizer, labels, kept, terms)
        if of_bias:
            bias_bar = bias_bar + jnp.sum(d, axis=1)
        d = d.astype(weight.dtype)
        x_bar = None
        if of_x:
            x_bar = _product(d, weight, ((2,), (1,)), ((), ()), wide)
        if of_weight:
            weight_bar = weight_bar + _product(x, d, ((1,), (1,)), ((0,), (0,)), wide)
        return (weight_bar, bias_bar), (losses, x_bar)

    # A group of tokens has a sum of its own: what is on several devices is added once, at the end.
    groups = layout.groups
    sums = (
        jnp.zeros((groups, *weight.shape), wide) if of_weight else None,
        jnp.zeros((groups, *bias.shape), wide) if of_bias else None,
    )
    sums, (losses, x_bar) = _token_chunks.scan(
        lambda sums, chunk: step(sums, chunk, wide_weight, wide_bias),
        sums,
        chunks,
        (wide_weight, wide_bias),
    )
    weight_bar, bias_bar = jax.tree.map(lambda total: jnp.sum(total, axis=0), sums)
    x_bar = None if x_bar is None else layout.join(x_bar)
    return jnp.sum(layout.join(losses)), (x_bar, weight_bar, bias_bar)


def _product(a: jax.Array, b: jax.Array, contracted: Any, batch: Any, dtype: DTypeLike) -> Any:
    return lax.dot_general(a, b, (contracted, batch), preferred_element_type=dtype)


@functools.partial(jax.custom_jvp, nondiff_argnums=(5,))
def _each(x: Any, weight: Any, bias: Any, labels: Any, kept: Any, terms: _Terms) -> jax.Array:
    return _all_losses(x, weight, bias, labels, kept, terms)[0]


@functools.partial(_each.defjvp, symbolic_zeros=True)
def _each_jvp(terms: _Terms, primals: Any, tangents: Any) -> Any:
    # ℓ̇ = Σ d (ẋ W + x Ẇ + ḃ) over the classes; what JAX transposes takes the cotangents of the
    # losses. Kept are the normalisers, two numbers for each token: d is made of them again.
    x, weight, bias, labels, kept = primals
    losses, normalizer = _all_losses(x, weight, bias, labels, kept, terms)
    dots = tuple(None if isinstance(dot, SymbolicZero) else dot for dot in tangents[:3])
    if all(dot is None for dot in dots):
        return losses, jnp.zeros_like(losses)
    return losses, _all_tangents(primals, normalizer, dots, terms)


def _all_tangents(primals: Any, normalizer: _Normalizer, dots: Any, terms: _Terms) -> jax.Array:
    layout, chunks, weight, bias = _prepared(*primals)
    wide = accumulator(weight.dtype)
    x_dot, weight_dot, bias_dot = (None if dot is None else dot.astype(wide) for dot in dots)
    # A copy for each group, as above: the sum over them is what this is transposed to.
    weight_dot, bias_dot = (
        None if dot is None else jnp.broadcast_to(dot, (layout.groups, *dot.shape))
        for dot in (weight_dot, bias_dot)
    )
    if x_dot is not None:
        x_dot = layout.split(x_dot)

    @checkpointed_tangent(prevent_cse=False)
    def step(chunk: Any, normalizer: Any, weight: Any, bias: Any, dots: Any) -> jax.Array:
        x, labels, kept = chunk
        x_dot, weight_dot, bias_dot = dots
        z = _capped(_logits(x, weight, bias), terms)
        d = _slopes(z, normalizer, labels, kept, terms)
        z_dot = []
        if x_dot is not None:
            z_dot.append(_product(x_dot, weight.astype(wide), ((2,), (0,)), ((), ()), wide))
        if weight_dot is not None:
            z_dot.append(_product(x.astype(wide), weight_dot, ((2,), (1,)), ((0,), (0,)), wide))
        if bias_dot is not None:
            z_dot.append(jnp.broadcast_to(bias_dot[:, None], d.shape))
        return jnp.sum(d * sum(z_dot[1:], z_dot[0]), axis=-1)

    xs = chunks, jax.tree.map(layout.split, normalizer), x_dot
    _, losses_dot = _token_chunks.scan(
        lambda _, xs: (None, step(*xs[:2], weight, bias, (xs[2], weight_dot, bias_dot))),
        None,
        xs,
        (weight, bias),
    )
    return layout.join(losses_dot)


# --- the arguments ---------------------------------------------------------------------------


def _checked(x: Any, weight: Any, labels: Any, bias: Any, where: Any) -> tuple[Any, ...]:
    x, weight = as_array(_OP, "x", x), as_array(_OP, "weight", weight)
    labels = jnp.asarray(labels)
    bias = None if bias is None else as_array(_OP, "bias", bias)
    where = None if where is None else jnp.asarray(where)
    return x, weight, labels, bias, where


def _terms(label_smoothing: Any, z_loss: Any, soft_cap: Any) -> _Terms:
    return _Terms(float(label_smoothing), float(z_loss), soft_cap)


def _check_labels(labels, classes, where):
    pass
