"""The cross-entropy of some tokens' logits, `[rows, classes]`, and its derivative."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from jaxfn.functional._rules import accumulator


class Terms(NamedTuple):
    """What the loss of a token consists of."""

    label_smoothing: float
    z_loss: float
    soft_cap: float | None


class Statistics(NamedTuple):
    """Of a token's logits z: Σ exp(z) is exp(m)·s with the largest, m, and `own` is its label's."""

    m: jax.Array
    s: jax.Array
    own: jax.Array


def logits(x: jax.Array, weight: jax.Array, bias: jax.Array | None, terms: Terms) -> jax.Array:
    """c·tanh((x·W + b) / c), or without a cap x·W + b, of one chunk in float32 at least."""
    z = product(x, weight, (1, 0))
    z = z if bias is None else z + bias
    return z if terms.soft_cap is None else terms.soft_cap * jnp.tanh(z / terms.soft_cap)


def product(a: jax.Array, b: jax.Array, contracted: tuple[int, int]) -> jax.Array:
    i, j = contracted
    wide = accumulator(jnp.result_type(a, b))
    return lax.dot_general(a, b, (((i,), (j,)), ((), ())), preferred_element_type=wide)


def statistics(z: jax.Array, labels: jax.Array) -> Statistics:
    own = jnp.take_along_axis(z, labels[:, None], axis=1, mode="clip")[:, 0]
    # The maximum with `own`, one of them, changes nothing, but the exponentials have to wait for
    # it: nothing reads z after them, and they take its place in the memory.
    m = lax.stop_gradient(jnp.maximum(jnp.max(z, axis=1), own))
    s = jnp.sum(jnp.exp(z - m[:, None]), axis=1)
    known = (labels >= 0) & (labels < z.shape[1])
    return Statistics(m, jnp.where(known, s, jnp.nan), own)


def losses(z: jax.Array, of: Statistics, kept: Any, terms: Terms) -> jax.Array:
    # ℓ = lse − (1−ε) z_label − ε/V Σ z + ζ lse² with lse = m + log s; the logits enter as
    # differences from m, so that large ones lose no digits.
    log_s = jnp.log(of.s)
    loss = log_s - (1 - terms.label_smoothing) * (of.own - of.m)
    if terms.label_smoothing:
        loss = loss - terms.label_smoothing * jnp.mean(z - of.m[:, None], axis=1)
    if terms.z_loss:
        loss = loss + terms.z_loss * jnp.square(of.m + log_s)
    return loss if kept is None else jnp.where(kept, loss, 0)


def slopes(z: jax.Array, of: Statistics, labels: Any, kept: Any, terms: Terms) -> jax.Array:
    # d_v = ∂ℓ/∂z_v = p_v (1 + 2 ζ lse) − (1−ε) [v is the label] − ε/V with p = exp(z − m) / s;
    # before the cap, z = c·tanh(·/c), it is that times 1 − (z/c)².
    s, factor = of.s, jnp.ones_like(of.s)
    if kept is not None:
        s, factor = jnp.where(kept, s, 1), kept.astype(s.dtype)
    one = factor
    if terms.z_loss:
        factor = factor * (1 + 2 * terms.z_loss * (of.m + jnp.log(s)))
    # No array as large as z is the same in each step: JAX would keep it beside the loop.
    is_label = lax.iota(labels.dtype, z.shape[1]) == labels[:, None]
    d = jnp.exp(z - of.m[:, None]) * (factor / s)[:, None]
    d = d - is_label * ((1 - terms.label_smoothing) * one)[:, None]
    if terms.label_smoothing:
        d = d - (terms.label_smoothing / z.shape[1] * one)[:, None]
    return d if terms.soft_cap is None else d * (1 - jnp.square(z / terms.soft_cap))
