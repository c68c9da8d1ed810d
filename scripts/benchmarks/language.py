"""The operations of language models at the sizes where they pay, and a decoder's training step."""

from __future__ import annotations

import dataclasses
import functools
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jax import lax

import jaxfn
import models
from scripts.benchmarks import flax_decoder, tokamax_peer
from scripts.benchmarks.lenet import (
    COMPILED,
    FLAX,
    LIMIT,
    OURS,
    PYTORCH,
    WITHOUT_RULES,
    first_call,
    is_pytorch,
    why_no_pytorch,
)
from scripts.benchmarks.operations import PLAIN, normal, with_gradients
from scripts.benchmarks.timing import Contestant, Effort, Row, add_speed, carried, compiled, measure
from scripts.training.language import Crops, make_text_loss, value_and_grad
from scripts.training.language import measure as measure_text
from scripts.training.step import Rules, TrainState, make_train_step, split_model

CHECKPOINTED = "plain JAX, jax.checkpoint in a scan"
JAX_NN = f"{PLAIN}, jax.nn"
RATE = 1e-3
Loss = Callable[..., jax.Array]


def language(effort: Effort, compile_seconds: float) -> Iterator[list[Row]]:
    """All groups: what a model's loss, attention and layers take, value and gradients."""
    yield from cross_entropy(effort, compile_seconds)
    yield from cross_entropy_memory()
    yield from attention(effort)
    yield from layers(effort)


def cross_entropy(
    effort: Effort,
    compile_seconds: float,
    *,
    tokens: int = 2048,
    width: int = 256,
    classes: int = 16_384,
    chunk: int = 256,
) -> Iterator[list[Row]]:
    """The loss of a linear map's logits, and its gradients by x and the weight."""
    x, weight, labels = _tokens(effort.seed, tokens, width, classes)

    def checkpointed(x: jax.Array, weight: jax.Array, labels: jax.Array) -> jax.Array:
        @jax.checkpoint
        def step(total: jax.Array, part: Any) -> tuple[jax.Array, None]:
            return total + plain_cross_entropy(part[0], weight, part[1]), None

        parts = x.reshape(-1, chunk, width), labels.reshape(-1, chunk)
        return lax.scan(step, jnp.float32(0), parts)[0] * (chunk / tokens)

    def products(x: jax.Array, weight: jax.Array, d: jax.Array) -> tuple[jax.Array, ...]:
        return x @ weight, d @ weight.T, x.T @ d

    def gradients(loss: Loss) -> Contestant:
        return compiled(jax.value_and_grad(loss, (0, 1)), x, weight, labels)

    (d,) = normal(effort.seed, (tokens, classes))
    peers = tokamax_peer.cross_entropies() if tokamax_peer.is_installed() else {}
    contestants = {
        OURS: gradients(jaxfn.linear_cross_entropy),
        f"{OURS}, a loss for each token": gradients(_mean_of_each),
        PLAIN: gradients(plain_cross_entropy),
        CHECKPOINTED: gradients(checkpointed),
        **{name: gradients(loss) for name, loss in peers.items()},
        LIMIT: compiled(products, x, weight, d),
    } | _pytorch("cross_entropy", (x, weight, labels), compile_seconds)
    rows = measure(f"cross-entropy, {tokens}×{width}×{classes}", contestants, effort)
    yield _with_speeds(rows)


def cross_entropy_memory(
    *, tokens: Sequence[int] = (2048, 65_536), width: int = 256, classes: int = 16_384
) -> Iterator[list[Row]]:
    """What the loss and its gradients take in memory, which shows when they are compiled."""
    for count in tokens:
        shapes = (
            jax.ShapeDtypeStruct((count, width), jnp.float32),
            jax.ShapeDtypeStruct((width, classes), jnp.float32),
            jax.ShapeDtypeStruct((count,), jnp.int32),
        )
        losses = {OURS: jaxfn.linear_cross_entropy, PLAIN: plain_cross_entropy}
        yield [
            Row(
                f"cross-entropy of {count} tokens",
                name,
                None,
                _figures(jax.value_and_grad(loss, (0, 1)), *shapes),
            )
            for name, loss in losses.items()
        ]


def attention(effort: Effort, *, length: int = 2048) -> Iterator[list[Row]]:
    """Causal attention, and attention in a window, of twice the length; value and gradients."""
    for name, size, options in (
        ("causal", length, {"is_causal": True}),
        ("within 256", 2 * length, {"local_window_size": 256}),
    ):
        *args, y_bar = normal(effort.seed, *[(1, size, 8, 64)] * 4)
        funs = {OURS: jaxfn.dot_product_attention, JAX_NN: jax.nn.dot_product_attention}
        funs |= tokamax_peer.attentions() if tokamax_peer.is_installed() else {}
        contestants = {
            name: compiled(with_gradients(functools.partial(fun, **options)), y_bar, *args)
            for name, fun in funs.items()
        }
        if "is_causal" in options:
            contestants |= _pytorch("attention", (*args, y_bar), 0)
        yield _with_speeds(measure(f"attention, {name}, 1×{size}×8×64", contestants, effort))


def layers(
    effort: Effort, *, count: int = 16, tokens: int = 2048, width: int = 256, hidden: int = 688
) -> Iterator[list[Row]]:
    """A stack of layers, each a norm and a gated unit, run by a scan; value and gradients."""
    h, scales, into, out = normal(
        effort.seed,
        (tokens, width),
        (count, width),
        (count, width, 2 * hidden),
        (count, hidden, width),
    )
    weights = 1 + 0.1 * scales, into / width**0.5, out / hidden**0.5

    def stack(norm: Callable, unit: Callable) -> Loss:
        def layer(h: jax.Array, weights: Any) -> tuple[jax.Array, None]:
            scale, into, out = weights
            gate, up = jnp.split(norm(h, scale) @ into, 2, axis=-1)
            return h + unit(gate, up) @ out, None

        return lambda h, weights: jnp.mean(jnp.square(lax.scan(layer, h, weights)[0]))

    stacks = {
        OURS: stack(jaxfn.rms_norm, jaxfn.swiglu),
        PLAIN: stack(plain_rms_norm, lambda gate, up: jax.nn.silu(gate) * up),
    }
    contestants = {
        name: compiled(jax.value_and_grad(loss, (0, 1)), h, weights)
        for name, loss in stacks.items()
    }
    group = f"{count} layers of rms_norm and swiglu, {tokens}×{width}×{hidden}"
    yield _with_speeds(measure(group, contestants, effort))


@dataclasses.dataclass(frozen=True)
class Sizes:
    """Of a decoder of bytes, and of the batch that it is trained on."""

    width: int
    layers: int
    heads: int
    kv_heads: int
    hidden: int
    batch: int
    context: int

    @property
    def of_model(self) -> dict[str, Any]:
        sizes = dataclasses.asdict(self)
        return {n: size for n, size in sizes.items() if n not in ("batch", "context")}


DECODERS = (
    Sizes(width=64, layers=3, heads=4, kv_heads=2, hidden=172, batch=4, context=256),
    Sizes(width=128, layers=5, heads=4, kv_heads=2, hidden=344, batch=2, context=512),
    Sizes(width=256, layers=6, heads=8, kv_heads=4, hidden=688, batch=2, context=1024),
)
VOCABULARY = 256


def decoder(
    effort: Effort, compile_seconds: float, decoders: Sequence[Sizes] = DECODERS
) -> Iterator[list[Row]]:
    """A training step (forward, backward, AdamW) of `models.Decoder` at each size."""
    for sizes in decoders:
        model = models.Decoder(VOCABULARY, **sizes.of_model, rngs=nnx.Rngs(effort.seed))
        rng = np.random.RandomState(effort.seed)
        tokens = rng.randint(VOCABULARY, size=(sizes.batch, sizes.context + 1)).astype(np.int32)
        count = sum(leaf.size for leaf in jax.tree.leaves(nnx.state(model)))
        contestants = _decoder_steps(model, sizes, tokens)
        contestants |= _pytorch_decoders(model, sizes, tokens, compile_seconds)
        group = f"decoder, {count:,} parameters, {sizes.batch}×{sizes.context}"
        rows = measure(group, contestants, effort)
        rows = add_speed(rows, "speed_against_flax", lambda row: row.contestant == FLAX)
        yield add_speed(rows, "speed_against_pytorch", is_pytorch)


def _decoder_steps(
    model: models.Decoder, sizes: Sizes, tokens: np.ndarray
) -> dict[str, Contestant]:
    optimizer = optax.adamw(RATE)
    graphdef, params = split_model(model)
    crops = Crops(jnp.asarray(tokens), jax.random.split(jax.random.key(0), len(tokens)))

    def ours(rules: Rules) -> Contestant:
        loss_fn = make_text_loss(graphdef, rules)
        step = make_train_step(
            loss_fn, optimizer, value_and_grad=value_and_grad, measure=measure_text
        )
        return carried(step, TrainState(params, optimizer.init(params)), crops)

    peer, weights = split_model(
        flax_decoder.from_ours(model, vocabulary=VOCABULARY, **sizes.of_model)
    )
    plain = flax_decoder.make_train_step(peer, optimizer)
    return {
        OURS: ours("custom"),
        WITHOUT_RULES: ours("autodiff"),
        FLAX: carried(plain, TrainState(weights, optimizer.init(weights)), crops.tokens),
    }


def _pytorch_decoders(
    model: models.Decoder, sizes: Sizes, tokens: np.ndarray, compile_seconds: float
) -> dict[str, Contestant]:
    if note := why_no_pytorch():
        return dict.fromkeys((PYTORCH, COMPILED), Contestant(None, note=note))
    from scripts.benchmarks import pytorch_language

    make = functools.partial(
        pytorch_language.make_train_step,
        stacked_weights(model),
        tokens,
        heads=sizes.heads,
        kv_heads=sizes.kv_heads,
        rate=RATE,
    )
    return {
        PYTORCH: Contestant(make()),
        COMPILED: _if_time(functools.partial(make, compiled=True), compile_seconds),
    }


def stacked_weights(model: models.Decoder) -> dict[str, np.ndarray]:
    """The parameters by name; those of the layers have the layer first."""
    blocks = model.blocks
    kernels = {
        name: getattr(blocks, name).kernel for name in ("qkv", "attention_out", "gate_up", "down")
    }
    norms = {"attention_norm": blocks.attention_norm, "mlp_norm": blocks.mlp_norm}
    whole = {"embedding": model.embedding, "norm": model.norm}
    return {name: np.asarray(param[...]) for name, param in (whole | kernels | norms).items()}


def plain_cross_entropy(x: jax.Array, weight: jax.Array, labels: jax.Array) -> jax.Array:
    return optax.softmax_cross_entropy_with_integer_labels(x @ weight, labels).mean()


def plain_rms_norm(x: jax.Array, scale: jax.Array) -> jax.Array:
    return x * lax.rsqrt(jnp.mean(jnp.square(x), axis=-1, keepdims=True) + 1e-6) * scale


def _mean_of_each(x: jax.Array, weight: jax.Array, labels: jax.Array) -> jax.Array:
    return jaxfn.linear_cross_entropy(x, weight, labels, reduction="none").mean()


def _tokens(seed: int, tokens: int, width: int, classes: int) -> tuple[jax.Array, ...]:
    x, weight = normal(seed, (tokens, width), (width, classes))
    labels = np.random.RandomState(seed).randint(classes, size=tokens)
    return x, weight / width**0.5, jnp.asarray(labels, jnp.int32)


def _pytorch(
    name: str, args: tuple[jax.Array, ...], compile_seconds: float
) -> dict[str, Contestant]:
    """PyTorch's contestants of `pytorch_language`'s function `name`."""
    if note := why_no_pytorch():
        return {PYTORCH: Contestant(None, note=note)}
    from scripts.benchmarks import pytorch_language

    make = getattr(pytorch_language, name)
    found = {PYTORCH: Contestant(make(*args))}
    if compile_seconds > 0:
        found[COMPILED] = _if_time(lambda: make(*args, compiled=True), compile_seconds)
    return found


def _if_time(make: Callable[[], Callable[[], object]], compile_seconds: float) -> Contestant:
    if compile_seconds <= 0:
        return Contestant(None, note="not compiled: all of --compile-seconds is spent")
    from scripts.benchmarks import pytorch_peer

    pytorch_peer.forget_compiled()
    return first_call(make())


def _figures(fun: Callable, *shapes: jax.ShapeDtypeStruct) -> Mapping[str, float]:
    """The memory of a program that is not run."""
    start = time.perf_counter()
    memory = jax.jit(fun).lower(*shapes).compile().memory_analysis()
    found = {"compile_seconds": time.perf_counter() - start}
    if memory is not None:
        found["temporary_bytes"] = memory.temp_size_in_bytes
        found["result_bytes"] = memory.output_size_in_bytes
    return found


def _with_speeds(rows: list[Row]) -> list[Row]:
    rows = add_speed(rows, "speed_against_plain", lambda row: row.contestant in (PLAIN, JAX_NN))
    rows = add_speed(rows, "speed_against_pytorch", is_pytorch)
    return add_speed(rows, "share_of_limit", lambda row: row.contestant == LIMIT)
