"""What all programs do alike: what `jaxfn.commands` does, and stopping in good order."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TypeVar

from jaxfn.commands.program import ENDED_BY_SIGNAL, one_line_errors, read_flags
from jaxfn.commands.program import USER_ERROR as USER_ERROR
from jaxfn.commands.program import UserError as UserError
from jaxfn.commands.program import check as check
from scripts.command.signals import Interrupted

Config = TypeVar("Config")


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

    def parse(default: Config | None = None) -> Config:
        return read_flags(config_type, doc, default=default)

    try:
        with one_line_errors():
            config = parse()
            main(config if complete is None else complete(config, parse))
    except Interrupted as interrupted:
        print(f"\n{interrupted}", file=sys.stderr)
        sys.exit(ENDED_BY_SIGNAL + interrupted.number)
