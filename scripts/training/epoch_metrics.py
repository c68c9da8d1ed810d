"""A line of metrics.jsonl, and which of them is the best."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from scripts.command import run_directory
from scripts.command.program import UserError, check

HEADER = "epoch  train loss  accuracy  test loss  accuracy  images/s"


@dataclasses.dataclass(frozen=True)
class EpochMetrics:
    """A line of metrics.jsonl.

    Attributes:
      epoch: counted from 1.
      step: how many steps have been taken since the start.
      train_loss: mean over the epoch's steps, each before its update.
      train_accuracy: likewise, on the shifted images.
      test_loss: over all test images, after the epoch.
      test_accuracy: likewise.
      skipped_steps: of the epoch, whose loss or gradient was not finite.
      images_per_second: in training, compilation left out.
      seconds: that the epoch's training took; of a resumed epoch, its part since then.
    """

    epoch: int
    step: int
    train_loss: float
    train_accuracy: float
    test_loss: float
    test_accuracy: float
    skipped_steps: int
    images_per_second: float
    seconds: float

    def __str__(self) -> str:
        skipped = f"  {self.skipped_steps} steps skipped" if self.skipped_steps else ""
        return (
            f"{self.epoch:5}  {self.train_loss:10.4f}  {self.train_accuracy:8.2%}  "
            f"{self.test_loss:9.4f}  {self.test_accuracy:8.2%}  {self.images_per_second:8,.0f}"
            f"{skipped}"
        )


def best(history: Sequence[EpochMetrics]) -> EpochMetrics:
    """The first of the highest test accuracy, and among those of the lowest test loss."""
    return max(history, key=lambda line: (line.test_accuracy, -line.test_loss))


def keep_history(directory: Path, epochs: int) -> list[EpochMetrics]:
    """The first epochs of a run, while its file loses the lines after them.

    Raises:
      UserError: if there are fewer, or one is damaged.
    """
    file = directory / run_directory.METRICS
    lines = run_directory.keep_metrics(directory, epochs)
    try:
        history = [run_directory.restore(EpochMetrics, line) for line in lines]
    except ValueError as error:
        raise UserError(f"{file}: damaged: {error}") from error
    found = [line.epoch for line in history]
    check(
        found == list(range(1, epochs + 1)),
        f"{file}: damaged: expected the epochs 1 to {epochs}, got {found}",
    )
    return history
