"""Many more points of a small function, each looked at once: for branches that are rarely entered.

The elements of all points together are a fine grid, so that a rule of each element by itself is
seen everywhere between -8 and 8, and at magnitudes from 0.001 to 1000; integer arguments move with
them. Where rule and reference differ, the point joins those that are looked at closely.
"""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from jaxfn.verification.evidence.agreement import differs
from jaxfn.verification.points.integers import redrawn
from jaxfn.verification.points.probes import FAR, Probe, at_points, columns_of
from jaxfn.verification.subject.subject import Subject, run_rows

ELEMENTS = 2000  # of all points together
POINTS = 8, 128  # the fewest and the most
LARGEST = 2000  # elements of a function that is swept
REACH = 8.0  # of the even grid, to both sides
DECADES, SMALLEST = 6, -3  # of the magnitudes, and the power of ten that they begin at
SUSPECTS = 6  # of the worst points
LEAST = 1e-300  # in the place of a tolerance of zero


def swept(subject: Subject, scale: float) -> tuple[tuple[Probe, ...], int]:
    """The suspicious points, if there are any, and how many were visited.

    Args:
        subject: what is under test.
        scale: of the cotangents.
    """
    if subject.reference is None or subject.iterates or subject.arguments.size > LARGEST:
        return (), 0
    points = _points(subject)
    if not points:  # the domain accepts none of them
        return (), 0
    x, integers = columns_of(points)
    values = run_rows(subject.rule.value, x, integers)[0]
    gammas = scale * subject.rng.choice([-1.0, 1.0], (len(x), subject.rule.size))
    rule, reference = (
        run_rows(engine.pull, x, integers, gammas)[1]
        for engine in (subject.rule, subject.reference)
    )
    size = np.where(np.isfinite(reference), np.abs(reference), 0.0)
    scale = size.max(axis=1, keepdims=True, initial=0.0)
    tolerance = subject.relative_floor * size + subject.absolute_floor * scale
    bad = differs(rule, reference, tolerance)
    bad &= np.isfinite(values).all(axis=1, keepdims=True)
    with np.errstate(all="ignore"):
        gap = np.where(bad, np.abs(rule - reference) / (tolerance + LEAST), 0.0)
    worst = np.argsort(-np.where(np.isnan(gap), np.inf, gap).max(axis=1, initial=0.0))
    return tuple(points[i] for i in worst[:SUSPECTS] if bad[i].any()), len(points)


def _points(subject: Subject) -> list[Probe]:
    arguments, rng = subject.arguments, subject.rng
    moves = list(_moves(subject, int(np.clip(ELEMENTS // max(arguments.size, 1), *POINTS))))
    found = list(at_points(arguments, rng, moves, subject.domain))
    return [
        replace(p, integers=redrawn(arguments, rng)) if i % 2 else p for i, p in enumerate(found)
    ]


def _moves(subject: Subject, count: int) -> Iterator[tuple[str, str, np.ndarray]]:
    rng, n = subject.rng, subject.arguments.size
    even, odd = _grid(rng, (count + 1) // 2, n), _grid(rng, count // 2, n)
    for i, row in enumerate(even):
        yield f"a sweep from -8 to 8 ({i})", FAR, REACH * (2 * row - 1)
    for i, row in enumerate(odd):
        signs = rng.choice([-1.0, 1.0], n)
        yield f"a sweep of magnitudes ({i})", FAR, signs * 10 ** (DECADES * row + SMALLEST)


def _grid(rng: np.random.Generator, rows: int, n: int) -> np.ndarray:
    """One random number in each of equally many intervals of [0, 1], in any order."""
    cells = rng.permutation(rows * n).reshape(rows, n)
    return (cells + rng.uniform(0, 1, (rows, n))) / max(rows * n, 1)
