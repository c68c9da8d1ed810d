"""Runs a function with its rules intercepted: for its value, then for its gradient."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxfn._jaxpr import AppliedRule, find_calls, find_rules
from jaxfn.auditing.interception import MET, intercepted
from jaxfn.auditing.meeting import Recorder
from jaxfn.verification.subject.coordinates import Arguments, is_inexact
from jaxfn.verification.subject.names import parameter_names
from jaxfn.verification.subject.programs import UNTRACEABLE
from jaxfn.verification.subject.setup import OF_ANOTHER_TRACE, line

EAGERLY = "run operation by operation, for it cannot be traced"


class Ran(NamedTuple):
    """What a run says beside what its recorder met.

    Attributes:
        places: by the number of what was met, the paths of the calls around each application.
        out_of_sight: rules that are applied and cannot be intercepted.
        notes: what is to be said of the run.
    """

    places: dict[int, list[str]]
    out_of_sight: tuple[AppliedRule, ...]
    notes: tuple[str, ...]


def run(fun: Callable[..., Any], args: tuple[Any, ...], recorder: Recorder, seed: int) -> Ran:
    """Runs `fun(*args)`, and its gradient where that has not been taken inside of it.

    Raises:
        Exception: what `fun` raises.
    """
    arguments = Arguments(args, parameter_names(fun, len(args)))
    places: dict[int, list[str]] = {}
    hidden: tuple[AppliedRule, ...] = ()
    notes = []
    recorder.outermost = __file__
    with intercepted(recorder):
        try:
            places, hidden = _value(fun, arguments)
            # of those that it differentiates itself the jaxpr has parts in several places
            seen = recorder.met.values()
            places |= {met.number: list(met.around) for met in seen if met.pairs.count}
        except Exception as error:  # told apart by its kind, or by its text
            if not isinstance(error, (*UNTRACEABLE, TypeError)) and OF_ANOTHER_TRACE not in str(
                error
            ):
                raise
            notes.append(f"{EAGERLY}: {line(error)}")
            _block(fun(*_copied(arguments)))
        jax.effects_barrier()
        if arguments.leaves and any(_lacks_cotangents(met) for met in recorder.met.values()):
            notes += _gradient(fun, arguments, seed)
            jax.effects_barrier()
    return Ran(places, hidden, tuple(notes))


def _lacks_cotangents(met: Any) -> bool:
    return met.kind == "custom_vjp" and not met.pairs.count


def _value(
    fun: Callable[..., Any], arguments: Arguments
) -> tuple[dict[int, list[str]], tuple[AppliedRule, ...]]:
    def outputs(arrays: Sequence[Any], integers: Sequence[Any]) -> list[Any]:
        leaves = jax.tree.leaves(fun(*arguments.rebuild(arrays, integers)))
        return [leaf for leaf in leaves if isinstance(leaf, jax.Array)]

    given = _given(arguments)
    traced = jax.jit(outputs).trace(*given)
    _block(traced.lower().compile()(*given))
    jax.effects_barrier()  # the callbacks may come after the results
    places: dict[int, list[str]] = {}
    for name, where in find_calls(traced.jaxpr, MET):
        places.setdefault(int(name.removeprefix(MET)), []).append(where)
    hidden = tuple(rule for rule, _ in find_rules(traced.jaxpr) if rule.kind == "hijax")
    return places, hidden


def _gradient(fun: Callable[..., Any], arguments: Arguments, seed: int) -> list[str]:
    """Takes the gradient of the loss; the reason if that cannot be."""
    arrays, integers = _given(arguments)

    def gradient(arrays: Sequence[Any], integers: Sequence[Any]) -> Any:
        def outputs(arrays: Sequence[Any]) -> list[Any]:
            out = fun(*arguments.rebuild(arrays, integers))
            return [jnp.asarray(leaf) for leaf in _loss(out) if is_inexact(leaf)]

        values, pullback = jax.vjp(outputs, arrays)
        return pullback(_cotangents(values, seed))

    try:
        try:
            _block(jax.jit(gradient)(arrays, integers))
        except UNTRACEABLE:
            _block(gradient(arrays, integers))
    except Exception as error:  # whatever differentiation raises is the reason that is reported
        return [
            f"the gradient of fun cannot be taken, so no cotangent of it is known: {line(error)}"
        ]
    return []


def _loss(out: Any) -> list[Any]:
    """The leaves of the output that `jax.grad` would differentiate: all, or the loss alone.

    A scalar in front of others is a loss with what `has_aux` gives beside it.
    """
    first = out[0] if isinstance(out, (tuple, list)) and out else out
    is_loss = is_inexact(first) and not np.shape(first)
    return [first] if is_loss else jax.tree.leaves(out)


def _cotangents(values: Sequence[Any], seed: int) -> list[Any]:
    """1 for a loss, random ones for other outputs."""
    if len(values) == 1 and not values[0].shape:
        return [jnp.ones_like(values[0])]
    rng = np.random.default_rng(seed)
    return [jnp.asarray(rng.standard_normal(v.shape), v.dtype) for v in values]


def _given(arguments: Arguments) -> tuple[list[Any], list[Any]]:
    """The differentiable leaves and the integer ones, on the devices on which they are."""
    arrays = [jnp.asarray(arguments.values[leaf.position]) for leaf in arguments.leaves]
    return arrays, [jnp.asarray(arguments.values[i]) for i in arguments.integer_positions]


def _copied(arguments: Arguments) -> tuple[Any, ...]:
    """The arguments, with arrays that the function may donate."""
    arrays, integers = _given(arguments)
    return arguments.rebuild([a.copy() for a in arrays], [a.copy() for a in integers])


def _block(out: Any) -> None:
    jax.block_until_ready([leaf for leaf in jax.tree.leaves(out) if isinstance(leaf, jax.Array)])
