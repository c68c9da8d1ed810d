"""What the points had in common: what the agreement with autodiff does not show."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from jaxfn.verification.points.integers import is_permutation
from jaxfn.verification.points.probes import Probe
from jaxfn.verification.points.structures import structure_of
from jaxfn.verification.report import Check
from jaxfn.verification.subject.coordinates import Arguments

STRUCTURES = {
    "definite": "symmetric and positive definite",
    "hermitian": "symmetric",
    "lower": "lower triangular",
    "upper": "upper triangular",
    "increasing": "increasing",
    "probabilities": "of probabilities",
    "unit": "of length one",
}


def with_unvisited(check: Check, arguments: Arguments, probes: Sequence[Probe]) -> Check:
    """The check, saying as well which structures and integers alone the points had.

    A rule may rest on a structure of the given arguments: `inv(A)` is the gradient of `log det A`
    for a symmetric `A` only. So the points keep it, and a rule that is wrong without it passes.
    """
    scope = (*_structures(arguments, probes), *_integers(arguments, probes))
    said = "; ".join([check.does_not_show, *scope])
    return replace(check, does_not_show=said, scope=scope)


def _structures(arguments: Arguments, probes: Sequence[Probe]) -> Iterator[str]:
    for leaf in arguments.leaves:
        if any(leaf.path in probe.condition for probe in probes):
            continue
        kept = sorted(structure_of(arguments.array(leaf, arguments.given)))
        if kept:
            words = ", ".join(STRUCTURES[name] for name in kept)
            yield f"any {leaf.path} that is not {words}, as the given one is"


def _integers(arguments: Arguments, probes: Sequence[Probe]) -> Iterator[str]:
    """The range of each integer argument: the points stay within that of the given ones."""
    for k, position in enumerate(arguments.integer_positions):
        given = arguments.integers[k]
        if not given.size or given.dtype in (np.bool_, np.uint32):
            continue
        if is_permutation(arguments, given) and all(
            is_permutation(arguments, probe.integers[k]) for probe in probes
        ):
            yield f"any {arguments.paths[position]} that is no permutation, as the given one is"
            continue
        arrays = [probe.integers[k] for probe in probes]
        low, high = min(a.min() for a in arrays), max(a.max() for a in arrays)
        path = arguments.paths[position]
        span = f"{low}" if low == high else f"{low} to {high}"
        yield f"integers in {path} other than {span}"
