"""The rule under JAX's transformations: the same gradients as in a plain loop over the points."""

from dataclasses import dataclass, field, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxfn.verification import constants
from jaxfn.verification.evidence.agreement import differs
from jaxfn.verification.evidence.differences import steps_of
from jaxfn.verification.evidence.rounding import shaken
from jaxfn.verification.layers import explicit_mesh
from jaxfn.verification.layers.observed import Observed
from jaxfn.verification.layers.sharding import PREFIX, Sharded, layouts, rows_of, run_sharded
from jaxfn.verification.layers.variants import (
    GROUPS,
    Points,
    Variant,
    points_of,
    raises,
    variants,
)
from jaxfn.verification.report import FAIL, PASS, SKIPPED, Check, Element
from jaxfn.verification.subject.elements import element_of
from jaxfn.verification.subject.programs import (
    CALLBACKS,
    Engine,
    precision,
    precision_of_threads,
    quickly_compiled,
)
from jaxfn.verification.subject.setup import line
from jaxfn.verification.subject.subject import Subject, run_rows

SAME = "the same gradients under jit, vmap, scan and checkpoint, without jit, for one output alone "
ONE_DEVICE = (f"{SAME}and for one argument alone", "anything on several devices: here is only one")
TWO_DEVICES = (
    f"{SAME}and for one argument alone, under shard_map on two devices and on an explicit mesh",
    "shardings over more devices, and inside of an argument",
)
NO_REFERENCES = (
    "there JAX does not take the jax.Ref that the function or its rule closes over or makes"
)
MIXED = 5  # points of the variants that move all arguments; the others have two each


def check_transformations(observed: Observed) -> Check:
    """The transformations; of a rule that has failed already, only whether it is right untraced."""
    subject, found = observed.subject, observed.found
    before = [check for check in observed.checks if check.name != "determinism"]
    already_failed = FAIL in {check.verdict for check in before}
    points = points_of(subject, found, MIXED + 2 * GROUPS)
    shows = TWO_DEVICES if len(jax.devices()) > 1 else ONE_DEVICE
    changes = observed.verdict("determinism") == FAIL
    if subject.rule.pull.eager and not subject.rule.value.eager:
        return _only_eager(subject, shows)
    if subject.rule.pull.eager or changes:
        why = "fun cannot be traced" if subject.rule.pull.eager else "the rule is not deterministic"
        return Check("transformations", SKIPPED, *shows, detail=f"skipped because {why}")
    eager = _untraced(subject, points)
    chosen = [] if already_failed else variants(points)
    with precision_of_threads(subject.wide, subject.rule.pull.primitives):
        results, raised = _run(points, chosen)
    skipped = raised.skipped
    sharded = Sharded()
    if not already_failed and shows is TWO_DEVICES and CALLBACKS & subject.rule.pull.primitives:
        skipped.append("shard_map was not run: callbacks of several devices can block each other")
    elif not already_failed and subject.rule.pull.has_references:
        skipped.append(f"shard_map was not run: {NO_REFERENCES}")
    elif not already_failed and shows is TWO_DEVICES:
        several = layouts(points)
        sharded = run_sharded(points, several)
        chosen, results = [*chosen, *several], results | sharded.results
    elif not already_failed:
        skipped.append("shard_map was not run: there is one device")
    if eager is not None:
        results["without jit"] = eager
        chosen = [Variant("without jit", lambda at: None), *chosen]
    failures = _failures(subject, points, [one for one in chosen if one.name in results], results)
    for name in sorted(sharded.results.keys() & failures.keys()):
        if not _autodiff_is_right(subject, points, next(v for v in chosen if v.name == name)):
            del failures[name]
            sharded = sharded.without(name, "autodiff is not right there either")
    skipped += [f"{name} skipped because {why}" for name, why in sharded.skipped.items()]
    faults = [*filter(None, [raised.fault(), sharded.fault()])]
    checked = _verdict(subject, shows, failures, faults, "; ".join(skipped))
    checked = replace(checked, warnings=raised.warnings())
    if checked.cause == "jit" and "without jit" in failures and not already_failed:
        text = "right when traced, wrong without jit: a state that Python keeps from call to call?"
        checked = replace(checked, detail=text, diagnosis=text)
    return replace(checked, notes=tuple(filter(None, [sharded.note()])))


def _untraced(subject: Subject, points: Points) -> np.ndarray | None:
    """The gradients without jit, each operation by itself; None where the function needs it."""
    integers = tuple(p[0] for p in points.integers)
    with quickly_compiled(subject.wide), precision(subject.wide):
        try:
            return subject.rule.without_jit(points.x[0], integers, points.gammas[0])()[
                None, subject.rule.size :
            ]
        except Exception:  # works under jit alone: the layer of determinism says so
            return None


def _failures(
    subject: Subject, points: Points, chosen: list[Variant], results: dict[str, np.ndarray]
) -> dict[str, Element]:
    """The worst element of each variant that differs from a plain loop over its rows."""
    compared = {v.name: _compare(subject, points, v, subject.rule, results[v.name]) for v in chosen}
    return {name: worst for name, worst in compared.items() if worst is not None}


def _verdict(
    subject: Subject,
    shows: tuple[str, str],
    failures: dict[str, Element],
    faults: list[tuple[str, str]],
    detail: str,
) -> Check:
    if not failures and not faults:
        power = constants.OF_A_SUM * subject.relative_floor
        return Check("transformations", PASS, *shows, power, detail=detail)
    if failures:
        cause, text = _cause(list(failures))
        worst = next(iter(failures.values()))
    else:
        (cause, text), worst = faults[0], None
    return Check("transformations", FAIL, *shows, None, worst, text, text, cause)


def _cause(names: list[str]) -> tuple[str, str]:
    listed = ", ".join(names)
    if names[0] == "without jit":
        return "jit", "wrong only when traced: other gradients under jit than without"
    if all(name.startswith("vmap") for name in names):
        return "vmap", f"right for one point, wrong under vmap ({listed})"
    if all(name.startswith(PREFIX) for name in names):
        where = listed.replace(PREFIX, "")
        return "shard_map", f"right on one device, wrong under shard_map (with {where})"
    if all(name.startswith(explicit_mesh.PREFIX) for name in names):
        return "explicit-mesh", f"right on one device, wrong on {listed}"
    if all(name.startswith("output") for name in names):
        return "symbolic-zero", f"wrong for an unused output (symbolic zero cotangent): {listed}"
    if all("alone" in name or "not differentiated" in name for name in names):
        text = f"wrong where an argument is not perturbed (symbolic zeros): {listed}"
        return "symbolic-zero", text
    return "jit", f"wrong under {listed}"


@dataclass(frozen=True)
class Raised:
    """The variants that raise, with what they raise.

    `refused` are those in which the function without its rule works, but for those in which the
    rule's callback says of itself that it does not (it has no `vmap_method`), which are
    `unsupported`; `skipped` are sentences about those in which the function raises as well.
    """

    refused: dict[str, str] = field(default_factory=dict)
    unsupported: dict[str, str] = field(default_factory=dict)
    skipped: list[str] = field(default_factory=list)

    def with_those(self, other: "Raised") -> "Raised":
        """These and those of others."""
        return Raised(
            self.refused | other.refused,
            self.unsupported | other.unsupported,
            self.skipped + other.skipped,
        )

    def fault(self) -> tuple[str, str] | None:
        """The cause, and a sentence, where the rule cannot be used as the function can."""
        if not self.refused:
            return None
        cause, _ = _cause(list(self.refused))
        listed, reason = ", ".join(self.refused), next(iter(self.refused.values()))
        text = f"the rule raises, where the function without it works, under {listed}: {reason}"
        return cause, text

    def warnings(self) -> tuple[str, ...]:
        """What callers of a rule with a callback will meet."""
        if not self.unsupported:
            return ()
        listed, reason = ", ".join(self.unsupported), next(iter(self.unsupported.values()))
        return (f"the rule's callback cannot be used under {listed}: {reason}",)


def _run(points: Points, chosen: list[Variant]) -> tuple[dict[str, np.ndarray], Raised]:
    if not chosen:  # of a rule that has failed already
        return {}, Raised()
    with precision(points.engine.wide):
        try:
            return points.evaluated(lambda at: {v.name: v.run(at) for v in chosen}), Raised()
        except Exception:  # one of them raises: it is run alone and reported, the others together
            raising = [one for one in chosen if raises(points, one.run)] or chosen
            others = [one for one in chosen if one not in raising]
            alone, raised = _run_each(points, raising)
    if not others:
        return alone, raised
    together, more = _run(points, others)
    return alone | together, raised.with_those(more)


def _run_each(points: Points, chosen: list[Variant]) -> tuple[dict[str, np.ndarray], Raised]:
    results, raised = {}, Raised()
    for variant in chosen:
        try:
            results[variant.name] = points.evaluated(variant.run)
        except Exception as error:  # whatever it is, it is reported
            if points.engine.pull.has_references:
                raised.skipped.append(f"{variant.name} skipped because {NO_REFERENCES}")
            elif not _works_without_the_rule(points, variant):
                raised.skipped.append(f"{variant.name} skipped because {line(error)}")
            elif _is_of_a_callback(points, error):
                raised.unsupported[variant.name] = line(error)
            else:
                raised.refused[variant.name] = line(error)
    return results, raised


def _is_of_a_callback(points: Points, error: Exception) -> bool:
    callbacks = CALLBACKS & points.engine.pull.primitives
    return isinstance(error, NotImplementedError) and bool(callbacks)


def _works_without_the_rule(points: Points, variant: Variant) -> bool:
    """Whether the variant of the reference can be traced, or that of the function's values."""
    subject = points.subject
    if subject.reference is None:
        return variant.name.startswith("vmap") and _values_can_be_mapped(points)
    plain = replace(points, subject=replace(subject, rule=subject.reference))
    same = next(v for v in variants(plain) if v.name == variant.name)
    return not raises(plain, same.run)


def _values_can_be_mapped(points: Points) -> bool:
    rows = (0, 1, 2)
    integers = tuple(p[np.array(rows)] for p in points.integers)
    try:
        jax.eval_shape(
            jax.vmap(lambda a, i: points.engine.of_leaves(i)(a)), points.leaves(rows), integers
        )
    except Exception:  # likewise
        return False
    return True


def _only_eager(subject: Subject, shows: tuple[str, str]) -> Check:
    """A rule that works without jit alone, of a function that can be traced."""
    error = subject.rule.pull.untraceable
    assert error is not None
    text = f"the function works under jit, its rule without jit alone: {line(error)}"
    return Check("transformations", FAIL, *shows, None, None, text, text, "jit")


def _expected(points: Points, variant: Variant) -> tuple[np.ndarray, Any, np.ndarray]:
    rows = list(variant.rows)
    x, gammas = points.x[rows].copy(), points.gammas[rows].copy()
    integers = tuple(p[rows] for p in points.integers)
    if variant.varying is not None:
        for k, leaf in enumerate(points.subject.arguments.leaves):
            if k not in variant.varying:
                x[:, leaf.part] = points.x[0, leaf.part]
        if not variant.integers:
            integers = tuple(np.repeat(p[:1], len(rows), axis=0) for p in points.integers)
    if variant.output is not None:
        start = _starts(points)
        kept = np.zeros_like(gammas)
        part = slice(start[variant.output], start[variant.output + 1])
        kept[:, part] = gammas[:, part]
        gammas = kept
    return x, integers, gammas


def _starts(points: Points) -> np.ndarray:
    sizes = [
        int(np.prod(o.shape, dtype=int))
        * (2 if jnp.issubdtype(o.dtype, jnp.complexfloating) else 1)
        for o in points.engine.outputs
    ]
    return np.concatenate([[0], np.cumsum(sizes)])


def _autodiff_is_right(subject: Subject, points: Points, layout: Variant) -> bool:
    """Whether under `shard_map` autodiff gives what it gives in a plain loop."""
    seen = None if subject.reference is None else rows_of(points, subject.reference, layout)
    if subject.reference is None or seen is None:
        return False
    return _compare(subject, points, layout, subject.reference, seen) is None


def _compare(
    subject: Subject, points: Points, variant: Variant, engine: Engine, seen: np.ndarray
) -> Element | None:
    """The worst element of a variant that differs from the engine's plain gradients, if any."""
    rows = _expected(points, variant)
    mask = np.ones(subject.arguments.size, bool)
    if variant.differentiated is not None:
        mask[:] = False
        for k in variant.differentiated:
            mask[subject.arguments.leaves[k].part] = True
    with np.errstate(all="ignore"):
        expected, size = _plain(subject, variant, engine, rows)
        scale = size.max(axis=1, keepdims=True, initial=0)
        values = run_rows(engine.value, *rows[:2])[0]
        ulps = (
            constants.TRANSFORMED_ULPS
            * subject.eps
            * np.linalg.norm(np.nan_to_num(values * rows[2]))
        )
        least = ulps / steps_of(subject, points.probes[0])
        tolerance = subject.relative_floor * size + subject.absolute_floor * scale
        tolerance = constants.OF_A_SUM * tolerance + least
        bad = differs(seen, expected, tolerance) & mask
        if bad.any():
            x, integers, gammas = rows

            def plain(x: np.ndarray, gammas: np.ndarray) -> np.ndarray:
                return _plain(subject, variant, engine, (x, integers, gammas))[0]

            tolerance += shaken(subject, plain, x, gammas)
            bad = differs(seen, expected, tolerance) & mask
    if not bad.any():
        return None
    i, k = np.unravel_index(
        np.argmax(np.where(bad, np.abs(np.nan_to_num(seen - expected)), -1)), bad.shape
    )
    return element_of(subject.arguments, int(k), seen[i], expected[i], variant.name)


def _plain(
    subject: Subject, variant: Variant, engine: Engine, rows: Any
) -> tuple[np.ndarray, np.ndarray]:
    """The gradients of a plain loop over the rows, and their size before any are summed."""
    gradients = np.array(run_rows(engine.pull, *rows)[1])
    size = np.where(np.isfinite(gradients), np.abs(gradients), 0)
    for k in variant.summed:
        part = subject.arguments.leaves[k].part
        gradients[:, part], size[:, part] = gradients[:, part].sum(0), size[:, part].sum(0)
    return gradients, size
