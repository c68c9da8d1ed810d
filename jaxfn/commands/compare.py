"""Compares a hand-written gradient with plain autodiff: does the rule pay?

The function is named by its module, the arguments by dtype and shape, or by a function that returns
them:

    python -m jaxfn compare mypackage.ops:my_op 'f32[64,128]' 'f32[128]'
    python -m jaxfn compare jax.nn:relu 'f32[128,784]' --custom-jvp --plot relu.png
    python -m jaxfn compare mypackage.ops:my_op --args mypackage.ops:example_args --json

Prints the table, whose second line is the verdict; the exit code is 0 whatever that is, and 2 if
the command is wrong.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from jaxfn.autodiff import autodiff
from jaxfn.commands.program import UserError, check, errors_of
from jaxfn.commands.target import Target, load_optional
from jaxfn.comparison import Comparison, compare

WIDTH = 120  # of tables in files


@dataclass(frozen=True, kw_only=True)
class Options:
    """With what to compare, and for how long."""

    reference: str | None = None
    """package.module:function to compare a function of yours with; by default its autodiff."""
    surrogate: str | None = None
    """package.module:function whose derivative a rule of yours means to give, if not its own."""
    custom_jvp: bool = False
    """Whether autodiff of a function of yours leaves its jax.custom_jvp rules out as well."""
    linear_in_cotangent: bool = True
    """Off for a rule of yours that is not meant to be linear in the cotangent."""
    rounds: int = 20
    """How often each program is timed."""
    seconds: float = 0.5
    """About how long each program is timed."""


@dataclass(frozen=True)
class Config(Options, Target):
    """What to compare."""

    plot: Path | None = None
    """A PNG of it."""
    json: bool = False
    """Print everything as JSON."""


def check_effort(options: Options) -> None:
    """Refuses what cannot be timed."""
    check(options.rounds >= 1, f"--rounds: expected at least 1, got {options.rounds}")
    check(options.seconds > 0, f"--seconds: expected more than 0, got {options.seconds}")


def prepare(config: Config) -> Callable[[], Comparison]:
    """Loads what is to be compared.

    Args:
      config: what to compare.

    Returns:
      A function that compares it; it raises `UserError` if the function does not accept the
      arguments.

    Raises:
      UserError: if a function cannot be imported, or an argument cannot be read.
    """
    check_effort(config)
    fun, args = config.load()
    reference, surrogate = load_optional(config.reference), load_optional(config.surrogate)
    if config.custom_jvp and reference is None:
        reference = autodiff(fun, custom_jvp=True)

    def run() -> Comparison:
        with errors_of(config.call):  # whatever it raises, the arguments do not fit the function
            return compare(
                fun,
                args,
                reference=reference,
                surrogate=surrogate,
                linear_in_cotangent=config.linear_in_cotangent,
                seed=config.seed,
                rounds=config.rounds,
                seconds=config.seconds,
            )

    return run


def make_console(quiet: bool = False) -> Console:
    """A console that gives tables their whole width where the output is no terminal."""
    console = Console(quiet=quiet, highlight=False)
    if not console.is_terminal:
        console.width = WIDTH
    return console


def main(config: Config) -> Comparison:
    """Makes the comparison, prints it, draws it if asked to, and returns it.

    Args:
      config: what to compare.

    Returns:
      The comparison.

    Raises:
      UserError: if something in `config` is wrong.
    """
    _check_plot(config.plot)
    run, console = prepare(config), make_console(quiet=config.json)
    with console.status(f"{config.target} …"):
        comparison = run()
    if config.json:
        print(comparison.to_json(indent=2))
    console.print(comparison)
    if config.plot is not None:
        _draw(comparison, config.plot)
    return comparison


def _check_plot(path: Path | None) -> None:
    if path is not None:
        check(path.suffix == ".png", f"--plot {path}: expected a name that ends in .png")
        check(path.parent.is_dir(), f"--plot {path}: expected a folder {path.parent}, found none")


def _draw(comparison: Comparison, path: Path) -> None:
    if comparison.figures is None:
        print(f"--plot {path}: nothing was measured, nothing is drawn", file=sys.stderr)
        return
    try:
        comparison.plot(path)
    except OSError as error:
        raise UserError(f"--plot {path}: cannot be written: {error.strerror}") from error


program = main
