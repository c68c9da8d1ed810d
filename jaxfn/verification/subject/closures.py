"""The floating arrays that a function closes over and that are inputs of a custom rule.

`lambda x: layer(x, weight)` is a function of `x` alone, and nobody who calls it differentiates
by `weight`; but the rule of `layer` has a gradient for it, and somebody else does.
"""

import functools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import CellType, FunctionType
from typing import Any

import jax
import numpy as np
from jax.extend import core as jex

from jaxfn._jax_internals import applied_rule
from jaxfn.verification.subject.coordinates import is_inexact_array
from jaxfn.verification.subject.jaxprs import inner_jaxprs


@dataclass(frozen=True)
class Closed:
    """An array of the closure: the rule that it reaches, and its name where it can be replaced."""

    array: Any
    rule: str
    name: str = ""

    def __str__(self) -> str:
        kind = f"{np.dtype(self.array.dtype).name}{list(np.shape(self.array))}"
        return f"{self.name} ({kind})" if self.name else f"an array {kind}"


def closed_inputs(fun: Callable[..., Any], traced: Any) -> tuple[Closed, ...]:
    """The floating constants of a traced function that are inputs of a `custom_vjp` rule.

    Args:
        fun: the function.
        traced: its closed jaxpr.
    """
    names = dict(_variables(fun))
    found = []
    for var, const in zip(traced.jaxpr.constvars, traced.consts, strict=True):
        if not is_inexact_array(const) or np.size(const) == 0:
            continue
        rule = _rule_reached(traced.jaxpr, {var})
        if rule:
            name = next((n for n, value in names.items() if _is_same(value, const)), "")
            found.append(Closed(const, rule, name))
    return tuple(found)


def _rule_reached(jaxpr: Any, tainted: set[Any]) -> str:
    """The name of the first rule that one of the variables, or what follows from it, goes into."""
    for eqn in jaxpr.eqns:
        of = [isinstance(v, jex.Var) and v in tainted for v in eqn.invars]
        if not any(of):
            continue
        rule = applied_rule(eqn)
        if rule is not None and rule.kind == "custom_vjp":
            return rule.name
        for inner in inner_jaxprs(eqn):
            if len(inner.invars) == len(eqn.invars):
                inside = {v for v, t in zip(inner.invars, of, strict=True) if t}
                if name := _rule_reached(inner, inside):
                    return name
        tainted = tainted | set(eqn.outvars)
    return ""


def _is_same(value: Any, const: Any) -> bool:
    if value is const:
        return True
    alike = np.shape(value) == np.shape(const) and value.dtype == const.dtype
    return alike and bool(np.array_equal(value, const, equal_nan=True))


def _variables(fun: Any) -> Iterator[tuple[str, Any]]:
    """The floating arrays that a plain function names: of its closure and of its module."""
    if not isinstance(fun, FunctionType):
        return
    for name, cell in zip(fun.__code__.co_freevars, fun.__closure__ or (), strict=True):
        if _is_floating_array(value := _content(cell)):
            yield name, value
    for name in fun.__code__.co_names:
        if _is_floating_array(value := fun.__globals__.get(name)):
            yield name, value


def _is_floating_array(value: Any) -> bool:
    return isinstance(value, (jax.Array, np.ndarray)) and is_inexact_array(value)


def _content(cell: CellType) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # not assigned yet
        return None


def rebound(fun: FunctionType, values: Mapping[str, Any]) -> Callable[..., Any]:
    """The function with other values of variables that it closes over."""
    cells = tuple(
        CellType(values[name]) if name in values else cell
        for name, cell in zip(fun.__code__.co_freevars, fun.__closure__ or (), strict=True)
    )
    own = {**fun.__globals__, **{n: values[n] for n in fun.__code__.co_names if n in values}}
    copy = FunctionType(fun.__code__, own, fun.__name__, fun.__defaults__, cells)
    copy.__kwdefaults__ = fun.__kwdefaults__
    return functools.update_wrapper(copy, fun)
