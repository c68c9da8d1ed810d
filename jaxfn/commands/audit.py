"""Audits the custom rules that a function uses, such as the loss of a training step.

The function is named by its module, the arguments by dtype and shape, or, where they are trees of
parameters, by a function that returns them:

    python -m jaxfn audit mypackage.train:loss --args mypackage.train:example_args
    python -m jaxfn audit mypackage.ops:block 'f32[8,128]' --surrogates sign=jax.numpy:tanh
    python -m jaxfn audit mypackage.ops:block 'f32[8,128]' --surrogates reversal=none

On a CPU it makes two devices of it, so that the rules are checked under `shard_map` as well.

Prints the report; the exit code is 0 if all rules pass, 1 if one fails or nothing can be said, and
2 if the command is wrong.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any

import tyro

import jaxfn
from jaxfn.commands.program import check, errors_of, two_devices
from jaxfn.commands.specs import load_function
from jaxfn.commands.target import Target

NONE = "none"  # in the place of a surrogate


@dataclass(frozen=True)
class Config(Target):
    """What to audit."""

    surrogates: Annotated[tuple[str, ...], tyro.conf.UseAppendAction] = ()
    """name=package.module:function, whose derivative the rule of that name means to give; or
    name=none, where the gradient is meant as it is, whatever autodiff says."""
    order: int = 2
    """2 to check the derivatives of the rules as well."""
    json: bool = False
    """Print the report as JSON."""


def main(config: Config) -> Any:
    """Audits the function, prints the report and returns it.

    Args:
      config: what to audit.

    Returns:
      The `AuditReport`.

    Raises:
      UserError: if the function cannot be imported, an argument cannot be read, or the function
        does not accept the arguments.
    """
    fun, args = config.load()
    surrogates = read_surrogates(config.surrogates)
    with errors_of(config.call):  # whatever it raises, the arguments do not fit the function
        report = jaxfn.audit(
            fun,
            args,
            surrogates=surrogates or None,
            order=config.order,
            seed=config.seed,
            raise_exception=False,
        )
    print(report.to_json(indent=2) if config.json else report)
    return report


def read_surrogates(given: tuple[str, ...]) -> dict[str, Callable[..., Any] | None]:
    """The surrogates by the names of the rules; None where a gradient is meant as it is."""
    found: dict[str, Callable[..., Any] | None] = {}
    for text in given:
        name, equals, target = text.partition("=")
        expected = "expected name=package.module:function or name=none"
        check(bool(name and equals and target), f"--surrogates {text}: {expected}")
        check(name not in found, f"--surrogates {text}: expected {name} once, got it twice")
        found[name] = None if target == NONE else load_function(target)
    return found


def program(config: Config) -> None:
    """The command: on two devices, with an exit code."""
    two_devices()
    if main(config).verdict != "pass":
        sys.exit(1)
