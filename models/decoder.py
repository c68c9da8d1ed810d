"""A small decoder-only transformer (GPT), and its step with a cache of keys and values."""

from __future__ import annotations

import functools
import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jax import lax
from jax.typing import ArrayLike, DTypeLike

import jaxfn
from models.layers import Linear, fan_in_bound
from models.rotary import rotary_angles, rotate


class Cache(NamedTuple):
    """What the tokens so far leave to those that come.

    Attributes:
      keys: of all layers, `[layers, B, length, kv_heads, size]`, turned to their positions.
      values: likewise.
      position: how many of the `length` places are filled; int32.
    """

    keys: jax.Array
    values: jax.Array
    position: jax.Array


class Block(nnx.Module):
    """A layer of `Decoder`: h ← h + attention(norm(h)), then h ← h + mlp(norm(h)).

    Args:
      others: as for `Decoder`; `out_scale` is that of the two projections onto the residual
        stream.
    """

    def __init__(
        self,
        width: int,
        heads: int,
        kv_heads: int,
        hidden: int,
        *,
        dropout: float,
        out_scale: float,
        param_dtype: DTypeLike,
        rngs: nnx.Rngs,
    ):
        def linear(n: int, m: int, scale: float = 1.0) -> Linear:
            init = jax.nn.initializers.normal(scale * fan_in_bound(n))
            return Linear(
                n, m, use_bias=False, kernel_init=init, param_dtype=param_dtype, rngs=rngs
            )

        self.size = width // heads
        self.kv_heads, self.dropout = kv_heads, dropout
        self.attention_norm = nnx.Param(jnp.ones(width, param_dtype))
        self.qkv = linear(width, width + 2 * kv_heads * self.size)
        self.attention_out = linear(width, width, out_scale)
        self.mlp_norm = nnx.Param(jnp.ones(width, param_dtype))
        self.gate_up = linear(width, 2 * hidden)
        self.down = linear(hidden, width, out_scale)

    def __call__(self, h: jax.Array, angles: jax.Array, keys: jax.Array | None = None) -> jax.Array:
        """`h [B, T, width]`, `angles [T, size/2]`, and for dropout a key of each example."""
        query, key, value = self._qkv(h, angles)
        attended = jaxfn.dot_product_attention(query, key, value, is_causal=True)
        return self._after_attention(h, attended, keys)

    def step(
        self, h: jax.Array, angles: jax.Array, keys: jax.Array, values: jax.Array, position: Any
    ) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
        """The same for tokens that come after those in the cache `[B, length, kv_heads, size]`,
        which takes theirs in."""
        query, key, value = self._qkv(h, angles)
        start = (0, position, 0, 0)
        keys = lax.dynamic_update_slice(keys, key.astype(keys.dtype), start)
        values = lax.dynamic_update_slice(values, value.astype(values.dtype), start)
        at = position + jnp.arange(h.shape[1])
        mask = jnp.arange(keys.shape[1]) <= at[:, None]  # also keeps out what is not yet filled
        attended = jaxfn.dot_product_attention(query, keys, values, mask=mask[None, None])
        return self._after_attention(h, attended, None), (keys, values)

    def _qkv(self, h: jax.Array, angles: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
        qkv = self.qkv(jaxfn.rms_norm(h, self.attention_norm[...]))
        heads = qkv.reshape(*h.shape[:2], -1, self.size)
        queries = heads.shape[2] - 2 * self.kv_heads
        query, key, value = jnp.split(heads, [queries, queries + self.kv_heads], axis=2)
        return rotate(query, angles), rotate(key, angles), value

    def _after_attention(
        self, h: jax.Array, attended: jax.Array, keys: jax.Array | None
    ) -> jax.Array:
        drop = functools.partial(_dropout, keys, rate=self.dropout)
        h = h + drop(0, self.attention_out(attended.reshape(h.shape)))
        gate, up = jnp.split(self.gate_up(jaxfn.rms_norm(h, self.mlp_norm[...])), 2, axis=-1)
        return h + drop(1, self.down(jaxfn.swiglu(gate, up)))


class Decoder(nnx.Module):
    """A decoder of tokens: for each it gives the logits of the next one.

    tokens [B, T] → embedding → layers × (attention, SwiGLU) → RMS norm → logits [B, T, vocabulary]

    Norms stand before each part, positions are rotary, several heads of queries share one of keys
    and values, and the embedding is the head's matrix, too. No biases. With a vocabulary of 256
    and the sizes by default it has 940,416 parameters. The layers' parameters are stacked, their
    first dimension is the layer, and one `jax.lax.scan` runs them: the program does not grow with
    their number.

    Args:
      vocabulary: how many tokens there are.
      width: features of a token between the layers, a multiple of `heads`.
      layers: how many.
      heads: of the queries, a multiple of `kv_heads`.
      kv_heads: of the keys and values.
      hidden: features within SwiGLU.
      dropout: rate, on the embedding and on what each part of a layer adds; only where keys are
        given.
      param_dtype: dtype of the parameters.
      rngs: stream `params` draws the parameters: normal, of standard deviation 1/√fan_in (the
        embedding as the head), what is added to the residual stream divided by √(2 layers). At
        widths like the default's that learns faster than GPT-2's 0.02.

    Raises:
      ValueError: if the sizes do not fit each other.

    Example:
      >>> import jax.numpy as jnp, models
      >>> from flax import nnx
      >>> model = models.Decoder(256, width=16, layers=2, heads=4, kv_heads=2, hidden=24,
      ...                        rngs=nnx.Rngs(0))
      >>> model(jnp.zeros((8, 5), jnp.int32)).shape
      (8, 5, 256)

    Source: Radford et al., "Language Models are Unsupervised Multitask Learners", 2019; in the form
    of Touvron et al., "Llama 2", 2023.
    """

    def __init__(
        self,
        vocabulary: int,
        *,
        width: int = 128,
        layers: int = 5,
        heads: int = 4,
        kv_heads: int = 2,
        hidden: int = 344,
        dropout: float = 0.0,
        param_dtype: DTypeLike = jnp.float32,
        rngs: nnx.Rngs,
    ):
        check_sizes(
            width=width, layers=layers, heads=heads, kv_heads=kv_heads, hidden=hidden,
            vocabulary=vocabulary, dropout=dropout,
        )  # fmt: skip

        @nnx.split_rngs(splits=layers)
        @nnx.vmap
        def blocks(rngs: nnx.Rngs) -> Block:
            out_scale = 1 / math.sqrt(2 * layers)
            return Block(
                width, heads, kv_heads, hidden,
                dropout=dropout, out_scale=out_scale, param_dtype=param_dtype, rngs=rngs,
            )  # fmt: skip

        init = jax.nn.initializers.normal(fan_in_bound(width))
        self.dropout, self.layers = dropout, layers
        self.embedding = nnx.Param(init(rngs.params(), (vocabulary, width), param_dtype))
        self.blocks = blocks(rngs)
        self.norm = nnx.Param(jnp.ones(width, param_dtype))

    def __call__(self, tokens: ArrayLike) -> jax.Array:
        return self._logits(self.hidden(tokens))

    def next_logits(self, tokens: ArrayLike) -> jax.Array:
        """The logits of the token after the last one: `[B, vocabulary]`."""
        return self._logits(self.hidden(tokens)[:, -1])

    def hidden(self, tokens: ArrayLike, *, keys: jax.Array | None = None) -> jax.Array:
        """What the head sees: `[B, T, width]`.

        Args:
          tokens: `[B, T]`, integers.
          keys: `[B]`, a random key of each example, for dropout; without them there is none. So an
            example's dropout depends neither on the other ones nor on the device that it is on.
        """
        return jaxfn.rms_norm(self.residual_stream(tokens, keys=keys)[0], self.norm[...])

    def residual_stream(
        self, tokens: ArrayLike, *, keys: jax.Array | None = None, each: bool = False
    ) -> tuple[jax.Array, jax.Array | None]:
        """What comes out of the last layer, `[B, T, width]`, and with `each` what comes out of all
        of them, `[layers, B, T, width]`."""
        tokens = jnp.asarray(tokens)
        h = _dropout(keys, 0, self.embedding[...][tokens], rate=self.dropout)
        graphdef, params = nnx.split(self.blocks)
        angles = self._angles(jnp.arange(tokens.shape[1]))

        def layer(h: jax.Array, of_layer: tuple[Any, jax.Array]):
            params, i = of_layer
            keys_here = None if keys is None else jax.vmap(jax.random.fold_in, (0, None))(keys, i)
            h = nnx.merge(graphdef, params)(h, angles, keys_here)
            return h, h if each else None

        return lax.scan(layer, h, (params, 1 + jnp.arange(self.layers)))

    def loss(
        self,
        tokens: ArrayLike,
        labels: ArrayLike,
        where: ArrayLike | None = None,
        *,
        keys: jax.Array | None = None,
        reduction: str = "mean",
    ) -> jax.Array:
        """Cross-entropy of the next tokens, in nats; the logits are never whole in memory.

        Args:
          tokens: `[B, T]`, integers.
          labels: `[B, T]`, the token after each.
          where: `[B, T]`, bool: which of them count; by default all.
          keys: as for `hidden`.
          reduction: "mean", "sum", or "none" for the losses `[B, T]`.
        """
        return jaxfn.linear_cross_entropy(
            self.hidden(tokens, keys=keys),
            self.embedding[...].T,
            jnp.asarray(labels),
            reduction=reduction,
            where=where,
        )

    def init_cache(self, batch: int, length: int) -> Cache:
        """An empty cache for so many sequences of at most `length` tokens."""
        shape = (self.layers, batch, length, self.blocks.kv_heads, self.blocks.size)
        dtype = self.embedding[...].dtype
        return Cache(jnp.zeros(shape, dtype), jnp.zeros(shape, dtype), jnp.int32(0))

    def step(self, tokens: ArrayLike, cache: Cache) -> tuple[jax.Array, Cache]:
        """The logits of tokens that come after those in the cache, and the cache with them.

        Args:
          tokens: `[B, T]`: all of a beginning at once, or one at a time.
          cache: of `init_cache`, or of the step before. It must have places left for T tokens; how
            many are filled is no part of the program, so nothing checks it.

        Returns:
          Logits `[B, T, vocabulary]`, those of the whole sequence's pass, and the cache.
        """
        tokens = jnp.asarray(tokens)
        graphdef, params = nnx.split(self.blocks)
        angles = self._angles(cache.position + jnp.arange(tokens.shape[1]))

        def layer(h: jax.Array, of_layer: tuple[Any, jax.Array, jax.Array]):
            params, keys, values = of_layer
            return nnx.merge(graphdef, params).step(h, angles, keys, values, cache.position)

        h = self.embedding[...][tokens]
        h, (keys, values) = lax.scan(layer, h, (params, cache.keys, cache.values))
        logits = self._logits(jaxfn.rms_norm(h, self.norm[...]))
        return logits, Cache(keys, values, cache.position + tokens.shape[1])

    def __str__(self) -> str:
        # Not `summary`, which watches the calls of the layers: here one scan makes them all.
        flat = nnx.to_flat_state(nnx.state(self, nnx.Param))
        shapes = {".".join(map(str, path)): param.get_value().shape for path, param in flat}
        counts = {name: math.prod(shape) for name, shape in shapes.items()}
        lines = [f"{n:<28}{list(shapes[n])!s:<18}{count:>12,}" for n, count in counts.items()]
        return "\n".join([*lines, f"{'in all':<46}{sum(counts.values()):>12,}"])

    def _angles(self, positions: jax.Array) -> jax.Array:
        return rotary_angles(positions, self.blocks.size)

    def _logits(self, hidden: jax.Array) -> jax.Array:
        return jaxfn.linear(hidden, self.embedding[...].T)


def _dropout(keys: jax.Array | None, part: int, x: jax.Array, *, rate: float) -> jax.Array:
    """`x [B, ...]` with dropout by a key of each example, another one in each part of a layer."""
    if keys is None or rate == 0:
        return x

    def of_example(key: jax.Array, x: jax.Array) -> jax.Array:
        return jaxfn.dropout(jax.random.fold_in(key, part), x, rate)

    return jax.vmap(of_example)(keys, x)


def check_sizes(
    *,
    width: int,
    layers: int,
    heads: int,
    kv_heads: int,
    hidden: int,
    vocabulary: int = 1,
    dropout: float = 0.0,
) -> None:
    """Raises `ValueError` unless `Decoder` takes such sizes."""
    sizes = {
        "vocabulary": vocabulary, "width": width, "layers": layers, "heads": heads,
        "kv_heads": kv_heads, "hidden": hidden,
    }  # fmt: skip
    for name, size in sizes.items():
        if size < 1:
            raise ValueError(f"Decoder: expected {name} of at least 1, got {size}")
    if width % heads or width // heads % 2:
        raise ValueError(
            f"Decoder: expected width = heads × an even number, got width {width}, heads {heads}"
        )
    if heads % kv_heads:
        raise ValueError(
            f"Decoder: expected heads to be a multiple of kv_heads, got {heads} and {kv_heads}"
        )
    if not 0 <= dropout < 1:
        raise ValueError(f"Decoder: expected dropout 0 ≤ … < 1, got {dropout}")
