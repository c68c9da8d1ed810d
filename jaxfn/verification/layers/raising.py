"""A rule that raises where the function does not: what is said instead of a comparison."""

from collections.abc import Callable
from typing import Any

import numpy as np

from jaxfn.verification.report import FAIL, Check
from jaxfn.verification.subject.coordinates import Arguments
from jaxfn.verification.subject.programs import Engine
from jaxfn.verification.subject.setup import RuleError

SHOWS = ("that the rule can be called", "values")
FACTORS = (-1.0, 2.0, 1e3)  # times a tangent
ALIKE = 1e-3  # of the tangent that is expected, for single precision
# Parts of what JAX says of a program that it cannot transpose, or that is no map of tangents.
NOT_TRANSPOSED = ("Transpose rule", "ValAccum", "AssertionError", "Linearization failed")


def raising(fun: Callable[..., Any], args: tuple[Any, ...], error: RuleError) -> Check:
    """The failure of a rule that cannot be differentiated; of a tangent rule, whether it is linear.

    JAX transposes a tangent rule to go backwards, and what it says of one that is not linear names
    nothing of the user's.
    """
    text, cause = f"differentiating raises where the function does not: {error}", ""
    fault = _of_the_tangents(fun, Arguments(args))
    if fault:
        text, cause = (
            f"the tangent rule is not linear in the tangents: {fault}; {text}",
            "nonlinear",
        )
    elif any(part in str(error) for part in NOT_TRANSPOSED):
        text += " (is the tangent rule linear in the tangents, and the value free of them?)"
        cause = "nonlinear"
    return Check("types", FAIL, *SHOWS, None, None, text, text, cause)


def _of_the_tangents(fun: Callable[..., Any], arguments: Arguments) -> str:
    """How the derivative in forward mode is not linear; empty where it is, or is not there."""
    engine = Engine(fun, arguments, False)
    rng = np.random.default_rng(0)
    vector = rng.standard_normal(arguments.size)
    x, integers = arguments.given, arguments.integers
    try:
        one = engine.tangent(x, integers, vector)
        zero = engine.tangent(x, integers, 0 * vector)
        multiples = {factor: engine.tangent(x, integers, factor * vector) for factor in FACTORS}
        lost = engine.tangent(x, integers, np.full(arguments.size, np.nan))
    except Exception:  # without forward mode nothing is said of it
        return ""
    if zero.any():
        return f"that of zero is not zero, but {zero[np.argmax(np.abs(zero))]:.4g}"
    for factor, seen in multiples.items():
        if np.abs(seen - factor * one).max(initial=0) > ALIKE * np.abs(factor * one).max(initial=0):
            return f"{factor:g} times a tangent does not give {factor:g} times the result"
    if np.isfinite(lost).all() and np.abs(one).max(initial=0) > 0:
        return "a tangent of nan gives a finite result, as where nan is replaced by a number"
    return ""
