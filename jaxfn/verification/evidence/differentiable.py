"""Whether a function is differentiable at a point, by its own values.

Autodiff of a forward pass is wrong at kinks of its parts: `max(x, 0) + log1p(exp(-|x|))` has the
slope one half at zero, and none of its parts has one. There the values decide.
"""

import numpy as np

from jaxfn.verification import constants
from jaxfn.verification.evidence.agreement import Comparison
from jaxfn.verification.evidence.differences import Direction, evaluate, steps_of
from jaxfn.verification.points.probes import GIVEN
from jaxfn.verification.subject.subject import Subject

PAIRS = 3  # directions whose slopes have to add up with that of a direction


def differentiable(subject: Subject, found: Comparison, item: int, d: Direction) -> bool:
    """Whether the slopes at the point are those of a linear map, by the function's own values.

    At a tie they are not: the median of three equal elements rises with all of them, and with none
    of them alone. Where the rule's slope is far larger than that of the values, these may oscillate
    between the steps.
    """
    gamma, n = found.cotangents[item], d.vector.size
    finite = np.isfinite(found.rule[item]).all() or d.probe.kind == GIVEN
    if not finite or not np.isfinite(d.probe.x).all():
        return False  # many functions are given no derivative at an edge that the check moved to
    steps = steps_of(subject, d.probe)
    for _ in range(PAIRS):
        other = steps * subject.rng.choice([-1.0, 1.0], n) * subject.rng.uniform(0.5, 1, n)
        vectors = (d.vector, other, d.vector + other, d.vector - other)
        seen = evaluate(subject, [Direction(d.probe, vector) for vector in vectors])
        intervals = [values.interval(gamma) for values in seen]
        ends = np.array([interval[:2] for interval in intervals])
        if not np.isfinite(ends).all() or any(kinked for _, _, kinked in intervals):
            return False
        one, two, added, taken = ends.mean(axis=1)
        slope = float(found.rule[item] @ d.vector)
        if abs(slope) > constants.OF_PARTS * np.abs(ends[0]).max():
            return False  # the steps are too long to see it: no kink of parts makes so much
        if abs(slope - one) <= float(found.tolerance[item] @ np.abs(d.vector)):
            return False  # rounding, in a precision that autodiff shares
        unsure = np.ptp(ends, axis=1).sum() + constants.WRONG_NEARBY * (abs(one) + abs(two))
        if max(abs(one + two - added), abs(one - two - taken)) > unsure:
            return False
    return True
