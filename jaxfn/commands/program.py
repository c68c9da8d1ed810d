"""What all commands do alike: flags in; one line and an exit code out when something is wrong."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

import jax

Config = TypeVar("Config")

USER_ERROR = 2  # as of a wrong flag
ENDED_BY_SIGNAL = 128  # plus the signal's number, as shells have it


class UserError(Exception):
    """A wrong file, flag or value. Its message is one line: which, what was expected, what came."""


def check(condition: bool, message: str) -> None:
    """Raises `UserError(message)` unless `condition` holds."""
    if not condition:
        raise UserError(message)


@contextlib.contextmanager
def errors_of(call: str) -> Iterator[None]:
    """Makes whatever a function of the user's raises a `UserError`, one line that begins with
    `call`."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        reason = (str(error).strip().splitlines() or [""])[0]
        raise UserError(f"{call}: {type(error).__name__}: {reason}") from error


@contextlib.contextmanager
def one_line_errors() -> Iterator[None]:
    """Ends the process at a `UserError` with its message and code 2, at Ctrl-C with code 130. Any
    other exception is a fault of the program and shows its traceback."""
    try:
        yield
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(USER_ERROR)
    except KeyboardInterrupt as interrupt:
        print(f"\n{str(interrupt) or 'interrupted'}", file=sys.stderr)
        sys.exit(ENDED_BY_SIGNAL + signal.SIGINT)


def read_flags(
    config_type: type[Config],
    doc: str | None,
    argv: Sequence[str] | None = None,
    program: str | None = None,
    default: Config | None = None,
) -> Config:
    """The configuration that a command line gives.

    Args:
      config_type: dataclass whose fields are the flags.
      doc: what `--help` says before them.
      argv: the flags; by default the process's.
      program: how the program is called; by default as the process was.
      default: has what the command line does not say.
    """
    import tyro  # here: of the extra jaxfn[cli], without which one line says what is missing

    spec = sys.modules["__main__"].__spec__
    if program is None and spec is not None:
        program = f"python -m {spec.name}"
    if default is None:
        return tyro.cli(config_type, args=argv, prog=program, description=doc)
    return tyro.cli(config_type, args=argv, prog=program, description=doc, default=default)


def run_program(
    main: Callable[[Config], object],
    config_type: type[Config],
    doc: str | None,
    argv: Sequence[str] | None = None,
    program: str | None = None,
) -> None:
    """Runs `main` on the configuration that the command line gives; see `read_flags` and
    `one_line_errors`."""
    with one_line_errors():
        main(read_flags(config_type, doc, argv, program))


def two_devices() -> None:
    """Has JAX make two devices of a CPU, which `shard_map` needs, unless the environment says how
    many. To be called before JAX starts its backends."""
    chosen = "xla_force_host_platform_device_count" in os.environ.get("XLA_FLAGS", "")
    number = jax.config.jax_num_cpu_devices  # pyright: ignore[reportAttributeAccessIssue]
    if number < 0 and not chosen:
        jax.config.update("jax_num_cpu_devices", 2)
