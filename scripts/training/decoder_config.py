"""What a run of a decoder is: its flags, the state that it starts from, and how both come back."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any, Literal, Self, cast

import jax
import jax.numpy as jnp
import optax
from flax import nnx

import models
from scripts.command import run_directory
from scripts.command.program import UserError, check
from scripts.training import checkpoint
from scripts.training.flags import TrainingFlags, check_training_flags
from scripts.training.language import TextLoss
from scripts.training.step import Params, Position, TrainState, split_model, start
from scripts.training.text import VOCABULARY, TextSource

PROGRAM = "train_decoder"
LEARNING_RATE = 0.004


@dataclasses.dataclass(frozen=True)
class Config(TrainingFlags):
    """Flags of `train_decoder`."""

    PROGRAM = PROGRAM

    text: tuple[Path, ...] = ()
    """Files to learn from, whose bytes count; by default the help texts of this Python's pydoc."""
    context: int = 512
    """How many bytes back the net sees, in training."""
    width: int = 128
    """Features of a byte between the layers."""
    layers: int = 5
    """How many."""
    heads: int = 4
    """Of attention's queries."""
    kv_heads: int = 2
    """Of its keys and values, a divisor of the heads."""
    hidden: int = 344
    """Features within SwiGLU."""
    dropout: float = 0.0
    """Rate of the features left out, in training."""
    epochs: int = 4
    """How often the text passes."""
    batch_size: int = 2
    """Pieces of --context bytes per step."""
    learning_rate: float | None = None
    """The highest one; by default 0.004."""
    schedule: Literal["cosine", "constant"] = "cosine"
    """Whether the learning rate falls to a hundredth, along half a cosine, or stays."""
    warmup: float = 0.05
    """The part of the steps over which the learning rate rises from 0."""
    weight_decay: float = 0.1
    """Of AdamW, on the matrices alone."""
    clip: float = 1.0
    """Gradients of a greater norm are scaled to this one."""

    @property
    def rate(self) -> float:
        """The highest learning rate."""
        return self.learning_rate or LEARNING_RATE

    @classmethod
    def of_run(cls, directory: Path) -> Self:
        """The flags of a run of `train_decoder`."""
        return cast(Self, stored_run(directory)[0])


def check_config(config: Config) -> None:
    """Raises `UserError` if a flag's value makes no sense."""
    check_training_flags(config)
    for name in ("context", "width", "layers", "heads", "kv_heads", "hidden"):
        value = getattr(config, name)
        check(value >= 1, f"--{name.replace('_', '-')}: expected at least 1, got {value}")
    check(0 <= config.dropout < 1, f"--dropout: expected 0 ≤ … < 1, got {config.dropout}")
    check(0 <= config.warmup < 1, f"--warmup: expected 0 ≤ … < 1, got {config.warmup}")
    check(0 < config.clip < float("inf"), f"--clip: expected > 0, got {config.clip}")
    check(
        0 <= config.weight_decay < float("inf"),
        f"--weight-decay: expected at least 0, got {config.weight_decay}",
    )
    try:
        models.decoder.check_sizes(
            width=config.width,
            layers=config.layers,
            heads=config.heads,
            kv_heads=config.kv_heads,
            hidden=config.hidden,
        )
    except ValueError as error:
        raise UserError(f"--width, --heads, --kv-heads: {error}") from error


def make_optimizer(config: Config, steps: int) -> optax.GradientTransformation:
    """AdamW with clipped gradients, for a training of so many steps."""
    warmup = min(round(config.warmup * steps), steps - 1)
    if config.schedule == "cosine":
        rate = optax.warmup_cosine_decay_schedule(
            config.rate / (warmup + 1), config.rate, warmup, steps, config.rate / 100
        )
    else:
        rate = optax.linear_schedule(config.rate / (warmup + 1), config.rate, max(warmup, 1))

    def matrices(params: Params) -> Any:
        # Those of the layers are stacked: a vector of each layer is [layers, features].
        blocks = jax.tree.map(lambda leaf: leaf.ndim > 2, params["blocks"])
        return {name: leaf.ndim > 1 for name, leaf in params.items() if name != "blocks"} | {
            "blocks": blocks
        }

    return optax.chain(
        optax.clip_by_global_norm(config.clip),
        optax.adamw(rate, b2=0.99, weight_decay=config.weight_decay, mask=matrices),
    )


def make_model(config: Config, rngs: nnx.Rngs) -> models.Decoder:
    """The net that the flags ask for."""
    return models.Decoder(
        VOCABULARY,
        width=config.width,
        layers=config.layers,
        heads=config.heads,
        kv_heads=config.kv_heads,
        hidden=config.hidden,
        dropout=config.dropout,
        param_dtype=jnp.float32,
        rngs=rngs,
    )


def initial_position(
    config: Config, optimizer: optax.GradientTransformation
) -> tuple[nnx.GraphDef, Position]:
    """The structure of the net, and the position before the first step."""
    weights_key, epochs_key = jax.random.split(jax.random.key(config.seed))
    graphdef, params = split_model(make_model(config, nnx.Rngs(params=weights_key)))
    return graphdef, start(TrainState(params, optimizer.init(params)), epochs_key, TextLoss)


def stored_run(directory: Path) -> tuple[Config, TextSource]:
    """The flags of a run, and what its text was.

    Raises:
      UserError: if `directory` is not the folder of a run of `train_decoder`.
    """
    stored = run_directory.read_config(directory)
    file = directory / run_directory.CONFIG
    program = stored.get("program")
    check(program == PROGRAM, f"{file}: expected a run of {PROGRAM}, got {program!r}")
    try:
        config = run_directory.restore(Config, stored.get("config"))
        source = run_directory.restore(TextSource, stored.get("text"))
        check_config(config)
    except (UserError, ValueError) as error:
        raise UserError(f"{file}: damaged: {error}") from error
    return config, source


def restore_params(directory: Path, config: Config) -> tuple[nnx.GraphDef, Params]:
    """The structure of the net, and its latest parameters.

    Raises:
      UserError: if there is no intact checkpoint.
    """
    graphdef, like = initial_position(config, make_optimizer(config, steps=1))
    _, position = checkpoint.load(directory / run_directory.CHECKPOINTS, like)
    return graphdef, position.state.params
