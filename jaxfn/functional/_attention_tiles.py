"""Attention a tile of its weights at a time: some queries by some keys of some heads.

A tile is `[B, K, R, columns]`, or `[B, K, columns, R]`, with the blocks of `_attention_layout`.
"""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxfn.functional._attention_layout import (
    Arrays,
    Mask,
    Tiling,
    column_blocks,
    columns_back,
    in_blocks,
    row_blocks,
    rows_back,
)
from jaxfn.functional._partition import automatic_devices, scan, varying
from jaxfn.functional._rules import accumulator


def forward(
    q: Any, k: Any, v: Any, arrays: Arrays, mask: Mask, scale: float, tiling: Tiling
) -> tuple[jax.Array, jax.Array]:
    """The outputs `[B, T, K, G, H]`, and the logsumexp of each query's logits `[B, T, K, G]`, 0
    where it sees nothing; both in float32 at least."""
    wide = accumulator(q.dtype)
    arrays = in_blocks(arrays, tiling)
    rounded = tiling.rounded

    def some_heads(q: Any, k: Any, v: Any, where: Any) -> tuple[Any, ...]:
        def tile(at: Any, maximum: Any, total: Any, sums: Any) -> tuple[Any, ...]:
            # With the greatest logit m so far: Σ e^{s-m} and Σ e^{s-m} v, which a greater one
            # scales. Their quotient does not depend on m, and is not differentiated by it.
            s = scale * _product(_block(q, at.row), _block(k, at.column), (3, 3), wide)
            s = _masked(s, arrays, mask, tiling, at, (0, 1, 2, 3, 4))
            new = lax.stop_gradient(jnp.maximum(maximum, jnp.max(s, axis=-1)))
            m = jnp.where(new == -jnp.inf, 0, new)
            p, decay = jnp.exp(s - m[..., None]), jnp.exp(maximum - m)
            of_tile = _product(rounded(p, v), _block(v, at.column), (3, 2), wide)
            return new, total * decay + jnp.sum(p, -1), sums * decay[..., None] + of_tile

        def step(state: Any, at: At) -> Any:
            new = _if_seen(tile, at, [_block(a, at.row) for a in state], arrays, tiling)
            return tuple(_put(a, x, at.row) for a, x in zip(state, new, strict=True))

        shape = q.shape[:-1]
        state = (
            jnp.full(shape, -jnp.inf, wide),
            jnp.zeros(shape, wide),
            jnp.zeros((*shape, v.shape[-1]), wide),
        )
        maximum, total, sums = _for_tiles(step, state, tiling.seen(mask), where, (q, k, v))
        positive = jnp.where(total == 0, 1, total)
        lse = jnp.where(total == 0, 0, maximum + jnp.log(positive))
        return sums / positive[..., None], lse

    blocks = (row_blocks(q, tiling), column_blocks(k, tiling), column_blocks(v, tiling))
    _, (o, lse) = _for_heads(lambda _, *a: (None, some_heads(*a)), None, blocks, tiling)
    return rows_back(o, q.shape, tiling), rows_back(lse, q.shape, tiling)


def backward(
    q: Any,
    k: Any,
    v: Any,
    arrays: Arrays,
    mask: Mask,
    scale: float,
    tiling: Tiling,
    lse: jax.Array,
    delta: jax.Array,
    o_bar: jax.Array,
    needs_bias: bool,
) -> tuple[jax.Array, jax.Array, jax.Array, jax.Array | None]:
    """The gradients q̄, k̄, v̄ and that of the bias, if it is needed, in float32 at least.

    A tile of weights stands with its keys first: each of the five products then takes its operands
    as they are stored, which are faster than those of a transposed one.
    """
    wide = accumulator(q.dtype)
    blocked = in_blocks(arrays, tiling)
    bias_bar = None
    if needs_bias:
        assert blocked.bias is not None
        bias_bar = jnp.zeros(blocked.bias.shape, wide)

    def some_heads(bias_bar: Any, q: Any, k: Any, v: Any, lse: Any, delta: Any, o_bar: Any, w: Any):
        k_transposed = jnp.swapaxes(k, -1, -2)

        def tile(at: At, q_bar: Any, k_bar: Any, v_bar: Any, *bias_bar: Any) -> tuple[Any, ...]:
            rows, columns = _block(q, at.row), _block(k, at.column)
            s = scale * _product(columns, rows, (3, 3), wide)
            s = _masked(s, blocked, mask, tiling, at, KEYS_FIRST)
            *new, s_bar = _tile_gradients(
                s,
                rows,
                _block(k_transposed, at.column),
                _block(v, at.column),
                _block(lse, at.row),
                _block(delta, at.row),
                _block(o_bar, at.row),
                tiling,
            )
            old = zip((q_bar, k_bar, v_bar), new, strict=True)
            biases = (_add_tile(b, s_bar, tiling, at) for b in bias_bar)
            return *(a + b for a, b in old), *biases

        def step(state: Any, at: At) -> Any:
            q_bar, k_bar, v_bar, *bias_bar = state
            old = _block(q_bar, at.row), _block(k_bar, at.column), _block(v_bar, at.column)
            new = _if_seen(tile, at, [*old, *bias_bar], blocked, tiling)
            return (
                _put(q_bar, new[0], at.row),
                _put(k_bar, new[1], at.column),
                _put(v_bar, new[2], at.column),
                *new[3:],
            )

        zeros = (jnp.zeros(a.shape, wide) for a in (jnp.swapaxes(q, -1, -2), k, v))
        state = (*zeros, *([] if bias_bar is None else [bias_bar]))
        constants = (q, k, v, lse, delta, o_bar)
        state = _for_tiles(step, state, tiling.seen(mask), w, constants)
        q_bar, k_bar, v_bar, *bias_bar = state
        gradients = scale * jnp.swapaxes(q_bar, -1, -2), scale * k_bar, v_bar
        return (bias_bar[0] if bias_bar else None), gradients

    rows = [row_blocks(a, tiling) for a in (q, lse, delta, o_bar)]
    columns = [column_blocks(a, tiling) for a in (k, v)]
    blocks = (rows[0], *columns, *rows[1:])
    bias_bar, (q_bar, k_bar, v_bar) = _for_heads(some_heads, bias_bar, blocks, tiling)
    if bias_bar is not None:
        assert arrays.bias is not None
        bias_bar = bias_bar[tuple(slice(size) for size in arrays.bias.shape)]
    return (
        rows_back(q_bar, q.shape, tiling),
        columns_back(k_bar, k.shape),
        columns_back(v_bar, v.shape),
        bias_bar,
    )


def _tile_gradients(
    s: jax.Array,
    q: jax.Array,
    k_transposed: jax.Array,
    v: jax.Array,
    lse: jax.Array,
    delta: jax.Array,
    o_bar: jax.Array,
    tiling: Tiling,
) -> tuple[jax.Array, jax.Array, jax.Array, jax.Array]:
    """What a tile of logits, keys first, gives to q̄ᵀ and k̄, both without the scale, and to v̄; and
    its own gradient."""
    # s = scale·q kᵀ + bias,  p = e^{s − lse},  o = p v;
    # v̄ = pᵀ ō,  p̄ = ō vᵀ,  s̄ = p (p̄ − δ) with δ = Σ p̄ p = ⟨ō, o⟩,
    # q̄ = scale·s̄ k,  k̄ = scale·s̄ᵀ q, and s̄ is the gradient of the bias.
    p = jnp.exp(s - lse[..., None, :])
    p_bar = _product(v, o_bar, (3, 3), s.dtype)
    s_bar = p * (p_bar - delta[..., None, :])
    q_bar = _product(k_transposed, tiling.rounded(s_bar, k_transposed), (3, 2), s.dtype)
    k_bar = _product(tiling.rounded(s_bar, q), q, (3, 2), s.dtype)
    v_bar = _product(tiling.rounded(p, v), o_bar, (3, 2), s.dtype)
    return q_bar, k_bar, v_bar, s_bar


class At(NamedTuple):
    """Which tile: its block of queries and of keys, and its first example and head of keys."""

    row: Any
    column: Any
    example: Any
    head: Any


ZERO = np.int32(0)  # all indices are of one type

# A tile is [B, K, G, rows, columns]; in the backward pass the keys come before the queries.
KEYS_FIRST = (0, 1, 4, 2, 3)


def _masked(
    s: jax.Array, arrays: Arrays, mask: Mask, tiling: Tiling, at: At, order: tuple[int, ...]
) -> jax.Array:
    """The logits of a tile with the bias, and −inf where there is no weight."""
    if arrays.bias is not None:
        part = _part(arrays.bias, tiling, at).astype(s.dtype).transpose(order)
        s = (_split(s, order, tiling) + part).reshape(s.shape)
    visible = _visible(arrays, mask, tiling, at)
    if visible is None:
        return s
    return jnp.where(visible.transpose(order), _split(s, order, tiling), -jnp.inf).reshape(s.shape)


def _split(s: jax.Array, order: tuple[int, ...], tiling: Tiling) -> jax.Array:
    """A tile with the group and the rows as dimensions of their own."""
    group = s.shape[order.index(2)] // tiling.rows
    size = (*s.shape[:2], group, tiling.rows, tiling.columns)
    return s.reshape([size[d] for d in order])


def _visible(arrays: Arrays, mask: Mask, tiling: Tiling, at: At) -> jax.Array | None:
    """Which weights of a tile there are, `[B | 1, K | 1, G | 1, rows, columns]`; None for all."""
    t = (at.row * tiling.rows + jnp.arange(tiling.rows)).reshape(1, 1, 1, -1, 1)
    s = (at.column * tiling.columns + jnp.arange(tiling.columns)).reshape(1, 1, 1, 1, -1)
    conditions = []
    if mask.left is not None:
        conditions.append(s >= t - mask.left)
    if mask.right is not None:
        conditions.append(s <= t + mask.right)
    if isinstance(tiling.keys, int) and tiling.column_blocks * tiling.columns > tiling.keys:
        conditions.append(s < tiling.keys)
    for position, lengths in ((t, arrays.query_lengths), (s, arrays.key_lengths)):
        if lengths is not None:
            conditions.append(position < _lengths(lengths, tiling, at).reshape(-1, 1, 1, 1, 1))
    if arrays.keep is not None:
        conditions.append(_part(arrays.keep, tiling, at))
    return functools.reduce(jnp.logical_and, conditions) if conditions else None


def _lengths(lengths: jax.Array, tiling: Tiling, at: At) -> jax.Array:
    """Those of the examples of a tile."""
    if tiling.batch == lengths.shape[0]:
        return lengths
    return lax.dynamic_slice_in_dim(lengths, at.example, tiling.batch)


def _if_seen(tile: Any, at: At, old: Any, arrays: Arrays, tiling: Tiling) -> tuple[Any, ...]:
    """`tile(at, *old)`, or what is old where the lengths leave nothing of it."""
    lengths = arrays.query_lengths, arrays.key_lengths
    # On several devices all would have to know of each.
    if lengths == (None, None) or automatic_devices() > 1:
        return tile(at, *old)
    seen = functools.reduce(
        jnp.logical_and,
        (
            block * size < _lengths(of, tiling, at)
            for block, size, of in zip(
                (at.row, at.column), (tiling.rows, tiling.columns), lengths, strict=True
            )
            if of is not None
        ),
    )
    return lax.cond(jnp.any(seen), lambda *old: tile(at, *old), lambda *old: old, *old)


def _for_tiles(step: Any, state: Any, tiles: np.ndarray, where: Any, constants: Any) -> Any:
    """The state after `step` of each tile."""
    state = varying(state, (constants, where))
    if len(tiles) == 1:
        return step(state, At(*tiles[0], *where))

    def body(state: Any, tile: Any) -> Any:
        return step(state, At(*tile, *where)), None

    return lax.scan(body, state, (tiles[:, 0], tiles[:, 1]))[0]


def _for_heads(fun: Any, carry: Any, blocks: Any, tiling: Tiling) -> Any:
    """`fun(carry, *blocks, where) -> (carry, results)` of all heads, so many at a time."""
    batch, heads = blocks[0].shape[1:3]
    if (batch, heads) == (tiling.batch, tiling.heads):
        return fun(carry, *blocks, (ZERO, ZERO))
    steps = batch // tiling.batch, heads // tiling.heads

    def split(a: jax.Array) -> jax.Array:
        n, _, _, *rest = a.shape
        a = a.reshape(n, steps[0], tiling.batch, steps[1], tiling.heads, *rest)
        return jnp.moveaxis(a, (1, 3), (0, 1)).reshape(-1, n, tiling.batch, tiling.heads, *rest)

    def join(a: jax.Array) -> jax.Array:
        _, n, _, _, *rest = a.shape
        a = a.reshape(*steps, n, tiling.batch, tiling.heads, *rest)
        return jnp.moveaxis(a, (0, 1), (1, 3)).reshape(n, batch, heads, *rest)

    examples, of_heads = (
        np.arange(n, dtype=np.int32) * size
        for n, size in zip(steps, (tiling.batch, tiling.heads), strict=True)
    )
    where = np.repeat(examples, steps[1]), np.tile(of_heads, steps[0])

    def body(carry: Any, xs: Any) -> Any:
        *parts, example, head = xs
        return fun(carry, *parts, (example, head))

    carry, found = scan(body, carry, (*map(split, blocks), *where), ())
    return carry, jax.tree.map(join, found)


def _part(a: jax.Array, tiling: Tiling, at: At) -> jax.Array:
    """Of `[B | 1, K | 1, G | 1, T | 1, S | 1]` what belongs to a tile."""
    start, size = _place(a, tiling, at)
    return a if size == a.shape else lax.dynamic_slice(a, start, size)


def _add_tile(a: jax.Array, s_bar: jax.Array, tiling: Tiling, at: At) -> jax.Array:
    """`a`, like a bias, with the gradient of a tile's logits, keys first, added to it."""
    s_bar = _split(s_bar, KEYS_FIRST, tiling).transpose(0, 1, 3, 4, 2)
    start, size = _place(a, tiling, at)
    alike = tuple(d for d in range(5) if a.shape[d] == 1 and s_bar.shape[d] != 1)
    new = lax.dynamic_slice(a, start, size) + jnp.sum(s_bar, alike, keepdims=True)
    return lax.dynamic_update_slice(a, new, start)


def _place(a: jax.Array, tiling: Tiling, at: At) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
    """Where the part of a tile begins in `a`, and its size."""
    start = (at.example, at.head, ZERO, at.row * tiling.rows, at.column * tiling.columns)
    size = (tiling.batch, tiling.heads, a.shape[2], tiling.rows, tiling.columns)
    pairs = [(ZERO, 1) if n == 1 else (b, m) for n, b, m in zip(a.shape, start, size, strict=True)]
    return tuple(b for b, _ in pairs), tuple(m for _, m in pairs)


def _product(a: jax.Array, b: jax.Array, contracted: tuple[int, int], dtype: Any) -> jax.Array:
    """Σ a b over one dimension of each, for each example and head."""
    common = jnp.promote_types(a.dtype, b.dtype)
    a, b = a.astype(common), b.astype(common)
    dimensions = (((contracted[0],), (contracted[1],)), ((0, 1), (0, 1)))
    return lax.dot_general(a, b, dimensions, preferred_element_type=dtype)


def _block(a: jax.Array, index: Any) -> jax.Array:
    return lax.dynamic_index_in_dim(a, index, keepdims=False)


def _put(a: jax.Array, block: jax.Array, index: Any) -> jax.Array:
    return lax.dynamic_update_index_in_dim(a, block, index, 0)
