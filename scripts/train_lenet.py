"""Trains LeNet, or a relative that needs hand-written gradients, on images of ten classes.

In seconds, on handwritten digits that need no network:

    python -m scripts.train_lenet --epochs 3

It leaves `runs/<name>/` with config.json, metrics.jsonl, curves.png, predictions.png and the
checkpoints; `python -m scripts.predict --run runs/<name> image.png` asks the trained net, and
`python -m scripts.train_lenet --resume runs/<name>` continues a run that was interrupted.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
import optax
from flax import nnx
from jax.sharding import Mesh

from scripts.command.program import check, run_program
from scripts.training import session
from scripts.training.data import Dataset, class_names, load
from scripts.training.epoch_metrics import HEADER, EpochMetrics
from scripts.training.lenet_config import (
    Config,
    check_config,
    initial_position,
    make_optimizer,
    stored_run,
)
from scripts.training.lenet_parts import make_parts
from scripts.training.plots import plot_curves, plot_predictions
from scripts.training.resuming import complete
from scripts.training.run import Parts, Run
from scripts.training.step import Position
from scripts.training.task import Measured, Task

CURVES, PREDICTIONS = "curves.png", "predictions.png"


@dataclasses.dataclass(frozen=True)
class Result(session.Outcome):
    """What a training came to."""

    history: tuple[EpochMetrics, ...]

    @property
    def test_accuracy(self) -> float:
        """After the last epoch."""
        return self.history[-1].test_accuracy


class Classification(Task[Config, Dataset]):
    """LeNet on images."""

    header, line, drawn, example = HEADER, EpochMetrics, PREDICTIONS, "images"

    def check(self, config: Config) -> None:
        check_config(config)

    def load(self, config: Config) -> Dataset:
        return load(config.dataset, config.data_dir)

    def prefix(self, config: Config) -> str:
        return config.dataset

    def about(self, dataset: Dataset) -> Mapping[str, Any]:
        return {"preprocessing": dataset.preprocessing}

    def check_same_data(self, directory: Path, dataset: Dataset) -> None:
        _, preprocessing = stored_run(directory)
        check(
            np.allclose(
                (dataset.preprocessing.mean, dataset.preprocessing.std),
                (preprocessing.mean, preprocessing.std),
            ),
            f"{directory}: expected the images that the run was started with, got others: their "
            f"mean and standard deviation are not {preprocessing.mean:.6g} and "
            f"{preprocessing.std:.6g}",
        )

    def optimizer(self, config: Config, steps: int) -> optax.GradientTransformation:
        return make_optimizer(config, steps)

    def initial_position(
        self, config: Config, optimizer: optax.GradientTransformation
    ) -> tuple[nnx.GraphDef, Position]:
        return initial_position(config, optimizer)

    def parts(
        self,
        config: Config,
        dataset: Dataset,
        graphdef: nnx.GraphDef,
        optimizer: optax.GradientTransformation,
        devices: Mesh | None,
    ) -> Parts:
        return make_parts(config, dataset, graphdef, optimizer, devices)

    def size(self, dataset: Dataset) -> str:
        train, test = len(dataset.train.labels), len(dataset.test.labels)
        return f"{train:,} training and {test:,} test images"

    def line_of(self, config: Config, measured: Measured) -> EpochMetrics:
        train, test = measured.train, measured.test
        return EpochMetrics(
            measured.epoch,
            measured.step,
            *(train.loss, train.accuracy, test.loss, test.accuracy),
            skipped_steps=measured.skipped_steps,
            images_per_second=measured.examples_per_second,
            seconds=measured.seconds,
        )

    def finish(self, config: Config, dataset: Dataset, run: Run, outputs: jax.Array) -> str:
        _draw(config, dataset, run, jax.nn.softmax(outputs))
        return ""

    def result(self, line: EpochMetrics, *, name: bool = True) -> str:
        return f"{'test accuracy ' if name else ''}{line.test_accuracy:.2%}"


def main(config: Config) -> Result:
    """Trains LeNet and leaves the folder of the run.

    Raises:
      UserError: if a flag or a file is wrong, something cannot be written, or a number is not
        finite.
      Interrupted: if Ctrl-C or SIGTERM came; the run is saved.
    """
    return Result(**vars(session.train(Classification(), config)))


def _draw(config: Config, dataset: Dataset, run: Run, probabilities: jax.Array) -> None:
    plot_curves(run.directory / CURVES, [dataclasses.asdict(line) for line in run.history])
    plot_predictions(
        run.directory / PREDICTIONS,
        images=np.asarray(dataset.test.images),
        labels=np.asarray(dataset.test.labels),
        probabilities=np.asarray(probabilities),
        names=class_names(config.dataset),
    )


if __name__ == "__main__":
    run_program(main, Config, __doc__, complete)
