"""Reading jaxprs: what an equation calls, what is live, where a value comes from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from jax.extend import core as jex

from jaxfn import _jax_internals as internals
from jaxfn.verification.subject.jaxprs import machine_epsilon


def open_jaxpr(jaxpr: internals.AnyJaxpr) -> jex.Jaxpr:
    """The jaxpr itself where constants are bound to it."""
    return jaxpr if isinstance(jaxpr, jex.Jaxpr) else jaxpr.jaxpr


def called_jaxprs(eqn: jex.JaxprEqn) -> list[internals.AnyJaxpr]:
    """The jaxprs that `eqn` runs; of the branches of a `cond` all."""
    if eqn.primitive.name in internals.KERNEL_PRIMITIVES:
        return []
    rule = internals.applied_rule(eqn)
    if rule is not None:
        return [rule.definition]
    expansion = internals.expansion(eqn)
    if expansion is not None:
        return [expansion]
    if eqn.primitive.name == "custom_linear_solve":
        return [eqn.params["jaxprs"].solve]  # not the products and the transpose beside it
    return [jaxpr for value in eqn.params.values() for jaxpr in _jaxprs_in(value)]


def _jaxprs_in(value: Any) -> Iterator[internals.AnyJaxpr]:
    if isinstance(value, internals.AnyJaxpr):
        yield value
    elif isinstance(value, tuple):
        for item in value:
            yield from _jaxprs_in(item)


def live_equations(jaxpr: jex.Jaxpr) -> list[jex.JaxprEqn]:
    """The equations on which an output depends, and those with effects. JAX leaves dead ones in."""
    needed = {var for var in jaxpr.outvars if isinstance(var, jex.Var)}
    live = []
    for eqn in reversed(jaxpr.eqns):
        if eqn.effects or not needed.isdisjoint(eqn.outvars):
            live.append(eqn)
            needed.update(var for var in eqn.invars if isinstance(var, jex.Var))
    return live[::-1]


def lowest_precision(jaxpr: internals.AnyJaxpr) -> float:
    """The largest machine epsilon among the floating values that depend on the inputs."""
    jaxpr = open_jaxpr(jaxpr)
    return _lowest_precision(jaxpr, [True] * len(jaxpr.invars))


def _lowest_precision(jaxpr: jex.Jaxpr, tainted: Sequence[bool]) -> float:
    dependent = {var for var, is_tainted in zip(jaxpr.invars, tainted, strict=True) if is_tainted}
    lowest = 0.0
    for eqn in jaxpr.eqns:
        if any(isinstance(var, jex.Var) and var in dependent for var in eqn.invars):
            dependent.update(eqn.outvars)
            found = [machine_epsilon(var.aval) for var in eqn.outvars]
            for body in map(open_jaxpr, called_jaxprs(eqn)):
                found.append(_lowest_precision(body, [True] * len(body.invars)))
            lowest = max(lowest, *found, 0.0)
    return lowest


# What runs its body more than once, on parts of its operands, or perhaps not at all.
_NO_CALLS = frozenset({"scan", "while", "cond", "shard_map", "pmap", "custom_linear_solve"})


def _plain_call(eqn: jex.JaxprEqn) -> jex.Jaxpr | None:
    """The body of a call that hands its operands on as they are, and what comes out likewise."""
    bodies = [] if eqn.primitive.name in _NO_CALLS else called_jaxprs(eqn)
    if len(bodies) != 1:
        return None
    body = open_jaxpr(bodies[0])
    fits = len(body.invars) == len(eqn.invars) and len(body.outvars) == len(eqn.outvars)
    return body if fits else None


class Origins:
    """Where the values of a jaxpr come from, seen through calls that only hand them on.

    `origin_of(var)` is what identifies the value: the same for two variables that are the same
    value; a variable of the jaxpr's inputs or constants stands for itself.
    """

    def __init__(self, jaxpr: jex.Jaxpr, given: Mapping[Any, Any] | None = None):
        self._known: dict[Any, Any] = dict(given or {})
        for eqn in jaxpr.eqns:
            self._enter(eqn)

    def origin_of(self, atom: Any) -> Any:
        """The identity of the value: a variable, a constant, or an (equation, position) pair."""
        if not isinstance(atom, jex.Var):
            return id(atom.val)
        return self._known.get(atom, atom)

    def _enter(self, eqn: jex.JaxprEqn) -> None:
        operands = [self.origin_of(atom) for atom in eqn.invars]
        if eqn.primitive.name == "name":  # `jax.ad_checkpoint.checkpoint_name`
            self._known[eqn.outvars[0]] = operands[0]
            return
        body = _plain_call(eqn)
        if body is not None:
            inside = Origins(body, dict(zip(body.invars, operands, strict=True)))
            for outer, inner in zip(eqn.outvars, body.outvars, strict=True):
                # A jaxpr may be called twice; its variables are then two values.
                origin = inside.origin_of(inner)
                passed_on = any(origin is operand for operand in operands)
                self._known[outer] = origin if passed_on else (id(eqn), origin)
            return
        for position, var in enumerate(eqn.outvars):
            self._known[var] = (id(eqn), position)


def producer(jaxpr: jex.Jaxpr, var: Any) -> str:
    """The name of the primitive that computes `var`, looked up inside of calls."""
    for eqn in jaxpr.eqns:
        if any(var is out for out in eqn.outvars):
            body = _plain_call(eqn)
            if body is None:
                return eqn.primitive.name
            position = [out is var for out in eqn.outvars].index(True)
            return producer(body, body.outvars[position]) or eqn.primitive.name
    return ""
