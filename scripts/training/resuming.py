"""The flags of a run that is resumed: its own."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from scripts.command.program import check
from scripts.training.flags import TrainingFlags

Config = TypeVar("Config", bound=TrainingFlags)

# These say how this start of the run works and change none of its numbers, but for steps that
# would otherwise end it.
FREE = (
    "resume", "platform", "devices", "mesh", "coordinator", "num_processes", "process_id",
    "quiet", "profile", "skip_nonfinite", "tensorboard",
)  # fmt: skip


def complete(config: Config, parse: Callable[[Config], Config]) -> Config:
    """The flags of the command line, completed by those of the run if it is to be resumed.

    Args:
      config: as the command line has it, on its own.
      parse: reads the command line again, where what it does not say is as in its argument. So a
        flag that is given counts even where it says what is the default of a new run.

    Raises:
      UserError: if a flag contradicts the run, or the folder is not a run's.
    """
    if config.resume is None:
        return config
    free = {name: getattr(config, name) for name in FREE}
    known = flags_of_run(type(config)(**free), config.resume)
    return flags_of_run(parse(known), config.resume, unless=known)


def flags_of_run(config: Config, directory: Path, unless: Config | None = None) -> Config:
    """The flags with which the run in `directory` goes on.

    Args:
      config: the flags given; a value of `unless` counts as not given.
      directory: folder of the run.
      unless: by default the flags of a new run.

    Raises:
      UserError: if a flag contradicts the run, or the folder is not a run's.
    """
    stored = config.of_run(directory)
    unless = type(config)() if unless is None else unless
    _refuse_differences(config, stored, unless, directory)
    devices = stored if config.devices is config.mesh is None else config
    return dataclasses.replace(
        stored,
        resume=directory,
        platform=config.platform or stored.platform,
        devices=devices.devices,
        mesh=devices.mesh,
        coordinator=config.coordinator,
        num_processes=config.num_processes,
        process_id=config.process_id,
        quiet=config.quiet,
        profile=config.profile,
        # Taken away, the compiled program would be another one, and its rounding perhaps, too.
        skip_nonfinite=config.skip_nonfinite or stored.skip_nonfinite,
        tensorboard=config.tensorboard or stored.tensorboard,
    )


def _refuse_differences(config: Config, stored: Config, unless: Config, directory: Path) -> None:
    differences = []
    for field in dataclasses.fields(config):
        given, other, run = (_value(flags, field.name) for flags in (config, unless, stored))
        if field.name not in FREE and given not in (other, run):
            differences.append(
                f"--{field.name.replace('_', '-')}: the run has {run}, got {given}"
                + (" (a run cannot be prolonged)" if field.name == "epochs" else "")
            )
    check(
        not differences,
        f"--resume: expected the flags that {directory} was started with: "
        + "; ".join(differences),
    )


def _value(config: TrainingFlags, name: str) -> object:
    return config.rate if name == "learning_rate" else getattr(config, name)
