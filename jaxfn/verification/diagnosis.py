"""What an error looks like: the first pattern that explains every difference names it.

Patterns are tried from the most to the least specific, each on the gradients of rule and
reference for all cotangents at all probes.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from jaxfn.verification.agreement import Comparison
from jaxfn.verification.coordinates import Leaf
from jaxfn.verification.judge import Judgement
from jaxfn.verification.probes import EXTREME, GIVEN, NEAR
from jaxfn.verification.regions import region
from jaxfn.verification.subject import Subject


@dataclass(frozen=True)
class Cause:
    """A pattern that fits: its name, and the sentence that says it with numbers."""

    name: str
    text: str


@dataclass(frozen=True)
class Seen:
    """The gradients of one leaf, as the patterns see them: `[items, elements]`."""

    subject: Subject
    found: Comparison
    leaf: Leaf
    items: np.ndarray

    @property
    def rule(self) -> np.ndarray:
        return self.found.rule[np.ix_(self.items, np.r_[self.leaf.part])]

    @property
    def reference(self) -> np.ndarray:
        assert self.found.reference is not None
        return self.found.reference[np.ix_(self.items, np.r_[self.leaf.part])]

    @property
    def bad(self) -> np.ndarray:
        return self.found.bad[np.ix_(self.items, np.r_[self.leaf.part])]


def diagnose(subject: Subject, found: Comparison, wrong: list[Judgement]) -> Cause:
    """The pattern of the differences that were judged to be errors."""
    probes = {int(found.which[j.item]) for j in wrong}
    items = np.array([i for i in np.flatnonzero(found.usable) if found.which[i] in probes], int)
    bad = [leaf for leaf in subject.arguments.leaves if _is_bad(wrong, leaf)]
    near = np.array([i for i in np.flatnonzero(found.usable) if _is_near(found, int(i))], int)
    given = near[found.which[near] == 0]
    for pattern in (_lowered, _not_finite, _surrogate, _everywhere, _exchanged, _rearranged, _some):
        for leaf in bad:
            seen = Seen(subject, found, leaf, items)
            if pattern not in (_not_finite, _some) and near.size:
                seen = Seen(subject, found, leaf, near)
            cause = pattern(seen)
            if cause is None and pattern in (_everywhere, _rearranged, _exchanged) and given.size:
                cause = pattern(Seen(subject, found, leaf, given))
            if cause is not None:
                return cause
    named = ", ".join(leaf.path for leaf in bad) or "the gradient"
    return Cause("dropped-term", f"a term of the gradient of {named} is missing or wrong")


def _is_bad(wrong: list[Judgement], leaf: Leaf) -> bool:
    return any(leaf.start <= j.element < leaf.start + leaf.size for j in wrong)


def _is_near(found: Comparison, item: int) -> bool:
    return found.probes[found.which[item]].kind in (GIVEN, NEAR)


def _close(a: np.ndarray, b: np.ndarray, rtol: float = 1e-5) -> bool:
    scale = np.abs(b).max(initial=0)
    return scale > 0 and bool(np.abs(a - b).max() <= rtol * scale)


def _not_finite(seen: Seen) -> Cause | None:
    lost = ~np.isfinite(seen.rule) & np.isfinite(seen.reference)
    if not lost.any() or (seen.bad & ~lost).any():
        return None
    item = seen.items[int(np.argmax(lost.any(axis=1)))]
    where = region(seen.subject, seen.found, seen.leaf)
    what = "nan" if np.isnan(seen.rule[lost]).any() else "infinite"
    place = f"where {where}" if where else f"at {seen.found.probes[seen.found.which[item]].name}"
    text = f"the gradient of {seen.leaf.path} is {what} {place}; the expected one is finite there"
    return Cause("nan", text)


def _lowered(seen: Seen) -> Cause | None:
    """Errors as large as the rounding of a precision that only the rule falls to."""
    eps = seen.subject.rule.pull.eps
    if eps <= 2 * seen.subject.eps or not np.isfinite(seen.rule).all():
        return None
    largest = np.abs(seen.reference).max(axis=1, keepdims=True, initial=0)
    if (np.abs(seen.rule - seen.reference) > 16 * eps * largest).any():
        return None
    text = (
        f"the gradient of {seen.leaf.path} loses accuracy: the rule computes in a lower precision "
        f"(machine epsilon {eps:.2g}) than its argument and the function"
    )
    return Cause("low-precision", text)


def _surrogate(seen: Seen) -> Cause | None:
    if seen.reference.any() or not seen.rule.any() or seen.subject.has_surrogate:
        return None
    text = (
        f"the function does not depend on {seen.leaf.path}, or is piecewise constant in it, and "
        "its derivative is zero; the rule gives a surrogate gradient (straight-through?): "
        "declare it with surrogate="
    )
    return Cause("surrogate", text)


def _everywhere(seen: Seen) -> Cause | None:
    """The same factor at every element."""
    rule, reference = seen.rule, seen.reference
    if not (np.isfinite(rule).all() and np.isfinite(reference).all()):
        return None
    power = float((reference**2).sum())
    if power == 0:
        return None
    if not rule.any():
        return Cause("zero", f"the gradient of {seen.leaf.path} is zero everywhere")
    factor = float((rule * reference).sum() / power)
    if abs(factor - 1) < 1e-6:
        return None
    conjugate = _conjugate(seen)
    if conjugate is not None:
        return conjugate
    largest = np.abs(reference).max(axis=1, keepdims=True)
    gap = np.abs(rule - factor * reference)
    if (gap > (1e-5 * abs(factor) + 1e-2 * abs(factor - 1)) * largest).any():
        return None
    if not _close(rule, factor * reference, 1e-3 * min(1, abs(factor - 1)) + 1e-9):
        return None
    if abs(factor + 1) < 1e-6:
        return Cause("sign", f"wrong sign: -1 times the expected gradient of {seen.leaf.path}")
    text = f"{factor:.6g} times the expected value everywhere in the gradient of {seen.leaf.path}"
    for size, what in _sizes(seen):
        if size == 2 and seen.leaf.size >= seen.subject.rule.size and "window" not in what:
            continue  # a factor of two has more likely causes
        if size > 1 and abs(factor * size - 1) < 1e-6:
            reason = f"mean where a sum is expected over {what} (factor 1/{size})"
            return Cause("mean-for-sum", f"{text}: {reason}")
        if size > 1 and abs(factor / size - 1) < 1e-6:
            reason = f"sum where a mean is expected over {what} (factor {size})"
            return Cause("sum-for-mean", f"{text}: {reason}")
    return Cause("scale", f"{text} (scale)")


def _sizes(seen: Seen) -> Iterator[tuple[int, str]]:
    """Numbers over which a mean might have been taken: axes and products of axes."""
    inside, outside = seen.leaf.size, seen.subject.rule.size
    if outside and inside % outside == 0:
        yield inside // outside, "the window of each output"
    if inside and outside % inside == 0:
        yield outside // inside, f"the outputs that share an element of {seen.leaf.path}"
    shapes = [(leaf.path, leaf.shape) for leaf in seen.subject.arguments.leaves]
    shapes += [("the output", tuple(o.shape)) for o in seen.subject.rule.outputs]
    for name, shape in shapes:
        for axis, size in enumerate(shape):
            yield size, f"axis {axis} of {name}"
    for name, shape in shapes:
        for axis in range(1, len(shape)):
            yield int(np.prod(shape[: axis + 1])), f"the first {axis + 1} axes of {name}"
            yield int(np.prod(shape[axis - 1 :])), f"the last axes of {name}"


def _conjugate(seen: Seen) -> Cause | None:
    if not seen.leaf.is_complex:
        return None
    n = seen.leaf.count
    real = _real_cotangents(seen)
    rule, reference = seen.rule[real], seen.reference[real]
    other = np.concatenate([reference[:, :n], -reference[:, n:]], axis=1)
    for sign, word in ((1, "the conjugate"), (-1, "minus the conjugate")):
        if _close(rule, sign * other) and not _close(rule, sign * reference):
            return Cause("conjugate", f"{word} of the expected gradient of {seen.leaf.path}")
    return None


def _real_cotangents(seen: Seen) -> np.ndarray:
    """The items whose cotangent has no imaginary part: a factor that is conjugated shows there."""
    imaginary: list[bool] = []
    for out in seen.subject.rule.outputs:
        count = int(np.prod(out.shape, dtype=int))
        is_complex = np.issubdtype(out.dtype, np.complexfloating)
        imaginary += [False] * count + [True] * (count if is_complex else 0)
    gammas = seen.found.cotangents[seen.items]
    return np.flatnonzero(~gammas[:, np.array(imaginary, bool)].any(axis=1))


def _exchanged(seen: Seen) -> Cause | None:
    """The gradient that another leaf should have."""
    assert seen.found.reference is not None
    for other in seen.subject.arguments.leaves:
        if other == seen.leaf or other.size != seen.leaf.size:
            continue
        expected = seen.found.reference[np.ix_(seen.items, np.r_[other.part])]
        if not np.isfinite(expected).all():
            continue
        for sign in (1, -1):
            if _close(seen.rule, sign * expected):
                text = f"the gradients of {seen.leaf.path} and {other.path} are exchanged"
                return Cause("exchanged", text + (" (and the sign)" if sign < 0 else ""))
    return None


def _rearranged(seen: Seen) -> Cause | None:
    """The expected elements in other places."""
    shape, n = seen.leaf.shape, len(seen.items)
    if seen.leaf.is_complex or not np.isfinite(seen.rule).all():
        return None
    expected = seen.reference.reshape(n, *shape)
    name = seen.leaf.path
    for i in range(len(shape)):
        for j in range(i + 1, len(shape)):
            swapped = np.swapaxes(expected, i + 1, j + 1).reshape(n, -1)
            if shape[i] > 1 and shape[j] > 1 and _close(seen.rule, swapped):
                text = f"the transpose of the expected gradient of {name} (axes {i} and {j})"
                return Cause("transposed", text)
    for axis in range(len(shape)):
        if shape[axis] < 2:
            continue
        if _close(seen.rule, np.flip(expected, axis + 1).reshape(n, -1)):
            return Cause("elements", f"the gradient of {name} is reversed along axis {axis}")
        for shift in range(1, min(shape[axis], 9)):
            for by in (shift, -shift):
                if _close(seen.rule, np.roll(expected, by, axis + 1).reshape(n, -1)):
                    text = f"the gradient of {name} is shifted by {by} along axis {axis}"
                    return Cause("elements", text)
    return None


def _some(seen: Seen) -> Cause | None:
    """Wrong in a part of the domain, in some elements, or at some points only."""
    where = region(seen.subject, seen.found, seen.leaf)
    bad = seen.bad
    zero = bool(bad.any()) and not seen.rule[bad].any()
    name = seen.leaf.path
    if where:
        if zero:
            return Cause("zero-region", f"the gradient of {name} is zero where {where}")
        return Cause("region", f"the gradient of {name} is wrong where {where}")
    elements = _fixed_elements(seen)
    if elements:
        what = "zero" if zero else "wrong"
        return Cause("elements", f"the gradient of {name} is {what} in {elements}")
    return _some_points(seen, zero)


def _fixed_elements(seen: Seen) -> str:
    """The elements that are wrong at every point, if those are the only ones."""
    usable = [
        i
        for i in np.flatnonzero(seen.found.usable)
        if seen.found.probes[seen.found.which[i]].kind != EXTREME
    ]
    part = seen.found.bad[np.ix_(usable, np.r_[seen.leaf.part])]
    often = part.mean(axis=0)
    bad = np.flatnonzero(often > 0)
    fixed = bad.size and bad.size < 0.9 * part.shape[1] and (often[bad] > 0.3).all()
    if not fixed:
        return ""
    first = [list(seen.leaf.index_of(seen.leaf.start + int(k))) for k in bad[:3]]
    more = f" and {bad.size - 3} more" if bad.size > 3 else ""
    return f"{bad.size} of {seen.leaf.size} elements: {', '.join(map(str, first))}{more}"


def _some_points(seen: Seen, zero: bool) -> Cause | None:
    found = seen.found
    usable = {int(w) for w in found.which[found.usable]}
    bad = {int(found.which[i]) for i in seen.items if found.bad[i, seen.leaf.part].any()}
    if not bad or 0 in bad:
        return None
    names = [found.probes[i].name for i in sorted(bad)]
    listed = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
    if all(name.startswith("integers") for name in names):
        text = f"the gradient of {seen.leaf.path} is wrong for other integer arguments: {listed}"
        return Cause("elements", text)
    text = (
        f"right at the given point, wrong at {len(bad)} of {len(usable)} others: the gradient of "
        f"{seen.leaf.path} at {listed}"
    )
    return Cause("zero-region" if zero else "region", text)
