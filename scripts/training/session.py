"""A training from its flags to what it leaves: what the programs that train have in common."""

from __future__ import annotations

import dataclasses
import time
from pathlib import Path
from typing import Any

import jax
import optax
from jax.sharding import Mesh

from scripts.command import run_directory
from scripts.command.device import environment, select_platform
from scripts.command.program import check
from scripts.command.signals import StopRequest, stop_on_signal
from scripts.training import checkpoint, distributed, mesh, tensorboard
from scripts.training.display import Display
from scripts.training.epoch_metrics import best, keep_history
from scripts.training.resuming import flags_of_run
from scripts.training.run import Data, Run
from scripts.training.task import Task
from scripts.training.trainer import Trainer


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What a training came to.

    Attributes:
      history: metrics of each epoch.
      seconds: from before the compilation until after the last epoch.
      directory: the folder of the run.
    """

    history: tuple[Any, ...]
    seconds: float
    directory: Path


def train(task: Task, config: Any) -> Outcome:
    """Trains and leaves the folder of the run.

    Raises:
      UserError: if a flag or a file is wrong, something cannot be written, or a number is not
        finite.
      Interrupted: if Ctrl-C or SIGTERM came; the run is saved.
    """
    config = flags_of_run(config, config.resume) if config.resume else config
    task.check(config)
    if config.tensorboard:
        tensorboard.check_installed()
    with distributed.joined(config.coordinator, config.num_processes, config.process_id):
        return _session(task, config)


def _session(task: Task, config: Any) -> Outcome:
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
        dataset = task.load(config)
        examples = len(dataset.train[0])
        check(
            config.batch_size <= examples,
            f"--batch-size: expected at most the {examples} training {task.example}, "
            f"got {config.batch_size}",
        )
        optimizer = task.optimizer(config, config.epochs * (examples // config.batch_size))
        if config.resume:
            run = _resume(task, config, dataset, optimizer, display)
        else:
            run = _start(task, config, dataset, optimizer)
        distributed.wait_for_all("the folder of the run")
        if devices is not None:
            dataset, run = _on_devices(dataset, run, devices)
        return _train(task, config, dataset, run, optimizer, display, request)


def _train(
    task: Task,
    config: Any,
    dataset: Data,
    run: Run,
    optimizer: optax.GradientTransformation,
    display: Display,
    request: StopRequest,
) -> Outcome:
    display.start(len(run.history))
    display.say(
        f"{task.size(dataset)}, {_hardware(run.devices)}, {config.rules} rules → {run.directory}"
    )
    display.say(task.header)
    begin = time.perf_counter()
    parts = task.parts(config, dataset, run.graphdef, optimizer, run.devices)
    with checkpoint.Saver(run.directory / run_directory.CHECKPOINTS, config.keep) as saver:
        trainer = Trainer(task, config, dataset, run, parts, saver, display, request)
        position, outputs = trainer.train()
    seconds = time.perf_counter() - begin
    if distributed.is_first():
        left = task.finish(config, dataset, run._replace(position=position), outputs)
        if left:
            display.say(left)
    outcome = Outcome(tuple(run.history), seconds, run.directory)
    display.say(_summary(task, outcome))
    return outcome


def _summary(task: Task, outcome: Outcome) -> str:
    last, top = outcome.history[-1], best(outcome.history)
    return (
        f"{task.result(last)} after {len(outcome.history)} epochs, {outcome.seconds:.1f} s; "
        f"best {task.result(top, name=False)} after epoch {top.epoch}, "
        f"{run_directory.CHECKPOINTS}/{top.step} → {outcome.directory}"
    )


def _on_devices(dataset: Any, run: Run, devices: Mesh) -> tuple[Any, Run]:
    train, test, position = mesh.replicate((dataset.train, dataset.test, run.position), devices)
    run = run._replace(position=position, devices=devices)
    return dataset._replace(train=train, test=test), run


def _hardware(devices: Mesh | None) -> str:
    kind = jax.devices()[0].device_kind
    if devices is None:
        return kind
    processes = jax.process_count()
    return f"{devices.size} × {kind}" + (f" of {processes} processes" if processes > 1 else "")


def _start(task: Task, config: Any, dataset: Data, optimizer: optax.GradientTransformation) -> Run:
    if distributed.is_first():
        directory = run_directory.create(config.run_dir, config.name, task.prefix(config))
        run_directory.write_config(
            directory,
            program=config.PROGRAM,
            config=config,
            **task.about(dataset),
            environment=environment(),
        )
    else:
        assert config.name is not None
        directory = config.run_dir / config.name
    return Run(directory, *task.initial_position(config, optimizer), [])


def _resume(
    task: Task,
    config: Any,
    dataset: Data,
    optimizer: optax.GradientTransformation,
    display: Display,
) -> Run:
    directory: Path = config.resume
    task.check_same_data(directory, dataset)
    graphdef, position = task.initial_position(config, optimizer)
    checkpoints = directory / run_directory.CHECKPOINTS
    if checkpoint.steps(checkpoints):
        _, position = checkpoint.load(checkpoints, position, display.warn)
    else:
        display.warn(f"{directory}: no checkpoint was finished: from the beginning")
    epochs = int(position.epoch) - 1
    check(
        epochs < config.epochs or not (directory / task.drawn).exists(),
        f"{directory}: expected an unfinished run, all {epochs} epochs are done",
    )
    return Run(directory, graphdef, position, keep_history(directory, epochs, task.line))
