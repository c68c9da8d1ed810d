"""The same rule at smaller operands: the first few entries of each long axis, if it takes them."""

import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxfn.auditing.meeting import Met
from jaxfn.verification.points.visited import Visited
from jaxfn.verification.subject.coordinates import is_inexact

SMALL = 4_000  # floating elements, of operands and outputs together: so few need no shrinking
MANY = 2_000_000  # the same: so many are compared with autodiff in about ten seconds
SHORTEST = 4  # entries that an axis keeps at least: norms and means of fewer hide terms

Sizes = dict[int, int]  # lengths of axes, and those that they are given instead


def elements(arrays: Sequence[Any]) -> int:
    """The number of floating elements."""
    return sum(int(np.prod(a.shape, dtype=int)) for a in arrays if is_inexact(a))


def outputs(met: Met, operands: Sequence[Any]) -> list[Any]:
    """The types of the outputs.

    Raises:
        Exception: what the rule raises.
    """
    return jax.tree.leaves(jax.eval_shape(lambda given: applied(met, given), list(operands)))


def applied(met: Met, operands: Sequence[Any]) -> Any:
    return met.with_closed(operands)(*met.arguments(met.arrays(operands)))


def shrunk(met: Met, calls: Sequence[tuple[Sequence[Any], Sequence[Any]]]) -> Sizes:
    """Shorter lengths for long axes, all of one length alike, until the operands are few enough.

    Args:
        met: the rule.
        calls: operands and cotangents, of which the first are looked at.

    Returns:
        The shorter lengths; empty where the rule takes no shorter operands.
    """
    operands = calls[0][0]
    sizes: Sizes = {}
    whole = outputs(met, operands)
    for length in sorted(_lengths(met, operands), reverse=True):
        if length <= SHORTEST or _total(met, operands, sizes) <= SMALL:
            break
        for shorter in _candidates(length, set(sizes.values())):
            if _accepts(met, operands, {**sizes, length: shorter}, whole):
                sizes[length] = shorter
                break
    return sizes


def halved(met: Met, calls: Sequence[tuple[Sequence[Any], Sequence[Any]]]) -> Sizes:
    """Half the length of the longest axes, again and again, where there are too many elements."""
    operands = calls[0][0]
    sizes: Sizes = {}
    if _total(met, operands, sizes) <= MANY:
        return sizes
    whole = outputs(met, operands)
    for length in sorted(_lengths(met, operands), reverse=True):
        shorter = length // 2
        while shorter >= SHORTEST and _total(met, operands, sizes) > MANY:
            if not _accepts(met, operands, {**sizes, length: shorter}, whole):
                break
            sizes[length], shorter = shorter, shorter // 2
    return sizes


def _lengths(met: Met, operands: Sequence[Any]) -> set[int]:
    """The lengths of all axes; the numbers of a PRNG key have none."""
    return {n for i, a in enumerate(operands) if met.keys[i] is None for n in a.shape}


def _candidates(length: int, taken: set[int]) -> Iterator[int]:
    """Halves of a length, the shortest first: what divides it is more likely to be taken."""
    halves = [length >> k for k in range(1, length.bit_length()) if length >> k >= SHORTEST]
    yield from (n for n in reversed(halves) if n not in taken)
    yield from (n for n in reversed(halves) if n in taken)


def _total(met: Met, operands: Sequence[Any], sizes: Sizes) -> int:
    given = _types(met, operands, sizes)
    return elements(given) + elements(outputs(met, given))


def _types(met: Met, operands: Sequence[Any], sizes: Sizes) -> list[Any]:
    return [
        jax.ShapeDtypeStruct(_shape(a.shape, sizes if key is None else {}), a.dtype)
        for a, key in zip(operands, met.keys, strict=True)
    ]


def _shape(shape: tuple[int, ...], sizes: Sizes) -> tuple[int, ...]:
    return tuple(sizes.get(n, n) for n in shape)


def _accepts(met: Met, operands: Sequence[Any], sizes: Sizes, whole: list[Any]) -> bool:
    """Whether the rule and its gradient take the shorter operands, and give shorter outputs."""
    given = _types(met, operands, sizes)
    floats = [i for i, a in enumerate(given) if is_inexact(a)]

    def gradient(arrays: list[Any]) -> Any:
        def of_floats(some: list[Any]) -> list[Any]:
            inserted = list(arrays)
            for i, array in zip(floats, some, strict=True):
                inserted[i] = array
            leaves = jax.tree.leaves(applied(met, inserted))
            return [leaf for leaf in leaves if is_inexact(leaf)]

        found, pullback = jax.vjp(of_floats, [arrays[i] for i in floats])
        pullback([jnp.ones_like(y) for y in found])
        return applied(met, arrays)

    try:
        found = jax.tree.leaves(jax.eval_shape(gradient, given))
    except Exception:  # whatever the rule raises, it does not take them
        return False
    return [y.shape for y in found] == [_shape(y.shape, sizes) for y in whole]


def cut(met: Met, operands: Sequence[Any], sizes: Sizes) -> list[Any]:
    """The first entries of the operands; integers that were indices of a long axis stay in it."""
    found = []
    for array, key in zip(operands, met.keys, strict=True):
        part = array if key is not None else _first(array, sizes)
        if np.issubdtype(part.dtype, np.integer) and part.size and key is None:
            part = _within(part, int(np.max(array)), sizes)
        found.append(part)
    return found


def _first(array: Any, sizes: Sizes) -> Any:
    return array[tuple(slice(sizes.get(n, n)) for n in array.shape)]


def _within(integers: np.ndarray, largest: int, sizes: Sizes) -> np.ndarray:
    """Integers below a length, folded below the shorter one; negative ones mean something else."""
    fitting = [new for old, new in sizes.items() if largest < old]
    if not fitting or largest < min(fitting):
        return integers
    return np.where(integers < 0, integers, integers % min(fitting)).astype(integers.dtype)


def cut_call(met: Met, call: tuple[Any, Any], sizes: Sizes) -> Visited:
    """A call at the shorter operands, with the first entries of its cotangents."""
    operands, cotangents = call
    rows = [
        [None if g is None else _first(np.asarray(g), sizes) for g in row] for row in cotangents
    ]
    return Visited(met.arguments(met.arrays(cut(met, operands, sizes))), tuple(rows))


def described(sizes: Sizes) -> str:
    return ", ".join(f"{old} → {new}" for old, new in itertools.islice(sizes.items(), 6))
