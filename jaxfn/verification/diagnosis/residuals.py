"""Gradients that are right for other residuals than those that belong to the point.

The expected gradient is evaluated with an argument exchanged for another one, for the output, or
for itself with the other sign; the rule's is compared with what comes out.
"""

import itertools
from collections.abc import Iterator

import numpy as np

from jaxfn.verification.diagnosis.seen import Cause, Seen, close
from jaxfn.verification.points.probes import columns_of
from jaxfn.verification.subject.subject import run_rows

MOST_LEAVES = 6
EXPLAINED = 1e-2  # of the error: what another point leaves of it, or it explains nothing


def of_another_point(seen: Seen) -> Cause | None:
    """The gradient that is expected at another point."""
    subject, found = seen.subject, seen.found
    several = len(subject.arguments.leaves) <= MOST_LEAVES and not subject.large
    if subject.reference is None or not several or not len(seen.items):
        return None
    if not np.isfinite(seen.rule).all():
        return None
    error = np.abs(seen.rule - seen.reference).max(initial=0)
    x, integers = columns_of([found.probes[i] for i in found.which[seen.items]])
    for words, points in _other_points(seen, x):
        rows = (points, integers, found.cotangents[seen.items])
        elsewhere = run_rows(subject.reference.pull, *rows)[1][:, seen.leaf.part]
        if not np.isfinite(elsewhere).all() or close(elsewhere, seen.reference, 1e-3):
            continue
        for sign, minus in ((1, ""), (-1, "minus ")):
            rest = np.abs(seen.rule - sign * elsewhere).max(initial=0)
            if close(seen.rule, sign * elsewhere) and rest <= EXPLAINED * error:
                text = (
                    f"the gradient of {seen.leaf.path} is {minus}the one expected {words}: it is "
                    "computed from another residual, or from the right one with the wrong sign"
                )
                return Cause("elements", text)
    return None


def _other_points(seen: Seen, x: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
    leaves = seen.subject.arguments.leaves
    for leaf in leaves:
        yield f"at -{leaf.path}", _with(x, leaf.part, -x[:, leaf.part])
    for first, second in itertools.combinations(leaves, 2):
        if first.size == second.size:
            points = _with(x, first.part, x[:, second.part])
            points = _with(points, second.part, x[:, first.part])
            yield f"with {first.path} and {second.path} exchanged", points
    outputs = seen.subject.rule.outputs
    for leaf in leaves:
        if len(outputs) == 1 and tuple(outputs[0].shape) == leaf.shape and not leaf.is_complex:
            y = seen.found.primal[seen.items]
            if y.shape[1] == leaf.size and np.isfinite(y).all():
                yield f"with the output in place of {leaf.path}", _with(x, leaf.part, y)


def _with(x: np.ndarray, part: slice, values: np.ndarray) -> np.ndarray:
    changed = x.copy()
    changed[:, part] = values
    return changed
