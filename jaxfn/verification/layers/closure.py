"""The inputs of rules that the function closes over: their gradients, which its own lack."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from jaxfn.verification.evidence.agreement import compare
from jaxfn.verification.layers.autodiff import check_agreement
from jaxfn.verification.layers.observed import Observed
from jaxfn.verification.points.probes import probes
from jaxfn.verification.report import FAIL, PASS, SKIPPED, Check
from jaxfn.verification.subject.closures import Closed, closed_inputs, rebound
from jaxfn.verification.subject.names import with_names
from jaxfn.verification.subject.setup import RuleError, make_subject
from jaxfn.verification.subject.subject import Subject

SHOWS = (
    "the gradients of the arrays that fun closes over and gives to a rule",
    "those of arrays that other functions close over",
)
LARGEST = 20_000  # elements of such arrays that are looked at


def check_closure(observed: Observed) -> Check:
    """The rule's gradients of the arrays of the closure, with the arguments as they are given."""
    subject = observed.subject
    traced = subject.native.traced
    closed = () if traced is None else closed_inputs(subject.native.fun, traced)
    if not closed:
        detail = "skipped because fun gives no array that it closes over to a rule"
        return Check("closure", SKIPPED, *SHOWS, detail=detail)
    named = {one.name: one.array for one in closed if one.name}
    own_reference = subject.reference_name != "reference" and not subject.has_surrogate
    small = sum(np.size(array) for array in named.values()) <= LARGEST
    if not named or not own_reference or not small or not subject.linear:
        return _unchecked(closed)
    try:
        other = _of_the_closure(subject, named)
    except RuleError as error:
        return replace(_unchecked(closed), detail=f"skipped because {error}")
    return _checked(other, closed)


def _of_the_closure(subject: Subject, named: Mapping[str, Any]) -> Subject:
    """The function of the arrays that it closes over."""
    fun, given = subject.native.fun, subject.arguments.as_given()

    def of_closed(*values: Any) -> Any:
        return rebound(fun, dict(zip(named, values, strict=True)))(*given)

    options = {"seed": 0, "linear": True, "domain": None}
    function = with_names(of_closed, tuple(named))
    return make_subject(function, tuple(named.values()), None, None, options)


def _checked(other: Subject, closed: tuple[Closed, ...]) -> Check:
    found = compare(other, probes(other.arguments, other.rng, loops=True))
    given_none = [leaf for leaf in other.arguments.leaves if not found.rule[:, leaf.part].any()]
    for leaf in given_none:  # None, or zeros: the rule means it to have no gradient
        found = replace(found, bad=_without(found.bad, leaf.part))
    check = check_agreement(other, found)
    rest = [one for one in closed if not one.name]
    notes = [
        f"{leaf.path}, which fun closes over, has a gradient of zero by the rule: not checked"
        for leaf in given_none
    ]
    notes += [_said(one) for one in rest]
    if check.verdict == FAIL:
        text = f"of what fun closes over: {check.diagnosis}"
        return replace(check, name="closure", shows=SHOWS[0], detail=text, diagnosis=text)
    scope = "; ".join(notes)
    does_not_show = "; ".join(filter(None, [SHOWS[1], scope]))
    power = check.power
    return Check(
        "closure",
        PASS,
        SHOWS[0],
        does_not_show,
        power,
        notes=tuple(notes),
        scope=_gradients_of(rest),
    )


def _without(bad: np.ndarray, part: slice) -> np.ndarray:
    out = bad.copy()
    out[:, part] = False
    return out


def _unchecked(closed: tuple[Closed, ...]) -> Check:
    notes = tuple(_said(one) for one in closed)
    detail = f"not checked: {'; '.join(notes)}"
    return Check(
        "closure", SKIPPED, *SHOWS, detail=detail, notes=notes, scope=_gradients_of(closed)
    )


def _gradients_of(closed: Sequence[Closed]) -> tuple[str, ...]:
    return tuple(f"the gradient of {one}, which fun closes over, by {one.rule}" for one in closed)


def _said(one: Closed) -> str:
    return f"the gradient of {one}, which fun closes over, by the rule {one.rule}, was not checked"
