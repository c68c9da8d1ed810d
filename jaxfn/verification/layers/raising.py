"""A rule that raises where the function does not: what is said instead of a comparison."""

from collections.abc import Callable
from typing import Any

from jaxfn.verification.layers.tangents import tangent_fault
from jaxfn.verification.points.probes import GIVEN, Probe
from jaxfn.verification.report import FAIL, Check
from jaxfn.verification.subject.coordinates import Arguments
from jaxfn.verification.subject.programs import Engine
from jaxfn.verification.subject.setup import RuleError

SHOWS = ("that the rule can be called", "values")
# Parts of what JAX says of a program that it cannot transpose, or that is no map of tangents.
NOT_TRANSPOSED = ("Transpose rule", "ValAccum", "AssertionError", "Linearization failed")


def raising(fun: Callable[..., Any], args: tuple[Any, ...], error: RuleError) -> Check:
    """The failure of a rule that cannot be differentiated; of a tangent rule, whether it is linear.

    JAX transposes a tangent rule to go backwards, and what it says of one that is not linear names
    nothing of the user's.
    """
    text, cause = f"differentiating raises where the function does not: {error}", ""
    arguments = Arguments(args)
    given = Probe("the given point", GIVEN, arguments.given, arguments.integers)
    fault = tangent_fault(Engine(fun, arguments, False), given, raises=True)
    if fault:
        text, cause = (
            f"the tangent rule is not linear in the tangents: {fault}; {text}",
            "nonlinear",
        )
    elif any(part in str(error) for part in NOT_TRANSPOSED):
        text += " (is the tangent rule linear in the tangents, and the value free of them?)"
        cause = "nonlinear"
    return Check("types", FAIL, *SHOWS, None, None, text, text, cause)
