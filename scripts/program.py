"""What all programs do alike: flags in; one line and an exit code out when something is wrong."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TypeVar

import tyro

Config = TypeVar("Config")

USER_ERROR = 2  # as of a wrong flag
INTERRUPTED = 130  # 128 + SIGINT, as shells have it


class UserError(Exception):
    """A wrong file, flag or value. Its message is one line: which, what was expected, what came."""


def run_program(
    main: Callable[[Config], object], config_type: type[Config], doc: str | None
) -> None:
    """Runs `main` on the configuration that the command line gives.

    A `UserError` ends the program with its message and code 2, Ctrl-C with code 130. Any other
    exception is a fault of the program and shows its traceback.

    Args:
      main: the program.
      config_type: dataclass whose fields are the flags.
      doc: the program's docstring, shown by `--help`.
    """
    spec = sys.modules["__main__"].__spec__
    program = f"python -m {spec.name}" if spec else None
    try:
        main(tyro.cli(config_type, prog=program, description=doc))
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(USER_ERROR)
    except KeyboardInterrupt as interrupt:
        print(f"\n{str(interrupt) or 'interrupted'}", file=sys.stderr)
        sys.exit(INTERRUPTED)


def check(condition: bool, message: str) -> None:
    """Raises `UserError(message)` unless `condition` holds."""
    if not condition:
        raise UserError(message)
