"""Attention."""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.custom_derivatives import SymbolicZero
from jax.sharding import PartitionSpec as P
from jax.typing import ArrayLike

from jaxfn.functional import _attention_arguments, _attention_tiles
from jaxfn.functional._attention_layout import Arrays, Mask, large_tiles, small_tiles
from jaxfn.functional._partition import automatically, varying
from jaxfn.functional._rules import accumulator


def dot_product_attention(
    query: ArrayLike,
    key: ArrayLike,
    value: ArrayLike,
    bias: ArrayLike | None = None,
    mask: ArrayLike | None = None,
    *,
    scale: ArrayLike | None = None,
    is_causal: bool = False,
    query_seq_lengths: ArrayLike | None = None,
    key_value_seq_lengths: ArrayLike | None = None,
    local_window_size: int | tuple[int, int] | None = None,
) -> jax.Array:
    """Scaled dot-product attention, whose weights are never all in memory.

    o_t = Σ_s p_ts value_s, with p_ts = softmax over s of scale · ⟨query_t, key_s⟩ + bias_ts where
    the key s is seen, 0 where it is not. A query that sees no key gives 0, and has no gradient.

    To be put in the place of `jax.nn.dot_product_attention`, of which it has the arguments and the
    grouped heads: head n of the N of query shares the head n // (N/K) of the K of key and value.
    The weights are made a tile at a time, and again in the backward pass, for which the output and
    one number for each query and head are kept. Tiles that the causal mask, the window or the
    lengths rule out are not computed. Logits and sums are float32 at least, and float64 for
    float64, which JAX's softmax is not.

    Forward mode is no part of `jax.custom_vjp`: `jax.jvp` and `jax.jacfwd` raise a `TypeError`;
    take them of `jaxfn.autodiff(jaxfn.dot_product_attention)`. `jax.hessian` works, whose tangents
    pass through the gradient alone.

    Args:
      query: `[B, T, N, H]` or `[T, N, H]`, of floating dtype.
      key: `[B, S, K, H]` or `[S, K, H]`, of the same dtype; N is a multiple of K.
      value: like key.
      bias: `[B, N, T, S]`, of floating dtype, added to the logits, or None. Any size may be 1, and
        leading dimensions of size 1 may be missing. It has a gradient. −inf is as good as a mask.
      mask: likewise, of booleans: which keys each query sees.
      scale: a positive Python number; by default 1/√H. A scalar array, perhaps traced, multiplies
        the queries beforehand, and has a gradient.
      is_causal: whether query t sees the keys s ≤ t alone.
      query_seq_lengths: `[B]`, integers: queries from there on see nothing.
      key_value_seq_lengths: `[B]`, integers: keys from there on are not seen.
      local_window_size: (left, right), at least 0, or one int for both: query t sees the keys
        t − left ≤ s ≤ t + right alone.

    Returns:
      Shape and dtype of query.

    Raises:
      TypeError: if an array is not of the dtype that is said above, or a flag of another type.
      ValueError: if shapes do not fit. Nothing is broadcast but what is said above.

    Example:
      >>> import jax, jax.numpy as jnp, jaxfn
      >>> query = key = value = jnp.arange(6.0).reshape(3, 1, 2)
      >>> jaxfn.dot_product_attention(query, key, value, is_causal=True)[0].tolist()
      [[0.0, 1.0]]
      >>> loss = lambda query: jaxfn.dot_product_attention(query, key, value).sum()
      >>> jax.grad(loss)(query).shape
      (3, 1, 2)

    Source: `jax.nn.dot_product_attention`; Dao, "FlashAttention-2", 2023, arXiv:2307.08691; Rabe
    and Staats, "Self-attention Does Not Need O(n²) Memory", 2021, arXiv:2112.05682.
    """
    arguments = _attention_arguments
    q, k, v = arguments.query_key_value(query, key, value)
    inputs = (
        q,
        k,
        v,
        arguments.like_weights("bias", bias, q, k),
        arguments.like_weights("mask", mask, q, k),
        arguments.lengths("query_seq_lengths", query_seq_lengths, q),
        arguments.lengths("key_value_seq_lengths", key_value_seq_lengths, q),
    )
    scaled, factor = arguments.scaled(q, scale)
    static = _Static(arguments.static_mask(is_causal, local_window_size), factor)
    if 0 in (*q.shape, *k.shape):
        return jnp.zeros(jnp.shape(query), q.dtype)
    # Inside `shard_map` what is the same on all devices gets the sum of their gradients.
    inputs = scaled, *inputs[1:]
    o: jax.Array = _attention(*varying(inputs, inputs), static)
    return o.reshape(jnp.shape(query))


class _Static(NamedTuple):
    """What is known when the program is made."""

    mask: Mask
    scale: float


class _Saved(NamedTuple):
    """What is kept for the backward pass: the inputs, the output and a number for each query. As
    in `_rules.Saved` the shape of an array without elements says whether the bias needs a gradient.
    """

    inputs: tuple[Any, ...]
    o: jax.Array
    lse: jax.Array
    marker: jax.Array


@functools.partial(jax.custom_vjp, nondiff_argnums=(7,))
def _attention(
    q: Any, k: Any, v: Any, bias: Any, keep: Any, queries: Any, keys: Any, static: _Static
) -> jax.Array:
    return _attention_impl((q, k, v, bias, keep, queries, keys), static)[0]


def _attention_impl(inputs: tuple[Any, ...], static: _Static) -> tuple[jax.Array, jax.Array]:
    """The output `[B, T, N, H]`, and the logsumexp of each query's logits `[B, T, N]`."""
    q = inputs[0]

    def forward(tiling: Any, *inputs: Any) -> tuple[jax.Array, jax.Array]:
        q5, k, v, arrays = _grouped(*inputs)
        o, lse = _attention_tiles.forward(q5, k, v, arrays, *static, tiling(q5, k, static.mask))
        return o.reshape(q.shape).astype(q.dtype), lse.reshape(q.shape[:-1])

    spec = jax.typeof(q).sharding.spec
    return automatically(_by_platform(forward), inputs, (spec, P(*spec[:-1])))


def _attention_fwd(*args: Any) -> tuple[jax.Array, _Saved]:
    *primals, static = args
    needs_bias = primals[3] is not None and bool(primals[3].perturbed)
    inputs = tuple(None if p is None else p.value for p in primals)
    o, lse = _attention_impl(inputs, static)
    return o, _Saved(inputs, o, lse, jnp.zeros((0, int(needs_bias)), bool))


def _attention_bwd(static: _Static, saved: _Saved, o_bar: Any) -> tuple[Any, ...]:
    # o = p v and p = e^{s − lse}, s the logits: from q, k and lse a tile of p is made again, and
    # `_attention_tiles.backward` has a line for each gradient. Of o alone δ = ⟨ō, o⟩ is needed,
    # but ō is not known before. Kept beside the inputs, which are there anyway, are o, which is
    # what follows keeps as well, and lse: without it the tiles of a row would be made twice.
    if isinstance(o_bar, SymbolicZero):
        return (None,) * len(saved.inputs)
    q, k, v, bias, *_ = saved.inputs
    needs_bias = bool(saved.marker.shape[1])

    def backward(tiling: Any, inputs: Any, o: Any, lse: Any, o_bar: Any) -> tuple[Any, ...]:
        q5, k, v, arrays = _grouped(*inputs)
        wide = accumulator(q.dtype)
        delta = jnp.sum(o.astype(wide) * o_bar.astype(wide), axis=-1)
        of_rows = lse.reshape(q5.shape[:-1]), delta.reshape(q5.shape[:-1]), o_bar.reshape(q5.shape)
        gradients = _attention_tiles.backward(
            q5, k, v, arrays, *static, tiling(q5, k, static.mask), *of_rows, needs_bias
        )
        return tuple(
            None if gradient is None else gradient.reshape(primal.shape).astype(primal.dtype)
            for gradient, primal in zip(gradients, inputs[:4], strict=True)
        )

    specs = tuple(jax.typeof(a).sharding.spec for a in (q, k, v))
    bias_spec = jax.typeof(bias).sharding.spec if needs_bias else None
    args = (saved.inputs, saved.o, saved.lse, o_bar)
    gradients = automatically(_by_platform(backward), args, (*specs, bias_spec))
    return *gradients, None, None, None


_attention.defvjp(_attention_fwd, _attention_bwd, symbolic_zeros=True)


def _by_platform(fun: Any) -> Any:
    """`fun` with the tiling that is fast where the program will run."""
    return lambda *args: lax.platform_dependent(
        *args, cpu=functools.partial(fun, small_tiles), default=functools.partial(fun, large_tiles)
    )


def _grouped(
    q: Any, k: Any, v: Any, bias: Any, keep: Any, queries: Any, keys: Any
) -> tuple[jax.Array, jax.Array, jax.Array, Arrays]:
    """The inputs as `_attention_tiles` takes them."""
    batch, length, heads, size = q.shape
    shared = k.shape[2]
    bias, keep = (
        None if a is None else _attention_arguments.grouped(a, shared) for a in (bias, keep)
    )
    q = q.reshape(batch, length, shared, heads // shared, size)
    return q, k, v, Arrays(bias, keep, queries, keys)
