"""The rule at other sizes: batches of one, and sizes that no block length divides."""

from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxfn.verification.agreement import Comparison, compare, power_of
from jaxfn.verification.coordinates import Arguments, is_inexact, is_integer
from jaxfn.verification.elements import element_of
from jaxfn.verification.judge import WRONG, Judgement, judge
from jaxfn.verification.probes import GIVEN, NEAR, Probe
from jaxfn.verification.programs import precision
from jaxfn.verification.report import FAIL, PASS, SKIPPED, Check
from jaxfn.verification.setup import make_engine
from jaxfn.verification.structures import structure_of
from jaxfn.verification.subject import Subject

SHAPES = (
    "the gradient agrees with autodiff at other sizes of the axes as well",
    "sizes that were not tried",
)
LARGEST = 50_000
RESIZINGS = 2
DEAR = 1.0  # seconds of compilation


@dataclass(frozen=True)
class Resized:
    """The comparison at one other size."""

    text: str
    subject: Subject
    found: Comparison
    wrong: list[Judgement]


def sizes_to_try(arguments: Arguments, factorises: bool) -> list[tuple[int, int]]:
    """Pairs of a size that occurs among the arguments' axes and another to put in its place."""
    shapes = [np.shape(v) for v in arguments.values if is_inexact(v) or is_integer(v)]
    if any(structure_of(arguments.array(leaf, arguments.given)) for leaf in arguments.leaves):
        return []
    leading = [shape[0] for shape in shapes if shape]
    tall = [shape for shape in shapes if len(shape) > 1 and shape[-2] != shape[-1]]
    others = [size for shape in shapes for size in shape[1:]]
    pairs = []
    for size in filter(None, dict.fromkeys(leading + others)):
        pairs.append((size, 2 * size + 1 if size < 64 else size + 1))
        if size > 1 and size in leading:
            pairs.append((size, 1))
    if not factorises:
        return pairs
    return [p for p in pairs if all(_same_order(shape[-2:], *p) for shape in tall)]


def _same_order(shape: tuple[int, ...], old: int, new: int) -> bool:
    """Whether a matrix with more rows than columns keeps them: rules may rest on full rank."""
    rows, columns = (new if size == old else size for size in shape)
    return (rows > columns) == (shape[0] > shape[1]) and rows != columns


def resized_subjects(subject: Subject) -> list[Resized]:
    """Rule and reference at a few other sizes that both accept."""
    out = []
    if subject.reference is None or subject.arguments.size > LARGEST or subject.loops:
        return out
    for old, new in sizes_to_try(subject.arguments, subject.factorises):
        if len(out) == (1 if subject.rule.pull.compile_seconds > DEAR else RESIZINGS):
            break
        other = _resized(subject, old, new)
        if other is None:
            continue
        found = compare(other, own_values=False)  # a program less to compile
        wrong = [j for j in judge(other, found) if j.outcome == WRONG]
        out.append(Resized(f"axes of size {old} given size {new}", other, found, wrong))
    return out


def _resized(subject: Subject, old: int, new: int) -> Subject | None:
    assert subject.reference is not None
    values = [_resize(subject, v, old, new) for v in subject.arguments.values]
    arguments = Arguments(jax.tree.unflatten(subject.arguments.tree, values))
    if arguments.size > LARGEST or not _accepted(subject, arguments):
        return None
    reference, _ = make_engine(subject.reference.fun, arguments, subject.wide)
    rule, _ = make_engine(subject.rule.fun, arguments, subject.wide)
    if rule is None or reference is None or rule.size != reference.size:
        return None
    values_engine = rule if not subject.has_surrogate else reference
    other = replace(
        subject,
        arguments=arguments,
        rule=rule,
        reference=reference,
        values=values_engine,
        native=rule,
        native_reference=None,
        probes=[],
        notes=[],
    )
    near = arguments.given * (1 + 0.2 * subject.rng.uniform(-1, 1, arguments.size))
    other.probes = [
        Probe(
            f"arguments with axes of size {old} resized to {new}",
            kind,
            arguments.rounded(x),
            arguments.integers,
        )
        for kind, x in ((GIVEN, arguments.given), (NEAR, near))
    ]
    return other


def _accepted(subject: Subject, arguments: Arguments) -> bool:
    """Whether the reference takes these sizes; what it raises says that it does not."""
    assert subject.reference is not None
    fun = subject.reference.fun
    with precision(subject.wide):
        try:
            jax.eval_shape(
                lambda: jax.tree.leaves(
                    fun(
                        *arguments.rebuild(
                            arguments.differentiable(jnp.asarray(arguments.given), subject.wide),
                            [jnp.asarray(p) for p in arguments.integers],
                        )
                    )
                )
            )
        except Exception:  # any error of the user's function means the same: not this size
            return False
    return True


def _resize(subject: Subject, value: Any, old: int, new: int) -> Any:
    if not (is_inexact(value) or is_integer(value)) or old not in np.shape(value):
        return value
    array = np.asarray(value)
    for axis, size in enumerate(array.shape):
        if size == old:
            array = np.take(array, np.arange(new) % old, axis=axis)
    if is_inexact(value):
        noise = subject.rng.uniform(0.8, 1.2, array.shape)
        array = (array * noise).astype(array.dtype)
    return jnp.asarray(array)


def check_shapes(subject: Subject) -> Check:
    """The agreement at other sizes."""
    found = resized_subjects(subject)
    if not found:
        detail = "skipped because no other sizes are accepted, or none are tried"
        return Check("shapes", SKIPPED, *SHAPES, detail=detail)
    for one in found:
        if one.wrong:
            first, gradients = one.wrong[0], one.found
            assert gradients.reference is not None
            pair = gradients.rule[first.item], gradients.reference[first.item]
            worst = element_of(one.subject.arguments, first.element, *pair, one.text)
            text = f"right at the given sizes, wrong at others: {one.text}"
            return Check("shapes", FAIL, *SHAPES, None, worst, text, text, "elements")
    detail = "; ".join(one.text for one in found)
    powers = [power for one in found if (power := power_of(one.found)) is not None]
    return Check("shapes", PASS, *SHAPES, max(powers, default=None), detail=detail)
