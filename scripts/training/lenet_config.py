"""What a run of LeNet is: its flags, the state that it starts from, and how both come back."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from pathlib import Path
from typing import Literal, Self, cast

import jax
import optax
from flax import nnx

import models
from scripts.command import run_directory
from scripts.command.program import UserError, check
from scripts.training import checkpoint
from scripts.training.data import DatasetName
from scripts.training.flags import TrainingFlags, check_training_flags
from scripts.training.images import Preprocessing
from scripts.training.step import Position, TrainState, split_model, start

PROGRAM = "train_lenet"
ModelName = Literal["lenet", "binary", "quantized", "spiking"]
# Latent binary weights lie within [-1, 1], and they count only when they change sign.
LEARNING_RATES = {
    "lenet": {"sgd": 0.025, "adamw": 0.002},
    "binary": {"sgd": 4.0, "adamw": 0.015},
    "quantized": {"sgd": 0.025, "adamw": 0.002},
    "spiking": {"sgd": 0.4, "adamw": 0.002},
}


@dataclasses.dataclass(frozen=True)
class Config(TrainingFlags):
    """Flags of `train_lenet`."""

    PROGRAM = PROGRAM

    model: ModelName = "lenet"
    """lenet, or one that needs a rule: binary (weights and activations -1 and +1), quantized (of a
    few bits), spiking (integrate-and-fire neurons)."""
    bits: int = 4
    """Of the quantized model's weights and activations."""
    dataset: DatasetName = "digits"
    """digits (scikit-learn's, no network), mnist, fashion-mnist, or idx: files of your own."""
    data_dir: Path | None = None
    """Folder of the IDX files; by default data/<dataset>, for idx there is no default."""
    learning_rate: float | None = None
    """By default 0.025 for sgd and 0.002 for adamw; binary 4 and 0.015, spiking 0.4 and 0.002."""
    optimizer: Literal["sgd", "adamw"] = "sgd"
    """SGD with momentum, or AdamW."""
    schedule: Literal["cosine", "constant"] = "cosine"
    """Whether the learning rate falls to 0, along half a cosine, or stays."""
    momentum: float = 0.9
    """Of sgd."""
    weight_decay: float = 1e-4
    """For sgd added to the gradient, for adamw decoupled from it."""
    max_shift: int = 3
    """Each training image is shifted by up to this many pixels along each axis, anew each time."""

    @property
    def rate(self) -> float:
        """The learning rate that the training starts with."""
        return learning_rate(self)

    @classmethod
    def of_run(cls, directory: Path) -> Self:
        """The flags of a run of `train_lenet`."""
        return cast(Self, stored_run(directory)[0])


def check_config(config: Config) -> None:
    """Raises `UserError` if a flag's value makes no sense."""
    check_training_flags(config)
    check(0 <= config.momentum < 1, f"--momentum: expected 0 ≤ … < 1, got {config.momentum}")
    check(
        0 <= config.weight_decay < float("inf"),
        f"--weight-decay: expected at least 0, got {config.weight_decay}",
    )
    check(0 <= config.max_shift < 32, f"--max-shift: expected 0 to 31, got {config.max_shift}")
    check(2 <= config.bits <= 16, f"--bits: expected 2 to 16, got {config.bits}")


def learning_rate(config: Config) -> float:
    """The rate that the training starts with."""
    return config.learning_rate or LEARNING_RATES[config.model][config.optimizer]


def make_optimizer(config: Config, steps: int) -> optax.GradientTransformation:
    """The optimiser for a training of so many steps."""
    rate = learning_rate(config)
    schedule = optax.cosine_decay_schedule(rate, steps) if config.schedule == "cosine" else rate
    if config.optimizer == "adamw":
        return optax.adamw(schedule, weight_decay=config.weight_decay)
    return optax.chain(
        optax.add_decayed_weights(config.weight_decay),
        optax.sgd(schedule, momentum=config.momentum),
    )


def initial_state(
    config: Config, optimizer: optax.GradientTransformation
) -> tuple[nnx.GraphDef, TrainState]:
    """The structure of the net, and the state before the first step."""
    weights_key, _ = keys(config)
    graphdef, params = split_model(make_model(config, nnx.Rngs(params=weights_key)))
    return graphdef, TrainState(params, optimizer.init(params))


def initial_position(
    config: Config, optimizer: optax.GradientTransformation
) -> tuple[nnx.GraphDef, Position]:
    """The structure of the net, and the position before the first step."""
    graphdef, state = initial_state(config, optimizer)
    return graphdef, start(state, keys(config)[1])


def make_model(config: Config, rngs: nnx.Rngs) -> nnx.Module:
    """The net that the flags ask for."""
    if config.model == "binary":
        return models.BinaryLeNet(rngs=rngs)
    if config.model == "quantized":
        return models.QuantizedLeNet(config.bits, rngs=rngs)
    if config.model == "spiking":
        return models.SpikingLeNet(rngs=rngs)
    return models.LeNet(rngs=rngs)


def keys(config: Config) -> tuple[jax.Array, jax.Array]:
    """The random keys of the weights and of the epochs."""
    weights_key, epochs_key = jax.random.split(jax.random.key(config.seed))
    return weights_key, epochs_key


def stored_run(directory: Path) -> tuple[Config, Preprocessing]:
    """The flags of a run, and the preprocessing of its images.

    Raises:
      UserError: if `directory` is not the folder of a run of `train_lenet`.
    """
    stored = run_directory.read_config(directory)
    file = directory / run_directory.CONFIG
    program = stored.get("program")
    check(program == PROGRAM, f"{file}: expected a run of {PROGRAM}, got {program!r}")
    try:
        config = run_directory.restore(Config, stored.get("config"))
        preprocessing = run_directory.restore(Preprocessing, stored.get("preprocessing"))
        check_config(config)
        check(
            math.isfinite(preprocessing.mean) and 0 < preprocessing.std < float("inf"),
            f"preprocessing: expected a mean and a standard deviation, got {preprocessing}",
        )
    except (UserError, ValueError) as error:
        raise UserError(f"{file}: damaged: {error}") from error
    return config, preprocessing


def restore_position(
    directory: Path,
    config: Config,
    optimizer: optax.GradientTransformation,
    pass_over: Callable[[str], None] | None = None,
) -> tuple[nnx.GraphDef, Position]:
    """The structure of the net, and where the run stands.

    Args:
      directory: folder of the run.
      config: its flags.
      optimizer: what `make_optimizer` gives.
      pass_over: is told of each damaged checkpoint, for which the one before is taken; without it
        a damaged one is an error.
    """
    graphdef, like = initial_position(config, optimizer)
    _, position = checkpoint.load(directory / run_directory.CHECKPOINTS, like, pass_over)
    return graphdef, position


def restore_state(
    directory: Path, config: Config, optimizer: optax.GradientTransformation
) -> tuple[nnx.GraphDef, int, TrainState]:
    """The structure of the net, the epochs that the run has done, and its latest state."""
    graphdef, position = restore_position(directory, config, optimizer)
    return graphdef, int(position.epoch) - 1, position.state
