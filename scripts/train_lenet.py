"""Trains LeNet on images of ten classes, with hand-written gradients.

In seconds, on handwritten digits that need no network:

    python -m scripts.train_lenet --epochs 3

It leaves `runs/<name>/` with config.json, metrics.jsonl, curves.png, predictions.png and the
checkpoint; `python -m scripts.predict --run runs/<name> image.png` asks the trained net.
"""

from __future__ import annotations

import dataclasses
import math
import time
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
import optax
from flax import nnx

from scripts import checkpoint, run_directory
from scripts.data import Dataset, class_names, load
from scripts.device import environment, select_platform
from scripts.display import Display
from scripts.lenet_config import (
    PROGRAM,
    Config,
    check_config,
    initial_state,
    keys,
    learning_rate,
    make_optimizer,
    restore_state,
    stored_run,
)
from scripts.plots import plot_curves, plot_predictions
from scripts.program import UserError, check, run_program
from scripts.training import (
    EpochFn,
    EvaluateFn,
    TrainState,
    make_epoch,
    make_evaluate,
    make_loss_fn,
    make_random_shift,
    make_train_step,
)

EVALUATION_BATCH = 500
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
      images_per_second: in training, compilation left out.
      seconds: that the epoch's training took.
    """

    epoch: int
    step: int
    train_loss: float
    train_accuracy: float
    test_loss: float
    test_accuracy: float
    images_per_second: float
    seconds: float

    def __str__(self) -> str:
        return (
            f"{self.epoch:5}  {self.train_loss:10.4f}  {self.train_accuracy:8.2%}  "
            f"{self.test_loss:9.4f}  {self.test_accuracy:8.2%}  {self.images_per_second:8,.0f}"
        )


@dataclasses.dataclass(frozen=True)
class Result:
    """What a training came to.

    Attributes:
      history: metrics of each epoch.
      seconds: from before the compilation until after the last epoch.
      directory: the folder of the run.
    """

    history: tuple[EpochMetrics, ...]
    seconds: float
    directory: Path

    @property
    def test_accuracy(self) -> float:
        """After the last epoch."""
        return self.history[-1].test_accuracy


class Run(NamedTuple):
    """A training that is about to start or to go on, and the epochs that it has behind it."""

    directory: Path
    graphdef: nnx.GraphDef
    state: TrainState
    history: list[EpochMetrics]


def main(config: Config) -> Result:
    """Trains LeNet and leaves the folder of the run.

    Raises:
      UserError: if a flag or a file is wrong, or the loss is no longer finite.
    """
    config = _stored_flags(config) if config.resume else config
    check_config(config)
    select_platform(config.platform)
    dataset = load(config.dataset, config.data_dir)
    images = len(dataset.train.labels)
    check(
        config.batch_size <= images,
        f"--batch-size: expected at most the {images} training images, got {config.batch_size}",
    )
    optimizer = make_optimizer(config, config.epochs * (images // config.batch_size))
    if config.resume:
        run = _resume(config, config.resume, optimizer)
    else:
        run = _start(config, dataset, optimizer)
    with Display(config.epochs, completed=len(run.history), quiet=config.quiet) as display:
        display.say(
            f"{images:,} training and {len(dataset.test.labels):,} test images, "
            f"{jax.devices()[0].device_kind}, {config.rules} rules → {run.directory}"
        )
        display.say(HEADER)
        try:
            seconds, probabilities = _train(config, dataset, run, optimizer, display)
        except KeyboardInterrupt:
            raise KeyboardInterrupt(_how_to_go_on(run)) from None
        _draw(config, dataset, run, probabilities)
        result = Result(tuple(run.history), seconds, run.directory)
        display.say(
            f"test accuracy {result.test_accuracy:.2%} after {config.epochs} epochs, "
            f"{seconds:.1f} s → {run.directory}"
        )
    return result


def compile_epoch(
    config: Config,
    dataset: Dataset,
    graphdef: nnx.GraphDef,
    optimizer: optax.GradientTransformation,
    state: TrainState,
) -> tuple[EpochFn, EvaluateFn]:
    """An epoch of training, which takes over the buffers of its state, and the evaluation."""
    epoch = make_epoch(
        make_train_step(make_loss_fn(graphdef, config.rules), optimizer),
        config.batch_size,
        make_random_shift(config.max_shift, dataset.preprocessing.ground),
    )
    evaluate = make_evaluate(graphdef, EVALUATION_BATCH)
    _, key = keys(config)
    return (
        jax.jit(epoch, donate_argnums=0).lower(state, key, *dataset.train).compile(),
        jax.jit(evaluate).lower(state.params, *dataset.test).compile(),
    )


def _stored_flags(config: Config) -> Config:
    """The flags of the run to resume; where it runs and what it shows may change."""
    here = {"resume": config.resume, "platform": config.platform, "quiet": config.quiet}
    check(
        config == Config(**here),
        "--resume: expected no other flags than --platform and --quiet, the run has its own",
    )
    assert config.resume is not None
    stored, _ = stored_run(config.resume)
    return dataclasses.replace(stored, **here)


def _start(config: Config, dataset: Dataset, optimizer: optax.GradientTransformation) -> Run:
    directory = run_directory.create(config.run_dir, config.name, config.dataset)
    run_directory.write_config(
        directory,
        program=PROGRAM,
        config=config,
        preprocessing=dataset.preprocessing,
        environment=environment(),
    )
    return Run(directory, *initial_state(config, optimizer), [])


def _resume(config: Config, directory: Path, optimizer: optax.GradientTransformation) -> Run:
    graphdef, epochs, state = restore_state(directory, config, optimizer)
    check(
        epochs < config.epochs,
        f"{directory}: expected an unfinished run, all {epochs} epochs are done",
    )
    history = [
        run_directory.restore(EpochMetrics, line)
        for line in run_directory.keep_metrics(directory, epochs)
    ]
    return Run(directory, graphdef, state, history)


def _train(
    config: Config,
    dataset: Dataset,
    run: Run,
    optimizer: optax.GradientTransformation,
    display: Display,
) -> tuple[float, jax.Array]:
    """Runs the epochs that are missing and adds them to the history.

    Returns:
      The seconds that it took, and the probability of each class for each test image.
    """
    start = time.perf_counter()
    state = run.state
    train_epoch, evaluate = compile_epoch(config, dataset, run.graphdef, optimizer, state)
    _, key = keys(config)
    steps = len(dataset.train.labels) // config.batch_size
    logits = None
    for epoch in range(len(run.history) + 1, config.epochs + 1):
        epoch_start = time.perf_counter()
        epoch_key = jax.random.fold_in(key, epoch)
        state, train = jax.block_until_ready(train_epoch(state, epoch_key, *dataset.train))
        seconds = time.perf_counter() - epoch_start
        test, logits = evaluate(state.params, *dataset.test)
        metrics = EpochMetrics(
            epoch,
            epoch * steps,
            *map(float, (*train, *test)),
            images_per_second=steps * config.batch_size / seconds,
            seconds=seconds,
        )
        _check_finite(metrics, config, run)
        run.history.append(metrics)
        # In this order: --resume drops metrics that are newer than the checkpoint.
        run_directory.append_metrics(run.directory, dataclasses.asdict(metrics))
        checkpoint.save(run.directory / run_directory.CHECKPOINTS, epoch, state)
        display.advance(
            str(metrics),
            f"loss {metrics.train_loss:.4f}, test {metrics.test_accuracy:.1%}, "
            f"{metrics.images_per_second:,.0f} images/s",
        )
    assert logits is not None  # at least one epoch is missing
    return time.perf_counter() - start, jax.nn.softmax(logits)


def _draw(config: Config, dataset: Dataset, run: Run, probabilities: jax.Array) -> None:
    plot_curves(run.directory / "curves.png", [dataclasses.asdict(line) for line in run.history])
    plot_predictions(
        run.directory / "predictions.png",
        images=np.asarray(dataset.test.images),
        labels=np.asarray(dataset.test.labels),
        probabilities=np.asarray(probabilities),
        names=class_names(config.dataset),
    )


def _check_finite(metrics: EpochMetrics, config: Config, run: Run) -> None:
    if math.isfinite(metrics.train_loss) and math.isfinite(metrics.test_loss):
        return
    kept = f"; {run.directory} keeps the epochs before" if run.history else ""
    raise UserError(
        f"epoch {metrics.epoch}: expected finite losses, got {metrics.train_loss} in training and "
        f"{metrics.test_loss} in test: try a lower --learning-rate than {learning_rate(config):g}"
        f"{kept}"
    )


def _how_to_go_on(run: Run) -> str:
    if not run.history:
        return "interrupted in the first epoch"
    return (
        f"interrupted after epoch {run.history[-1].epoch}; to continue: "
        f"python -m scripts.train_lenet --resume {run.directory}"
    )


if __name__ == "__main__":
    run_program(main, Config, __doc__)
