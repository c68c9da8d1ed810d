"""Checks a hand-written gradient from the command line.

The operation is named by its module, the arguments by dtype and shape, or by a function that
returns them:

    python -m jaxfn check mypackage.ops:my_op 'f32[64,128]' 'f32[128]'
    python -m jaxfn check jax.nn:leaky_relu 'f32[4]' 0.1
    python -m jaxfn check mypackage.ops:my_op --args mypackage.ops:example_args

On a CPU it makes two devices of it, so that the rule is checked under `shard_map` as well.

Prints the report; the exit code is 0 if the rule passes, 1 if it fails or nothing can be said, and
2 if the command is wrong.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass

from jaxfn.commands.program import errors_of, two_devices
from jaxfn.commands.target import Target, load_optional
from jaxfn.verification import GradcheckReport, gradcheck


@dataclass(frozen=True)
class Config(Target):
    """What to check."""

    reference: str | None = None
    """package.module:function with the same value, for autodiff."""
    surrogate: str | None = None
    """package.module:function whose derivative the rule means to give."""
    order: int = 2
    """2 to check the derivative of the rule as well."""
    linear_in_cotangent: bool = True
    """Off for a rule that is not meant to be linear in the cotangent."""
    mutate: bool = False
    """Plant faults in the rule and count how many are caught."""
    json: bool = False
    """Print the report as JSON."""
    verbose: bool = False
    """Print what each layer shows and does not show, notes and how to see it again, too."""


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
    fun, args = config.load()
    reference, surrogate = load_optional(config.reference), load_optional(config.surrogate)
    with errors_of(config.call):  # whatever it raises, the arguments do not fit the operation
        report = gradcheck(
            fun,
            args,
            reference=reference,
            surrogate=surrogate,
            linear_in_cotangent=config.linear_in_cotangent,
            order=config.order,
            seed=config.seed,
            raise_exception=False,
            mutate=config.mutate,
            verbose=config.verbose,
        )
    print(report.to_json(indent=2) if config.json else report)
    return report


def program(config: Config) -> None:
    """The command: on two devices, with an exit code."""
    two_devices()
    if main(config).verdict != "pass":
        sys.exit(1)
