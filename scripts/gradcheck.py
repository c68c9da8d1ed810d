"""Checks a hand-written gradient from the command line.

The operation is named by its module, the arguments by dtype and shape:

    python -m scripts.gradcheck jaxfn:linear 'f32[4,3]' 'f32[3,2]' 'f32[2]'

On a CPU it makes two devices of it, so that the rule is checked under `shard_map` as well.

Prints the report; the exit code is 0 if the rule passes, 1 if it fails or nothing can be said, and
2 if the command is wrong.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Annotated

import jax
import numpy as np
import tyro

from jaxfn.verification import GradcheckReport, gradcheck
from scripts.command.program import UserError, run_program
from scripts.command.specs import load_function, parse_array


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
      verbose: print what each layer shows and does not show, notes and how to see it again, too.
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
    verbose: bool = False
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
    fun = load_function(config.operation)
    if not config.arguments:
        raise UserError("expected at least one argument such as 'f32[64,128]', got none")
    rng = np.random.RandomState(config.seed)
    args = tuple(parse_array(spec, rng) for spec in config.arguments)
    try:
        report = gradcheck(
            fun,
            args,
            reference=load_function(config.reference) if config.reference else None,
            surrogate=load_function(config.surrogate) if config.surrogate else None,
            linear_in_cotangent=config.linear_in_cotangent,
            order=config.order,
            seed=config.seed,
            raise_exception=False,
            mutate=config.mutate,
            verbose=config.verbose,
        )
    except Exception as error:  # whatever the operation raises, its arguments do not fit it
        reason = str(error).strip().splitlines() or [""]
        given = ", ".join(config.arguments)
        raise UserError(
            f"{config.operation}({given}): {type(error).__name__}: {reason[0]}"
        ) from error
    print(report.to_json(indent=2) if config.json else report)
    return report


def _program(config: Config) -> None:
    jax.config.update("jax_num_cpu_devices", 2)  # no other backend takes notice
    if main(config).verdict != "pass":
        sys.exit(1)


if __name__ == "__main__":
    run_program(_program, Config, __doc__)
