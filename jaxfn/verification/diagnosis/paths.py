"""The operation of the function through which a gradient goes wrong.

The expected gradient is a sum over paths through the function. With one intermediate value held
constant, the paths through it are left out: where the rule's gradient lacks exactly these, or has
them with another factor, the value's operation names the term.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend import core as jex

from jaxfn.verification.diagnosis.seen import Cause, Seen, close
from jaxfn.verification.points.probes import columns_of
from jaxfn.verification.subject.coordinates import cotangents, flatten_gradient, on_device
from jaxfn.verification.subject.programs import Engine, precision, quick_options

OWN = str(Path(__file__).parents[2])  # the files of this package
MOST_ITEMS, MOST_VALUES, MOST = 6, 300, 4000  # gradients looked at; intermediate values; elements
CALLS = {
    "pjit",
    "jit",
    "closed_call",
    "core_call",
    "eval_jaxpr",
}  # whose operations are looked at one by one
EXACT = 1e-5  # of the error: a path that explains as much of it explains all
EVERYWHERE = 0.9  # of the elements
WHOLE = 1e-3  # by which a factor may be off 0, -1 or 2 to be called so


@dataclass(frozen=True)
class Value:
    """An intermediate value: its operation, and where it stands in the source."""

    operation: str
    shape: tuple[int, ...]
    source: str

    def __str__(self) -> str:
        place = f", {self.source}" if self.source else ""
        return f"`{self.operation}` ({'×'.join(map(str, self.shape)) or 'a scalar'}{place})"


def through_a_value_everywhere(seen: Seen) -> Cause | None:
    """The same, where nearly every element is wrong: otherwise it may be a region that is."""
    return through_a_value(seen) if seen.bad.mean() > EVERYWHERE else None


def through_a_value(seen: Seen) -> Cause | None:
    """One path through the function has another factor in the rule than it should."""
    engine, items = seen.subject.reference, _items(seen)
    if engine is None or engine.traced is None or not len(items):
        return None
    if seen.subject.arguments.size + engine.size > MOST or seen.subject.has_surrogate:
        return None
    part = seen.leaf.part
    assert seen.found.reference is not None
    rule, expected = seen.found.rule[items][:, part], seen.found.reference[items][:, part]
    error = rule - expected
    if not np.isfinite(error).all() or not (np.abs(error).max(axis=1) > 0).all():
        return None
    values, plain, held = _with_each_held(engine, seen, items)
    if not close(plain[:, part], expected):  # which is not autodiff's
        return None
    for value, gradients in reversed(list(zip(values, held, strict=True))):
        paths = expected - gradients[:, part]
        power = float((paths**2).sum())
        if not np.isfinite(power) or not power or close(paths, expected):
            continue
        change = float((error * paths).sum()) / power
        if np.abs(error - change * paths).max() <= EXACT * np.abs(error).max():
            return _named(seen.leaf.path, value, 1 + change)
    return None


def _named(path: str, value: Value, factor: float) -> Cause:
    where = f"in the gradient of {path}"
    if abs(factor) < WHOLE:
        text = f"the term through {value} is missing {where}: it is held constant"
        return Cause("dropped-term", text)
    if abs(factor + 1) < WHOLE:
        return Cause("sign", f"the term through {value} has the wrong sign {where}")
    return Cause(
        "scale", f"the term through {value} is {factor:.6g} times the expected one {where}"
    )


def _items(seen: Seen) -> np.ndarray:
    """A few of the gradients, for dense cotangents where there are such."""
    dense = np.count_nonzero(seen.found.cotangents[seen.items], axis=1)
    order = np.argsort(-dense, kind="stable")[:MOST_ITEMS]
    chosen = seen.items[np.sort(order)]
    return chosen[np.isfinite(seen.found.rule[chosen]).all(axis=1)]


def _with_each_held(
    engine: Engine, seen: Seen, items: np.ndarray
) -> tuple[list[Value], np.ndarray, np.ndarray]:
    """The intermediate values, and the reference's gradients: with none of them held, with each."""
    values: list[Value] = []
    arguments, traced = seen.subject.arguments, engine.traced

    def gradient(held: Any, x: Any, integers: Any, cotangent: Any) -> Any:
        def outputs(arrays: list[Any]) -> list[Any]:
            values.clear()
            hold = _holding(values, held)
            return _evaluated(traced.jaxpr, traced.consts, [*arrays, *integers], hold)

        out, pullback = jax.vjp(outputs, arguments.differentiable(x, engine.wide))
        (gradients,) = pullback(cotangents(cotangent, out))
        return flatten_gradient(gradients, arguments.leaves, engine.dtype)

    with precision(engine.wide):
        x, integers = columns_of([seen.found.probe_of(i) for i in items])
        x, gammas = (on_device(a, engine.dtype) for a in (x, seen.found.cotangents[items]))
        integers = tuple(map(on_device, integers))
        each = jax.vmap(gradient, in_axes=(None, 0, 0, 0))
        jax.eval_shape(each, 0, x, integers, gammas)  # counts the values
        if not values or len(values) > MOST_VALUES:
            return [], np.zeros((len(items), arguments.size)), np.zeros((0, 0, 0))
        options = quick_options(arguments.size + engine.size)
        loop = jax.jit(
            lambda n, *rows: jax.lax.map(lambda k: each(k, *rows), n), compiler_options=options
        )
        plain, *held = np.asarray(loop(np.arange(-1, len(values)), x, integers, gammas), np.float64)
        return list(values), plain, np.stack(held)


def _holding(values: list[Value], held: Any) -> Callable[[Any, list[Any]], list[Any]]:
    """What replaces the results of an operation: with no gradient if it is the one that is held."""

    def hold(eqn: Any, results: list[Any]) -> list[Any]:
        if not any(jnp.issubdtype(r.dtype, jnp.inexact) for r in results):
            return results
        here = held == len(values)
        values.append(Value(eqn.primitive.name, tuple(results[0].shape), _source(eqn)))
        return [jnp.where(here, jax.lax.stop_gradient(r), r) for r in results]

    return hold


def _source(eqn: Any) -> str:
    """File and line of an operation, as far as JAX tells."""
    frames = getattr(getattr(eqn.source_info, "traceback", None), "frames", None) or ()
    for frame in frames:
        own = frame.file_name.startswith(OWN) or "/site-packages/" in frame.file_name
        if not own and not frame.file_name.startswith("<"):
            return f"{frame.file_name.rsplit('/', 1)[-1]}:{frame.line_num}"
    return ""


def _evaluated(jaxpr: Any, consts: Sequence[Any], args: Sequence[Any], hold: Any) -> list[Any]:
    """The outputs of a jaxpr, operation by operation, each result passed through `hold`."""
    known = dict(zip([*jaxpr.constvars, *jaxpr.invars], [*consts, *args], strict=True))

    def read(var: Any) -> Any:
        return var.val if isinstance(var, jex.Literal) else known[var]

    for eqn in jaxpr.eqns:
        inputs = [read(v) for v in eqn.invars]
        inner = eqn.params.get("jaxpr") or eqn.params.get("call_jaxpr")
        if eqn.primitive.name in CALLS and inner is not None:
            results = _evaluated(inner.jaxpr, inner.consts, inputs, hold)
        else:
            found = eqn.primitive.bind(*inputs, **eqn.primitive.get_bind_params(eqn.params))
            results = hold(eqn, list(found) if eqn.primitive.multiple_results else [found])
        known.update(zip(eqn.outvars, results, strict=True))
    return [read(v) for v in jaxpr.outvars]
