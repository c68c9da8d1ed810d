"""The rule at other sizes: batches of one, sizes that no block length divides, other squares."""

import functools
import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxfn.verification import constants
from jaxfn.verification.diagnosis.diagnose import UNNAMED, diagnose
from jaxfn.verification.evidence.agreement import Comparison, compare, differs, power_of
from jaxfn.verification.evidence.judge import WRONG, Judgement, judge
from jaxfn.verification.layers.observed import Observed
from jaxfn.verification.points.integers import is_permutation
from jaxfn.verification.points.probes import GIVEN, NEAR, Probe, columns_of
from jaxfn.verification.points.sizes import Axes, Resizing, Shape, groups
from jaxfn.verification.points.structures import structure_of
from jaxfn.verification.report import FAIL, PASS, SKIPPED, Check
from jaxfn.verification.subject.coordinates import Arguments, is_inexact, is_integer, on_device
from jaxfn.verification.subject.elements import element_of
from jaxfn.verification.subject.jaxprs import equations
from jaxfn.verification.subject.programs import precision
from jaxfn.verification.subject.setup import begun, working
from jaxfn.verification.subject.subject import Subject, run_rows

SHAPES = (
    "the gradient agrees with autodiff at other sizes of the axes as well",
    "sizes that were not tried",
)
LARGEST = 50_000  # elements
BESIDE = 0.2  # of each element: how far the other point is
WITHIN = 0.8, 1.2  # times the elements that are repeated, so that no two are alike
DEAR, CHEAP = 1.0, 0.4  # seconds of compilation
GROUPS = 1, 2, 3  # of sizes: where it is dear, not cheap, cheap
UNROLLED = 2, 20  # times and more equations: a loop over an axis that is written out


@dataclass(frozen=True)
class Resized:
    """The comparison at other sizes."""

    text: str
    subject: Subject
    found: Comparison
    wrong: tuple[Judgement, ...]


def resized_subjects(subject: Subject, given: Comparison) -> Iterator[Resized]:
    """Rule and reference at a few other sizes that both accept, until they differ.

    Values of another magnitude than those at the given sizes stand for infinite ones.
    """
    if subject.reference is None or subject.arguments.size > LARGEST or subject.loops:
        return
    if not given.comparable:
        return
    arguments = subject.arguments
    if any(structure_of(arguments.array(leaf, arguments.given)) for leaf in arguments.leaves):
        return
    accepts = _acceptance(subject)
    largest = constants.ANOTHER_MAGNITUDE * np.abs(given.values[0]).max(initial=1)
    seconds = subject.rule.pull.compile_seconds
    few, some, all_groups = GROUPS
    count = few if seconds > DEAR else some if seconds > CHEAP else all_groups
    for candidates in groups(_axes(subject), accepts)[:count]:
        for sizes in filter(accepts, candidates):
            other = _resized(subject, sizes)
            if other is None:
                continue
            probes = _probes(other, sizes)
            found = compare(other, probes, own_values=False)  # a program less to compile
            if np.abs(found.values[0]).max(initial=0) > largest:
                continue
            wrong = tuple(j for j in judge(other, found) if j.outcome == WRONG)
            if wrong and not _same_values(other, found):
                continue
            yield Resized(sizes.text, other, found, wrong)
            break


def _axes(subject: Subject) -> Axes:
    arguments = subject.arguments
    arrays = _arrays(arguments)
    return Axes(
        tuple(np.shape(arguments.values[i]) for i in arrays),
        tuple(arguments.paths[i] for i in arrays),
        frozenset(k for k, i in enumerate(arrays) if is_integer(arguments.values[i])),
    )


def _arrays(arguments: Arguments) -> list[int]:
    """The positions of the arguments that have axes."""
    return [i for i, v in enumerate(arguments.values) if is_inexact(v) or is_integer(v)]


def _at(given: Arguments, sizes: Resizing, rng: np.random.Generator) -> Arguments:
    values = list(given.values)
    for i, shape in zip(_arrays(given), sizes.shapes, strict=True):
        values[i] = _resize(given, values[i], shape, rng)
    return Arguments(jax.tree.unflatten(given.tree, values), given.names, given.static)


def _acceptance(subject: Subject) -> Callable[[Resizing], bool]:
    """Whether the function takes these sizes, and they keep what rules may rest on.

    A matrix that is factorised and has more rows than columns keeps them, or becomes square: its
    rank stays full. What the function raises says that it does not take the sizes.
    """
    least = _equations(subject, subject.arguments)
    given = _axes(subject).shapes

    @functools.cache
    def accepts(sizes: Resizing) -> bool:
        if sizes.elements > LARGEST or sizes.shapes == given:
            return False
        if _only_broadcast(given, sizes.shapes):
            return False
        pairs = zip(given, sizes.shapes, strict=True)
        if subject.factorises and not all(_keeps_rank(*pair) for pair in pairs):
            return False
        count = _equations(subject, _at(subject.arguments, sizes, np.random.default_rng(0)))
        if count is None or least is None:
            return False
        return count <= UNROLLED[0] * least + UNROLLED[1]

    return accepts


def _only_broadcast(given: Sequence[Shape], new: Sequence[Shape]) -> bool:
    """Whether two arguments with an axis of one size have now 1 and another: they are strangers."""
    for i, j in itertools.combinations(range(len(given)), 2):
        before = zip(reversed(given[i]), reversed(given[j]), strict=False)
        after = zip(reversed(new[i]), reversed(new[j]), strict=False)
        for (a, b), (c, d) in zip(before, after, strict=True):
            if a == b and c != d and 1 in (c, d):
                return True
    return False


def _keeps_rank(given: Shape, new: Shape) -> bool:
    if len(given) < 2:
        return True
    before, after = given[-2] - given[-1], new[-2] - new[-1]
    return after == 0 or before * after > 0


def _equations(subject: Subject, arguments: Arguments) -> int | None:
    """The length of the reference's program; None for arguments that are not accepted."""
    assert subject.reference is not None
    fun, domain = subject.reference.fun, subject.domain
    given, integers = arguments.concrete(arguments.given, False), arguments.integers

    def call() -> Any:
        arrays = arguments.differentiable(jnp.asarray(arguments.given), subject.wide)
        args = arguments.rebuild(arrays, [jnp.asarray(p) for p in arguments.integers])
        return jax.tree.leaves(fun(*args))

    with precision(subject.wide):
        try:
            if callable(domain) and not np.all(
                np.asarray(domain(*arguments.rebuild(given, integers)))
            ):
                return None
            return sum(1 for _ in equations(jax.make_jaxpr(call)().jaxpr))
        except Exception:  # any error of the user's function means the same: not these sizes
            return None


def _resized(subject: Subject, sizes: Resizing) -> Subject | None:
    assert subject.reference is not None
    arguments = _at(subject.arguments, sizes, subject.rng)
    both = [begun(e.fun, arguments, subject.wide) for e in (subject.reference, subject.rule)]
    (reference, _), (rule, _) = map(working, both)
    if rule is None or reference is None or rule.size != reference.size:
        return None
    values_engine = rule if not subject.has_surrogate else reference
    return replace(
        subject,
        arguments=arguments,
        rule=rule,
        reference=reference,
        values=values_engine,
        native=rule,
        native_reference=None,
    )


def _same_values(other: Subject, found: Comparison) -> bool:
    """Whether the function has the values of its reference; otherwise it does not take the sizes.

    A kernel that is written for blocks of one length gives other values for another one.
    """
    if other.has_surrogate or found.reference_values is None:
        return True
    values = run_rows(other.rule.value, *columns_of(found.probes))[0]
    _, first = np.unique(found.which, return_index=True)
    expected = found.reference_values[first]
    size = np.abs(np.where(np.isfinite(expected), expected, 0.0))
    largest = size.max(axis=1, keepdims=True, initial=0.0)
    tolerance = other.relative_floor * size + other.absolute_floor * largest
    return not differs(values, expected, constants.OF_A_SUM * tolerance).any()


def _probes(other: Subject, sizes: Resizing) -> list[Probe]:
    """The given point at other sizes, and one nearby."""
    arguments = other.arguments
    near = arguments.given * (1 + BESIDE * other.rng.uniform(-1, 1, arguments.size))
    return [
        Probe(
            f"arguments of other sizes ({sizes.short})",
            kind,
            arguments.rounded(x),
            arguments.integers,
        )
        for kind, x in ((GIVEN, arguments.given), (NEAR, near))
    ]


def _resize(given: Arguments, value: Any, shape: Shape, rng: np.random.Generator) -> Any:
    if not (is_inexact(value) or is_integer(value)) or np.shape(value) == shape:
        return value
    array = np.asarray(value)
    if is_integer(value) and is_permutation(given, array):
        return on_device(rng.permutation(int(np.prod(shape))).reshape(shape), array.dtype)
    for axis, size in enumerate(array.shape):
        if shape[axis] != size:
            array = np.take(array, np.arange(shape[axis]) % size, axis=axis)
    if is_inexact(value):
        array = (array * rng.uniform(*WITHIN, array.shape)).astype(array.dtype)
    return on_device(array)


def check_shapes(observed: Observed) -> Check:
    """The agreement at other sizes."""
    found = []
    for one in resized_subjects(observed.subject, observed.found):
        if one.wrong:
            return _failure(one)
        found.append(one)
    if not found:
        detail = "skipped because no other sizes are accepted, or none are tried"
        return Check("shapes", SKIPPED, *SHAPES, detail=detail)
    detail = "; ".join(one.text for one in found)
    powers = [power for one in found if (power := power_of(one.found)) is not None]
    return Check("shapes", PASS, *SHAPES, max(powers, default=None), detail=detail)


def _failure(one: Resized) -> Check:
    first, gradients = one.wrong[0], one.found
    assert gradients.reference is not None
    pair = gradients.rule[first.item], gradients.reference[first.item]
    worst = element_of(one.subject.arguments, first.element, *pair, one.text)
    text = f"right at the given sizes, wrong at others: {one.text}"
    cause = diagnose(one.subject, one.found, one.wrong)
    said = text if cause.text.startswith(UNNAMED) else f"{text}; there: {cause.text}"
    return Check("shapes", FAIL, *SHAPES, None, worst, text, said, "elements")
