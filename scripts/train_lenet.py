"""Trains LeNet, or a relative that needs hand-written gradients, on images of ten classes.

In seconds, on handwritten digits that need no network:

    python -m scripts.train_lenet --epochs 3

It leaves `runs/<name>/` with config.json, metrics.jsonl, curves.png, predictions.png and the
checkpoints; `python -m scripts.predict --run runs/<name> image.png` asks the trained net, and
`python -m scripts.train_lenet --resume runs/<name>` continues a run that was interrupted.
"""

from __future__ import annotations

import dataclasses
import time
from pathlib import Path

import jax
import numpy as np
import optax
from flax import nnx
from jax.sharding import Mesh

from scripts.command import run_directory
from scripts.command.device import environment, select_platform
from scripts.command.program import check, run_program
from scripts.command.signals import StopRequest, stop_on_signal
from scripts.training import checkpoint, distributed, mesh, tensorboard
from scripts.training.data import Dataset, class_names, load
from scripts.training.display import Display
from scripts.training.epoch_metrics import HEADER, EpochMetrics, best, keep_history
from scripts.training.lenet_config import (
    PROGRAM,
    Config,
    check_config,
    initial_state,
    keys,
    make_optimizer,
    restore_position,
    stored_run,
)
from scripts.training.plots import plot_curves, plot_predictions
from scripts.training.resuming import complete, flags_of_run
from scripts.training.run import Run
from scripts.training.step import Position, start
from scripts.training.trainer import Trainer

CURVES, PREDICTIONS = "curves.png", "predictions.png"


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


def main(config: Config) -> Result:
    """Trains LeNet and leaves the folder of the run.

    Raises:
      UserError: if a flag or a file is wrong, something cannot be written, or a number is not
        finite.
      Interrupted: if Ctrl-C or SIGTERM came; the run is saved.
    """
    config = flags_of_run(config, config.resume) if config.resume else config
    check_config(config)
    if config.tensorboard:
        tensorboard.check_installed()
    with distributed.joined(config.coordinator, config.num_processes, config.process_id):
        return _main(config)


def _main(config: Config) -> Result:
    select_platform(config.platform)
    check(
        jax.process_count() == 1 or bool(config.name or config.resume),
        "--name: expected the name of the run's folder, the same in each process",
    )
    devices = mesh.make_mesh(config.devices, config.mesh)
    if devices is not None:
        mesh.check_batch(config.batch_size, config.accumulate, devices)
    quiet = config.quiet or not distributed.is_first()
    with stop_on_signal() as request, Display(config.epochs, quiet=quiet) as display:
        dataset = load(config.dataset, config.data_dir)
        images = len(dataset.train.labels)
        check(
            config.batch_size <= images,
            f"--batch-size: expected at most the {images} training images, got {config.batch_size}",
        )
        optimizer = make_optimizer(config, config.epochs * (images // config.batch_size))
        if config.resume:
            run = _resume(config, config.resume, dataset, optimizer, display)
        else:
            run = _start(config, dataset, optimizer)
        distributed.wait_for_all("the folder of the run")
        if devices is not None:
            dataset, run = _on_devices(dataset, run, devices)
        return _train(config, dataset, run, optimizer, display, request)


def _train(
    config: Config,
    dataset: Dataset,
    run: Run,
    optimizer: optax.GradientTransformation,
    display: Display,
    request: StopRequest,
) -> Result:
    display.start(len(run.history))
    display.say(
        f"{len(dataset.train.labels):,} training and {len(dataset.test.labels):,} test images, "
        f"{_hardware(run.devices)}, {config.rules} rules → {run.directory}"
    )
    display.say(HEADER)
    begin = time.perf_counter()
    with checkpoint.Saver(run.directory / run_directory.CHECKPOINTS, config.keep) as saver:
        trainer = Trainer(config, dataset, run, optimizer, saver, display, request)
        probabilities = trainer.train()
    seconds = time.perf_counter() - begin
    if distributed.is_first():
        _draw(config, dataset, run, probabilities)
    result = Result(tuple(run.history), seconds, run.directory)
    display.say(_summary(result))
    return result


def _on_devices(dataset: Dataset, run: Run, devices: Mesh) -> tuple[Dataset, Run]:
    train, test, position = mesh.replicate((dataset.train, dataset.test, run.position), devices)
    run = run._replace(position=position, devices=devices)
    return dataset._replace(train=train, test=test), run


def _hardware(devices: Mesh | None) -> str:
    kind = jax.devices()[0].device_kind
    if devices is None:
        return kind
    processes = jax.process_count()
    return f"{devices.size} × {kind}" + (f" of {processes} processes" if processes > 1 else "")


def _start(config: Config, dataset: Dataset, optimizer: optax.GradientTransformation) -> Run:
    if distributed.is_first():
        directory = run_directory.create(config.run_dir, config.name, config.dataset)
        run_directory.write_config(
            directory,
            program=PROGRAM,
            config=config,
            preprocessing=dataset.preprocessing,
            environment=environment(),
        )
    else:
        assert config.name is not None
        directory = config.run_dir / config.name
    return Run(directory, *_initial(config, optimizer), [])


def _initial(
    config: Config, optimizer: optax.GradientTransformation
) -> tuple[nnx.GraphDef, Position]:
    graphdef, state = initial_state(config, optimizer)
    _, key = keys(config)
    return graphdef, start(state, key)


def _resume(
    config: Config,
    directory: Path,
    dataset: Dataset,
    optimizer: optax.GradientTransformation,
    display: Display,
) -> Run:
    _, preprocessing = stored_run(directory)
    check(
        np.allclose(
            (dataset.preprocessing.mean, dataset.preprocessing.std),
            (preprocessing.mean, preprocessing.std),
        ),
        f"{directory}: expected the images that the run was started with, got others: their mean "
        f"and standard deviation are not {preprocessing.mean:.6g} and {preprocessing.std:.6g}",
    )
    if checkpoint.steps(directory / run_directory.CHECKPOINTS):
        graphdef, position = restore_position(directory, config, optimizer, display.warn)
    else:
        display.warn(f"{directory}: no checkpoint was finished: from the beginning")
        graphdef, position = _initial(config, optimizer)
    epochs = int(position.epoch) - 1
    check(
        epochs < config.epochs or not (directory / PREDICTIONS).exists(),
        f"{directory}: expected an unfinished run, all {epochs} epochs are done",
    )
    return Run(directory, graphdef, position, keep_history(directory, epochs))


def _draw(config: Config, dataset: Dataset, run: Run, probabilities: jax.Array) -> None:
    plot_curves(run.directory / CURVES, [dataclasses.asdict(line) for line in run.history])
    plot_predictions(
        run.directory / PREDICTIONS,
        images=np.asarray(dataset.test.images),
        labels=np.asarray(dataset.test.labels),
        probabilities=np.asarray(probabilities),
        names=class_names(config.dataset),
    )


def _summary(result: Result) -> str:
    top = best(result.history)
    return (
        f"test accuracy {result.test_accuracy:.2%} after {len(result.history)} epochs, "
        f"{result.seconds:.1f} s; best {top.test_accuracy:.2%} after epoch {top.epoch}, "
        f"{run_directory.CHECKPOINTS}/{top.step} → {result.directory}"
    )


if __name__ == "__main__":
    run_program(main, Config, __doc__, complete)
