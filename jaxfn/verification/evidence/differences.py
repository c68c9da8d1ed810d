"""Finite differences of the function under test along many directions at many points."""

import functools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from jaxfn.verification.evidence.finite_difference import STEPS, Slopes, slopes
from jaxfn.verification.points.probes import Probe, accepted, within
from jaxfn.verification.subject.programs import precision
from jaxfn.verification.subject.subject import DOUBLE, Subject, run_rows

MOST_OUTPUTS = 4096  # whose derivatives are looked at one by one
PART = 65_536  # of more outputs: what is looked at at once
TOGETHER = 512  # outputs of several directions that are looked at at once
ELEMENTS = 4e7  # of the points that are evaluated at once


@dataclass(frozen=True)
class Direction:
    """A direction at a point; `element` names the coordinate that it moves, if only one.

    With a `cotangent`, what is differentiated is the rule's primal and gradient, not the function.
    """

    probe: Probe
    vector: np.ndarray
    element: int | None = None
    cotangent: np.ndarray | None = None


@dataclass(frozen=True)
class Ladders:
    """The function on the ladders of several directions, `[directions, steps, outputs]`.

    Their outputs are looked at all together: of a few each, that costs as much as of one direction.
    """

    blocks: np.ndarray
    eps: float

    @functools.cached_property
    def each(self) -> tuple[np.ndarray, np.ndarray]:
        """The intervals of the derivatives, `[2, directions, outputs]`, and where kinks are."""
        count, steps, outputs = self.blocks.shape
        flat = np.moveaxis(self.blocks, 0, 1).reshape(steps, count * outputs)
        found = slopes(*_sides(flat), self.eps)
        shape = count, outputs
        return np.stack(found.interval()).reshape(2, *shape), found.kinked().reshape(shape)


@dataclass(frozen=True)
class Values:
    """The function on the ladder of steps along a direction, on both sides.

    They stand among the `ladders` of other directions, at `index`.
    """

    direction: Direction
    at: np.ndarray
    plus: np.ndarray
    minus: np.ndarray
    ladders: Ladders
    index: int

    def slopes(self, cotangent: np.ndarray) -> Slopes:
        """The derivative along the direction of one combination of the outputs."""
        used = np.flatnonzero(cotangent)
        at, plus, minus, weights = self.at, self.plus, self.minus, cotangent[:, None]
        if used.size < cotangent.size:  # what is not used may be nan
            at, plus, minus, weights = at[used], plus[:, used], minus[:, used], weights[used]
        return slopes(at @ weights, plus @ weights, minus @ weights, self.ladders.eps)

    def interval(self, cotangent: np.ndarray) -> tuple[float, float, bool]:
        """Where the derivative may lie, and whether the point is a kink along the direction.

        At a kink each output may follow its own convention, so the intervals add up.
        """
        used = np.flatnonzero(cotangent)
        many = self.at.size > MOST_OUTPUTS
        if used.size == 1 and not many:
            ends, kinked = self._each
            low, high = sorted(float(end) for end in (ends[:, used] * cotangent[used])[:, 0])
            return low, high, bool(kinked[used[0]])
        whole = self.slopes(cotangent)
        low, high = (float(end[0]) for end in whole.interval())
        if many and not whole.kinked()[0]:
            return low, high, False
        ends, kinked = self._each_of_many() if many else self._each
        if not kinked[used].any():
            return low, high, bool(whole.kinked()[0])
        weighted = ends[:, used] * cotangent[used]
        return min(low, float(weighted.min(0).sum())), max(high, float(weighted.max(0).sum())), True

    @property
    def _each(self) -> tuple[np.ndarray, np.ndarray]:
        """The interval of each output's derivative, `[2, outputs]`, and where it has a kink."""
        ends, kinked = self.ladders.each
        return ends[:, self.index], kinked[self.index]

    def _each_of_many(self) -> tuple[np.ndarray, np.ndarray]:
        """The same of so many outputs that those of one direction alone are looked at."""
        found = []
        for i in range(0, self.at.size, PART):
            at, plus, minus = (v[..., i : i + PART] for v in (self.at, self.plus, self.minus))
            found.append(slopes(at, plus, minus, self.ladders.eps))
        ends = np.concatenate([np.stack(part.interval()) for part in found], axis=1)
        return ends, np.concatenate([part.kinked() for part in found])


def _sides(block: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The values at the point and on the steps to both sides, of those on the whole ladder."""
    n = len(STEPS)
    return block[0], block[1 : n + 1], block[n + 1 :]


def coordinate(subject: Subject, probe: Probe, element: int, shrink: float = 1.0) -> Direction:
    """The direction of one element, as long as the element or the array around it is large."""
    vector = np.zeros(subject.arguments.size)
    vector[element] = shrink * steps_of(subject, probe)[element]
    return Direction(probe, vector, element)


def steps_of(subject: Subject, probe: Probe) -> np.ndarray:
    """How far one may move each coordinate: its own size, or its array's where it is zero."""
    sizes = np.abs(probe.x)
    for leaf in subject.arguments.leaves:
        part = sizes[leaf.part]
        typical = float(np.median(part)) if part.size else 1.0
        sizes[leaf.part] = np.where(part == 0, typical or 1.0, part)
    return sizes


def evaluate(subject: Subject, directions: Sequence[Direction]) -> list[Values]:
    """The function's values along the directions."""
    if not directions:
        return []
    ladder = np.concatenate([[0.0], STEPS, -STEPS])
    found = []
    rows = max(1, int(ELEMENTS // max(subject.arguments.size * len(ladder), 1)))
    for start in range(0, len(directions), rows):
        group = directions[start : start + rows]
        x = np.concatenate([d.probe.x + ladder[:, None] * d.vector for d in group])
        integers = tuple(
            np.concatenate([np.repeat(part[None], len(ladder), axis=0) for part in parts])
            for parts in zip(*(d.probe.integers for d in group), strict=True)
        )
        values = _inside(subject, group, x, _run(subject, group, x, integers))
        program = subject.rule.pull if group[0].cotangent is not None else subject.values.value
        eps = max(program.eps, DOUBLE if subject.wide else subject.native_eps)
        blocks = values.reshape(len(group), len(ladder), values.shape[1])
        together = max(1, TOGETHER // max(values.shape[1], 1))
        for first in range(0, len(group), together):
            ladders = Ladders(blocks[first : first + together], eps)
            some = group[first : first + together]
            found += [Values(d, *_sides(ladders.blocks[k]), ladders, k) for k, d in enumerate(some)]
    return found


def _run(subject: Subject, group: Sequence[Direction], x: np.ndarray, integers: Any) -> np.ndarray:
    if group[0].cotangent is None:
        return run_rows(subject.values.value, x, integers)[0]
    gammas = np.stack([d.cotangent for d in group if d.cotangent is not None])
    repeated = np.repeat(gammas, len(x) // len(group), axis=0)
    return np.concatenate(run_rows(subject.rule.pull, x, integers, repeated), axis=1)


def _inside(
    subject: Subject, group: Sequence[Direction], x: np.ndarray, values: np.ndarray
) -> np.ndarray:
    """The values, nan where the point is outside the stated domain."""
    if subject.domain is None:
        return values
    if callable(subject.domain):
        outside = np.concatenate([_refused(subject, d) for d in group])
    else:
        moved = [within(subject.arguments, row, subject.domain) for row in x]
        outside = (np.stack(moved) != x).any(axis=1)
    return np.where(outside[:, None], np.nan, values)


def _refused(subject: Subject, direction: Direction) -> np.ndarray:
    """Which points of the ladder a function says to be outside: none of a side whose ends are in.

    Nor any where the point itself is outside: such a domain says nothing here. It is asked in the
    precision in which the values are computed: the shortest steps are nothing in float32.
    """

    def outside(step: float) -> bool:
        probe = replace(direction.probe, x=direction.probe.x + step * direction.vector)
        return not accepted(subject.arguments, probe, subject.domain)

    refused = [False]
    with precision(subject.wide):
        astray = outside(0.0)
        for side in (STEPS, -STEPS):
            leaves = not astray and (outside(side[0]) or outside(side[-1]))
            refused += [leaves and outside(step) for step in side]
    return np.array(refused)
