"""Errors in a part of the domain, in some elements, or at some points only."""

import numpy as np

from jaxfn.verification.diagnosis.factors import factor_there
from jaxfn.verification.diagnosis.named_by_integers import of_integers
from jaxfn.verification.diagnosis.places import listed
from jaxfn.verification.diagnosis.regions import of_points, region
from jaxfn.verification.diagnosis.seen import Cause, Seen, relative_error
from jaxfn.verification.diagnosis.terms import unmoved
from jaxfn.verification.points.probes import EXTREME, FAR
from jaxfn.verification.subject.coordinates import Leaf


def rounded(seen: Seen) -> Cause | None:
    """Errors no larger than the rounding of gradients of the usual size: digits that cancel."""
    assert seen.found.reference is not None
    moderate = [i for i, p in enumerate(seen.found.probes) if p.kind not in (FAR, EXTREME)]
    known = seen.found.reference[np.isin(seen.found.which, moderate) & seen.found.usable]
    usual = np.abs(known[np.isfinite(known)]).max(initial=0)
    gap = np.abs(seen.rule - seen.reference)[seen.bad]
    eps = 2.3e-16 if seen.subject.wide else seen.subject.native_eps
    if not np.isfinite(gap).all() or (gap > 64 * eps * usual).any():
        return None
    text = (
        f"the gradient of {seen.leaf.path} loses accuracy where it is small: its errors are those "
        f"of rounding numbers of size {usual:.2g}, as where digits cancel"
    )
    return Cause("low-precision", text)


def in_a_region(seen: Seen) -> Cause | None:
    """Wrong in a part of the domain."""
    where = region(seen.subject, seen.found, seen.leaf)
    if not where:
        return None
    bad, name = seen.bad, seen.leaf.path
    if not seen.rule[bad].any():
        return Cause("zero-region", f"the gradient of {name} is zero where {where}")
    there = factor_there(seen.rule[bad], seen.reference[bad]) or _by(seen)
    return Cause("region", f"the gradient of {name} is wrong where {where}{there}")


def _by(seen: Seen) -> str:
    """How large the errors are."""
    both = seen.bad & np.isfinite(seen.rule) & np.isfinite(seen.reference)
    expected = seen.reference[both]
    if not expected.any():
        return ""
    return f", by {relative_error(seen.rule[both], expected):.2g} of its size"


def some(seen: Seen) -> Cause | None:
    """Wrong in some elements, or at some points only."""
    bad = seen.bad
    zero = bool(bad.any()) and not seen.rule[bad].any()
    elements = _fixed_elements(seen)
    if elements:
        what = "zero" if zero else "wrong"
        there = factor_there(seen.rule[bad], seen.reference[bad])
        named = of_integers(seen, 0, np.flatnonzero(bad.any(axis=0)))
        text = f"the gradient of {seen.leaf.path} is {what} in {elements}{named}{there}"
        return Cause("elements", text)
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
    return _named_elements(seen.leaf, bad)


def _some_points(seen: Seen, zero: bool) -> Cause | None:
    found = seen.found
    usable = {int(w) for w in found.which[found.usable]}
    bad = {int(found.which[i]) for i in seen.items if found.bad[i, seen.leaf.part].any()}
    if not bad or found.bad[found.which == 0].any():
        return None
    names = [found.probes[i].name for i in sorted(bad)]
    named = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
    if all(name.startswith("integers") for name in names):
        text = f"the gradient of {seen.leaf.path} is wrong for other integer arguments: {named}"
        return Cause("elements", text + _with_these_integers(seen, min(bad)))
    where = of_points(seen.subject, found, usable, bad)
    text = (
        f"right at the given point, wrong at {len(bad)} of {len(usable)} others: the gradient of "
        f"{seen.leaf.path} " + (f"where {where}" if where else f"at {named}")
    )
    if still := unmoved(seen):
        text += f"; it does not change with {still}, as it should: a residual of another call?"
    return Cause("zero-region" if zero else "region", text)


def _with_these_integers(seen: Seen, probe: int) -> str:
    """What is wrong at a point that has other integers than the given one."""
    items = np.flatnonzero(seen.found.which[seen.items] == probe)
    bad = seen.bad[items]
    elements = np.flatnonzero(bad.any(axis=0))
    rule, expected = seen.rule[items][bad], seen.reference[items][bad]
    what = "zero" if not rule.any() else "wrong"
    named = of_integers(seen, probe, elements)
    if elements.size == seen.leaf.size and not named:
        return factor_there(rule, expected)
    there = factor_there(rule, expected)
    return f"; {what} there in {_named_elements(seen.leaf, elements)}{named}{there}"


def some_elements(seen: Seen) -> Cause | None:
    """A small part of the elements: which they are may depend on the integer arguments."""
    bad = np.flatnonzero(seen.bad.any(axis=0))
    if not 0 < bad.size <= seen.leaf.size / 2 or seen.leaf.is_complex:
        return None
    what = "zero" if not seen.rule[seen.bad].any() else "wrong"
    text = f"the gradient of {seen.leaf.path} is {what} in {_named_elements(seen.leaf, bad)}"
    there = factor_there(seen.rule[seen.bad], seen.reference[seen.bad])
    return Cause("elements", f"{text}{of_integers(seen, 0, bad)}, at the given point{there}")


def _named_elements(leaf: Leaf, elements: np.ndarray) -> str:
    """The elements; a complex one is its real and its imaginary part."""
    return listed(leaf.shape, np.unique(elements % max(leaf.count, 1)))
