"""What all programs do alike: flags in; one line and an exit code out when something is wrong."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable
from typing import TypeVar

import tyro

from scripts.command.signals import Interrupted

Config = TypeVar("Config")

USER_ERROR = 2  # as of a wrong flag
ENDED_BY_SIGNAL = 128  # plus the signal's number, as shells have it


class UserError(Exception):
    """A wrong file, flag or value. Its message is one line: which, what was expected, what came."""


def run_program(
    main: Callable[[Config], object],
    config_type: type[Config],
    doc: str | None,
    complete: Callable[[Config, Callable[[Config], Config]], Config] | None = None,
) -> None:
    """Runs `main` on the configuration that the command line gives.

    A `UserError` ends the program with its message and code 2, Ctrl-C with code 130, SIGTERM that
    the program has taken with code 143. Any other exception is a fault of the program and shows its
    traceback.

    Args:
      main: the program.
      config_type: dataclass whose fields are the flags.
      doc: the program's docstring, shown by `--help`.
      complete: `complete(config, parse)` gives the configuration for `main`; `parse(default)` reads
        the command line again, where what it does not say is as in `default`.
    """
    spec = sys.modules["__main__"].__spec__
    program = f"python -m {spec.name}" if spec else None

    def parse(default: Config | None = None) -> Config:
        if default is None:
            return tyro.cli(config_type, prog=program, description=doc)
        return tyro.cli(config_type, prog=program, description=doc, default=default)

    try:
        config = parse()
        main(config if complete is None else complete(config, parse))
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(USER_ERROR)
    except KeyboardInterrupt as interrupt:
        print(f"\n{str(interrupt) or 'interrupted'}", file=sys.stderr)
        sys.exit(ENDED_BY_SIGNAL + signal.SIGINT)
    except Interrupted as interrupted:
        print(f"\n{interrupted}", file=sys.stderr)
        sys.exit(ENDED_BY_SIGNAL + interrupted.number)


def check(condition: bool, message: str) -> None:
    """Raises `UserError(message)` unless `condition` holds."""
    if not condition:
        raise UserError(message)
