"""Checks a hand-written gradient from the command line.

The operation is named by its module, the arguments by dtype and shape:

    python -m scripts.gradcheck jaxfn:linear 'f32[4,3]' 'f32[3,2]' 'f32[2]'

On a CPU it makes two devices of it, so that the rule is checked under `shard_map` as well.

Prints the report; the exit code is 0 if the rule passes, 1 if it fails or nothing can be said, and
2 if the command is wrong.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any

import jax
import numpy as np
import tyro

from jaxfn.verification import GradcheckReport, gradcheck
from scripts.command.program import UserError, run_program
from scripts.command.specs import parse_array


@dataclass
class Config:
    """What to check.

    Attributes:
      operation: `package.module:function`.
      arguments: one for each positional argument, such as `f32[64,128]`, `i32[3]`, `key`.
      reference: `package.module:function` with the same value, for autodiff.
      surrogate: `package.module:function` whose derivative the rule means to give.
      order: 2 to check the derivative of the rule as well.
      linear_in_cotangent: off for a rule that is not meant to be linear in the cotangent.
      mutate: plant faults in the rule and count how many are caught.
      json: print the report as JSON.
      seed: of the example values and of the check.
    """

    operation: tyro.conf.Positional[str]
    arguments: Annotated[tuple[str, ...], tyro.conf.Positional]
    reference: str | None = None
    surrogate: str | None = None
    order: int = 2
    linear_in_cotangent: bool = True
    mutate: bool = False
    json: bool = False
    seed: int = 0


def main(config: Config) -> GradcheckReport:
    """Checks the operation, prints the report and returns it.

    Args:
      config: what to check.

    Returns:
      The report.

    Raises:
      UserError: if the operation cannot be imported, an argument cannot be read, or the operation
        does not accept the arguments.
    """
    fun = load(config.operation)
    if not config.arguments:
        raise UserError("expected at least one argument such as 'f32[64,128]', got none")
    rng = np.random.RandomState(config.seed)
    args = tuple(parse_array(spec, rng) for spec in config.arguments)
    try:
        report = gradcheck(
            fun,
            args,
            reference=load(config.reference) if config.reference else None,
            surrogate=load(config.surrogate) if config.surrogate else None,
            linear_in_cotangent=config.linear_in_cotangent,
            order=config.order,
            seed=config.seed,
            raise_exception=False,
            mutate=config.mutate,
        )
    except Exception as error:  # whatever the operation raises, its arguments do not fit it
        reason = str(error).strip().splitlines() or [""]
        given = ", ".join(config.arguments)
        raise UserError(
            f"{config.operation}({given}): {type(error).__name__}: {reason[0]}"
        ) from error
    print(report.to_json(indent=2) if config.json else report)
    return report


def load(target: str) -> Callable[..., Any]:
    """The function that `package.module:function` names.

    Args:
      target: the name of a module, a colon, and a name in it, with dots where it is nested.

    Returns:
      The function.

    Raises:
      UserError: if there is no such module or function.
    """
    module, colon, name = target.partition(":")
    if not (module and colon and name):
        raise UserError(f"{target!r}: expected 'package.module:function'")
    try:
        found: Any = importlib.import_module(module)
        for part in name.split("."):
            found = getattr(found, part)
    except Exception as error:  # a module that is imported can raise anything
        raise UserError(f"{target!r}: {type(error).__name__}: {error}") from error
    if not callable(found):
        raise UserError(f"{target!r}: expected a function, got {type(found).__name__}")
    return found


def _program(config: Config) -> None:
    jax.config.update("jax_num_cpu_devices", 2)  # no other backend takes notice
    if main(config).verdict != "pass":
        sys.exit(1)


if __name__ == "__main__":
    run_program(_program, Config, __doc__)
