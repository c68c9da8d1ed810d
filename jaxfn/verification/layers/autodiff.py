"""The verdict on the comparison with autodiff: what was judged, in one check."""

from dataclasses import replace

import numpy as np

from jaxfn.verification.diagnosis.diagnose import diagnose
from jaxfn.verification.evidence.agreement import Comparison, compare, power_of
from jaxfn.verification.evidence.extremes import said_of_digits
from jaxfn.verification.evidence.judge import KINK, OPEN, RIGHT, WRONG, Judgement, judge
from jaxfn.verification.evidence.reservations import DIGITS
from jaxfn.verification.evidence.sweep import swept
from jaxfn.verification.layers.observed import Observed
from jaxfn.verification.layers.reproduce import pullback
from jaxfn.verification.points.probes import GIVEN
from jaxfn.verification.points.unvisited import with_unvisited
from jaxfn.verification.report import FAIL, INCONCLUSIVE, PASS, SKIPPED, Check
from jaxfn.verification.subject.elements import element_of
from jaxfn.verification.subject.subject import Subject

AUTODIFF = (
    "every element of the gradient agrees with autodiff of the reference at every probe",
    "points that were not visited",
)
NO_DERIVATIVE = (
    "declared not linear in the cotangent, the rule is linear at no scale of the cotangent, and "
    "agrees with the derivative at none: only its consistency under transformations was shown"
)


def check_autodiff(observed: Observed) -> Check:
    """The agreement at all points and at those of a sweep, and what these did not visit."""
    subject, found = observed.subject, observed.found
    check = check_agreement(subject, found)
    if check.verdict == PASS:
        check = _check_sweep(subject, found, check)
    return with_unvisited(check, subject.arguments, found.probes)


def check_agreement(subject: Subject, found: Comparison) -> Check:
    """The verdict on every element at every probe."""
    if found.reference is None:
        detail = "skipped because the reference has no autodiff"
        return Check("autodiff", SKIPPED, *AUTODIFF, detail=detail)
    if not found.comparable:
        return Check("autodiff", INCONCLUSIVE, *AUTODIFF, detail=NO_DERIVATIVE)
    judged = judge(subject, found)
    power = power_of(found)
    wrong = [j for j in judged if j.outcome == WRONG]
    if wrong:
        first = min(wrong, key=lambda j: (found.which[j.item] != 0, _closeness(found, j)))
        expected = found.reference[first.item].copy()
        if not np.isfinite(expected[first.element]):
            expected[first.element] = (first.low + first.high) / 2
        probe = found.probe_of(first.item)
        seen = found.rule[first.item]
        worst = element_of(subject.arguments, first.element, seen, expected, probe.name)
        said, name = (cause := diagnose(subject, found, wrong)).text, cause.name
        again = pullback(subject, probe, found.cotangents[first.item], worst)
        return Check("autodiff", FAIL, *AUTODIFF, power, worst, said, said, name, again)
    warnings = said_of_digits(subject, found, [j for j in judged if j.outcome == DIGITS])
    kinks = sum(j.outcome == KINK for j in judged)
    unsure = [j for j in judged if j.outcome == OPEN]
    at_given = [j for j in unsure if found.probe_of(j.item).kind == GIVEN]
    finite = [j for j in at_given if np.isfinite(found.reference[j.item, j.element])]
    if finite:
        text = f"{len(finite)} elements at the given point cannot be decided"
        return Check("autodiff", INCONCLUSIVE, *AUTODIFF, power, None, text)
    better = sum(j.outcome == RIGHT for j in judged)
    said = [
        f"{kinks} elements at kinks: between the one-sided derivatives, by another convention than "
        "autodiff's"
        if kinks
        else "",
        f"{better} elements where differences confirm the rule, not autodiff" if better else "",
        f"{len(unsure)} elements left out" if unsure else "",
    ]
    detail = "; ".join(filter(None, said))
    return Check("autodiff", PASS, *AUTODIFF, power, detail=detail, warnings=warnings)


def _check_sweep(subject: Subject, found: Comparison, passed: Check) -> Check:
    """The verdict with the points of a sweep added, where the others have passed."""
    suspects, count = swept(subject, found.cotangent_scale)
    if count:
        visited = f"{len(found.probes)} probes and {count} points of a sweep"
        passed = replace(passed, detail="; ".join(filter(None, [passed.detail, visited])))
    if not suspects:
        return passed
    again = check_agreement(subject, compare(subject, [*found.probes, *suspects]))
    return again if again.verdict == FAIL else passed


def _closeness(found: Comparison, judged: Judgement) -> float:
    assert found.reference is not None
    with np.errstate(all="ignore"):
        gap = abs(
            found.rule[judged.item, judged.element] - found.reference[judged.item, judged.element]
        )
        ratio = gap / found.tolerance[judged.item, judged.element]
    return -float(ratio) if np.isfinite(ratio) else -np.inf
