"""The floating arrays that a function holds itself and that are inputs of a custom rule.

`lambda x: layer(x, weight)` is a function of `x` alone, and nobody who calls it differentiates
by `weight`; but the rule of `layer` has a gradient for it, and somebody else does.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend import core as jex

from jaxfn._jax_internals import applied_rule
from jaxfn.verification.subject.coordinates import is_inexact_array
from jaxfn.verification.subject.holders import held
from jaxfn.verification.subject.jaxprs import inner_jaxprs

INLINED = {"jit", "pjit", "closed_call"}  # calls that hold constants of their own


@dataclass(frozen=True)
class Closed:
    """An array that is held: the rule that it reaches, and its name where it has one.

    Attributes:
        array: as the program has it.
        rule: the name of the rule.
        name: such as `weight` or `model.layers[0].kernel`.
        holder: the array as a variable has it, where another can be put in its place.
    """

    array: Any
    rule: str
    name: str = ""
    holder: Any = None

    def __str__(self) -> str:
        kind = f"{np.dtype(self.array.dtype).name}{list(np.shape(self.array))}"
        if self.name:
            return f"{self.name} ({kind})"
        return f"a jax.Ref of {kind}" if isinstance(self.array, jax.Ref) else f"an array {kind}"


def closed_inputs(
    fun: Callable[..., Any], traced: Any, arguments: Sequence[tuple[Any, str]] = ()
) -> tuple[Closed, ...]:
    """The floating constants of a traced function that are inputs of a `custom_vjp` rule.

    Args:
        fun: the function.
        traced: its closed jaxpr.
        arguments: those that are no variables of it, and their names.
    """
    walk = held(fun)
    for value, name in arguments:
        walk(value, name)
    found: dict[int, Closed] = {}
    for jaxpr, consts in _with_constants(traced):
        for var, const in zip(jaxpr.constvars, consts, strict=True):
            if id(const) in found or not _is_floating(const):
                continue
            if rule := _rule_reached(jaxpr, {var}):
                name, holder = _holder(const, walk.found)
                fixed = id(holder) in walk.fixed
                found[id(const)] = Closed(const, rule, name, None if fixed else holder)
    return tuple(found.values())


def _is_floating(const: Any) -> bool:
    if isinstance(const, jax.Ref):
        return bool(jnp.issubdtype(const.dtype, jnp.inexact))
    return is_inexact_array(const) and np.size(const) > 0


def _with_constants(traced: Any) -> Iterator[tuple[Any, Sequence[Any]]]:
    """A closed jaxpr and all that it calls, each with its constants."""
    yield traced.jaxpr, traced.consts
    for inner in _closed_jaxprs(traced.jaxpr):
        yield from _with_constants(inner)


def _closed_jaxprs(jaxpr: Any) -> Iterator[Any]:
    for eqn in jaxpr.eqns:
        rule = applied_rule(eqn)
        for value in eqn.params.values() if rule is None else ():
            for item in value if isinstance(value, (tuple, list)) else (value,):
                if isinstance(item, jex.ClosedJaxpr):
                    yield item


def _holder(const: Any, found: Mapping[int, tuple[str, Any]]) -> tuple[str, Any]:
    """The name and the object of the variable that a constant comes from."""
    if id(const) in found or isinstance(const, jax.Ref):
        return found.get(id(const), ("", None))
    return next((pair for pair in found.values() if _is_same(pair[1], const)), ("", None))


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
    alike = np.shape(value) == np.shape(const) and value.dtype == const.dtype
    return alike and bool(np.array_equal(value, const, equal_nan=True))


def of_constants(traced: Any, closed: Sequence[Closed]) -> Callable[..., list[Any]]:
    """The traced program as a function of some of its constants, and then of its own inputs.

    It is in the precision in which it was traced; those that are held deep inside of a loop stay.
    """

    def call(values: Sequence[Any], *inputs: Any) -> list[Any]:
        by = {id(one.array): value for one, value in zip(closed, values, strict=True)}
        return _evaluate(traced, by, inputs)

    return call


def _evaluate(closed: Any, by: Mapping[int, Any], inputs: Sequence[Any]) -> list[Any]:
    jaxpr = closed.jaxpr
    env: dict[Any, Any] = dict(zip(jaxpr.invars, inputs, strict=True))
    env |= {v: by.get(id(c), c) for v, c in zip(jaxpr.constvars, closed.consts, strict=True)}

    def value_of(var: Any) -> Any:
        return env[var] if isinstance(var, jex.Var) else var.val

    for eqn in jaxpr.eqns:
        inner = eqn.params.get("jaxpr", eqn.params.get("call_jaxpr"))
        if eqn.primitive.name in INLINED and isinstance(inner, jex.ClosedJaxpr):
            results = _evaluate(inner, by, [value_of(var) for var in eqn.invars])
        else:
            results = _bind(closed, eqn, env)
        env.update(zip(eqn.outvars, results, strict=True))
    return [value_of(var) for var in jaxpr.outvars]


def _bind(closed: Any, eqn: Any, env: Mapping[Any, Any]) -> list[Any]:
    """What an equation computes, as a program of this one alone."""
    inputs = list(dict.fromkeys(var for var in eqn.invars if isinstance(var, jex.Var)))
    alone = closed.jaxpr.replace(
        constvars=[], invars=inputs, outvars=eqn.outvars, eqns=[eqn], effects=eqn.effects
    )
    return jex.jaxpr_as_fun(jex.ClosedJaxpr(alone, []))(*[env[var] for var in inputs])
