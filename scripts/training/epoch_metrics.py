"""A line of metrics.jsonl: of images, of text; and which of them is the best."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Protocol, TypeVar

from scripts.command import run_directory
from scripts.command.program import UserError, check

HEADER = "epoch  train loss  accuracy  test loss  accuracy  images/s"
TEXT_HEADER = "epoch  train loss  test loss  bits per byte  tokens/s"


class Line(Protocol):
    """What the metrics of an epoch are at least, whatever is trained; a dataclass."""

    __dataclass_fields__: ClassVar[dict[str, Any]]

    @property
    def epoch(self) -> int: ...
    @property
    def step(self) -> int: ...
    @property
    def train_loss(self) -> float: ...
    @property
    def test_loss(self) -> float: ...
    @property
    def merit(self) -> Any: ...
    @property
    def brief(self) -> str: ...


AnyLine = TypeVar("AnyLine", bound=Line)


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

    @property
    def merit(self) -> tuple[float, float]:
        """The higher, the better: the test accuracy, and where it is the same, the test loss."""
        return self.test_accuracy, -self.test_loss

    @property
    def brief(self) -> str:
        """What stands beside a progress bar."""
        return (
            f"loss {self.train_loss:.4f}, test {self.test_accuracy:.1%}, "
            f"{self.images_per_second:,.0f} images/s"
        )

    def __str__(self) -> str:
        return (
            f"{self.epoch:5}  {self.train_loss:10.4f}  {self.train_accuracy:8.2%}  "
            f"{self.test_loss:9.4f}  {self.test_accuracy:8.2%}  {self.images_per_second:8,.0f}"
            f"{_skipped(self.skipped_steps)}"
        )


@dataclasses.dataclass(frozen=True)
class TextMetrics:
    """A line of metrics.jsonl of a decoder.

    Attributes:
      epoch: counted from 1.
      step: how many steps have been taken since the start.
      train_loss: nats per byte, the mean over the epoch's steps, each before its update.
      test_loss: over the held-out text, after the epoch.
      bits_per_byte: the same as test_loss, divided by ln 2.
      skipped_steps: of the epoch, whose loss or gradient was not finite.
      tokens_per_second: in training, compilation left out.
      seconds: that the epoch's training took; of a resumed epoch, its part since then.
    """

    epoch: int
    step: int
    train_loss: float
    test_loss: float
    bits_per_byte: float
    skipped_steps: int
    tokens_per_second: float
    seconds: float

    @property
    def merit(self) -> float:
        """The higher, the better."""
        return -self.test_loss

    @property
    def brief(self) -> str:
        """What stands beside a progress bar."""
        return (
            f"loss {self.train_loss:.4f}, {self.bits_per_byte:.3f} bits per byte, "
            f"{self.tokens_per_second:,.0f} tokens/s"
        )

    def __str__(self) -> str:
        return (
            f"{self.epoch:5}  {self.train_loss:10.4f}  {self.test_loss:9.4f}  "
            f"{self.bits_per_byte:13.4f}  {self.tokens_per_second:8,.0f}"
            f"{_skipped(self.skipped_steps)}"
        )


def _skipped(steps: int) -> str:
    return f"  {steps} steps skipped" if steps else ""


def best(history: Sequence[AnyLine]) -> AnyLine:
    """The first of the highest merit."""
    return max(history, key=lambda line: line.merit)


def keep_history(directory: Path, epochs: int, kind: type = EpochMetrics) -> list[Any]:
    """The first epochs of a run, while its file loses the lines after them.

    Args:
      directory: folder of the run.
      epochs: how many.
      kind: what a line is.

    Raises:
      UserError: if there are fewer, or one is damaged.
    """
    file = directory / run_directory.METRICS
    lines = run_directory.keep_metrics(directory, epochs)
    try:
        history = [run_directory.restore(kind, line) for line in lines]
    except ValueError as error:
        raise UserError(f"{file}: damaged: {error}") from error
    found = [line.epoch for line in history]
    check(
        found == list(range(1, epochs + 1)),
        f"{file}: damaged: expected the epochs 1 to {epochs}, got {found}",
    )
    return history
