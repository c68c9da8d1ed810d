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
from jaxfn.verification.probes import GIVEN, NEAR, Probe, is_permutation
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
FAR_OFF = 1e8
DEARER = 10  # times the elements are too many when all axes grow at once
DEAR = 1.0  # seconds of compilation

Sizes = dict[int, int]  # other sizes in place of those of axes


@dataclass(frozen=True)
class Resized:
    """The comparison at one other size."""

    text: str
    subject: Subject
    found: Comparison
    wrong: list[Judgement]


def sizes_to_try(arguments: Arguments, factorises: bool) -> list[Sizes]:
    """Other sizes in place of those among the arguments' axes: first of all axes at once."""
    shapes = [np.shape(v) for v in arguments.values if is_inexact(v) or is_integer(v)]
    if any(structure_of(arguments.array(leaf, arguments.given)) for leaf in arguments.leaves):
        return []
    leading = [shape[0] for shape in shapes if shape]
    tall = [shape for shape in shapes if len(shape) > 1 and shape[-2] != shape[-1]]
    others = [size for shape in shapes for size in shape[1:]]
    larger = {
        size: 2 * size + 1 if size < 16 else size + 1
        for size in filter(None, dict.fromkeys(leading + others))
    }
    elements = [sum(np.prod([s.get(n, n) for n in a]) for a in shapes) for s in ({}, larger)]
    odd = {n: n + 1 + n % 2 for n in larger}
    together = odd if elements[1] > DEARER * elements[0] else larger
    ones = [{size: 1} for size in larger if size > 1 and size in leading]
    each = [{old: new} for old, new in larger.items()]
    found = [together, *ones[:1], *each, *ones[1:]] if len(each) > 1 else each + ones
    if not factorises:
        return found
    return [sizes for sizes in found if all(_same_order(shape[-2:], sizes) for shape in tall)]


def _same_order(shape: tuple[int, ...], sizes: Sizes) -> bool:
    """Whether a matrix with more rows than columns keeps them: rules may rest on full rank."""
    rows, columns = (sizes.get(size, size) for size in shape)
    return (rows > columns) == (shape[0] > shape[1]) and rows != columns


def resized_subjects(subject: Subject, given: Comparison) -> list[Resized]:
    """Rule and reference at a few other sizes that both accept.

    Values of another magnitude than those at the given sizes stand for infinite ones.
    """
    out = []
    if subject.reference is None or subject.arguments.size > LARGEST or subject.loops:
        return out
    for sizes in sizes_to_try(subject.arguments, subject.factorises):
        if len(out) == (1 if subject.rule.pull.compile_seconds > DEAR else RESIZINGS):
            break
        other = _resized(subject, sizes)
        if other is None:
            continue
        found = compare(other, own_values=False)  # a program less to compile
        if np.abs(found.values[0]).max(initial=0) > FAR_OFF * np.abs(given.values[0]).max(
            initial=1
        ):
            continue
        wrong = [j for j in judge(other, found) if j.outcome == WRONG]
        listed = ", ".join(f"axes of size {old} given size {new}" for old, new in sizes.items())
        out.append(Resized(listed, other, found, wrong))
    return out


def _resized(subject: Subject, sizes: Sizes) -> Subject | None:
    assert subject.reference is not None
    values = [_resize(subject, v, sizes) for v in subject.arguments.values]
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
            f"arguments of other sizes ({', '.join(f'{a} → {b}' for a, b in sizes.items())})",
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


def _resize(subject: Subject, value: Any, sizes: Sizes) -> Any:
    if not (is_inexact(value) or is_integer(value)) or not set(np.shape(value)) & set(sizes):
        return value
    array = np.asarray(value)
    if is_integer(value) and is_permutation(subject.arguments, array):
        shape = [sizes.get(size) or size for size in array.shape]
        return jnp.asarray(subject.rng.permutation(int(np.prod(shape))).reshape(shape), array.dtype)
    for axis, size in enumerate(array.shape):
        if size in sizes:
            array = np.take(array, np.arange(sizes[size]) % size, axis=axis)
    if is_inexact(value):
        noise = subject.rng.uniform(0.8, 1.2, array.shape)
        array = (array * noise).astype(array.dtype)
    return jnp.asarray(array)


def check_shapes(subject: Subject, given: Comparison) -> Check:
    """The agreement at other sizes."""
    found = resized_subjects(subject, given)
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
