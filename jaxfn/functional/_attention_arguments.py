"""The arguments of attention: what is refused, and how they are laid out."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from jaxfn.functional._attention_layout import Mask
from jaxfn.functional._checks import INTEGER, REAL, as_array, check_int, check_number

_OP = "dot_product_attention"
_MOST = 2**31 - 1  # what an int32 holds


def query_key_value(
    query: ArrayLike, key: ArrayLike, value: ArrayLike
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """The three as `[B, T, N, H]`, `[B, S, K, H]` and `[B, S, K, H]`, one dtype for all."""
    q, k, v = (
        as_array(_OP, name, array)
        for name, array in (("query", query), ("key", key), ("value", value))
    )
    if q.ndim not in (3, 4):
        raise ValueError(f"{_OP}: expected query [B, T, N, H] or [T, N, H], got {list(q.shape)}")
    lead = list(q.shape[:-3])
    form = [*map(str, lead), "S", "K", str(q.shape[-1])]
    if k.ndim != q.ndim or k.shape[:-3] != q.shape[:-3] or k.shape[-1] != q.shape[-1]:
        raise ValueError(
            f"{_OP}: expected key [{', '.join(form)}] to match query {list(q.shape)}, "
            f"got key {list(k.shape)}"
        )
    if v.shape != k.shape:
        raise ValueError(
            f"{_OP}: expected value {list(k.shape)} to match key, got value {list(v.shape)}"
        )
    heads, shared = q.shape[-2], k.shape[-2]
    if heads % max(shared, 1) or (shared == 0) != (heads == 0):
        raise ValueError(
            f"{_OP}: expected a multiple of the {shared} heads of key {list(k.shape)}, "
            f"got the {heads} of query {list(q.shape)}"
        )
    for name, array in (("key", k), ("value", v)):
        if array.dtype != q.dtype:
            raise TypeError(
                f"{_OP}: expected {name} of dtype {q.dtype.name} as query, got {array.dtype.name}"
            )
    if q.ndim == 3:
        q, k, v = q[None], k[None], v[None]
    return q, k, v


def like_weights(name: str, array: Any, q: jax.Array, k: jax.Array) -> jax.Array | None:
    """A bias or a mask as `[B | 1, N | 1, T | 1, S | 1]`."""
    if array is None:
        return None
    array = as_array(_OP, name, array, ("bool",) if name == "mask" else REAL)
    whole = (q.shape[0], q.shape[2], q.shape[1], k.shape[1])
    shape = (1,) * (4 - array.ndim) + array.shape
    if len(shape) > 4 or any(n not in (1, m) for n, m in zip(shape, whole, strict=True)):
        raise ValueError(
            f"{_OP}: expected {name} {list(whole)}, or 1 in place of a size, for queries by keys "
            f"of each head, got {name} {list(array.shape)}"
        )
    return array.reshape(shape)


def lengths(name: str, array: Any, q: jax.Array) -> jax.Array | None:
    """The number of queries or keys of each example, `[B]`."""
    if array is None:
        return None
    array = as_array(_OP, name, array, INTEGER)
    if array.shape != q.shape[:1]:
        raise ValueError(
            f"{_OP}: expected {name} {list(q.shape[:1])}, a number for each example, "
            f"got {list(array.shape)}"
        )
    return array


def static_mask(is_causal: bool, local_window_size: Any) -> Mask:
    """What both flags say of which keys a query sees."""
    if not isinstance(is_causal, bool | np.bool_):
        raise TypeError(f"{_OP}: expected is_causal to be a bool, got {type(is_causal).__name__}")
    left, right = _window(local_window_size)
    return Mask(left, 0 if is_causal else right)


def _window(window: Any) -> tuple[int | None, int | None]:
    if window is None:
        return None, None
    if isinstance(window, tuple | list):
        if len(window) != 2:
            raise ValueError(
                f"{_OP}: expected local_window_size to be an int or (left, right), got {window!r}"
            )
        left, right = window
    else:
        left = right = window
    name = "local_window_size"
    return check_int(_OP, name, left, 0, _MOST), check_int(_OP, name, right, 0, _MOST)


def scaled(q: jax.Array, scale: Any) -> tuple[jax.Array, float]:
    """The queries, and the number by which the logits are multiplied: 1/√H if `scale` is None."""
    if scale is None:
        return q, 1 / max(q.shape[-1], 1) ** 0.5
    if not isinstance(scale, jax.Array):
        return q, check_number(_OP, "scale", scale)
    if scale.shape or not jnp.issubdtype(scale.dtype, jnp.floating):
        raise TypeError(
            f"{_OP}: expected scale to be a number or a scalar array, "
            f"got {scale.dtype.name}{list(scale.shape)}"
        )
    wide = jnp.promote_types(q.dtype, jnp.float32)
    return (q.astype(wide) * scale.astype(wide)).astype(q.dtype), 1.0


def grouped(array: jax.Array, heads: Any) -> jax.Array:
    """`[B, N | 1, T, S]` → `[B, K | 1, G | 1, T, S]`, for K `heads` of keys."""
    batch, own, *rest = array.shape
    return array.reshape(batch, *((1, 1) if own == 1 else (heads, own // heads)), *rest)
