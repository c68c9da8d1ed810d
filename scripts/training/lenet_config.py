"""What a run of LeNet is: its flags, the state that it starts from, and how both come back."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import jax
import optax
from flax import nnx

import models
from scripts.command import run_directory
from scripts.command.device import Platform
from scripts.command.program import UserError, check
from scripts.training import checkpoint
from scripts.training.data import DatasetName
from scripts.training.images import Preprocessing
from scripts.training.step import Position, Rules, TrainState, split_model, start

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
class Config:
    """Flags of `train_lenet`."""

    model: ModelName = "lenet"
    """lenet, or one that needs a rule: binary (weights and activations -1 and +1), quantized (of a
    few bits), spiking (integrate-and-fire neurons)."""
    bits: int = 4
    """Of the quantized model's weights and activations."""
    dataset: DatasetName = "digits"
    """digits (scikit-learn's, no network), mnist, fashion-mnist, or idx: files of your own."""
    data_dir: Path | None = None
    """Folder of the IDX files; by default data/<dataset>, for idx there is no default."""
    epochs: int = 20
    """How often the training images pass."""
    batch_size: int = 32
    """Images per step. What is left of an epoch's permutation, less than a batch, sits it out."""
    optimizer: Literal["sgd", "adamw"] = "sgd"
    """SGD with momentum, or AdamW."""
    learning_rate: float | None = None
    """By default 0.025 for sgd and 0.002 for adamw; binary 4 and 0.015, spiking 0.4 and 0.002."""
    schedule: Literal["cosine", "constant"] = "cosine"
    """Whether the learning rate falls to 0, along half a cosine, or stays."""
    momentum: float = 0.9
    """Of sgd."""
    weight_decay: float = 1e-4
    """For sgd added to the gradient, for adamw decoupled from it."""
    max_shift: int = 3
    """Each training image is shifted by up to this many pixels along each axis, anew each time."""
    seed: int = 0
    """Of the weights, the order of the images, and the shifts."""
    rules: Rules = "custom"
    """The hand-written gradients, or JAX's own of the same operations."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """That the net computes in, in training; parameters, sums and the optimiser stay in float32."""
    accumulate: int = 1
    """Take each batch in so many equal parts and average their gradients: less memory."""
    skip_nonfinite: bool = False
    """Leave out a step whose loss or gradient is not finite, and count it, instead of stopping."""
    checkpoint_every: int | None = None
    """Save after at intervals of this many steps; by default after each epoch."""
    keep: int = 3
    """How many checkpoints are kept, the latest ones; besides them the best one."""
    profile: bool = False
    """Trace a few steps with jax.profiler into the folder of the run."""
    tensorboard: bool = False
    """Write TensorBoard events, too, into the folder of the run; needs tensorboardX."""
    platform: Platform | None = None
    """By default the fastest that JAX finds."""
    devices: int | None = None
    """Take each batch in equal parts on so many devices; by default one, and of several processes
    all."""
    mesh: str | None = None
    """The same, as data=N."""
    coordinator: str | None = None
    """host:port of the process 0, where several processes train together."""
    num_processes: int | None = None
    """How many they are."""
    process_id: int | None = None
    """Which of them this one is, from 0 on."""
    run_dir: Path = Path("runs")
    """Where the folder of the run goes."""
    name: str | None = None
    """Name of that folder; by default the data set and the time."""
    resume: Path | None = None
    """Folder of an interrupted run to continue, with its own flags: they need not be repeated."""
    quiet: bool = False
    """Show nothing but errors."""


def check_config(config: Config) -> None:
    """Raises `UserError` if a flag's value makes no sense."""
    rate = config.learning_rate
    check(config.epochs >= 1, f"--epochs: expected at least 1, got {config.epochs}")
    check(config.epochs < 2**31, f"--epochs: expected less than 2³¹, got {config.epochs}")
    check(config.batch_size >= 1, f"--batch-size: expected at least 1, got {config.batch_size}")
    check(rate is None or 0 < rate < float("inf"), f"--learning-rate: expected > 0, got {rate}")
    check(0 <= config.momentum < 1, f"--momentum: expected 0 ≤ … < 1, got {config.momentum}")
    check(
        0 <= config.weight_decay < float("inf"),
        f"--weight-decay: expected at least 0, got {config.weight_decay}",
    )
    check(0 <= config.max_shift < 32, f"--max-shift: expected 0 to 31, got {config.max_shift}")
    check(0 <= config.seed < 2**32, f"--seed: expected 0 to 2³² - 1, got {config.seed}")
    check(
        config.accumulate >= 1 and config.batch_size % config.accumulate == 0,
        f"--accumulate: expected a divisor of the batch of {config.batch_size}, "
        f"got {config.accumulate}",
    )
    every = config.checkpoint_every
    check(every is None or every >= 1, f"--checkpoint-every: expected at least 1, got {every}")
    check(config.keep >= 1, f"--keep: expected at least 1, got {config.keep}")
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
    graphdef, state = initial_state(config, optimizer)
    _, key = keys(config)
    like = start(state, key)
    _, position = checkpoint.load(directory / run_directory.CHECKPOINTS, like, pass_over)
    return graphdef, position


def restore_state(
    directory: Path, config: Config, optimizer: optax.GradientTransformation
) -> tuple[nnx.GraphDef, int, TrainState]:
    """The structure of the net, the epochs that the run has done, and its latest state."""
    graphdef, position = restore_position(directory, config, optimizer)
    return graphdef, int(position.epoch) - 1, position.state
