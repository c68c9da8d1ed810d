"""What JAX does not check: the types of the gradients, and the primal of the forward rule."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxfn.verification import constants
from jaxfn.verification.evidence.agreement import MEASURED, Comparison, differs
from jaxfn.verification.layers.observed import Observed
from jaxfn.verification.points.probes import GIVEN, NEAR, SPECIAL, Probe, columns_of
from jaxfn.verification.report import FAIL, PASS, Check
from jaxfn.verification.subject.coordinates import is_inexact, is_integer, output_leaves
from jaxfn.verification.subject.elements import leaf_element
from jaxfn.verification.subject.subject import Subject, run_rows

FEW = 4  # points at which the integers of the output are compared
MOVES, ULPS = 3, 4  # of a point, to see how far rounding moves the values
TYPES = (
    "each gradient has its argument's structure, shape and dtype",
    "anything about values",
)
PRIMAL = (
    "differentiating does not change what the function returns: value, dtype, weak type",
    "that the function itself computes what it should",
)


def check_types(observed: Observed) -> Check:
    """The dtype of each gradient; JAX lets a wrong one through."""
    subject, arguments = observed.subject, observed.subject.arguments
    wrong = []
    _, gradients = _types(subject)
    for leaf, gradient in zip(arguments.leaves, gradients, strict=True):
        if gradient.dtype != leaf.dtype or gradient.shape != leaf.shape:
            wrong.append(
                f"the gradient of {leaf.path} is {_type(gradient)}, its argument is "
                f"{jnp.dtype(leaf.dtype).name}{list(leaf.shape)}"
            )
    text = "; ".join(wrong)
    return Check(
        "types",
        FAIL if wrong else PASS,
        *TYPES,
        detail=text,
        diagnosis=f"wrong dtype: {text}" if wrong else "",
        cause="dtype" if wrong else "",
    )


def _types(subject: Subject) -> tuple[list[Any], list[Any]]:
    """Outputs and gradients as arrays without values, where the function can be traced."""
    arguments = subject.arguments
    given = [arguments.values[leaf.position] for leaf in arguments.leaves]

    def both(arrays: list[Any]) -> tuple[list[Any], list[Any]]:
        outputs, pullback = jax.vjp(subject.native.of_leaves(arguments.integers), arrays)
        return outputs, pullback([jnp.ones(o.shape, o.dtype) for o in outputs])[0]

    return both(given) if subject.native.pull.eager else jax.eval_shape(both, given)


def _type(array: Any) -> str:
    return f"{array.dtype.name}{list(array.shape)}"


def check_primal(observed: Observed) -> Check:
    """The forward rule's output against the function's own, at every probe.

    Infinite and nan ones are compared at the given point; beyond the domain rules may differ.
    """
    subject, out, found = observed.subject, observed.out, observed.found
    wrong = _primal_types(subject, out) or _whole_outputs(subject, out, found.probes)
    if wrong:
        text = "; ".join(wrong)
        return Check(
            "primal",
            FAIL,
            *PRIMAL,
            detail=text,
            diagnosis=f"the primal differs: {text}",
            cause="primal",
        )
    first = np.array([found.items_of(i)[0] for i in np.unique(found.which[found.usable])], int)
    tolerance = _tolerance(subject, found, first)
    own = np.abs(found.values[0])
    large = own > MEASURED * own.max(initial=0)
    known = large.any() and 0 in found.which[first]
    power = float(np.max(tolerance[0][large] / own[large])) if known else None
    given = np.union1d(first, np.flatnonzero(found.which == 0)[:1])
    pairs = [("the forward rule", found.primal, given)]
    if found.reference_values is not None and not subject.has_surrogate:
        pairs.append(("the reference", found.reference_values, first))
    for who, computed, items in pairs:
        item = _worst(subject, found, items, computed[items])
        if item is not None:
            k, coordinate = item
            probe = found.probe_of(k).name
            own = found.values[found.which[k]]
            worst = leaf_element(output_leaves(out), coordinate, computed[k], own, probe)
            text = f"{who} computes another value than the function: {worst}"
            return Check(
                "primal", FAIL, *PRIMAL, power, worst, text, f"the primal differs: {text}", "primal"
            )
    return Check("primal", PASS, *PRIMAL, power)


def _primal_types(subject: Subject, out: Any) -> list[str]:
    own = [
        leaf if isinstance(leaf, jax.ShapeDtypeStruct) else jnp.asarray(leaf)
        for leaf in jax.tree.leaves(out)
        if is_inexact(leaf)
    ]
    ruled, _ = _types(subject)
    wrong = []
    for leaf, a, b in zip(output_leaves(out), own, ruled, strict=True):
        if a.shape != b.shape:
            wrong.append(
                f"{leaf.path} has the shape {list(b.shape)} from the forward rule and "
                f"{list(a.shape)} from the function"
            )
        if (a.dtype, a.weak_type) != (b.dtype, b.weak_type):
            weak = " (weak type)"
            wrong.append(
                f"{leaf.path} is {b.dtype.name}{weak if b.weak_type else ''} from the forward "
                f"rule and {a.dtype.name}{weak if a.weak_type else ''} from the function"
            )
    return wrong


def _whole_outputs(subject: Subject, out: Any, probes: Sequence[Probe]) -> list[str]:
    """The structure of the output, and the integers in it, from the forward rule."""
    arguments, fun = subject.arguments, subject.native.fun
    leaves = jax.tree.leaves(out)
    if subject.native.pull.eager or not all(is_inexact(v) or is_integer(v) for v in leaves):
        return []

    def both(arrays: list[Any], integers: list[Any]) -> tuple[Any, Any]:
        def call(some: list[Any]) -> Any:
            return fun(*arguments.rebuild(some, integers))

        return call(arrays), jax.vjp(call, arrays)[0]

    given = [jnp.asarray(part) for part in arguments.integers]
    own, ruled = jax.eval_shape(both, arguments.concrete(arguments.given, False), given)
    if jax.tree.structure(own) != jax.tree.structure(ruled):
        structures = jax.tree.structure(ruled), jax.tree.structure(own)
        return [
            "the output is {} from the forward rule and {} from the function".format(*structures)
        ]
    if not any(is_integer(leaf) for leaf in leaves):
        return []
    compiled = jax.jit(both)
    for probe in [p for p in probes if p.kind in (GIVEN, NEAR)][:FEW]:
        arrays = arguments.concrete(probe.x, False)
        pairs = zip(*map(jax.tree.leaves, compiled(arrays, list(probe.integers))), strict=True)
        if any(is_integer(a) and not np.array_equal(a, b) for a, b in pairs):
            return [f"other integers from the forward rule than from the function, at {probe.name}"]
    return []


def _tolerance(subject: Subject, found: Comparison, items: np.ndarray) -> np.ndarray:
    values = found.values[found.which[items]]
    size = np.where(np.isfinite(values), np.abs(values), 0.0)
    scale = size.max(axis=1, keepdims=True, initial=0)
    return subject.relative_floor * size + subject.absolute_floor * scale


def _worst(
    subject: Subject, found: Comparison, items: np.ndarray, seen: np.ndarray
) -> tuple[int, int] | None:
    """The item and the coordinate of the worst difference, if there is one."""
    own, tolerance = found.values[found.which[items]], _tolerance(subject, found, items)
    bad = differs(seen, own, tolerance)
    bad |= ~np.isfinite(seen) & ~np.isfinite(own) & ~_same(seen, own)
    if not bad.any():
        return None
    rows = np.flatnonzero(bad.any(axis=1))
    x, integers = columns_of([found.probe_of(items[k]) for k in rows])
    spread = np.zeros((len(rows), own.shape[1]))
    with np.errstate(all="ignore"):
        for _ in range(MOVES):
            noise = subject.rng.choice([-1.0, 1.0], x.shape)
            moved = run_rows(subject.rule.value, x * (1 + ULPS * subject.eps * noise), integers)[0]
            change = np.where(_same(moved, own[rows]), 0.0, np.abs(moved - own[rows]))
            spread = np.fmax(spread, change)
        gap = np.abs(seen[rows] - own[rows])
        gap = np.where(np.isfinite(gap), gap, np.where(bad[rows], np.inf, 0.0))
        near = np.array([found.is_near(items[k]) for k in rows])
        if subject.factorises:  # a matrix of equal elements is singular: rounding decides
            special = np.array([found.probe_of(items[k]).kind == SPECIAL for k in rows])
            gap = np.where(special[:, None], 0.0, gap)
        excess = gap / (tolerance[rows] + constants.SAFETY * spread)
        limit = np.where(near, 1.0, constants.STARK_AFAR)[:, None]
        relative = gap > np.where(near[:, None], 0, constants.STARK_SHARE * np.abs(own[rows]))
    excess = np.where(bad[rows] & relative & ~np.isnan(excess), excess / limit, 0.0)
    k, coordinate = np.unravel_index(np.argmax(excess), excess.shape)
    return (int(items[rows[k]]), int(coordinate)) if excess[k, coordinate] > 1 else None


def _same(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return (a == b) | (np.isnan(a) & np.isnan(b))
