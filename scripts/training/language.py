"""What a decoder's training has of its own: crops of text, their loss, evaluation, samples."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jax import lax
from jax.typing import DTypeLike

import jaxfn
from scripts.training.step import AugmentFn, EvaluateFn, LossFn, Params, Rules, cast


class TextLoss(NamedTuple):
    """Mean loss per byte, in nats."""

    loss: jax.Array


class Crops(NamedTuple):
    """A batch.

    Attributes:
      tokens: `[B, context + 1]`, int32: each but the last predicts the one after it.
      keys: `[B]`, a key of each for dropout. It does not depend on the batch's parts.
    """

    tokens: jax.Array
    keys: jax.Array


def make_random_crop(context: int) -> AugmentFn:
    """`crop(key, pieces [B, 2 · context]) -> Crops`: each piece from a byte of its first half on,
    so that the blocks of an epoch begin elsewhere each time."""

    def crop(key: jax.Array, pieces: jax.Array) -> Crops:
        begin_key, dropout_key = jax.random.split(key)
        begins = jax.random.randint(begin_key, (len(pieces),), 0, context)

        def of_piece(piece: jax.Array, begin: jax.Array) -> jax.Array:
            return lax.dynamic_slice(piece, (begin,), (context + 1,))

        tokens = jax.vmap(of_piece)(pieces, begins).astype(jnp.int32)
        return Crops(tokens, jax.random.split(dropout_key, len(pieces)))

    return crop


def make_text_loss(
    graphdef: nnx.GraphDef, rules: Rules = "custom", dtype: DTypeLike = jnp.float32
) -> LossFn:
    """`loss_fn(params, crops) -> (loss, None)`, the mean over the bytes, with dropout.

    Args:
      graphdef: structure of a `models.Decoder`.
      rules: "custom" differentiates by the hand-written rules, "autodiff" the same operations
        without them.
      dtype: that the model computes in, as for `step.make_loss_fn`.
    """

    def loss_fn(params: Params, crops: Crops) -> tuple[jax.Array, None]:
        model: Any = nnx.merge(graphdef, cast(params, dtype))
        loss = model.loss(crops.tokens[:, :-1], crops.tokens[:, 1:], keys=crops.keys)
        return loss.astype(jnp.float32), None

    return loss_fn if rules == "custom" else jaxfn.autodiff(loss_fn, custom_jvp=True)


def value_and_grad(loss_fn: LossFn) -> Callable[..., Any]:
    """JAX's own: slices of a batch, which serve images on a CPU, do not serve text."""
    return jax.value_and_grad(loss_fn, has_aux=True)


def measure(loss: jax.Array, _: None, __: Crops) -> TextLoss:
    """The metrics of a batch."""
    return TextLoss(loss)


def make_text_evaluate(graphdef: nnx.GraphDef, batch_size: int) -> EvaluateFn:
    """`evaluate(params, pieces [M, context + 1]) -> (metrics, losses [M])`, the losses the means
    over each piece, without dropout; the pieces pass in batches."""

    def evaluate(params: Params, pieces: jax.Array) -> tuple[TextLoss, jax.Array]:
        model: Any = nnx.merge(graphdef, params)

        def losses(pieces: jax.Array) -> jax.Array:
            tokens = pieces.astype(jnp.int32)
            return model.loss(tokens[:, :-1], tokens[:, 1:], reduction="none").mean(-1)

        whole = len(pieces) // batch_size * batch_size
        batches = pieces[:whole].reshape(-1, batch_size, pieces.shape[1])
        parts = [*lax.map(losses, batches)]
        if whole < len(pieces):
            parts.append(losses(pieces[whole:]))
        of_pieces = jnp.concatenate(parts)
        return mean_loss(of_pieces, pieces), of_pieces

    return evaluate


def mean_loss(losses: jax.Array, _: jax.Array) -> TextLoss:
    """The metrics of pieces whose losses are known."""
    return TextLoss(losses.mean())


def stages(
    graphdef: nnx.GraphDef, dtype: DTypeLike, params: Params, crops: Crops
) -> list[tuple[str, jax.Array]]:
    """What each layer returns, in the order of the calls, with its name."""

    @jax.jit
    def forward(params: Params) -> tuple[jax.Array, jax.Array, jax.Array]:
        model: Any = nnx.merge(graphdef, cast(params, dtype))
        embedded = model.embedding[...][crops.tokens[:, :-1]]
        _, each = model.residual_stream(crops.tokens[:, :-1], keys=crops.keys, each=True)
        return embedded, each, model.hidden(crops.tokens[:, :-1], keys=crops.keys)

    embedded, each, hidden = forward(params)
    layers = [(f"the output of layer {i}", h) for i, h in enumerate(each, 1)]
    return [("the embedding", embedded), *layers, ("the output of norm", hidden)]


def sample_bytes(
    logits: jax.Array, key: jax.Array, temperature: jax.Array, top_k: int | None
) -> jax.Array:
    """Draws a token from the logits `[B, vocabulary]`: `[B]`, int32.

    Args:
      logits: of the next token.
      key: of the draw.
      temperature: a scalar that divides the logits; 0 takes the most probable token.
      top_k: only so many, the most probable ones, may come; None allows all.
    """
    if top_k is not None and top_k < logits.shape[-1]:
        least = lax.top_k(logits, top_k)[0][:, -1:]
        logits = jnp.where(logits < least, -jnp.inf, logits)
    warm = jnp.where(temperature > 0, temperature, 1)
    drawn = jax.random.categorical(key, logits / warm)
    return jnp.where(temperature > 0, drawn, logits.argmax(-1)).astype(jnp.int32)


def make_generate(
    graphdef: nnx.GraphDef, length: int, top_k: int | None = None
) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """Two programs: the beginning at once, then all further tokens in one loop.

    Args:
      graphdef: structure of a `models.Decoder`.
      length: places in the cache: the beginning and what follows it.
      top_k: as for `sample_bytes`.

    Returns:
      `prefill(params, tokens [B, T]) -> (logits [B, vocabulary], cache)` and
      `continue_(params, logits, cache, key, temperature) -> tokens [B, length - T]`.
    """

    def prefill(params: Params, tokens: jax.Array) -> tuple[jax.Array, Any]:
        model: Any = nnx.merge(graphdef, params)
        logits, cache = model.step(tokens, model.init_cache(len(tokens), length))
        return logits[:, -1], cache

    def continue_(
        params: Params,
        logits: jax.Array,
        cache: Any,
        key: jax.Array,
        temperature: jax.Array,
        steps: int,
    ) -> jax.Array:
        model: Any = nnx.merge(graphdef, params)

        def step(carry: tuple[jax.Array, Any], key: jax.Array):
            logits, cache = carry
            token = sample_bytes(logits, key, temperature, top_k)
            logits, cache = model.step(token[:, None], cache)
            return (logits[:, 0], cache), token

        _, tokens = lax.scan(step, (logits, cache), jax.random.split(key, steps))
        return tokens.T

    return jax.jit(prefill), jax.jit(continue_, static_argnames="steps")


def generate(
    graphdef: nnx.GraphDef,
    params: Params,
    prompt: bytes,
    tokens: int,
    *,
    temperature: float,
    top_k: int | None,
    key: jax.Array,
) -> bytes:
    """`tokens` bytes that follow the prompt, at least one byte long."""
    length = len(prompt) + tokens
    prefill, continue_ = make_generate(graphdef, length, top_k)
    beginning = jnp.frombuffer(prompt, jnp.uint8)[None].astype(jnp.int32)
    logits, cache = prefill(params, beginning)
    drawn = continue_(params, logits, cache, key, jnp.float32(temperature), steps=tokens)
    return bytes(map(int, drawn[0]))
