"""What rule and reference give at the points: computed, and not yet compared."""

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np

from jaxfn.verification.points.probes import GIVEN, NEAR, Probe, columns_of
from jaxfn.verification.subject.subject import Subject, run_rows

BASIS = 64  # outputs: the cotangents of so few are a whole basis
OTHER = -0.7  # a second cotangent of a single output, of another size and sign
SOME = 3  # cotangents of more
MANY = 20_000  # outputs: one cotangent of so many has draws enough
# how small the cotangents of a rule that is not linear are made, until it follows its derivative
SCALES = (1.0, 1e-1, 1e-2, 1e-3, 1e-4, 1e-6)
ALIKE = 1e-3  # of the gradient: what two scales, or rule and reference, may differ by
DIGITS = 6  # of the errors at these scales: of those that are alike, the largest scale is taken


@dataclass(frozen=True)
class Observation:
    """Gradients of rule and reference for many cotangents at many probes, `[items, inputs]`.

    Attributes:
        probes: the points.
        which: the probe of each item.
        cotangents: the cotangent of each item, `[items, outputs]`.
        cotangent_scale: what all cotangents are multiplied by, for a rule that is not linear.
        rule: the rule's gradients; `reference` likewise, None where there is no reference.
        primal: what the forward rule returns, `[items, outputs]`.
        values: what the function returns, `[probes, outputs]`; `reference_values` likewise, by
            items.
        usable: the items whose function value is finite.
        comparable: whether the rule is linear in the cotangent, or agrees with the reference, at
            any scale; otherwise its gradients are no derivative that could be compared.
        notes: what is to be said of the points.
    """

    probes: tuple[Probe, ...]
    which: np.ndarray
    cotangents: np.ndarray
    cotangent_scale: float
    rule: np.ndarray
    reference: np.ndarray | None
    primal: np.ndarray
    values: np.ndarray
    reference_values: np.ndarray | None
    usable: np.ndarray
    comparable: bool
    notes: tuple[str, ...]

    def __post_init__(self) -> None:
        for field in fields(self):
            if isinstance(array := getattr(self, field.name), np.ndarray):
                array.flags.writeable = False

    def items_of(self, probe: int) -> np.ndarray:
        """The items at a probe whose value is finite."""
        return np.flatnonzero((self.which == probe) & self.usable)

    def probe_of(self, item: int) -> Probe:
        """The probe of an item."""
        return self.probes[self.which[item]]

    def is_near(self, item: int) -> bool:
        """Whether an item is at the given point, or near it."""
        return self.probe_of(item).kind in (GIVEN, NEAR)


def observe(subject: Subject, probes: Sequence[Probe], own_values: bool = True) -> Observation:
    """Evaluates rule and reference at all probes.

    Without `own_values` the function's values are taken to be those of the reference.
    """
    cotangents = [_cotangents_for(subject, probe) for probe in probes]
    which = np.repeat(np.arange(len(cotangents)), [len(c) for c in cotangents])
    scale, comparable = 1.0, True
    if not subject.linear:
        scale, comparable = _linear_range(subject, probes[0], cotangents[0])
    gammas = np.concatenate(cotangents).astype(np.float32).astype(np.float64) * scale
    x, integers = columns_of(probes)
    rows = (x[which], tuple(part[which] for part in integers), gammas)
    primal, rule = run_rows(subject.rule.pull, *rows)
    reference = reference_values = None
    if subject.reference is not None:
        reference_values, reference = run_rows(subject.reference.pull, *rows)
    if own_values or reference_values is None:
        values = run_rows(subject.rule.value, x, integers)[0]
    else:
        values = reference_values[np.unique(which, return_index=True)[1]]
    accepted = np.asarray(np.isfinite(values).all(axis=1))
    edge = _on_the_edge(subject, probes, accepted)
    usable = (accepted & ~edge)[which]
    if reference_values is not None and not subject.has_surrogate:
        usable &= np.isfinite(reference_values).all(axis=1)
    notes = []
    if scale != 1 and comparable:
        notes.append(f"not linear in the cotangent: compared at cotangents of size {scale:g}")
    if (edge & accepted).any():
        notes.append("points on the edge of the domain are left out")
    return Observation(
        probes=tuple(probes),
        which=which,
        cotangents=gammas,
        cotangent_scale=scale,
        rule=rule,
        reference=reference,
        primal=primal,
        values=values,
        reference_values=reference_values,
        usable=usable,
        comparable=comparable,
        notes=tuple(notes),
    )


def _cotangents_for(subject: Subject, probe: Probe) -> np.ndarray:
    """The cotangents to pull back at a probe: those that it brings stand before its last one.

    The last is the one that shows how exact a sum over all outputs is.
    """
    own = _own_cotangents_for(subject, probe)
    return np.concatenate([own[:-1], *(row[None] for row in probe.cotangents), own[-1:]])


def _own_cotangents_for(subject: Subject, probe: Probe) -> np.ndarray:
    m, rng = subject.rule.size, subject.rng
    if m == 0:
        return np.zeros((1, 0))
    if probe.kind == GIVEN:
        return _cotangents_at_the_given(subject, m, rng)
    if m == 1:
        return np.ones((1, 1))
    return rng.standard_normal((1 if m > MANY else 2, m))


def _cotangents_at_the_given(subject: Subject, m: int, rng: np.random.Generator) -> np.ndarray:
    if m == 1:
        return np.array([[1.0], [OTHER]])
    if m <= BASIS:
        return np.concatenate([np.eye(m), rng.standard_normal((2, m)), np.ones((1, m))])
    if subject.huge:
        return np.concatenate([rng.standard_normal((1, m)), np.ones((1, m))])
    basis = np.zeros((SOME, m))
    basis[np.arange(SOME), rng.choice(m, SOME, replace=False)] = 1
    return np.concatenate([basis, rng.standard_normal((SOME, m)), np.ones((1, m))])


def _on_the_edge(subject: Subject, probes: Sequence[Probe], accepted: np.ndarray) -> np.ndarray:
    """The probes with a zero in an array that must be positive: the edge of an open domain.

    An array counts as such if it is given positive and no point with a negative value is accepted.
    """
    edge = np.zeros(len(probes), bool)
    for leaf in subject.arguments.leaves:
        parts = np.stack([p.x[leaf.part] for p in probes])
        negative = (parts < 0).any(axis=1)
        if negative.any() and (parts[0] > 0).all() and not accepted[negative].any():
            edge |= (parts == 0).any(axis=1)
    return edge


def _linear_range(subject: Subject, probe: Probe, cotangents: np.ndarray) -> tuple[float, bool]:
    """How small the cotangents of a rule that is not linear must be for it to be compared.

    A rule that clips its cotangent follows its derivative below the threshold. Beside the scale,
    whether there it agrees with its reference, or at least is linear: the sign of a cotangent is
    neither at any scale.
    """
    if subject.reference is None:
        return 1.0, True
    count = len(cotangents)
    x = np.repeat(probe.x[None], count, axis=0)
    integers = tuple(np.repeat(part[None], count, axis=0) for part in probe.integers)
    errors, multiples, size = [], [], 0.0
    for scale in SCALES:
        rows = (x, integers, scale * cotangents)
        rule, reference = (
            run_rows(engine.pull, *rows)[1] / scale for engine in (subject.rule, subject.reference)
        )
        errors.append(float(np.nan_to_num(np.abs(rule - reference), nan=np.inf).max(initial=0.0)))
        multiples.append(rule)
        size = float(np.nan_to_num(np.abs(reference)).max(initial=0.0))
    best = int(np.argmin(np.round(errors, DIGITS)))
    if errors[best] <= ALIKE * size:
        next_ = min(best + 1, len(SCALES) - 1)  # other points and cotangents may be larger
        return SCALES[next_ if errors[next_] <= ALIKE * size else best], True
    one, other = multiples[-2:]
    linear = np.allclose(one, other, rtol=ALIKE, atol=ALIKE * np.abs(other).max(initial=0.0))
    return (SCALES[-1] if linear else SCALES[best]), bool(linear)
