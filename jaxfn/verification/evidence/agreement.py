"""The rule's gradients against autodiff's of the reference, at every element of every probe.

Each pullback of a dense random cotangent has all the gradient's elements, so one wrong element
among any number is compared directly; the cotangents of a small function are also a whole basis.
Where rule and reference differ, function values decide: see `judge`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np

from jaxfn.verification import constants
from jaxfn.verification.evidence.observation import Observation, observe
from jaxfn.verification.evidence.rounding import ULPS, change, samples_of
from jaxfn.verification.points.probes import EXTREME, GIVEN, NEAR, Probe
from jaxfn.verification.subject.subject import DOUBLE, SINGLE, Subject, run_rows

WIDER_ULPS = 256  # of the longer moves of a point, beside `ULPS`: a jump is the same for both
MEASURED = 1e-6  # of the largest element: the power is that for elements above it
NARROW = 1e-8  # a machine epsilon above it: the arguments are in single precision or lower


@dataclass(frozen=True)
class Comparison(Observation):
    """What was observed, and of each element whether rule and reference differ, `[items, inputs]`.

    Attributes:
        tolerance: the difference that rounding explains; empty without a reference.
        bad: the elements that differ by more than that.
        unstable: the elements where autodiff jumps however little the point moves, between `low`
            and `high`.
        doubtful: the probes at which anything had to be looked at twice.
    """

    tolerance: np.ndarray
    bad: np.ndarray
    unstable: np.ndarray
    low: np.ndarray
    high: np.ndarray
    doubtful: frozenset[int]


@dataclass(frozen=True)
class Conditioning:
    """How gradients at one probe move with the point, `[items, inputs]`.

    Attributes:
        moved: the difference that a few ulps of the point make.
        jumps: where autodiff jumps, by the same amount however small the move; between `low` and
            `high`.
    """

    moved: np.ndarray
    jumps: np.ndarray
    low: np.ndarray
    high: np.ndarray


def compare(subject: Subject, probes: Sequence[Probe], own_values: bool = True) -> Comparison:
    """Evaluates rule and reference at all probes, and marks the elements that differ.

    Args:
        subject: what is under test.
        probes: the points, the given one first.
        own_values: whether to evaluate the function's own values; without, they are taken to be
            those of the reference.

    Returns:
        What was observed and what differs, with no element marked where there is no reference.

    Raises:
        Exception: whatever the function raises at the points, but for a runtime error of JAX, where
            the gradient is nan.
    """
    seen = observe(subject, probes, own_values)
    observed = {field.name: getattr(seen, field.name) for field in fields(seen)}
    none = np.zeros(seen.rule.shape, bool)
    reference = seen.reference
    if reference is None:
        nothing = np.zeros(seen.rule.shape)
        return Comparison(
            **observed,
            tolerance=np.zeros((0, 0)),
            bad=none,
            unstable=none,
            low=nothing,
            high=nothing,
            doubtful=frozenset(),
        )
    with np.errstate(all="ignore"):
        tolerance = floor(subject, reference, seen)
        bad = differs(seen.rule, reference, tolerance) & seen.usable[:, None]
        unstable, low, high = none, reference.copy(), reference.copy()
        doubtful = frozenset(int(i) for i in seen.which[bad.any(axis=1)])
        for probe in sorted(doubtful):
            items = seen.items_of(probe)
            near = conditioning(subject, seen, items)
            tolerance[items] += near.moved
            tolerance[items] += precision_gap(subject, seen, items)
            tolerance[items] += of_the_value(subject, seen, items)
            unstable[items] = near.jumps & bad[items]
            low[items], high[items] = near.low, near.high
        bad = differs(seen.rule, reference, tolerance) & seen.usable[:, None]
    return Comparison(
        **observed,
        tolerance=tolerance,
        bad=bad,
        unstable=unstable,
        low=low,
        high=high,
        doubtful=doubtful,
    )


def differs(rule: np.ndarray, reference: np.ndarray, tolerance: np.ndarray) -> np.ndarray:
    """Where two gradients differ by more than the tolerance; two that are not finite agree."""
    with np.errstate(all="ignore"):
        finite = np.isfinite(rule) & np.isfinite(reference)
        apart = np.abs(rule - reference) > tolerance
        one = np.isfinite(rule) != np.isfinite(reference)
    return np.where(finite, apart, one)


def floor(subject: Subject, reference: np.ndarray, found: Observation) -> np.ndarray:
    """The difference that is none: ulps of the element, and rounding at the scale of its leaf."""
    scales = np.zeros_like(reference)
    finite = np.where(np.isfinite(reference), np.abs(reference), 0.0)
    for leaf in subject.arguments.leaves:
        largest = finite[:, leaf.part].max(axis=1, initial=0.0)
        scales[:, leaf.part] = np.maximum(largest, typical_size(found, largest))[:, None]
    return subject.relative_floor * finite + subject.absolute_floor * scales


def typical_size(found: Observation, sizes: np.ndarray) -> float:
    """The usual size near the given point, of the largest for any cotangent at each probe."""
    near = [i for i, p in enumerate(found.probes) if p.kind in (GIVEN, NEAR)]
    each = [sizes[items].max() for i in near if (items := found.items_of(i)).size]
    return float(np.median(each)) if each else 0.0


def conditioning(subject: Subject, found: Observation, items: np.ndarray) -> Conditioning:
    """How far the gradients move when the point moves by a few ulps.

    Rounding moves them in proportion to the ulps. At a kink they jump by the same amount however
    small the move: that is no rounding, and the jump is kept as the interval of the derivative.
    A few ulps of single precision are allowed as well, for constants that are rounded to it: of
    terms that cancel anywhere near the given point, of gradients of the usual size elsewhere.
    """
    assert found.reference is not None
    little = _nearby(subject, found, items, ULPS * subject.eps)
    more = _nearby(subject, found, items, WIDER_ULPS * subject.eps)
    base = found.reference[items]
    spread, wider = (change(samples[1], base).max(axis=0) for samples in (little, more))
    own = change(little[0], found.rule[items]).max(axis=0)
    seen = spread > constants.JUMP_SEEN * _size(found, base)
    jumps = (wider < constants.JUMP_GROWTH * spread) & seen | ~np.isfinite(base)
    near = np.concatenate([little[1], more[1], base[None]])
    near = np.where(np.isfinite(near), near, np.nan)
    moved = constants.SAFETY * np.maximum(spread, np.minimum(own, wider))
    moved = np.maximum(moved, _of_single_precision(subject, found, items, wider))
    # where rule and reference are rounding alone, of terms that cancel, the rule moves most
    most = constants.CANCELS * of_the_value(subject, found, items)
    alone = np.minimum(constants.SAFETY * own, most)
    return Conditioning(
        np.where(jumps, 0.0, moved) + alone,
        jumps,
        np.where(jumps, np.fmin.reduce(near), base),
        np.where(jumps, np.fmax.reduce(near), base),
    )


def _of_single_precision(
    subject: Subject, found: Observation, items: np.ndarray, wider: np.ndarray
) -> np.ndarray:
    """The difference that a constant makes which is rounded to single precision."""
    assert found.reference is not None
    ulps = constants.SINGLE_ULPS * min(subject.native_eps, SINGLE)
    single = wider * ulps / (WIDER_ULPS * subject.eps)
    if found.is_near(items[0]):
        return single
    sizes = np.where(np.isfinite(found.reference), np.abs(found.reference), 0.0)
    usual = typical_size(found, sizes.max(axis=1, initial=0.0))
    return np.minimum(single, constants.SINGLE_ULPS_AFAR * SINGLE * usual)


def _size(found: Observation, base: np.ndarray) -> float:
    """The largest gradient here or at the given point: what is far below it is rounding."""
    assert found.reference is not None
    given = found.reference[found.which == 0]
    return float(max(np.abs(g[np.isfinite(g)]).max(initial=0) for g in (base, given)))


def _nearby(
    subject: Subject, found: Observation, items: np.ndarray, by: float
) -> tuple[np.ndarray, np.ndarray]:
    """Gradients of rule and reference at points that differ by a few ulps."""
    assert subject.reference is not None
    count = samples_of(subject)
    probe = found.probe_of(items[0])
    step = np.where(probe.x == 0, typical_sizes(subject), np.abs(probe.x))
    noise = subject.rng.uniform(-1.0, 1.0, (count, len(probe.x)))
    x = np.repeat(probe.x + by * step * noise, len(items), axis=0)
    integers = tuple(np.repeat(part[None], len(x), axis=0) for part in probe.integers)
    rows = (x, integers, np.tile(found.cotangents[items], (count, 1)))
    shape = (count, len(items), -1)
    rule = run_rows(subject.rule.pull, *rows)[1].reshape(shape)
    return rule, run_rows(subject.reference.pull, *rows)[1].reshape(shape)


def typical_sizes(subject: Subject) -> np.ndarray:
    """The size of each leaf's elements, repeated for each; 1 for a leaf of zeros."""
    sizes = np.ones(subject.arguments.size)
    for leaf in subject.arguments.leaves:
        part = np.abs(subject.arguments.given[leaf.part])
        sizes[leaf.part] = (float(np.median(part)) if part.size else 0.0) or 1.0
    return sizes


def precision_gap(subject: Subject, found: Observation, items: np.ndarray) -> np.ndarray:
    """The error in double precision that the one in single precision extrapolates to."""
    if not subject.wide or subject.native_reference is None or subject.native_eps < NARROW:
        return np.zeros((len(items), subject.arguments.size))
    assert found.reference is not None
    probe = found.probe_of(items[0])
    x = np.repeat(probe.x[None], len(items), axis=0)
    integers = tuple(np.repeat(part[None], len(items), axis=0) for part in probe.integers)
    rows = (x, integers, found.cotangents[items])
    low = run_rows(subject.native_reference.pull, *rows)[1]
    gap = np.abs(low - found.reference[items]) * (DOUBLE / subject.native_eps)
    return constants.SAFETY * np.where(np.isfinite(gap), gap, 0.0)


def of_the_value(subject: Subject, found: Observation, items: np.ndarray) -> np.ndarray:
    """The slope that a few ulps of the value make over the size of the argument, by element."""
    probe = found.probe_of(items[0])
    sizes = typical_sizes(subject)
    for leaf in subject.arguments.leaves:
        here = np.abs(probe.x[leaf.part]).max(initial=0.0) or np.inf
        usual = sizes[leaf.part].max(initial=0.0)
        sizes[leaf.part] = here if probe.kind == EXTREME and here < np.inf else min(here, usual)
    values = np.abs(found.cotangents[items]) * np.abs(found.values[found.which[items]])
    values = np.where(np.isfinite(values), values, 0.0)
    ulps = constants.VALUE_ULPS * subject.eps
    return ulps * np.linalg.norm(values, axis=1, keepdims=True) / sizes


def power_of(found: Comparison) -> float | None:
    """The smallest relative error that the comparison at the given point would have caught."""
    given = np.flatnonzero((found.which == 0) & found.usable)
    if not given.size or found.reference is None:
        return None
    size = np.abs(found.reference[given]).max(axis=0)
    tolerance = found.tolerance[given].max(axis=0)
    large = size > MEASURED * size.max(initial=0)
    return float(np.max(tolerance[large] / size[large])) if large.any() else None
