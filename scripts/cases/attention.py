"""Cases of attention."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import jaxfn
from scripts.cases.case import Case, make_case


def attention_reference(
    query: jax.Array,
    key: jax.Array,
    value: jax.Array,
    bias: jax.Array | None = None,
    mask: Any = None,
    *,
    scale: Any = None,
    is_causal: bool = False,
    query_seq_lengths: Any = None,
    key_value_seq_lengths: Any = None,
    local_window_size: Any = None,
) -> jax.Array:
    """All weights in memory, each head of keys repeated for its group."""
    wide = jnp.promote_types(query.dtype, jnp.float32)
    group = query.shape[2] // key.shape[2]
    key, value = (jnp.repeat(a, group, axis=2) for a in (key, value))
    scale = 1 / query.shape[-1] ** 0.5 if scale is None else scale
    s = scale * jnp.einsum("btnh,bsnh->bnts", query, key, preferred_element_type=wide)
    s = s if bias is None else s + bias
    t, at = np.arange(s.shape[2])[:, None], np.arange(s.shape[3])[None, :]
    keep = np.ones((1, 1, *s.shape[2:]), bool)
    if is_causal:
        keep = keep & (at <= t)
    if local_window_size is not None:
        window = local_window_size
        left, right = (window, window) if isinstance(window, int) else window
        keep = keep & (at >= t - left) & (at <= t + right)
    for position, lengths in ((t, query_seq_lengths), (at, key_value_seq_lengths)):
        if lengths is not None:
            keep = keep & (position < jnp.asarray(lengths)[:, None, None, None])
    if mask is not None:
        keep = keep & mask
    s = jnp.where(keep, s, -jnp.inf)
    largest = jax.lax.stop_gradient(jnp.max(s, axis=-1, keepdims=True))
    p = jnp.exp(s - jnp.where(largest == -jnp.inf, 0, largest))
    total = jnp.sum(p, axis=-1, keepdims=True)
    p = (p / jnp.where(total == 0, 1, total)).astype(value.dtype)
    return jnp.einsum("bnts,bsnh->btnh", p, value)


def _case(name: str, *arrays: Any, every: bool = True, timed: Any = (), **options: Any) -> Case:
    operation, reference = (
        functools.partial(fun, **options)
        for fun in (jaxfn.dot_product_attention, attention_reference)
    )
    return make_case(
        name,
        operation,
        reference,
        *arrays,
        every_transformation=every,
        timed_shapes=timed,
        prepare=_small_logits,
    )


def _small_logits(query: jax.Array, *others: jax.Array) -> tuple[jax.Array, ...]:
    """Not so large that the rounding of the logits is what a gradient consists of."""
    return query / 4, *others


_QUERY, _KEY = ((2, 5, 4, 2), True), ((2, 6, 2, 2), True)
_TIMED = ((2, 512, 8, 64), (2, 512, 4, 64), (2, 512, 4, 64))
# The first query sees no key, the others all but one.
_MASK = (np.arange(6) != np.arange(5)[:, None]) & (np.arange(5)[:, None] > 0)

CASES: tuple[Case, ...] = (
    _case("dot_product_attention", _QUERY, _KEY, _KEY, timed=_TIMED, is_causal=True),
    _case(
        "dot_product_attention_bias",
        *[((2, 8, 2, 2), True)] * 3,
        ((1, 2, 8, 8), False),
        local_window_size=(3, 1),
        scale=0.5,
        every=False,
    ),
    _case("dot_product_attention_mask", _QUERY, _KEY, _KEY, mask=_MASK, every=False),
)
