"""TensorBoard events of a training, by tensorboardX, which only `--tensorboard` needs."""

from __future__ import annotations

import dataclasses
import importlib
import importlib.util
from collections.abc import Sequence
from pathlib import Path

from scripts.command.program import check
from scripts.training.epoch_metrics import Line

FOLDER = "tensorboard"


def check_installed() -> None:
    """Raises `UserError` if tensorboardX is not installed."""
    check(
        importlib.util.find_spec("tensorboardX") is not None,
        "--tensorboard: expected tensorboardX, it is not installed: "
        "pip install tensorboardX, or this project with its extra `tensorboard`",
    )


class Events:
    """The metrics of each epoch as scalars.

    A thread of tensorboardX writes them, a second later at most. What a kill takes away from it
    comes back when the run is resumed: the events before are then declared void.

    Args:
      directory: folder of the run.
      history: the epochs that are done.
    """

    def __init__(self, directory: Path, history: Sequence[Line]):
        tensorboardx = importlib.import_module("tensorboardX")
        folder = str(directory / FOLDER)
        self._writer = tensorboardx.SummaryWriter(folder, purge_step=1, flush_secs=1)
        for metrics in history:
            self.write(metrics)

    def write(self, metrics: Line) -> None:
        """Adds an epoch."""
        for name, value in dataclasses.asdict(metrics).items():
            if name not in ("epoch", "step"):
                self._writer.add_scalar(name, value, metrics.epoch)

    def close(self) -> None:
        """To be called in the end."""
        self._writer.close()
