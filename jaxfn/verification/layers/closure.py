"""The inputs of rules that the function closes over: their gradients, which its own lack."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxfn.verification.evidence.agreement import compare
from jaxfn.verification.layers.autodiff import check_agreement
from jaxfn.verification.layers.observed import Observed
from jaxfn.verification.points.probes import probes
from jaxfn.verification.report import FAIL, PASS, SKIPPED, Check
from jaxfn.verification.subject.closures import Closed, closed_inputs, of_constants
from jaxfn.verification.subject.holders import Walk, rebound
from jaxfn.verification.subject.setup import RuleError, line, make_subject
from jaxfn.verification.subject.subject import Subject

SHOWS = (
    "the gradients of the arrays that fun closes over and gives to a rule",
    "those of arrays that a loop or a branch of other functions closes over",
)
LARGEST = 20_000  # elements of such arrays that are looked at


def check_closure(observed: Observed) -> Check:
    """The rule's gradients of the arrays of the closure, with the arguments as they are given."""
    subject = observed.subject
    traced = subject.native.traced
    held = subject.arguments.held
    closed = () if traced is None else closed_inputs(subject.native.fun, traced, held)
    if not closed:
        detail = "skipped because fun gives no array that it closes over to a rule"
        return Check("closure", SKIPPED, *SHOWS, detail=detail)
    refs = tuple(one for one in closed if isinstance(one.array, jax.Ref))
    closed = tuple(one for one in closed if not isinstance(one.array, jax.Ref))
    if not closed:
        return _unchecked(refs)
    own_reference = subject.reference_name != "reference" and not subject.has_surrogate
    small = sum(np.size(one.array) for one in closed) <= LARGEST
    if not own_reference or not small or not subject.linear:
        return _unchecked(closed + refs)
    try:
        other, notes = _of_the_closure(subject, closed)
    except RuleError as error:
        return replace(_unchecked(closed + refs), detail=f"skipped because {error}")
    return _checked(other, refs, notes)


def _of_the_closure(subject: Subject, closed: Sequence[Closed]) -> tuple[Subject, list[str]]:
    """The function of the arrays that it holds, in float64 where they can be put into it.

    With it goes what is to be said where they cannot.
    """
    notes = []
    names = [one.name or str(one) for one in closed]
    counts = [names[:i].count(name) for i, name in enumerate(names)]
    names = [f"{name} ({n + 1})" if n else name for name, n in zip(names, counts, strict=True)]
    options = {"seed": 0, "linear": True, "domain": None, "names": tuple(names)}
    arrays = tuple(one.array for one in closed)
    if all(one.holder is not None for one in closed):
        try:
            return make_subject(_of_holders(subject, closed), arrays, None, None, options), notes
        except Exception as error:  # whatever an object raises that was copied is the reason
            notes.append(
                "what fun closes over is checked in the program that was traced, in its own "
                f"precision, for a copy of it does not work: {line(error)}"
            )
    return make_subject(_of_program(subject, closed), arrays, None, None, options), notes


def _of_holders(subject: Subject, closed: Sequence[Closed]) -> Any:
    """The function itself with other arrays in what it holds, and in what it is given."""
    fun, arguments = subject.native.fun, subject.arguments

    def of_closed(*values: Any) -> Any:
        by = {id(one.holder): value for one, value in zip(closed, values, strict=True)}
        walk = Walk(by)
        given = arguments.as_given(lambda value: walk(value, ""))
        return rebound(fun, by)(*given)

    return of_closed


def _of_program(subject: Subject, closed: Sequence[Closed]) -> Any:
    """What was traced of the function with other constants, in the precision of the arguments."""
    arguments, program = subject.arguments, of_constants(subject.native.traced, closed)

    def of_closed(*values: Any) -> Any:
        arrays = arguments.concrete(arguments.given, False)
        return program(values, *arrays, *map(jnp.asarray, arguments.integers))

    return of_closed


def _checked(other: Subject, rest: tuple[Closed, ...], of_program: list[str]) -> Check:
    found = compare(other, probes(other.arguments, other.rng, loops=True))
    given_none = [leaf for leaf in other.arguments.leaves if not found.rule[:, leaf.part].any()]
    for leaf in given_none:  # None, or zeros: the rule means it to have no gradient
        found = replace(found, bad=_without(found.bad, leaf.part))
    check = check_agreement(other, found)
    notes = of_program + [
        f"{leaf.path}, which fun closes over, has a gradient of zero by the rule: not checked"
        for leaf in given_none
    ]
    notes += map(_said, rest)
    if check.verdict == FAIL:
        text = f"of what fun closes over: {check.diagnosis}"
        # the function of what is held has no name by which a program could call it
        return replace(
            check,
            name="closure",
            shows=SHOWS[0],
            detail=text,
            diagnosis=text,
            reproduce="",
            notes=tuple(notes),
        )
    does_not_show = "; ".join([SHOWS[1], *notes])
    return Check(
        "closure",
        PASS,
        SHOWS[0],
        does_not_show,
        check.power,
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
