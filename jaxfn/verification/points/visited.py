"""Points that a program has visited, with the cotangents that it sent there."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxfn.verification.points.probes import NEAR, Probe
from jaxfn.verification.subject.coordinates import Arguments


class Visited(NamedTuple):
    """A call of the function: its arguments, and cotangents of the leaves of its output.

    `cotangents` has for each of them a list with an array for each leaf, None for those that have
    no derivative.
    """

    args: tuple[Any, ...]
    cotangents: tuple[Sequence[Any], ...] = ()


def with_visited(
    arguments: Arguments, points: Sequence[Probe], visited: Sequence[Visited]
) -> list[Probe]:
    """The points, with the cotangents that were sent at the given one, and those visited later.

    Args:
        arguments: those of the call.
        points: the given one first.
        visited: calls, the first with the given arguments.
    """
    if not visited:
        return list(points)
    given, *rest = points
    first, *later = visited
    found = [replace(given, cotangents=_rows(first))]
    for i, call in enumerate(later):
        leaves = jax.tree.leaves(call.args)
        integers = tuple(np.asarray(leaves[k]) for k in arguments.integer_positions)
        x = arguments.flatten(leaves)
        found.append(Probe(f"a later call ({i})", NEAR, x, integers, cotangents=_rows(call)))
    return [*found, *rest]


def _rows(call: Visited) -> tuple[np.ndarray, ...]:
    """The vectors of the cotangents that are finite and not zero."""
    rows = [_vector(arrays) for arrays in call.cotangents]
    return tuple(row for row in rows if np.isfinite(row).all() and row.any())


def _vector(arrays: Sequence[Any]) -> np.ndarray:
    parts = []
    for array in arrays:
        if array is not None:
            flat = np.asarray(array).reshape(-1)
            parts.append(np.real(flat).astype(np.float64))
            if np.iscomplexobj(flat):
                parts.append(-np.imag(flat).astype(np.float64))
    return np.concatenate(parts) if parts else np.zeros(0)
