"""Errors that multiply: one factor for all elements of a point, or one that the arguments give."""

from collections.abc import Iterator

import numpy as np

from jaxfn.verification.diagnosis.seen import Cause, Seen, close
from jaxfn.verification.evidence.observation import BASIS
from jaxfn.verification.subject.coordinates import Leaf

FEW = 6  # numbers that a formula must explain


def of_the_point(seen: Seen) -> Cause | None:
    """At each point one factor for all elements, from point to point another."""
    if seen.leaf.size * min(seen.subject.rule.size, BASIS) < 3:
        return None
    factors: dict[int, float] = {}
    for probe in np.unique(seen.found.which[seen.items]):
        here = seen.found.which[seen.items] == probe
        rule, expected = seen.rule[here], seen.reference[here]
        if np.count_nonzero(expected) < 3 or not (np.isfinite(rule) & np.isfinite(expected)).all():
            return None
        factor = float((rule * expected).sum() / (expected**2).sum())
        if abs(factor - 1) < 1e-6 or not close(rule, factor * expected):
            return None
        factors[int(probe)] = factor
    values = np.array(list(factors.values()))
    if len(values) < 2 or np.ptp(values) < 1e-3 * np.abs(values).max():
        return None
    formula = next((text for text, f in _of_points(seen, list(factors)) if _fits(values, f)), None)
    if formula is not None:
        return Cause("scale", _named(seen, formula, values))
    names = [seen.found.probes[probe].name for probe in factors]
    first, other = (f"{values[k]:.3g} times the expected value at {names[k]}" for k in (0, 1))
    text = (
        f"{first}, {other} in the gradient of {seen.leaf.path}: a factor that depends on the "
        "arguments is missing or wrong"
    )
    return Cause("scale", text)


def of_an_argument(seen: Seen) -> Cause | None:
    """Each element times a factor of its own, which an element of an argument gives."""
    ratios = _ratios(seen)
    if ratios is None or np.isfinite(ratios).sum() < FEW:
        return None
    known = np.isfinite(ratios)
    for other in seen.subject.arguments.leaves:
        x = _spread(seen, other)
        for text, values in () if x is None else _powers(other.path, x):
            if _fits(ratios[known], values[known]):
                return Cause("scale", _named(seen, text, ratios[known]))
    outputs, y = seen.subject.rule.outputs, seen.found.primal[seen.items]
    same = len(outputs) == 1 and tuple(outputs[0].shape) == seen.leaf.shape
    if same and y.shape == ratios.shape:
        for text, values in _powers("the output", y):
            if _fits(ratios[known], values[known]):
                return Cause("scale", _named(seen, text, ratios[known]))
    return None


def in_common(seen: Seen) -> Cause | None:
    """The same factor at the same elements of two gradients, from element to element another."""
    own = _ratios(seen)
    if own is None:
        return None
    for other in seen.subject.arguments.leaves:
        if other == seen.leaf or other.shape != seen.leaf.shape:
            continue
        theirs = _ratios(Seen(seen.subject, seen.found, other, seen.items, seen.jacobians))
        if theirs is None:
            continue
        both = np.isfinite(own) & np.isfinite(theirs)
        varied = both.sum() >= FEW and np.ptp(own[both]) > 1e-3 * np.abs(own[both]).max()
        if varied and (np.abs(own - theirs)[both] <= 1e-5 * np.abs(own[both])).all():
            text = (
                f"the gradients of {seen.leaf.path} and {other.path} are off by the same factor, "
                "another one at each element: a factor of both is missing or wrong"
            )
            return Cause("scale", text)
    return None


def factor_there(rule: np.ndarray, expected: np.ndarray) -> str:
    """What the wrong elements are times the expected ones, if it is one factor."""
    if rule.size and np.isfinite(rule).all() and not expected.any():
        return ": not zero, as it should be there"
    if rule.size < 1 or not (np.isfinite(rule) & np.isfinite(expected)).all() or not rule.any():
        return ""
    factor = float((rule * expected).sum() / max((expected**2).sum(), 1e-300))
    if not close(rule, factor * expected, 1e-4) or abs(factor - 1) < 1e-2:
        return ""
    if abs(factor + 1) < 1e-6:
        return ": wrong sign there (-1 times the expected value)"
    return f": {factor:.6g} times the expected value there"


def _named(seen: Seen, formula: str, values: np.ndarray) -> str:
    examples = f"{values[0]:.3g}, {values[-1]:.3g}, ..."
    return (
        f"{formula} times the expected value (factors {examples}) in the gradient of "
        f"{seen.leaf.path}: this factor is too much, or its inverse is missing"
    )


def _ratios(seen: Seen) -> np.ndarray | None:
    """Rule by reference where that says something; None unless it is wrong there everywhere."""
    rule, expected = seen.rule, seen.reference
    if seen.leaf.is_complex or not (np.isfinite(rule).all() and np.isfinite(expected).all()):
        return None
    large = np.abs(expected) > 1e-4 * np.abs(expected).max(axis=1, keepdims=True, initial=0)
    if (np.abs(rule[~large]) > 1e-3 * np.abs(rule).max(initial=0)).any():
        return None
    ratios = np.where(large, rule / np.where(large, expected, 1), np.nan)
    right = np.abs(ratios - 1) < 1e-6
    return None if right.sum() > 0.2 * large.sum() else ratios


def _spread(seen: Seen, other: Leaf) -> np.ndarray | None:
    """The argument at each item, one number for each element of the gradient."""
    if other.is_complex or seen.leaf.is_complex:
        return None
    shape = seen.leaf.shape
    try:
        if np.broadcast_shapes(other.shape, shape) != shape:
            return None
    except ValueError:
        return None
    points = [seen.found.probes[w].x[other.part] for w in seen.found.which[seen.items]]
    return np.stack([np.broadcast_to(p.reshape(other.shape), shape).reshape(-1) for p in points])


def _powers(name: str, x: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
    with np.errstate(all="ignore"):
        yield name, x
        yield f"1/{name}", 1 / x
        yield f"|{name}|", np.abs(x)
        yield f"1/|{name}|", 1 / np.abs(x)
        yield f"{name}²", x**2
        yield f"1/{name}²", x**-2.0
        yield f"√|{name}|", np.sqrt(np.abs(x))
        yield f"1/√|{name}|", 1 / np.sqrt(np.abs(x))


def _of_points(seen: Seen, probes: list[int]) -> Iterator[tuple[str, np.ndarray]]:
    """Numbers that each point has: of its arguments, and its value if that is one number."""
    found = seen.found
    if seen.subject.rule.size == 1:
        firsts = [int(np.flatnonzero(found.which == probe)[0]) for probe in probes]
        yield from _powers("the output", found.primal[firsts, 0])
    for leaf in seen.subject.arguments.leaves:
        parts = [found.probes[probe].x[leaf.part] for probe in probes]
        if leaf.size == 1:
            yield from _powers(leaf.path, np.array([p[0] for p in parts]))
            continue
        norms = np.array([np.sqrt((p**2).sum()) for p in parts])
        yield from _powers(f"‖{leaf.path}‖", norms)
        yield from _powers(f"the sum of {leaf.path}", np.array([p.sum() for p in parts]))


def _fits(factors: np.ndarray, values: np.ndarray) -> bool:
    """Whether the factors are a constant multiple of the values, which do vary."""
    if factors.size < 3 or not np.isfinite(values).all() or not values.all():
        return False
    multiple = factors / values
    size = np.abs(multiple).max()
    varied = np.ptp(values) > 1e-2 * np.abs(values).max()
    # a formula says something only with a plain number before it
    plain = min(abs(multiple[0] - c) for c in (1, -1, 2, -2, 0.5, -0.5)) < 1e-4
    return bool(varied and plain and np.ptp(multiple) <= 1e-4 * size)
