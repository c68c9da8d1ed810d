"""The flags that every training has, whatever is trained."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Literal, Self

from scripts.command.device import Platform
from scripts.command.program import check
from scripts.training.step import Rules


@dataclasses.dataclass(frozen=True)
class TrainingFlags:
    """Flags of a training. A program's own flags are a class that inherits these."""

    PROGRAM = ""  # its name in scripts/

    epochs: int = 20
    """How often the training data pass."""
    batch_size: int = 32
    """Examples per step. What is left of an epoch's permutation, less than a batch, sits it out."""
    learning_rate: float | None = None
    """The highest one; by default what suits the model."""
    seed: int = 0
    """Of the weights, the order of the data, and what is random in a step."""
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

    @property
    def rate(self) -> float:
        """The highest learning rate."""
        raise NotImplementedError

    @classmethod
    def of_run(cls, directory: Path) -> Self:
        """The flags of a run of this program.

        Raises:
          UserError: if `directory` is not the folder of one.
        """
        raise NotImplementedError


def check_training_flags(config: TrainingFlags) -> None:
    """Raises `UserError` if the value of a flag that all trainings have makes no sense."""
    rate = config.learning_rate
    check(config.epochs >= 1, f"--epochs: expected at least 1, got {config.epochs}")
    check(config.epochs < 2**31, f"--epochs: expected less than 2³¹, got {config.epochs}")
    check(config.batch_size >= 1, f"--batch-size: expected at least 1, got {config.batch_size}")
    check(rate is None or 0 < rate < float("inf"), f"--learning-rate: expected > 0, got {rate}")
    check(0 <= config.seed < 2**32, f"--seed: expected 0 to 2³² - 1, got {config.seed}")
    check(
        config.accumulate >= 1 and config.batch_size % config.accumulate == 0,
        f"--accumulate: expected a divisor of the batch of {config.batch_size}, "
        f"got {config.accumulate}",
    )
    every = config.checkpoint_every
    check(every is None or every >= 1, f"--checkpoint-every: expected at least 1, got {every}")
    check(config.keep >= 1, f"--keep: expected at least 1, got {config.keep}")
