"""Terms of a gradient that are missing, or wrong: along what they lie, and what they depend on.

Each pattern is a statement about the difference between rule and reference, or about both, that is
seen to hold at several points and for several cotangents.
"""

from collections.abc import Iterator

import numpy as np

from jaxfn.verification.diagnosis.seen import Cause, Seen, close
from jaxfn.verification.subject.subject import run_rows

LEAST = 4  # elements along an axis, that a pattern may be no chance
MOST_LEAVES, MOST = 6, 4000  # arguments, elements
EXACT = 1e-7


def of_another_axis(seen: Seen) -> Cause | None:
    """The gradient's sums along one axis are constant where those along another should be.

    So they are of a softmax, and of whatever else is normalised.
    """
    expected, rule = _arrays(seen)
    shape = seen.leaf.shape
    if expected is None or rule is None or len(shape) < 2 or min(shape) < 2:
        return None
    gammas = seen.found.cotangents[seen.items]
    alike = np.flatnonzero(np.ptp(gammas, axis=1) == 0)
    if not alike.size:
        return None
    constant = [
        [_constant(array[alike[-1]], axis) for axis in range(len(shape))]
        for array in (expected, rule)
    ]
    for right in range(len(shape)):
        for wrong in range(len(shape)):
            if right == wrong or max(shape[right], shape[wrong]) < LEAST:
                continue
            if constant[0] == _only(right, shape) and constant[1] == _only(wrong, shape):
                text = (
                    f"the gradient of {seen.leaf.path} is normalised along axis {wrong}, where "
                    f"the expected one is along axis {right}: its sums along that axis are all "
                    "the same (a sum over the wrong axis)"
                )
                return Cause("elements", text)
    return None


def _only(axis: int, shape: tuple[int, ...]) -> list[bool]:
    return [k == axis for k in range(len(shape))]


def _constant(gradient: np.ndarray, axis: int) -> bool:
    """Whether the sums along an axis are the same at all places, and not zero."""
    sums, size = gradient.sum(axis=axis), np.abs(gradient).max()
    several = sums.size >= 2 and np.ptp(gradient) > 1e-3 * size
    return bool(several and np.ptp(sums) <= EXACT * size and np.abs(sums).max() > 1e-3 * size)


def along_an_array(seen: Seen) -> Cause | None:
    """What is missing is, in each row, a multiple of an argument, of the output, or of ones."""
    expected, rule = _arrays(seen)
    if expected is None or rule is None:
        return None
    error, shape = rule - expected, seen.leaf.shape
    if not error.any() or seen.leaf.count < LEAST:
        return None
    axes = [k for k in range(len(shape) - 1, -1, -1) if shape[k] >= LEAST and len(shape) > 1]
    for axis in [None, *axes]:
        for name, arrays in _directions(seen):
            if not _parallel(error, arrays, axis) or _parallel(expected, arrays, axis):
                continue
            rows = "" if axis is None else f", another one for each row along axis {axis}"
            text = (
                f"what is missing or too much in the gradient of {seen.leaf.path} is a multiple of "
                f"{name}{rows}: a term in its direction (a projection, a mean) is missing or wrong"
            )
            return Cause("dropped-term", text)
    return None


def _directions(seen: Seen) -> Iterator[tuple[str, np.ndarray]]:
    """Arrays of the leaf's shape at each item."""
    found, shape = seen.found, seen.leaf.shape
    for other in seen.subject.arguments.leaves[:MOST_LEAVES]:
        if other.shape == shape and not other.is_complex:
            points = [found.probes[w].x[other.part] for w in found.which[seen.items]]
            yield other.path, np.stack(points).reshape(-1, *shape)
    outputs = seen.subject.rule.outputs
    if len(outputs) == 1 and tuple(outputs[0].shape) == shape:
        values = found.primal[seen.items]
        if values.shape[1] == seen.leaf.count:
            yield "the output", values.reshape(-1, *shape)
    yield "ones", np.ones((len(seen.items), *shape))


def _parallel(arrays: np.ndarray, directions: np.ndarray, axis: int | None) -> bool:
    """Whether each row is a multiple of the row of the other array."""
    axes = tuple(range(1, arrays.ndim)) if axis is None else (axis + 1,)
    power = (directions**2).sum(axis=axes, keepdims=True)
    with np.errstate(all="ignore"):
        factor = np.where(power > 0, (arrays * directions).sum(axis=axes, keepdims=True) / power, 0)
        rest = arrays - factor * directions
    size = np.abs(arrays).max(axis=tuple(range(1, arrays.ndim)))
    worst = np.abs(rest).max(axis=tuple(range(1, arrays.ndim)))
    return bool(np.isfinite(worst).all() and (worst <= 1e-5 * size).all() and size.any())


def in_another_basis(seen: Seen) -> Cause | None:
    """The expected singular values and other singular vectors, or the other way round."""
    expected, rule = _arrays(seen)
    if expected is None or rule is None or len(seen.leaf.shape) < 2:
        return None
    if min(seen.leaf.shape[-2:]) < 3 or len(seen.items) < 2 or seen.leaf.count > MOST:
        return None
    values = [np.linalg.svd(a, compute_uv=False) for a in (rule, expected)]
    if (values[1][..., 2] <= 1e-6 * values[1][..., 0]).all():
        return None  # of rank two or less: any two numbers
    if close(values[0], values[1], 1e-7) and not close(rule, expected):
        text = (
            f"the gradient of {seen.leaf.path} has the expected singular values and other singular "
            "vectors: an orthogonal matrix, as of eigenvectors, is transposed, permuted or missing"
        )
        return Cause("transposed", text)
    across = (rule @ np.swapaxes(expected, -1, -2), np.swapaxes(expected, -1, -2) @ rule)
    if all(close(np.swapaxes(a, -1, -2), a, 1e-7) for a in across):
        text = (
            f"the gradient of {seen.leaf.path} has the expected singular vectors and other "
            "singular values: each direction has a factor of its own that is missing or wrong"
        )
        return Cause("scale", text)
    return None


def independent(seen: Seen) -> Cause | None:
    """The gradient does not change with an argument with which it should."""
    named = unmoved(seen)
    if not named:
        return None
    text = (
        f"the gradient of {seen.leaf.path} does not change with {named}, as it should: a residual "
        "is ignored or kept from another call, or a term that depends on it is missing"
    )
    return Cause("dropped-term", text)


def unmoved(seen: Seen) -> str:
    """The arguments with which the expected gradient changes and the rule's does not."""
    subject, found = seen.subject, seen.found
    leaves = subject.arguments.leaves
    if subject.reference is None or len(leaves) > MOST_LEAVES or subject.large:
        return ""
    probe = found.probes[0]
    moved = probe.x * (1 + 0.1 * np.random.default_rng(0).uniform(-1, 1, len(probe.x)))
    rows = [probe.x]
    for leaf in leaves:
        rows.append(probe.x.copy())
        rows[-1][leaf.part] = moved[leaf.part]
    integers = tuple(np.repeat(part[None], len(rows), axis=0) for part in probe.integers)
    gamma = found.cotangents[np.flatnonzero(found.which == 0)[-1]]
    columns = (np.stack(rows), integers, np.repeat(gamma[None], len(rows), axis=0))
    rule, expected = (
        run_rows(engine.pull, *columns)[1][:, seen.leaf.part]
        for engine in (subject.rule, subject.reference)
    )
    if not (np.isfinite(rule).all() and np.isfinite(expected).all() and rule.any()):
        return ""
    stays = [close(a, rule[0], 1e-12) for a in rule[1:]]
    changes = [not close(a, expected[0], 1e-3) for a in expected[1:]]
    still = zip(leaves, stays, changes, strict=True)
    return ", ".join(leaf.path for leaf, stayed, changed in still if stayed and changed)


def _arrays(seen: Seen) -> tuple[np.ndarray, np.ndarray] | tuple[None, None]:
    """Expected and given gradients, `[items, *shape]`, where they are real and finite."""
    rule, expected = seen.rule, seen.reference
    finite = np.isfinite(rule).all() and np.isfinite(expected).all()
    if seen.leaf.is_complex or not finite or not seen.leaf.shape or not len(rule):
        return None, None
    shape = (-1, *seen.leaf.shape)
    return expected.reshape(shape), rule.reshape(shape)
