"""Other integer arguments: drawn from the range of the given ones, and where the program branches.

The given ones may be a permutation, or have no padding among them, by chance: what the function
takes as well is tried. What it rests on (the order of a sorted array, an inverse permutation) is
kept.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from jaxfn.verification.subject.coordinates import Arguments
from jaxfn.verification.subject.subject import Subject

Integers = tuple[np.ndarray, ...]
HALVES = {"cholesky", "eigh"}  # what reads one half of a matrix, and takes the other to be alike
AMONG = 0.4  # of the elements: how many are given a value that the program treats otherwise
MOST_VALUES = 4  # of these for each argument


@dataclass(frozen=True)
class Taken:
    """What the function takes beside what the given arguments are like.

    Attributes:
        repeated: integers that are no permutation, where the given ones are one.
        asymmetric: matrices that are not symmetric, where the given ones are.
        branches: for each integer argument the values at which the program treats it otherwise.
    """

    repeated: bool = False
    asymmetric: bool = False
    branches: tuple[tuple[int, ...], ...] = ()


NOTHING_TAKEN = Taken()


def taken_by(subject: Subject) -> Taken:
    """What may be tried of a function, by the operations that it and its rule consist of.

    A rule that sorts inverts a permutation, and a function that sets elements by their indices
    says nothing of repeated ones; a factorisation reads one half of a matrix.
    """
    own, pull = subject.rule.own_primitives, subject.rule.pull.primitives
    ordered = bool({"sort", "scatter"} & own) or "sort" in pull
    return Taken(
        repeated=not ordered and not subject.iterates,
        asymmetric=not (HALVES & (own | pull)) and not subject.iterates,
        branches=subject.rule.integer_branches(),
    )


def other_integers(
    arguments: Arguments, rng: np.random.Generator, taken: Taken
) -> Iterator[tuple[str, str, Integers]]:
    """Other integer arguments: what they are called, under what condition on them, and they."""
    movable = [i for i, a in enumerate(arguments.integers) if _movable(a)]
    if not movable:
        return
    for name, draw in (
        ("redrawn", lambda a: rng.choice(_range(a), a.shape)),
        ("redrawn once more", lambda a: rng.choice(_range(a), a.shape)),
        ("all equal to the first", lambda a: np.full(a.shape, a.reshape(-1)[0])),
        ("all equal to the largest", lambda a: np.full(a.shape, a.max())),
        ("all equal to the smallest", lambda a: np.full(a.shape, _range(a).min())),
    ):
        moved = list(arguments.integers)
        for i in movable:
            moved[i] = _keep(arguments, arguments.integers[i], draw)
        yield f"integers {name}", "", tuple(moved)
    for i in movable:
        yield from _untried(arguments, rng, taken, i)


def _untried(
    arguments: Arguments, rng: np.random.Generator, taken: Taken, i: int
) -> Iterator[tuple[str, str, Integers]]:
    given, path = arguments.integers[i], arguments.paths[arguments.integer_positions[i]]

    def with_one(changed: np.ndarray) -> Integers:
        moved = list(arguments.integers)
        moved[i] = changed.astype(given.dtype)
        return tuple(moved)

    if taken.repeated and is_permutation(arguments, given):
        drawn = rng.choice(_range(given), given.shape)
        drawn.reshape(-1)[:2] = drawn.reshape(-1)[0]
        yield f"integers repeated in {path}", f"{path} has repeated elements", with_one(drawn)
    for value in taken.branches[i][:MOST_VALUES] if taken.branches else ():
        if value in given or not _holds(given, value):
            continue
        among = np.asarray(rng.uniform(0, 1, given.shape) < AMONG)
        among.reshape(-1)[rng.integers(given.size)] = True
        condition = f"{path} is {value}" if given.size == 1 else f"{path} has {value} among it"
        yield f"{value} in {path}", condition, with_one(np.where(among, value, given))


def _holds(given: np.ndarray, value: int) -> bool:
    if given.dtype == np.bool_:
        return False
    bounds = np.iinfo(given.dtype)
    return bounds.min <= value <= bounds.max


def redrawn(arguments: Arguments, rng: np.random.Generator) -> Integers:
    """Other integer arguments within the range of the given ones."""
    return tuple(
        _keep(arguments, a, lambda a: rng.choice(_range(a), a.shape)) if _movable(a) else a
        for a in arguments.integers
    )


def _movable(a: np.ndarray) -> bool:
    return bool(a.size) and a.dtype != np.uint32  # raw keys of random numbers


def _range(a: np.ndarray) -> np.ndarray:
    """Values that an integer argument may take, judged by those that it has."""
    if a.dtype == np.bool_:
        return np.array([False, True])
    low = min(int(a.min()), 0) if a.size == 1 else int(a.min())
    return np.arange(low, int(a.max()) + 1) if int(a.max()) - low < 100_000 else np.unique(a)


def _keep(
    arguments: Arguments, a: np.ndarray, draw: Callable[[np.ndarray], np.ndarray]
) -> np.ndarray:
    if is_permutation(arguments, a):
        return np.random.default_rng(0).permutation(a.reshape(-1)).reshape(a.shape)
    moved = np.asarray(draw(a)).astype(a.dtype)
    increasing = a.ndim == 1 and a.size > 2 and a.dtype != np.bool_ and (np.diff(a) >= 0).all()
    return np.sort(moved) if increasing else moved


def is_permutation(arguments: Arguments, a: np.ndarray) -> bool:
    """Whether the values are each index of some axis once, and not of a longer axis alone."""
    sizes = {size for leaf in arguments.leaves for size in leaf.shape}
    ordered = a.dtype != np.bool_ and np.array_equal(np.sort(a, axis=None), np.arange(a.size))
    return a.size > 1 and ordered and (a.size in sizes or not sizes)
