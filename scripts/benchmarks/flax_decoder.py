"""`models.Decoder` and its training step as people write them in plain Flax and optax: what jaxfn
is measured against. Nothing of jaxfn's operations is in it."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import nnx

import models
from models.rotary import rotary_angles, rotate
from scripts.training.step import Params, TrainState

EPSILON = 1e-6  # as `jaxfn.rms_norm`


class Block(nnx.Module):
    """A layer, with grouped heads and SwiGLU."""

    def __init__(self, width: int, heads: int, kv_heads: int, hidden: int, *, rngs: nnx.Rngs):
        def linear(n: int, m: int) -> nnx.Linear:
            return nnx.Linear(n, m, use_bias=False, rngs=rngs)

        self.size, self.heads, self.kv_heads = width // heads, heads, kv_heads
        self.attention_norm = nnx.RMSNorm(width, epsilon=EPSILON, rngs=rngs)
        self.qkv = linear(width, width + 2 * kv_heads * self.size)
        self.attention_out = linear(width, width)
        self.mlp_norm = nnx.RMSNorm(width, epsilon=EPSILON, rngs=rngs)
        self.gate_up = linear(width, 2 * hidden)
        self.down = linear(hidden, width)

    def __call__(self, h: jax.Array, angles: jax.Array) -> jax.Array:
        qkv = self.qkv(self.attention_norm(h)).reshape(*h.shape[:2], -1, self.size)
        q, k, v = jnp.split(qkv, [self.heads, self.heads + self.kv_heads], axis=2)
        q, k = rotate(q, angles), rotate(k, angles)
        attended = jax.nn.dot_product_attention(q, k, v, is_causal=True)
        h = h + self.attention_out(attended.reshape(h.shape))
        gate, up = jnp.split(self.gate_up(self.mlp_norm(h)), 2, axis=-1)
        return h + self.down(jax.nn.silu(gate) * up)


class Decoder(nnx.Module):
    """`models.Decoder` in Flax's own layers, one after the other."""

    def __init__(
        self,
        vocabulary: int,
        *,
        width: int,
        layers: int,
        heads: int,
        kv_heads: int,
        hidden: int,
        rngs: nnx.Rngs,
    ):
        self.embed = nnx.Embed(vocabulary, width, rngs=rngs)
        self.blocks = nnx.List(
            [Block(width, heads, kv_heads, hidden, rngs=rngs) for _ in range(layers)]
        )
        self.norm = nnx.RMSNorm(width, epsilon=EPSILON, rngs=rngs)

    def __call__(self, tokens: jax.Array) -> jax.Array:
        h = self.embed(tokens)
        angles = rotary_angles(jnp.arange(tokens.shape[1]), self.blocks[0].size)
        for block in self.blocks:
            h = block(h, angles)
        return self.embed.attend(self.norm(h))


def from_ours(model: models.Decoder, **sizes: int) -> Decoder:
    """The same net, with the weights of a `models.Decoder` of these sizes."""
    peer = Decoder(**sizes, rngs=nnx.Rngs(0))
    peer.embed.embedding[...] = model.embedding[...]
    stacked: Any = model.blocks
    norms: list[tuple[Any, jax.Array]] = [(peer.norm, model.norm[...])]
    for i, block in enumerate(peer.blocks):
        norms.append((block.attention_norm, stacked.attention_norm[...][i]))
        norms.append((block.mlp_norm, stacked.mlp_norm[...][i]))
        for name in ("qkv", "attention_out", "gate_up", "down"):
            getattr(block, name).kernel[...] = getattr(stacked, name).kernel[...][i]
    for norm, scale in norms:
        norm.scale[...] = scale
    return peer


def make_train_step(graphdef: nnx.GraphDef, optimizer: optax.GradientTransformation) -> Any:
    """`step(state, tokens [B, T + 1]) -> (state, loss)`."""

    def loss_fn(params: Params, tokens: jax.Array) -> jax.Array:
        model: Any = nnx.merge(graphdef, params)
        logits = model(tokens[:, :-1])
        return optax.softmax_cross_entropy_with_integer_labels(logits, tokens[:, 1:]).mean()

    def step(state: TrainState, tokens: jax.Array) -> tuple[TrainState, jax.Array]:
        loss, grads = jax.value_and_grad(loss_fn)(state.params, tokens)
        updates, opt_state = optimizer.update(grads, state.opt_state, state.params)
        return TrainState(optax.apply_updates(state.params, updates), opt_state), loss

    return step
