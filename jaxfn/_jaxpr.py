"""Taking custom rules out of a jaxpr, and listing them."""

import functools
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import jax
from jax.extend import core as jex
from jax.extend.core import primitives

from jaxfn import _jax_internals as internals
from jaxfn._jax_internals import AnyJaxpr, AppliedRule


class Removal(NamedTuple):
    """Which rules to take out besides the custom_vjp ones."""

    custom_jvp: bool
    # In the body of a function whose rule goes: that rule was what made a custom_vmap in it
    # differentiable, for JAX has no reverse mode for custom_vmap itself.
    custom_vmap: bool = False


def call_without_rules(fun: Callable, removal: Removal, args: Any, kwargs: Any) -> Any:
    """`fun(*args, **kwargs)`, computed with the rules taken out."""
    jaxpr, result = trace(fun, args, kwargs)
    return result(jex.jaxpr_as_fun(remove_rules(jaxpr, removal))())


def trace(fun: Callable, args: Any, kwargs: Any) -> tuple[AnyJaxpr, Callable[[list], Any]]:
    """The jaxpr of `fun(*args, **kwargs)`, and what builds the result from the jaxpr's values."""
    given, structure = jax.tree.flatten((args, kwargs))
    others, tree = [], structure

    @functools.wraps(fun, updated=())  # JAX's error messages name it
    def arrays():
        nonlocal others, tree
        # Built anew, so that what `fun` writes into a container is not seen outside.
        own_args, own_kwargs = structure.unflatten(given)
        leaves, tree = jax.tree.flatten(fun(*own_args, **own_kwargs))
        others = [_COMPUTED if isinstance(leaf, jax.Array) else leaf for leaf in leaves]
        return [leaf for leaf in leaves if isinstance(leaf, jax.Array)]

    # The arguments are closed over: JAX then traces what is computed from the arrays among them,
    # and `fun` meets every other argument as it is.
    jaxpr = jax.make_jaxpr(arrays)()

    def result(values: list) -> Any:
        computed = iter(values)
        return tree.unflatten(next(computed) if x is _COMPUTED else x for x in others)

    return jaxpr, result


_COMPUTED = object()  # in the place of a value that the jaxpr computes


# JAX caches what it compiles by the identity of jaxprs. A rewritten one has to be the same object
# at the next call, or a function that is called eagerly would compile its inner jit every time.
_rewritten: dict[Removal, WeakKeyDictionary[AnyJaxpr, AnyJaxpr | None]] = {}


def remove_rules(jaxpr: AnyJaxpr, removal: Removal) -> AnyJaxpr:
    """`jaxpr` with the rules taken out; the same object if it has none."""
    known = _rewritten.setdefault(removal, WeakKeyDictionary())
    if jaxpr not in known:
        rewritten = _rewrite(jaxpr, removal)
        # An entry that referred to its own key would never be dropped.
        known[jaxpr] = None if rewritten is jaxpr else rewritten
    rewritten = known[jaxpr]
    return jaxpr if rewritten is None else rewritten


def _rewrite(jaxpr: AnyJaxpr, removal: Removal) -> AnyJaxpr:
    if not isinstance(jaxpr, jex.Jaxpr):
        inner = remove_rules(jaxpr.jaxpr, removal)
        return jaxpr if inner is jaxpr.jaxpr else jaxpr.replace(jaxpr=inner)
    eqns = [_rewrite_eqn(eqn, removal) for eqn in jaxpr.eqns]
    changed = any(new is not old for new, old in zip(eqns, jaxpr.eqns, strict=True))
    return jaxpr.replace(eqns=eqns) if changed else jaxpr


def _rewrite_eqn(eqn: jex.JaxprEqn, removal: Removal) -> jex.JaxprEqn:
    if eqn.primitive.name in internals.KERNEL_PRIMITIVES:
        return eqn
    rule = internals.applied_rule(eqn)
    if rule is not None and (rule.kind != "custom_jvp" or removal.custom_jvp):
        return _call(eqn, remove_rules(rule.definition, removal._replace(custom_vmap=True)))
    if rule is None and (expansion := internals.expansion(eqn)) is not None:
        rewritten = remove_rules(expansion, removal)
        return eqn if rewritten is expansion else _call(eqn, rewritten)
    params = {name: _rewrite_param(value, removal) for name, value in eqn.params.items()}
    if internals.is_custom_vmap(eqn):
        if removal.custom_vmap:
            return _call(eqn, params["call"])
        params["rule"] = _without_rules(params["rule"], removal)
    changed = any(params[name] is not value for name, value in eqn.params.items())
    return eqn.replace(params=params) if changed else eqn


def _without_rules(fun: Callable, removal: Removal) -> Callable:
    @functools.wraps(fun, updated=())
    def without_rules(*args):
        return call_without_rules(fun, removal, args, {})

    return without_rules


def _call(eqn: jex.JaxprEqn, definition: AnyJaxpr) -> jex.JaxprEqn:
    # A call, and not the definition's equations in place of the call: its variables, constants
    # and effects keep their scope.
    params = {"call_jaxpr": definition}
    return eqn.replace(primitive=primitives.closed_call_p, params=params)


def _rewrite_param(param: Any, removal: Removal) -> Any:
    if isinstance(param, AnyJaxpr):
        return remove_rules(param, removal)
    if isinstance(param, tuple):
        items = [_rewrite_param(item, removal) for item in param]
        if all(new is old for new, old in zip(items, param, strict=True)):
            return param
        return type(param)(*items) if hasattr(param, "_fields") else tuple(items)
    return param


def find_rules(jaxpr: AnyJaxpr, where: tuple[str, ...] = ()) -> Iterator[tuple[AppliedRule, str]]:
    """Each rule that `jaxpr` applies, with the path of the calls around it."""
    for eqn in jaxpr.eqns:
        rule = internals.applied_rule(eqn)
        if rule is not None:
            yield rule, "/".join(where)
            yield from find_rules(rule.definition, (*where, f"{rule.kind}({rule.name})"))
        elif eqn.primitive.name not in internals.KERNEL_PRIMITIVES:
            for label, body in _bodies(eqn):
                # A plain call, such as the one that `_call` leaves, is no place of its own.
                plain = eqn.primitive is primitives.closed_call_p
                yield from find_rules(body, where if plain else (*where, label))


def _bodies(eqn: jex.JaxprEqn) -> list[tuple[str, AnyJaxpr]]:
    """The jaxprs in the equation's parameters, each with a label."""
    expansion = internals.expansion(eqn)
    params = eqn.params if expansion is None else {"expansion": expansion}
    found = [item for name, value in params.items() for item in _named_jaxprs(name, value)]
    call = internals.call_name(eqn)
    return [(call if len(found) == 1 else f"{call}.{label}", body) for label, body in found]


def _named_jaxprs(name: str, param: Any) -> Iterator[tuple[str, AnyJaxpr]]:
    if isinstance(param, AnyJaxpr):
        yield name, param
    elif isinstance(param, tuple):
        labels = getattr(param, "_fields", [f"{name}[{i}]" for i in range(len(param))])
        for label, item in zip(labels, param, strict=True):
            yield from _named_jaxprs(label, item)


def find_calls(
    jaxpr: AnyJaxpr, prefix: str, where: tuple[str, ...] = ()
) -> Iterator[tuple[str, str]]:
    """The name of each call whose name begins with `prefix`, with the path of the calls around it.

    They are found in the definitions of functions with a rule, too.
    """
    for eqn in jaxpr.eqns:
        name = eqn.params.get("name")
        rule = internals.applied_rule(eqn)
        if isinstance(name, str) and name.startswith(prefix):
            yield name, "/".join(where)
        elif rule is not None:
            yield from find_calls(rule.definition, prefix, (*where, f"{rule.kind}({rule.name})"))
        elif eqn.primitive.name not in internals.KERNEL_PRIMITIVES:
            for label, body in _bodies(eqn):
                yield from find_calls(body, prefix, (*where, label))
