"""Whether the iterations of a program have converged: one more step changes nothing."""

from collections.abc import Callable
from typing import Any

from jax.extend import core as jex

from jaxfn._jax_internals import scans_what_it_carries
from jaxfn.verification.subject.jaxprs import equations


def iterates_for_long(traced: Any) -> bool:
    """Whether the program repeats a step a fixed number of times, on what it carries alone."""
    return any(scans_what_it_carries(eqn) for eqn in equations(traced.jaxpr))


def with_one_more_step(traced: Any) -> Callable[..., Any]:
    """The program of a closed jaxpr, with each of its iterations one step longer."""
    return jex.jaxpr_as_fun(_longer(traced))


def _longer(jaxpr: Any) -> Any:
    if not isinstance(jaxpr, jex.Jaxpr):
        return jaxpr.replace(jaxpr=_longer(jaxpr.jaxpr))
    return jaxpr.replace(eqns=[_longer_equation(eqn) for eqn in jaxpr.eqns])


def _longer_equation(eqn: Any) -> Any:
    params = {name: _longer_parameter(value) for name, value in eqn.params.items()}
    if scans_what_it_carries(eqn):
        params["length"] = eqn.params["length"] + 1
    return eqn.replace(params=params)


def _longer_parameter(value: Any) -> Any:
    if isinstance(value, (jex.Jaxpr, jex.ClosedJaxpr)):
        return _longer(value)
    if type(value) in (tuple, list):
        return type(value)(map(_longer_parameter, value))
    return value
