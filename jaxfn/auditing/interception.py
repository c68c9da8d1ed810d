"""Between a rule and who calls it: what goes in, and the cotangents that come back, are noted.

While a program is traced its values are not known yet. So a callback is put in front of the rule,
which takes the operands out while the program runs, and behind it an identity with a rule of its
own, which does the same with the cotangents on their way back. Both hold in loops, branches,
`jax.checkpoint`, `jax.vmap` and `jax.shard_map`, as JAX's own debugging prints do.
"""

import contextlib
import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxfn import _jax_internals as internals
from jaxfn.auditing.meeting import Met, Recorder, concrete, defined, is_array, is_key

MET = "jaxfn_met_"  # and a number: the call in a jaxpr that stands before a rule's application
_runs = itertools.count(1)


@contextlib.contextmanager
def intercepted(recorder: Recorder) -> Iterator[None]:
    """Notes in the recorder the rules that are applied inside."""

    def around(kind: str, original: Callable[..., Any]) -> Callable[..., Any]:
        def call(rule: Any, *args: Any, **kwargs: Any) -> Any:
            if internals.is_paused() or rule is _passed or internals.is_wrapped(rule):
                return original(rule, *args, **kwargs)
            # a forward rule that calls its own function is no other application
            if internals.runs_one_of(map(defined, internals.functions_of(rule)[1:])):
                return original(rule, *args, **kwargs)
            found = recorder.meet(rule, kind, args, kwargs)
            if found is None:
                return original(rule, *args, **kwargs)
            recorder.insertions += 1
            if recorder.outermost:
                found[0].around.append(internals.calls_around(recorder.outermost))
            return _noted(*found, lambda: original(rule, *args, **kwargs))

        return call

    # a run of its own: what was traced without the callbacks is traced again
    with internals.another_run(next(_runs)), internals.exchanged_calls(around):
        yield


def _noted(met: Met, operands: list[Any], apply: Callable[[], Any]) -> Any:
    if concrete(operands):
        met.values.add(tuple(np.array(_numbers(a)) for a in operands))
    else:
        with internals.paused():
            _before(met)(*map(_numbers, operands))
    out = apply()
    leaves, tree = jax.tree.flatten(out)
    if met.kind != "custom_vjp" or not all(map(is_array, leaves)):
        return out
    with internals.paused():
        return tree.unflatten(_passed(met, [_numbers(a) for a in operands], leaves))


def _numbers(array: Any) -> Any:
    """An array without a gradient; of PRNG keys the numbers that they hold."""
    return (
        jax.random.key_data(array) if is_key(array) else jax.lax.stop_gradient(jnp.asarray(array))
    )


def _before(met: Met) -> Callable[..., None]:
    def note(*operands: Any) -> None:
        _sender(lambda values: met.values.add(values))(*operands)

    note.__name__ = f"{MET}{met.number}"
    return jax.jit(note)


# Outputs pass, and their cotangents: this is the identity, and so is its derivative.


def _passing(met: Met, operands: list[Any], outputs: list[Any]) -> list[Any]:
    del met, operands
    return outputs


def _passing_forward(met: Met, operands: list[Any], outputs: list[Any]) -> tuple[Any, Any]:
    del met
    return outputs, operands


def _passing_backward(met: Met, operands: list[Any], cotangents: list[Any]) -> tuple[Any, Any]:
    known = [g for g in cotangents if g.dtype != jax.dtypes.float0]
    count = len(operands)

    def keep(values: tuple[np.ndarray, ...]) -> None:
        given = iter(values[count:])
        of_outputs = [None if g.dtype == jax.dtypes.float0 else next(given) for g in cotangents]
        met.pairs.add((values[:count], of_outputs))

    with internals.paused():
        _sender(keep)(*map(jax.lax.stop_gradient, [*operands, *known]))
    return None, cotangents


_passed = jax.custom_vjp(_passing, nondiff_argnums=(0,))
_passed.defvjp(_passing_forward, _passing_backward)


def _sender(keep: Callable[[tuple[np.ndarray, ...]], None], levels: Sequence[Any] = ()) -> Any:
    """What sends values to the host, where `keep` gets them.

    Under `vmap` the whole batch is sent at once, of which the host keeps the first example, one in
    the middle and the last; `levels` says for each `vmap` around which of the values it maps.
    """

    def receive(*values: Any) -> None:
        arrays = tuple(np.array(value) for value in values)
        for which in (0.0, 0.5, 1.0) if levels else (0.0,):
            keep(tuple(_example(a, i, levels, which) for i, a in enumerate(arrays)))

    @jax.custom_batching.custom_vmap
    def send(*values: Any) -> tuple[()]:
        jax.debug.callback(receive, *values)
        return ()

    @send.def_vmap
    def send_batch(size: int, mapped: Any, *values: Any) -> tuple[tuple[()], tuple[()]]:
        del size
        _sender(keep, (*levels, mapped))(*values)
        return (), ()

    del send_batch
    return send


def _example(array: np.ndarray, position: int, levels: Sequence[Any], which: float) -> np.ndarray:
    """One example of a batch: the outermost `vmap` has the first axis."""
    for mapped in reversed(levels):
        if mapped[position]:
            array = array[int(which * (len(array) - 1))]
    return array
