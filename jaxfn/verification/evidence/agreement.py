"""The rule's gradients against autodiff's of the reference, at every element of every probe.

Each pullback of a dense random cotangent has all the gradient's elements, so one wrong element
among any number is compared directly; the cotangents of a small function are also a whole basis.
Where rule and reference differ, function values decide: see `judge`.
"""

from dataclasses import dataclass, field

import numpy as np

from jaxfn.verification.evidence.rounding import CANCELS, SAFETY, ULPS, change, samples_of
from jaxfn.verification.points.probes import EXTREME, GIVEN, NEAR, Probe
from jaxfn.verification.subject.subject import Subject, columns_of, run_rows

BASIS = 64
SINGLE = 1.2e-7
SCALES = (1.0, 1e-1, 1e-2, 1e-3, 1e-4, 1e-6)


@dataclass
class Comparison:
    """Gradients of rule and reference for many cotangents at many probes, `[items, inputs]`.

    `bad` marks the elements that differ by more than rounding; `usable` the items whose function
    value is finite; `unstable` the elements where autodiff jumps however little the point moves,
    between `low` and `high`; `doubtful` the probes at which anything had to be looked at twice.
    """

    probes: list[Probe]
    which: np.ndarray
    cotangents: np.ndarray
    rule: np.ndarray
    reference: np.ndarray | None
    primal: np.ndarray
    values: np.ndarray
    reference_values: np.ndarray | None
    usable: np.ndarray
    tolerance: np.ndarray = field(default_factory=lambda: np.zeros((0, 0)))
    bad: np.ndarray = field(default_factory=lambda: np.zeros((0, 0), bool))
    unstable: np.ndarray = field(default_factory=lambda: np.zeros((0, 0), bool))
    low: np.ndarray = field(default_factory=lambda: np.zeros((0, 0)))
    high: np.ndarray = field(default_factory=lambda: np.zeros((0, 0)))
    doubtful: set[int] = field(default_factory=set)

    def items_of(self, probe: int) -> np.ndarray:
        """The items at a probe whose value is finite."""
        return np.flatnonzero((self.which == probe) & self.usable)


def cotangents_for(subject: Subject, probe: Probe) -> np.ndarray:
    """The cotangents to pull back at a probe."""
    m, rng = subject.rule.size, subject.rng
    if m == 0:
        return np.zeros((1, 0))
    if probe.kind == GIVEN:
        if m == 1:
            return np.array([[1.0], [-0.7]])
        if m <= BASIS:
            return np.concatenate([np.eye(m), rng.standard_normal((2, m)), np.ones((1, m))])
        if subject.huge:
            return np.concatenate([rng.standard_normal((1, m)), np.ones((1, m))])
        basis = np.zeros((3, m))
        basis[np.arange(3), rng.choice(m, 3, replace=False)] = 1
        return np.concatenate([rng.standard_normal((3, m)), np.ones((1, m)), basis])
    if m == 1:
        return np.ones((1, 1))
    return rng.standard_normal((1 if m > 20_000 else 2, m))


def compare(subject: Subject, own_values: bool = True) -> Comparison:
    """Evaluates rule and reference at all probes, and marks the elements that differ.

    Without `own_values` the function's values are taken to be those of the reference.
    """
    cotangents = [cotangents_for(subject, probe) for probe in subject.probes]
    which = np.repeat(np.arange(len(cotangents)), [len(c) for c in cotangents])
    gammas = np.concatenate(cotangents).astype(np.float32).astype(np.float64)
    if not subject.linear:
        subject.cotangent_scale = _linear_range(subject, cotangents[0])
        gammas = gammas * subject.cotangent_scale
    x, integers = columns_of(subject.probes)
    rows = (x[which], tuple(part[which] for part in integers), gammas)
    primal, rule = run_rows(subject.rule.pull, *rows)
    reference = reference_values = None
    if subject.reference is not None:
        reference_values, reference = run_rows(subject.reference.pull, *rows)
    if own_values or reference_values is None:
        values = run_rows(subject.rule.value, x, integers)[0]
    else:
        values = reference_values[np.unique(which, return_index=True)[1]]
    usable = np.asarray(np.isfinite(values).all(axis=1))[which]
    usable &= ~_on_the_edge(subject, usable, which)[which]
    if reference_values is not None and not subject.has_surrogate:
        usable &= np.isfinite(reference_values).all(axis=1)
    found = Comparison(
        subject.probes, which, gammas, rule, reference, primal, values, reference_values, usable
    )
    if reference is not None:
        _mark(subject, found)
    return found


def _on_the_edge(subject: Subject, usable: np.ndarray, which: np.ndarray) -> np.ndarray:
    """The probes with a zero in an array that must be positive: the edge of an open domain.

    An array counts as such if it is given positive and no point with a negative value is accepted.
    """
    accepted = np.array([usable[which == i].any() for i in range(len(subject.probes))])
    edge = np.zeros(len(subject.probes), bool)
    for leaf in subject.arguments.leaves:
        parts = np.stack([p.x[leaf.part] for p in subject.probes])
        negative = (parts < 0).any(axis=1)
        if negative.any() and (parts[0] > 0).all() and not accepted[negative].any():
            edge |= (parts == 0).any(axis=1)
    if (edge & accepted).any():
        subject.notes.append("points on the edge of the domain are left out")
    return edge


def _linear_range(subject: Subject, cotangents: np.ndarray) -> float:
    """How small the cotangents of a rule that is not linear must be for it to be compared.

    A rule that clips its cotangent follows its derivative below the threshold.
    """
    if subject.reference is None:
        return 1.0
    probe, count = subject.probes[0], len(cotangents)
    x = np.repeat(probe.x[None], count, axis=0)
    integers = tuple(np.repeat(part[None], count, axis=0) for part in probe.integers)
    errors = []
    for scale in SCALES:
        rows = (x, integers, scale * cotangents)
        rule, reference = (
            run_rows(engine.pull, *rows)[1] for engine in (subject.rule, subject.reference)
        )
        errors.append(float(np.nan_to_num(np.abs(rule - reference), nan=np.inf).max()) / scale)
    best = SCALES[int(np.argmin(np.round(errors, 6)))]
    if best != 1:
        subject.notes.append(
            f"not linear in the cotangent: compared at cotangents of size {best:g}"
        )
    return best


def _mark(subject: Subject, found: Comparison) -> None:
    assert found.reference is not None
    with np.errstate(all="ignore"):
        tolerance = floor(subject, found.reference, found)
        bad = differs(found.rule, found.reference, tolerance) & found.usable[:, None]
        found.unstable = np.zeros_like(bad)
        found.low, found.high = found.reference.copy(), found.reference.copy()
        found.doubtful = {int(i) for i in found.which[bad.any(axis=1)]}
        for probe in sorted(found.doubtful):
            items = found.items_of(probe)
            tolerance[items] += rounding(subject, found, items, bad[items])
            tolerance[items] += precision_gap(subject, found, items)
            tolerance[items] += of_the_value(subject, found, items)
        found.tolerance = tolerance
        found.bad = differs(found.rule, found.reference, tolerance) & found.usable[:, None]


def differs(rule: np.ndarray, reference: np.ndarray, tolerance: np.ndarray) -> np.ndarray:
    """Where two gradients differ by more than the tolerance; two that are not finite agree."""
    with np.errstate(all="ignore"):
        finite = np.isfinite(rule) & np.isfinite(reference)
        apart = np.abs(rule - reference) > tolerance
        one = np.isfinite(rule) != np.isfinite(reference)
    return np.where(finite, apart, one)


def floor(subject: Subject, reference: np.ndarray, found: Comparison) -> np.ndarray:
    """The difference that is none: ulps of the element, and rounding at the scale of its leaf."""
    scales = np.zeros_like(reference)
    finite = np.where(np.isfinite(reference), np.abs(reference), 0.0)
    for leaf in subject.arguments.leaves:
        largest = finite[:, leaf.part].max(axis=1, initial=0.0)
        scales[:, leaf.part] = np.maximum(largest, typical_size(found, largest))[:, None]
    return subject.relative_floor * finite + subject.absolute_floor * scales


def typical_size(found: Comparison, sizes: np.ndarray) -> float:
    """The usual size near the given point, of the largest for any cotangent at each probe."""
    near = [i for i, p in enumerate(found.probes) if p.kind in (GIVEN, NEAR)]
    each = [sizes[items].max() for i in near if (items := found.items_of(i)).size]
    return float(np.median(each)) if each else 0.0


def rounding(subject: Subject, found: Comparison, items: np.ndarray, bad: np.ndarray) -> np.ndarray:
    """How far the gradients move when the point moves by a few ulps: their conditioning.

    Rounding moves them in proportion to the ulps. At a kink they jump by the same amount however
    small the move: that is no rounding, and the jump is kept as the interval of the derivative.
    A few ulps of single precision are allowed as well, for constants that are rounded to it: of
    terms that cancel anywhere near the given point, of gradients of the usual size elsewhere.
    """
    assert found.reference is not None
    little = _nearby(subject, found, items, ULPS * subject.eps)
    more = _nearby(subject, found, items, 256 * subject.eps)
    base = found.reference[items]
    spread, wider = (change(samples[1], base).max(axis=0) for samples in (little, more))
    own = change(little[0], found.rule[items]).max(axis=0)
    size = _size(found, base)
    jumps = (wider < 4 * spread) & (spread > 1e-7 * size) | ~np.isfinite(base)
    near = np.concatenate([little[1], more[1], base[None]])
    near = np.where(np.isfinite(near), near, np.nan)
    found.unstable[items] = jumps & bad
    found.low[items] = np.where(jumps, np.fmin.reduce(near), base)
    found.high[items] = np.where(jumps, np.fmax.reduce(near), base)
    moved = SAFETY * np.maximum(spread, np.minimum(own, wider))
    single = wider * min(subject.native_eps, SINGLE) / (64 * subject.eps)
    if found.probes[found.which[items[0]]].kind not in (GIVEN, NEAR):
        sizes = np.where(np.isfinite(found.reference), np.abs(found.reference), 0.0)
        single = np.minimum(
            single, 8 * SINGLE * typical_size(found, sizes.max(axis=1, initial=0.0))
        )
    # where rule and reference are rounding alone, of terms that cancel, the rule moves most
    alone = np.minimum(SAFETY * own, CANCELS * of_the_value(subject, found, items))
    return np.where(jumps, 0.0, np.maximum(moved, single)) + alone


def _size(found: Comparison, base: np.ndarray) -> float:
    """The largest gradient here or at the given point: what is far below it is rounding."""
    assert found.reference is not None
    given = found.reference[found.which == 0]
    return float(max(np.abs(g[np.isfinite(g)]).max(initial=0) for g in (base, given)))


def _nearby(
    subject: Subject, found: Comparison, items: np.ndarray, by: float
) -> tuple[np.ndarray, np.ndarray]:
    """Gradients of rule and reference at points that differ by a few ulps."""
    assert subject.reference is not None
    count = samples_of(subject)
    probe = found.probes[found.which[items[0]]]
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


def precision_gap(subject: Subject, found: Comparison, items: np.ndarray) -> np.ndarray:
    """The error in double precision that the one in single precision extrapolates to."""
    if not subject.wide or subject.native_reference is None or subject.native_eps < 1e-8:
        return np.zeros((len(items), subject.arguments.size))
    assert found.reference is not None
    probe = found.probes[found.which[items[0]]]
    x = np.repeat(probe.x[None], len(items), axis=0)
    integers = tuple(np.repeat(part[None], len(items), axis=0) for part in probe.integers)
    rows = (x, integers, found.cotangents[items])
    low = run_rows(subject.native_reference.pull, *rows)[1]
    gap = np.abs(low - found.reference[items]) * (2.3e-16 / subject.native_eps)
    return SAFETY * np.where(np.isfinite(gap), gap, 0.0)


def of_the_value(subject: Subject, found: Comparison, items: np.ndarray) -> np.ndarray:
    """The slope that a few ulps of the value make over the size of the argument, by element."""
    probe = found.probes[found.which[items[0]]]
    sizes = typical_sizes(subject)
    for leaf in subject.arguments.leaves:
        here = np.abs(probe.x[leaf.part]).max(initial=0.0) or np.inf
        usual = sizes[leaf.part].max(initial=0.0)
        sizes[leaf.part] = here if probe.kind == EXTREME and here < np.inf else min(here, usual)
    values = np.abs(found.cotangents[items]) * np.abs(found.values[found.which[items]])
    values = np.where(np.isfinite(values), values, 0.0)
    return 128 * subject.eps * np.linalg.norm(values, axis=1, keepdims=True) / sizes


def power_of(found: Comparison) -> float | None:
    """The smallest relative error that the comparison at the given point would have caught."""
    given = np.flatnonzero((found.which == 0) & found.usable)
    if not given.size or found.reference is None:
        return None
    size = np.abs(found.reference[given]).max(axis=0)
    tolerance = found.tolerance[given].max(axis=0)
    large = size > 1e-6 * size.max(initial=0)
    return float(np.max(tolerance[large] / size[large])) if large.any() else None
