"""Points to check beside the given one: moved, scaled, flipped, tied, zeroed, of special values.

A rule is often right near the given point and wrong elsewhere. What the given arguments show of
their own structure (sorted, symmetric, positive definite, triangular, normalised, permutations)
is kept; a point that the function does not accept is left out later.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from jaxfn.verification.points.integers import NOTHING_TAKEN, Taken, other_integers
from jaxfn.verification.points.structures import keep, structure_of
from jaxfn.verification.subject.coordinates import Arguments, Leaf
from jaxfn.verification.subject.subject import HUGE

GIVEN, NEAR, FAR, SPECIAL, EXTREME = "given", "near", "far", "special", "extreme"
KINDS = frozenset({NEAR, FAR, SPECIAL, EXTREME})  # of the points that it moves to
BESIDE = 0.2  # of each element: how far the points nearby are
ZEROS = "every second element zero"
SPECIAL_VALUES = (0.0, -0.0, 1.0, -1.0, 0.5, -0.5, 2.0, -2.0, 3.0, -3.0, 6.0, -6.0)


@dataclass(frozen=True)
class Probe:
    """One point: the vector of the differentiable arguments, the integer arguments.

    `condition` is one on the arguments that the given ones do not fulfil and this point does;
    `cotangents` are looked at beside those that the check draws.
    """

    name: str
    kind: str
    x: np.ndarray
    integers: tuple[np.ndarray, ...]
    condition: str = ""
    cotangents: tuple[np.ndarray, ...] = ()


def columns_of(probes: Sequence[Probe]) -> tuple[np.ndarray, tuple[np.ndarray, ...]]:
    """The points of probes as columns of a program."""
    x = np.stack([probe.x for probe in probes])
    return x, tuple(np.stack(part) for part in zip(*(p.integers for p in probes), strict=True))


def probes(
    arguments: Arguments,
    rng: np.random.Generator,
    loops: bool,
    domain: Any = None,
    taken: Taken = NOTHING_TAKEN,
) -> list[Probe]:
    """The given point, and those that the check moves to on its own.

    Args:
        arguments: the arguments of the call.
        rng: the source of random moves.
        loops: whether the function iterates until something converges; its points then stay
            near, because far away the iteration may not converge and no rule is right.
        domain: what `gradcheck` takes as `domain`.
        taken: what the function takes beside what the given arguments are like.
    """
    given = Probe("the given point", GIVEN, arguments.given, arguments.integers)
    others = [
        Probe(name, SPECIAL, arguments.given, integers, condition)
        for name, condition, integers in other_integers(arguments, rng, taken)
    ]
    others += _asymmetric(arguments, rng) if taken.asymmetric else []
    found = [p for p in others if not callable(domain) or accepted(arguments, p, domain)]
    return [given, *found, *at_points(arguments, rng, _moves(arguments, rng, loops), domain)]


def _asymmetric(arguments: Arguments, rng: np.random.Generator) -> list[Probe]:
    """For each symmetric matrix one that is not, as near to it as the points nearby are."""
    found = []
    for leaf in arguments.leaves:
        given = arguments.array(leaf, arguments.given)
        if leaf.is_complex or not {"definite", "hermitian"} & structure_of(given):
            continue
        x = arguments.given.copy()
        x[leaf.part] *= 1 + BESIDE * rng.uniform(-1, 1, leaf.size)
        name, condition = f"{leaf.path} not symmetric", f"{leaf.path} is not symmetric"
        moved = arguments.rounded(x)
        found.append(Probe(name, SPECIAL, moved, arguments.integers, condition))
    return found


def at_points(
    arguments: Arguments,
    rng: np.random.Generator,
    moves: Iterable[tuple[str, str, np.ndarray]],
    domain: Any,
) -> Iterator[Probe]:
    """Probes at the points given by name, kind and vector, moved back to where they may be."""
    structures = [structure_of(arguments.array(leaf, arguments.given)) for leaf in arguments.leaves]
    for name, kind, x in moves:
        kept = keep(arguments, structures, x, rng)
        with np.errstate(all="ignore"):
            moved = arguments.rounded(within(arguments, kept, domain))
        probe = Probe(name, kind, moved, arguments.integers)
        if not callable(domain) or accepted(arguments, probe, domain):
            yield probe


def _moves(
    arguments: Arguments, rng: np.random.Generator, loops: bool
) -> Iterator[tuple[str, str, np.ndarray]]:
    x, n = arguments.given, arguments.size
    if n > HUGE:
        yield from _moves_of_many(arguments, rng, loops)
        return
    few = n > 2000
    for i in range(1 if few else 3):
        yield f"a point nearby ({i})", NEAR, x * (1 + BESIDE * rng.uniform(-1, 1, n))
    if loops:
        return
    yield "random normal arguments", NEAR, rng.standard_normal(n)
    yield "the given point, signs flipped", NEAR, -x
    yield "random signs", NEAR, x * rng.choice([-1.0, 1.0], n)
    for factor in (1e-3, 10.0, -10.0, 1e3):
        yield f"the given point × {factor:g}", FAR, factor * x
    for i in range(2 if few else 20):
        magnitude = 10 ** rng.uniform(-3, 2.7, n)
        signs = np.sign(x + (x == 0)) if i % 2 else rng.choice([-1.0, 1.0], n)
        yield f"magnitudes from 0.001 to 500 ({i})", FAR, signs * magnitude
    for i in range(1 if few else 4):
        signs = np.sign(x + (x == 0)) if i % 2 else rng.choice([-1.0, 1.0], n)
        yield f"tiny magnitudes ({i})", FAR, signs * 10 ** rng.uniform(-10, -3, n)
    for i in range(1 if few else 3):
        signs = np.sign(x + (x == 0)) if i % 2 else rng.choice([-1.0, 1.0], n)
        top = 12 if i == 0 and not few else 30  # beyond 1e16 not every wrong slope is refuted
        yield f"magnitudes up to 1e{top} ({i})", EXTREME, signs * 10 ** rng.uniform(3, top, n)
    for i in range(1 if few else 2):
        signs = np.sign(x + (x == 0)) if i % 2 == 0 else rng.choice([-1.0, 1.0], n)
        yield f"magnitudes down to 1e-30 ({i})", EXTREME, signs * 10 ** rng.uniform(-30, -10, n)
    yield from _special_moves(arguments, rng, few)


def _special_moves(
    arguments: Arguments, rng: np.random.Generator, few: bool
) -> Iterator[tuple[str, str, np.ndarray]]:
    """Whole numbers, zeros, equal elements and equal arrays."""
    x, n = arguments.given, arguments.size
    yield "whole numbers", SPECIAL, np.round(2 * x)
    yield ZEROS, SPECIAL, np.where(np.arange(n) % 2, 0.0, x)
    few_zeros = x.copy()
    few_zeros[rng.choice(n, min(n, 1 + n // 7), replace=False)] = 0.0
    yield "a few elements zero", SPECIAL, few_zeros
    yield "uniform arguments between 0 and 1", NEAR, rng.uniform(0, 1, n)
    for value in SPECIAL_VALUES[: 2 if few else None]:
        yield f"every element {value:g}", SPECIAL, np.full(n, value)
    for leaf in arguments.leaves if len(arguments.leaves) <= 6 else ():
        for value in (0.0, 1.0):
            one = x.copy()
            one[leaf.part] = value
            yield f"every element of {leaf.path} {value:g}", SPECIAL, one
    for leaf in arguments.leaves if 2 <= len(arguments.leaves) <= 3 else ():
        one = np.abs(x)
        one[leaf.part] = np.where(np.arange(leaf.size) % 2, one[leaf.part], 0.0)
        yield f"positive, every second element of {leaf.path} zero", SPECIAL, one
    tied = _tied(arguments)
    if tied is not None:
        yield "equal arguments", SPECIAL, tied


def _moves_of_many(
    arguments: Arguments, rng: np.random.Generator, loops: bool
) -> Iterator[tuple[str, str, np.ndarray]]:
    """The moves of an array so large that each element of one point is a draw of its own."""
    x, n = arguments.given, arguments.size
    yield "a point nearby (0)", NEAR, x * (1 + BESIDE * rng.uniform(-1, 1, n))
    if loops:
        return
    signs = rng.choice([-1.0, 1.0], n)
    yield "random signs", NEAR, x * signs
    yield "the given point × 10", FAR, 10.0 * x
    yield "magnitudes from 0.001 to 500 (0)", FAR, signs * 10 ** rng.uniform(-3, 2.7, n)
    yield "magnitudes up to 1e12 (0)", EXTREME, signs * 10 ** rng.uniform(3, 12, n)
    yield "magnitudes down to 1e-30 (0)", EXTREME, signs * 10 ** rng.uniform(-30, -10, n)
    yield "whole numbers", SPECIAL, np.round(2 * x)
    tied = _tied(arguments)
    if tied is not None:
        yield "equal arguments", SPECIAL, tied


def _tied(arguments: Arguments) -> np.ndarray | None:
    """The point where leaves of the same shape hold the same values."""
    first: dict[tuple[int, ...], Leaf] = {}
    x, found = arguments.given.copy(), False
    for leaf in arguments.leaves:
        other = first.setdefault(leaf.shape, leaf)
        if other is not leaf and other.is_complex == leaf.is_complex:
            x[leaf.part] = x[other.part]
            found = True
    return x if found else None


def bounds(arguments: Arguments, domain: Any) -> Iterator[tuple[Leaf, float, float]]:
    """The interval of each leaf that a `domain` of pairs speaks of, as the leaf's dtype holds it.

    The float32 nearest to 0.1 is larger than 0.1, and is meant to be inside where 0.1 is.
    """
    if domain is None or callable(domain):
        return
    for leaf in arguments.leaves:
        pair = domain[leaf.argument] if leaf.argument < len(domain) else None
        if pair is not None and not leaf.is_complex:
            low, high = pair
            low = -np.inf if low is None else float(np.asarray(low).astype(leaf.dtype))
            high = np.inf if high is None else float(np.asarray(high).astype(leaf.dtype))
            yield leaf, low, high


def within(arguments: Arguments, x: np.ndarray, domain: Any) -> np.ndarray:
    """The vector, folded back into the domain where it leaves it."""
    x = x.copy()
    for leaf, low, high in bounds(arguments, domain):
        part = x[leaf.part]
        if np.isfinite(low) and np.isfinite(high):
            folded = low + np.abs((part - low + (high - low)) % (2 * (high - low)) - (high - low))
        elif np.isfinite(low):
            folded = low + np.abs(part - low)
        else:
            folded = high - np.abs(high - part)
        x[leaf.part] = np.where((part >= low) & (part <= high), part, folded)
    return x


def accepted(arguments: Arguments, probe: Probe, domain: Callable[..., Any]) -> bool:
    """Whether a `domain` that is a function of the arguments accepts the point."""
    arrays = [arguments.array(leaf, probe.x) for leaf in arguments.leaves]
    return bool(np.all(domain(*arguments.rebuild(arrays, probe.integers))))
