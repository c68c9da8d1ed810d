"""The part of the domain in which a gradient is wrong, in words."""

from collections.abc import Callable, Iterator

import numpy as np

from jaxfn.verification.evidence.agreement import Comparison
from jaxfn.verification.points.probes import EXTREME
from jaxfn.verification.subject.coordinates import Leaf
from jaxfn.verification.subject.subject import Subject

MOST = 0.8  # of the domain: a condition that holds nearly everywhere names no part of it
ENOUGH, CERTAIN = 0.7, 0.95  # so often wrong where a condition holds; above it all are alike
HOLE = 0.1  # of the values: the least that a condition with a hole leaves out


def region(subject: Subject, found: Comparison, leaf: Leaf, marks: np.ndarray | None = None) -> str:
    """A condition on an argument that holds exactly where the gradient of `leaf` is wrong.

    With `marks`, `[items, inputs]`, where these are set.

    Conditions on the element itself are tried first, then those on the elements of other leaves
    of the same shape. Empty if none fits, or if the gradient is wrong everywhere.
    """
    bad = _of_probes(found, leaf, found.bad & ~found.unstable if marks is None else marks)
    zero = ~_of_probes(found, leaf, found.rule != 0)
    seen = bad | _of_probes(found, leaf, _is_seen(found))
    used = np.array(
        [found.items_of(i).size > 0 and p.kind != EXTREME for i, p in enumerate(found.probes)]
    )
    if not bad[used].any() or bad[used].all() or leaf.is_complex:
        return ""
    for other in [leaf, *(o for o in subject.arguments.leaves if o != leaf)]:
        if other.is_complex or other.size not in (leaf.size, 1):
            continue
        x = np.stack([p.x[other.part] for p in found.probes])[used]
        x = np.broadcast_to(x, bad[used].shape)
        conditions = [
            (_fit(holds(x), bad[used], zero[used], seen[used]), text)
            for text, holds in _conditions(x, bad[used])
        ]
        fit, text = max(conditions, key=lambda c: c[0])  # the first of those that fit alike
        if fit > ENOUGH:
            return text.format(other.path)
    return ""


def _of_probes(found: Comparison, leaf: Leaf, marks: np.ndarray) -> np.ndarray:
    """The elements of a leaf that are marked for any cotangent, `[probes, elements]`."""
    return np.stack(
        [marks[found.items_of(i)][:, leaf.part].any(axis=0) for i in range(len(found.probes))]
    )


def _is_seen(found: Comparison) -> np.ndarray:
    """Where an error of a hundredth would be seen: not beside elements that are far larger."""
    if found.reference is None or not found.tolerance.size:
        return found.usable[:, None] | np.zeros(found.rule.shape, bool)
    with np.errstate(all="ignore"):
        return found.tolerance < 1e-2 * np.abs(found.reference)


def _fit(holds: np.ndarray, bad: np.ndarray, zero: np.ndarray, seen: np.ndarray) -> float:
    """How often it is wrong where the condition holds, if nowhere else; 1 if always zero there."""
    if not holds.any() or holds.mean() > MOST or (bad & ~holds).any():
        return 0.0
    return 1.0 if zero[holds].all() else min(float(bad[holds & seen].mean()), CERTAIN)


def _conditions(
    x: np.ndarray, bad: np.ndarray
) -> Iterator[tuple[str, Callable[[np.ndarray], np.ndarray]]]:
    yield "{} == 0", lambda v: v == 0
    yield "{} == -0.0", lambda v: (v == 0) & np.signbit(v)
    yield "{} < 0", lambda v: v < 0
    yield "{} <= 0", lambda v: v <= 0
    yield "{} > 0", lambda v: v > 0
    yield "{} is -inf", lambda v: v == -np.inf
    yield "{} is not finite", lambda v: ~np.isfinite(v)
    yield "{} is a whole number", lambda v: (v == np.round(v)) & (np.abs(v) < 1e15)
    yield "{} >= 0", lambda v: v >= 0
    low, high = x[bad].min(), x[bad].max()
    yield f"{{}} >= {low:.3g}", lambda v: v >= low
    yield f"{{}} <= {high:.3g}", lambda v: v <= high
    inner, outer = np.abs(x[bad]).min(), np.abs(x[bad]).max()
    yield f"|{{}}| >= {inner:.3g}", lambda v: np.abs(v) >= inner
    yield f"|{{}}| <= {outer:.3g}", lambda v: np.abs(v) <= outer
    yield f"{low:.3g} <= {{}} <= {high:.3g}", lambda v: (v >= low) & (v <= high)
    yield from _two_sided(x, bad, inner, outer)


def _two_sided(
    x: np.ndarray, bad: np.ndarray, inner: float, outer: float
) -> Iterator[tuple[str, Callable[[np.ndarray], np.ndarray]]]:
    """A ring, or what is outside of an interval: with a hole that many of the values are in."""
    values, middle = np.unique(x), np.median(x[~bad])
    if np.mean(np.abs(values) < inner) > HOLE and np.mean(np.abs(values) > outer) > HOLE:
        text = f"{inner:.3g} <= |{{}}| <= {outer:.3g}"
        yield text, lambda v: (abs(v) >= inner) & (abs(v) <= outer)
    below, above = x[bad & (x < middle)], x[bad & (x > middle)]
    if below.size and above.size:
        last, first = below.max(), above.min()
        if np.mean((values > last) & (values < first)) > HOLE:
            text = f"{{0}} <= {last:.3g} or {{0}} >= {first:.3g}"
            yield text, lambda v: (v <= last) | (v >= first)


def of_points(subject: Subject, found: Comparison, visited: set[int], bad: set[int]) -> str:
    """A condition on an argument as a whole that holds for the bad ones of the points visited."""
    used = [i for i in sorted(visited) if found.probes[i].kind != EXTREME]
    wrong = np.array([i in bad for i in used])
    if not wrong.any() or wrong.all():
        return ""
    for leaf in subject.arguments.leaves:
        if leaf.size < 2:
            continue
        x = [found.probes[i].x[leaf.part] for i in used]
        for name, sizes in (
            ("‖{}‖", np.array([np.linalg.norm(v) for v in x])),
            ("the largest of {}", np.array([v.max() for v in x])),
            ("the smallest of {}", np.array([v.min() for v in x])),
        ):
            low, high = sizes[wrong].min(), sizes[wrong].max()
            for relation, end, holds in ((">=", low, sizes >= low), ("<=", high, sizes <= high)):
                if holds.mean() <= MOST and wrong[holds].mean() > 0.9:
                    return f"{name.format(leaf.path)} {relation} {end:.3g}"
    return ""
