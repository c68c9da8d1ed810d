"""The derivative of the rule itself, by reverse over reverse."""

from dataclasses import replace
from typing import Any

import numpy as np

from jaxfn._jax_internals import package_of_rule
from jaxfn.verification import constants
from jaxfn.verification.evidence.agreement import Comparison, differs
from jaxfn.verification.evidence.rounding import shaken
from jaxfn.verification.layers.differences import SLOPELESS
from jaxfn.verification.layers.observed import Observed
from jaxfn.verification.layers.twice import Twice, by_differences, nothing, without_the_primal
from jaxfn.verification.points.probes import FAR, GIVEN, NEAR, SPECIAL, ZEROS, Probe, columns_of
from jaxfn.verification.report import FAIL, INCONCLUSIVE, PASS, SKIPPED, Check, Element
from jaxfn.verification.subject.coordinates import Leaf
from jaxfn.verification.subject.elements import element_of, leaf_element
from jaxfn.verification.subject.jaxprs import equations
from jaxfn.verification.subject.setup import line
from jaxfn.verification.subject.subject import Subject

SHOWS = (
    "the gradient of the gradient agrees, with respect to arguments and cotangent",
    "third and higher derivatives",
)
MEASURED = 1e-3  # of the largest derivative: the power is that for those above it
SAMPLES = 2  # cotangents and weights at each point
MOST, MOST_OF_MANY = 6, 2  # points nearby, and as many far away; of a large function
LOOKED_AT_AGAIN, ALONE = 6, 4  # items that differences decide; without a reference
CAUSE = "second-order"
SMALL = 1e-6  # of the largest derivative: less is not named in a diagnosis
WRONG = "the gradient is right, its own derivative is not"
LOST = (
    "the gradient and its derivative are right, but not the derivative of the value that the "
    "forward rule returns, as jax.grad of a function of jax.value_and_grad takes it"
)

BY_NNX = (
    "nnx.custom_vjp cuts off what the backward rule reads of a module in its residuals: JAX's "
    "second derivative is not that of the gradient (save arrays instead of the module)"
)


def check_second_order(observed: Observed) -> Check:
    """Reverse over reverse of the rule against that of the reference, and against differences."""
    subject, found = observed.subject, observed.found
    if not found.comparable:
        detail = "skipped because the rule follows no derivative at any scale of the cotangent"
        return Check("second order", SKIPPED, *SHOWS, detail=detail)
    probes = _points(subject, found, found.doubtful)
    trusted = any(p.kind in (GIVEN, NEAR) for p in probes)
    if not trusted:  # autodiff is wrong about the first order already
        probes = [p for p in _points(subject, found, frozenset()) if p.kind == NEAR]
    if not probes:
        detail = "skipped because there is no point at which the gradients are settled"
        return Check("second order", SKIPPED, *SHOWS, detail=detail)
    probes = [probe for probe in probes for _ in range(1 if subject.huge else SAMPLES)]
    differences = observed.check("differences")
    slopeless = differences is not None and differences.cause == SLOPELESS
    made, why = _twice(subject, probes, found.cotangent_scale, slopeless)
    if made is None:  # a rule need not be differentiable twice; the reason is reported
        detail = f"skipped because {why[-1]}"
        return Check("second order", SKIPPED, *SHOWS, detail=detail, notes=_said(why[:-1]))
    if subject.reference is not None and trusted:
        try:
            made = replace(made, reference=made.evaluated(subject.reference, made.rows))
        except Exception as error:  # then differences of the rule decide alone
            alone = f"second order rests on finite differences alone: {line(error)}"
            return replace(_decide(made), notes=(*_said(why), alone))
    decided = replace(_decide(made), notes=_said(why))
    if decided.verdict == FAIL and _is_by_nnx(subject):
        return replace(
            decided,
            verdict=PASS,
            worst=None,
            detail=BY_NNX,
            diagnosis="",
            cause="",
            warnings=(BY_NNX,),
        )
    return decided


def _is_by_nnx(subject: Subject) -> bool:
    traced = subject.rule.traced
    return traced is not None and any(
        package_of_rule(eqn) == "flax" for eqn in equations(traced.jaxpr)
    )


def _said(why: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(f"second order of the gradient alone: {reason}" for reason in why)


def _rows(subject: Subject, probes: list[Probe], scale: float) -> tuple[Any, ...]:
    """Points, cotangents, and weights of the primal and of the gradient that they give."""
    x, integers = columns_of(probes)
    m, n, rng = subject.rule.size, subject.arguments.size, subject.rng
    gammas = rng.standard_normal((len(probes), m)).astype(np.float32).astype(np.float64)
    weights = rng.standard_normal((len(probes), m + n)).astype(np.float32).astype(np.float64)
    weights[:, :m] *= scale  # cotangents of the rule, too, where its forward rule applies it
    return x, integers, scale * gammas, weights


def _twice(
    subject: Subject, probes: list[Probe], scale: float, slopeless: bool
) -> tuple[Twice | None, tuple[str, ...]]:
    """The derivative of primal and gradient, or of the gradient alone where that is all there is.

    A surrogate's primal has another derivative than the function's, so has that of a function that
    stops gradients, and a forward rule that iterates may have none. Beside it what was raised on
    the way.
    """
    rows, why = _rows(subject, probes, scale), ()
    programs = ("pull_twice", "gradient_twice")
    for program in programs[1 if subject.has_surrogate or slopeless else 0 :]:
        if program == "gradient_twice":
            rows = without_the_primal(rows, subject.rule.size)
        made = Twice(subject, probes, program, rows, np.zeros((0, 0)), None)
        for engine in (subject.rule, subject.reference):
            if engine is not None:
                getattr(engine, program).prepare(*rows)
        try:
            return replace(made, rule=made.evaluated(subject.rule, rows)), why
        except Exception as error:  # the gradient alone may still be differentiable
            why = (*why, line(error))
    return None, why


def _points(subject: Subject, found: Comparison, doubtful: frozenset[int]) -> list[Probe]:
    usable = {i for i in found.which[found.usable]}
    # where the gradients differ (a kink, or autodiff is nan) their derivatives need not agree
    usable -= doubtful
    near = [p for i, p in enumerate(found.probes) if i in usable and p.kind in (GIVEN, NEAR)]
    far = [p for i, p in enumerate(found.probes) if i in usable and p.kind == FAR]
    most = 1 if subject.huge else MOST_OF_MANY if subject.large else MOST
    zeros = [
        p
        for i, p in enumerate(found.probes)
        if i in usable and p.name == ZEROS and np.isfinite(found.rule[found.items_of(i)]).all()
    ]
    return near[:most] + far[: 0 if subject.huge else most] + zeros[: 0 if subject.large else 1]


def _decide(twice: Twice) -> Check:
    reference = twice.reference
    if reference is None:
        return _by_differences_alone(twice)
    tolerance = _tolerance(twice, reference)
    suspects = differs(twice.rule, reference, tolerance)
    power = _power(reference, tolerance, suspects)
    if not suspects.any():
        return Check("second order", PASS, *SHOWS, power)
    order = np.argsort(-suspects.any(axis=1).astype(int), kind="stable")[:LOOKED_AT_AGAIN]
    for i in map(int, order):
        seen = by_differences(twice, i, suspects[i])
        if twice.probes[i].kind == SPECIAL:  # a convention at a kink, but nan is none
            lost = suspects[i] & ~np.isfinite(twice.rule[i]) & np.isfinite(reference[i])
            if lost.any() and not seen.jumps:
                return _failure(twice, i, lost, reference[i], power)
            continue
        stark = seen.outcome == "open" and twice.probes[i].kind == GIVEN
        stark &= bool(np.isfinite(reference[i, suspects[i]]).any()) and not seen.jumps
        stark &= not seen.outside
        if (seen.outcome == "wrong" or stark) and suspects[i].any():
            expected = np.where(np.isfinite(reference[i]), reference[i], seen.slopes)
            return _failure(twice, i, suspects[i], expected, power)
    return Check("second order", PASS, *SHOWS, power)


def _by_differences_alone(twice: Twice) -> Check:
    """The verdict where the reference has no second derivative."""
    near = [i for i, probe in enumerate(twice.probes) if probe.kind in (GIVEN, NEAR)][:ALONE]
    none = np.zeros(twice.rule.shape[1], bool)
    found = {i: by_differences(twice, i, none) for i in near}
    for i, seen in found.items():
        if seen.outcome == "wrong":
            return _failure(twice, i, seen.wrong, seen.slopes, None)
    if found and all(seen.outcome == "open" for seen in found.values()):
        return Check("second order", INCONCLUSIVE, *SHOWS, None, None, "differences do not settle")
    return Check("second order", PASS, *SHOWS, None)


def _failure(
    twice: Twice, item: int, suspects: np.ndarray, expected: np.ndarray, power: float | None
) -> Check:
    worst = _worst(twice, item, suspects, expected)
    alone = _without_the_primal(twice)
    if twice.program == "pull_twice" and _decide(alone).verdict != FAIL:
        said = f"wrong at second order only: {LOST}"
        return Check("second order", FAIL, *SHOWS, power, worst, LOST, said, CAUSE)
    said = f"wrong at second order only: {WRONG}{_how(alone, item)}"
    return Check("second order", FAIL, *SHOWS, power, worst, WRONG, said, CAUSE)


def _how(alone: Twice, item: int) -> str:
    """By what the derivative of the gradient is wrong, and how, as far as one can tell."""
    if alone.reference is None:
        return "; a residual may be cut off by stop_gradient"
    n, said = alone.subject.arguments.size, []
    for name, part in (("the arguments", slice(0, n)), ("the cotangent", slice(n, None))):
        rule, expected = alone.rule[item, part], alone.reference[item, part]
        seen = np.isfinite(rule) & np.isfinite(expected)
        size = np.abs(expected[seen]).max(initial=0.0)
        if (gap := np.abs(rule - expected)[seen].max(initial=0.0)) <= SMALL * size:
            continue
        factor = float(rule[seen] @ expected[seen] / (expected[seen] @ expected[seen] or 1.0))
        if not rule[seen].any():
            how = "it is zero, as where a residual is cut off by stop_gradient"
        elif np.abs(rule - factor * expected)[seen].max() <= SMALL * size:
            how = f"it is {factor:.6g} times the expected one"
        else:
            how = f"it is off by {gap / (size or 1.0):.2g} of its size"
        said.append(f"with respect to {name} {how}")
    return "".join(f"; {text}" for text in said)


def _without_the_primal(twice: Twice) -> Twice:
    """The derivatives of the gradient alone."""
    rows = without_the_primal(twice.rows, twice.subject.rule.size)
    alone = replace(twice, program="gradient_twice", rows=rows, reference=None)
    alone = replace(alone, rule=alone.evaluated(twice.subject.rule, alone.rows))
    if twice.reference is not None and twice.subject.reference is not None:
        reference = alone.evaluated(twice.subject.reference, alone.rows)
        alone = replace(alone, reference=reference)
    return alone


def _power(reference: np.ndarray, tolerance: np.ndarray, suspects: np.ndarray) -> float | None:
    with np.errstate(all="ignore"):
        size = np.abs(reference)
        large = (size > MEASURED * size.max(axis=1, keepdims=True, initial=0)) & ~suspects
    return float(np.median(tolerance[large] / size[large])) if large.any() else None


def _tolerance(twice: Twice, reference: np.ndarray) -> np.ndarray:
    """Rounding: ulps, and how far the derivatives move when the point moves by a few ulps."""
    subject = twice.subject
    assert subject.reference is not None
    with np.errstate(all="ignore"):
        finite = np.where(np.isfinite(reference), np.abs(reference), 0.0)
        scale = np.zeros_like(finite)
        for part in _parts(subject):
            scale[:, part] = finite[:, part].max(axis=1, keepdims=True, initial=0)
        tolerance = subject.relative_floor * finite + subject.absolute_floor * scale
        tolerance *= constants.TWICE
        near = np.array([probe.kind in (GIVEN, NEAR) for probe in twice.probes])
        if near.any():  # what is nothing beside the usual size is the rounding of larger terms
            tolerance[~near] += constants.NOTHING_AFAR * np.median(scale[near], axis=0)
            tolerance[near, : subject.arguments.size] += nothing(twice, near)
        bad = differs(twice.rule, reference, tolerance).any(axis=1)
        if bad.any():
            x, integers, gammas, weights = twice.rows
            part = tuple(p[bad] for p in integers)
            jitters = [
                shaken(
                    subject,
                    lambda x, gammas, engine=engine: twice.evaluated(
                        engine, (x, part, gammas, weights[bad])
                    ),
                    x[bad],
                    gammas[bad],
                )
                for engine in (subject.rule, subject.reference)
            ]
            tolerance[bad] += np.maximum(*jitters)
    return tolerance


def _parts(subject: Subject) -> list[slice]:
    """The arguments' leaves, and the cotangent behind them."""
    n = subject.arguments.size
    return [*(leaf.part for leaf in subject.arguments.leaves), slice(n, None)]


def _worst(twice: Twice, item: int, suspects: np.ndarray, expected: np.ndarray) -> Element:
    subject, rule = twice.subject, twice.rule[item]
    with np.errstate(all="ignore"):
        gap = np.where(suspects, np.abs(rule - expected), -1.0)
    k = int(np.argmax(np.where(np.isnan(gap), np.inf, gap)))
    n, name = subject.arguments.size, twice.probes[item].name
    if k < n:
        return element_of(subject.arguments, k, rule[:n], expected[:n], name)
    leaf = Leaf("cotangent", 0, (subject.rule.size,), np.dtype(np.float64), 0, 0)
    return leaf_element([leaf], k - n, rule[n:], expected[n:], name)
