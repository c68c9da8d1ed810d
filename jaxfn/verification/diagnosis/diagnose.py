"""What an error looks like: the first pattern that explains every difference names it.

Patterns are tried from the most to the least specific, each on the gradients of rule and
reference for all cotangents at all probes.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np

from jaxfn.verification.diagnosis.arrangements import (
    adjoint,
    exchanged,
    of_outputs,
    permuted,
    rearranged,
)
from jaxfn.verification.diagnosis.complex_factors import complex_factor, conjugate
from jaxfn.verification.diagnosis.contributions import entries, misplaced
from jaxfn.verification.diagnosis.factors import in_common, of_an_argument, of_the_point
from jaxfn.verification.diagnosis.means import mean_or_sum
from jaxfn.verification.diagnosis.parts import in_a_region, rounded, some, some_elements
from jaxfn.verification.diagnosis.paths import through_a_value, through_a_value_everywhere
from jaxfn.verification.diagnosis.regions import region
from jaxfn.verification.diagnosis.residuals import of_another_point
from jaxfn.verification.diagnosis.row_factors import averaged, of_each_element, of_each_output
from jaxfn.verification.diagnosis.seen import Cause, Jacobians, Seen, close, relative_error
from jaxfn.verification.diagnosis.steps import in_steps
from jaxfn.verification.diagnosis.terms import (
    along_an_array,
    in_another_basis,
    independent,
    of_another_axis,
)
from jaxfn.verification.evidence.agreement import Comparison
from jaxfn.verification.evidence.judge import Judgement
from jaxfn.verification.points.probes import GIVEN, NEAR, SPECIAL
from jaxfn.verification.subject.coordinates import Leaf
from jaxfn.verification.subject.subject import Subject

UNTOLD = {"region", "elements"}  # causes that name a place, which a condition names better
UNNAMED = "a term of the gradient of"  # so begins what is said where no pattern fits


def diagnose(subject: Subject, found: Comparison, wrong: Sequence[Judgement]) -> Cause:
    """The pattern of the differences that were judged to be errors.

    Where all are at points that fulfil a condition which the given one does not, that comes first.
    """
    cause = _pattern_of(subject, found, wrong)
    conditions = [found.probe_of(judged.item).condition for judged in wrong]
    if not all(conditions):
        return cause
    named = _listed(leaf for leaf in subject.arguments.leaves if _is_bad(wrong, leaf))
    text = f"the gradient of {named} is wrong where {' or '.join(dict.fromkeys(conditions))}"
    said = (
        "" if cause.name in UNTOLD or cause.text.startswith(UNNAMED) else f"; there: {cause.text}"
    )
    return Cause("region", f"{text}, and right at the given arguments{said}")


def _bad_leaves(subject: Subject, found: Comparison, wrong: Sequence[Judgement]) -> list[Leaf]:
    """The arguments whose gradients are wrong, those that are so at the given point first."""
    given = [judged for judged in wrong if found.which[judged.item] == 0]
    bad = [leaf for leaf in subject.arguments.leaves if _is_bad(wrong, leaf)]
    return sorted(bad, key=lambda leaf: not _is_bad(given, leaf))


def _with_the_others(cause: Cause, bad: Sequence[Leaf]) -> Cause:
    """The cause, naming as well the other arguments whose gradients are wrong."""
    others = [
        leaf for leaf in bad if not re.search(rf"(?<!\w){re.escape(leaf.path)}(?!\w)", cause.text)
    ]
    if not others:
        return cause
    verb = "is" if len(others) == 1 else "are"
    return replace(cause, text=f"{cause.text}; that of {_listed(others)} {verb} wrong as well")


def _listed(leaves: Iterable[Leaf]) -> str:
    return ", ".join(leaf.path for leaf in leaves) or "the arguments"


def _pattern_of(subject: Subject, found: Comparison, wrong: Sequence[Judgement]) -> Cause:
    probes = {int(found.which[j.item]) for j in wrong}
    items = np.array([i for i in np.flatnonzero(found.usable) if found.which[i] in probes], int)
    bad = _bad_leaves(subject, found, wrong)
    near = np.array([i for i in np.flatnonzero(found.usable) if _is_near(found, int(i))], int)
    given = near[found.which[near] == 0]
    for leaf in bad:
        here = [j for j in wrong if _belongs(j, leaf) and _is_near(found, j.item)]
        cause = None if subject.has_surrogate else _against_slopes(found, here, leaf)
        if cause is not None:
            return cause
    places = {"near": near if near.size else items, "given": given, "all": items}
    jacobians = Jacobians(subject, found)
    for pattern, where in PATTERNS:
        for leaf in bad:
            seen = Seen(subject, found, leaf, places[where], jacobians)
            cause = pattern(seen) if seen.bad.any() else None
            if cause is not None:
                return _with_the_others(cause, bad)
    named = ", ".join(leaf.path for leaf in bad) or "the gradient"
    facts = [_facts(Seen(subject, found, leaf, places["near"], jacobians)) for leaf in bad[:2]]
    text = f"{UNNAMED} {named} is missing or wrong"
    return Cause("dropped-term", "; ".join([text, *filter(None, facts)]))


def _facts(seen: Seen) -> str:
    """How many elements are wrong, and by how much."""
    rule, expected, bad = seen.rule, seen.reference, seen.bad
    both = bad & np.isfinite(rule) & np.isfinite(expected)
    if not both.any():
        return ""
    share = f"{100 * both.mean():.3g}% of the elements of {seen.leaf.path} are wrong"
    if not expected[both].any():
        return f"{share}, where zero is expected"
    error = (rule - expected)[both]
    sides = "too large" if (error > 0).all() else "too small" if (error < 0).all() else ""
    size = f"by {relative_error(rule[both], expected[both]):.2g} of their size"
    return f"{share}, {size}" + (f", all {sides}" if sides else "") + _extra(seen)


def _extra(seen: Seen) -> str:
    """Entries of the Jacobian that a mask, or the order of time, should have kept zero."""
    if seen.matrices is None:
        return ""
    rule, expected = seen.matrices
    scale = np.abs(expected).max()
    extra = (np.abs(expected) <= 1e-12 * scale) & (np.abs(rule) > 1e-5 * scale)
    if not extra.any():
        return ""
    return f", and {extra.sum()} entries of its Jacobian should be zero and are not"


def _against_slopes(found: Comparison, wrong: Sequence[Judgement], leaf: Leaf) -> Cause | None:
    """One factor between the rule and differences, where these refute autodiff as well.

    Autodiff of a bisection is zero: its steps do not depend on where the root is.
    """
    assert found.reference is not None
    if not wrong or not np.isfinite([(j.low, j.high) for j in wrong]).all():
        return None
    if any(j.low <= found.reference[j.item, j.element] <= j.high for j in wrong):
        return None
    slopes = np.array([(j.low + j.high) / 2 for j in wrong])
    rule = np.array([found.rule[j.item, j.element] for j in wrong])
    factor = float(rule @ slopes / (slopes @ slopes))
    if not close(rule, factor * slopes, 1e-3):
        return None
    name = f"the slope of the function's values in {leaf.path} (autodiff is wrong, too)"
    if abs(factor + 1) < 1e-3:
        return Cause("sign", f"wrong sign: -1 times {name}")
    return Cause("scale", f"{factor:.4g} times {name}")


def _belongs(judged: Judgement, leaf: Leaf) -> bool:
    return leaf.start <= judged.element < leaf.start + leaf.size


def _is_bad(wrong: Sequence[Judgement], leaf: Leaf) -> bool:
    return any(_belongs(j, leaf) for j in wrong)


def _is_near(found: Comparison, item: int) -> bool:
    return found.is_near(item)


def _not_finite(seen: Seen) -> Cause | None:
    lost = ~np.isfinite(seen.rule) & np.isfinite(seen.reference)
    return None if (seen.bad & ~lost).any() else _lost(seen)


def _lost(seen: Seen) -> Cause | None:
    """Where nan or infinite stands for a number, whatever else is wrong."""
    lost = ~np.isfinite(seen.rule) & np.isfinite(seen.reference)
    if not lost.any():
        return None
    item = seen.items[int(np.argmax(lost.any(axis=1)))]
    assert seen.found.reference is not None
    everywhere = ~np.isfinite(seen.found.rule) & np.isfinite(seen.found.reference)
    where = region(seen.subject, seen.found, seen.leaf, everywhere)
    what = "nan" if np.isnan(seen.rule[lost]).any() else "infinite"
    place = f"where {where}" if where else f"at {seen.found.probes[seen.found.which[item]].name}"
    text = f"the gradient of {seen.leaf.path} is {what} {place}; the expected one is finite there"
    others = seen.bad & ~lost
    if others.any() and not seen.rule[others].any():
        text += ", and zero elsewhere, where the expected one is not"
    return Cause("nan", text)


def _mostly_lost(seen: Seen) -> Cause | None:
    """Nan at most of the points where anything is wrong, huge and tiny ones left out."""
    kinds = {GIVEN, NEAR, SPECIAL}
    near = [i for i in seen.items if seen.found.probes[seen.found.which[i]].kind in kinds]
    here = replace(seen, items=np.array(near, int))
    lost = (~np.isfinite(here.rule) & np.isfinite(here.reference)).any(axis=1)
    return _sometimes_lost(here) if lost.sum() > 0.5 * here.bad.any(axis=1).sum() else None


def _sometimes_lost(seen: Seen) -> Cause | None:
    """Nan at points where something is wrong, unless the given one is wrong in another way."""
    given = seen.found.which[seen.items] == 0
    if seen.bad[given].any() and np.isfinite(seen.rule[given]).all():
        return None
    return _lost(seen)


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


def _in_lower_precision(seen: Seen) -> Cause | None:
    """Where nothing else explains it: sums that a lower precision of the rule's has lost."""
    eps = seen.subject.rule.pull.eps
    if eps <= 2 * seen.subject.eps or not np.isfinite(seen.rule).all():
        return None
    text = (
        f"the gradient of {seen.leaf.path} loses accuracy: the rule computes in a lower precision "
        f"(machine epsilon {eps:.2g}) than the function, and what it sums there is lost"
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
    cause = conjugate(seen)
    if cause is not None:
        return cause
    largest = np.abs(reference).max(axis=1, keepdims=True)
    gap = np.abs(rule - factor * reference)
    if (gap > (1e-5 * abs(factor) + 1e-2 * abs(factor - 1)) * largest).any():
        return None
    if not close(rule, factor * reference, 1e-3 * min(1, abs(factor - 1)) + 1e-9):
        return None
    if abs(factor + 1) < 1e-6:
        return Cause("sign", f"wrong sign: -1 times the expected gradient of {seen.leaf.path}")
    text = f"{factor:.6g} times the expected value everywhere in the gradient of {seen.leaf.path}"
    return mean_or_sum(seen, factor, text) or Cause("scale", f"{text} (scale)")


PATTERNS = (
    (_lowered, "near"),
    (_not_finite, "all"),
    (_surrogate, "near"),
    (_everywhere, "near"),
    (complex_factor, "near"),
    (of_the_point, "near"),
    (of_an_argument, "near"),
    (_everywhere, "given"),
    (exchanged, "near"),
    (exchanged, "given"),
    (rearranged, "near"),
    (rearranged, "given"),
    (adjoint, "given"),
    (of_outputs, "given"),
    (permuted, "given"),
    (through_a_value_everywhere, "near"),
    (of_another_point, "near"),
    (rounded, "all"),
    (in_steps, "all"),
    (in_a_region, "all"),
    (through_a_value, "near"),
    (entries, "given"),
    (averaged, "given"),
    (of_each_output, "given"),
    (of_each_element, "given"),
    (in_common, "near"),
    (of_another_axis, "given"),
    (along_an_array, "near"),
    (_mostly_lost, "all"),
    (some, "all"),
    (some_elements, "given"),
    (in_another_basis, "near"),
    (_sometimes_lost, "all"),
    (misplaced, "given"),
    (_in_lower_precision, "near"),
    (independent, "given"),
)
