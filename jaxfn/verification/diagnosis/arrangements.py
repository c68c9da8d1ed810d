"""Errors that put the right numbers in other places, or take the map for its transpose.

The gradient of one leaf is a matrix times the cotangent. Where the cotangents at the given point
are a basis, that matrix is seen, and compared with the expected one, rearranged.
"""

import itertools
from collections.abc import Iterator

import numpy as np

from jaxfn.verification.diagnosis.seen import Cause, Seen, close


def exchanged(seen: Seen) -> Cause | None:
    """The gradient that another leaf should have."""
    assert seen.found.reference is not None
    for other in seen.subject.arguments.leaves:
        if other == seen.leaf or other.size != seen.leaf.size:
            continue
        expected = seen.found.reference[np.ix_(seen.items, np.r_[other.part])]
        if not np.isfinite(expected).all():
            continue
        if any(close(expected, sign * seen.reference) for sign in (1, -1)):
            continue  # of x - y: an exchange and a wrong sign are the same
        for sign in (1, -1):
            if close(seen.rule, sign * expected):
                sign_too = " (and the sign)" if sign < 0 else ""
                if seen.found.bad[np.ix_(seen.items, np.r_[other.part])].any():
                    text = f"the gradients of {seen.leaf.path} and {other.path} are exchanged"
                    return Cause("exchanged", text + sign_too)
                minus = "minus " if sign < 0 else ""
                text = (
                    f"the gradient of {seen.leaf.path} is {minus}the one expected of {other.path}"
                )
                return Cause("exchanged", f"{text}: exchanged, or taken for it{sign_too}")
    return None


def rearranged(seen: Seen) -> Cause | None:
    """The expected elements in other places."""
    shape, n = seen.leaf.shape, len(seen.items)
    if seen.leaf.is_complex or not np.isfinite(seen.rule).all():
        return None
    expected = seen.reference.reshape(n, *shape)
    name = seen.leaf.path
    for i in range(len(shape)):
        for j in range(i + 1, len(shape)):
            swapped = np.swapaxes(expected, i + 1, j + 1).reshape(n, -1)
            if shape[i] > 1 and shape[j] > 1 and close(seen.rule, swapped):
                text = f"the transpose of the expected gradient of {name} (axes {i} and {j})"
                return Cause("transposed", text)
    if len(shape) > 1 and close(
        seen.rule, np.flip(expected, tuple(range(1, len(shape) + 1))).reshape(n, -1)
    ):
        return Cause("elements", f"the gradient of {name} is reversed along all its axes")
    for axis in range(len(shape)):
        if shape[axis] < 2:
            continue
        if close(seen.rule, np.flip(expected, axis + 1).reshape(n, -1)):
            return Cause("elements", f"the gradient of {name} is reversed along axis {axis}")
        for shift in range(1, min(shape[axis], 9)):
            for by in (shift, -shift):
                if close(seen.rule, np.roll(expected, by, axis + 1).reshape(n, -1)):
                    text = f"the gradient of {name} is shifted by {by} along axis {axis}"
                    return Cause("elements", text)
    return None


def adjoint(seen: Seen) -> Cause | None:
    """The matrix where its transpose belongs: the map itself is applied to the cotangent."""
    matrices = seen.matrices
    if matrices is None or matrices[0].shape[0] != matrices[0].shape[1]:
        return None
    rule, expected = matrices
    for sign, word in ((1, ""), (-1, ", with the other sign")):
        if close(rule, sign * expected.T):
            text = (
                f"the gradient of {seen.leaf.path} goes through the function's own linear map, not "
                f"through its transpose (adjoint){word}: something is not transposed or reversed"
            )
            return Cause("transposed", text)
    return None


def permuted(seen: Seen) -> Cause | None:
    """The expected numbers at other elements, or for other elements of the cotangent."""
    matrices = seen.matrices
    if matrices is None or seen.leaf.is_complex:
        return None
    rule, expected = matrices
    name, few = seen.leaf.path, len(np.unique(expected)) < 4
    if few and not _is_a_permutation(expected):
        return None
    if close(np.sort(rule, axis=1), np.sort(expected, axis=1)):
        return Cause("elements", f"the elements of the gradient of {name} are in another order")
    if close(np.sort(rule, axis=0), np.sort(expected, axis=0)):
        unused = np.flatnonzero(~rule.any(axis=1) & expected.any(axis=1))
        text = f"in the gradient of {name} the cotangent's elements are taken in another order"
        if unused.size:
            text = (
                f"in the gradient of {name} some elements of the cotangent stand for others: "
                f"{unused.size} of {len(rule)} are ignored"
            )
        return Cause("elements", text)
    if not few and close(np.sort(rule, axis=None), np.sort(expected, axis=None)):
        text = (
            f"the Jacobian of {name} has the expected entries, at other places: something is not "
            "transposed, flipped or reversed"
        )
        return Cause("elements", text)
    if few:
        return None
    factor = float(np.abs(rule).sum() / np.abs(expected).sum())
    if factor and close(np.sort(rule / factor, axis=None), np.sort(expected, axis=None)):
        text = (
            f"the Jacobian of {name} has the expected entries, {factor:.6g} times and at other "
            "places: something is not transposed or reversed, and scaled"
        )
        return Cause("elements", text)
    return None


def _is_a_permutation(matrix: np.ndarray) -> bool:
    ones = matrix != 0
    return bool((ones.sum(axis=1) == 1).all() and (ones.sum(axis=0) <= 1).all())


def of_outputs(seen: Seen) -> Cause | None:
    """Wrong for one of several outputs only: ignored, of the wrong sign, scaled, exchanged."""
    matrices = seen.matrices
    if matrices is None or len(seen.subject.rule.outputs) < 2:
        return None
    parts = list(_outputs(seen))
    name = seen.leaf.path
    for k, other in itertools.permutations(range(len(parts)), 2):
        rule, expected = (matrix[parts[k]] for matrix in matrices)
        taken = matrices[1][parts[other]]
        if rule.shape == taken.shape and close(rule, taken) and not close(rule, expected):
            which = f"outputs {min(k, other)} and {max(k, other)}"
            text = f"the cotangents of {which} are exchanged in the gradient of {name}"
            return Cause("exchanged", text)
    for k, part in enumerate(parts):
        rule, expected = (matrix[part] for matrix in matrices)
        if close(rule, expected) or not expected.any():
            continue
        if not rule.any():
            text = f"the cotangent of output {k} is ignored in the gradient of {name}"
            return Cause("dropped-term", text)
        where = f"in the part of the gradient of {name} that comes from output {k}"
        factor = float((rule * expected).sum() / (expected**2).sum())
        if close(rule, factor * expected):
            if abs(factor + 1) < 1e-6:
                return Cause("sign", f"wrong sign {where}")
            return Cause("scale", f"{factor:.6g} times the expected value {where}")
    return None


def _outputs(seen: Seen) -> Iterator[slice]:
    start = 0
    for out in seen.subject.rule.outputs:
        parts = 2 if np.issubdtype(out.dtype, np.complexfloating) else 1
        size = parts * int(np.prod(out.shape, dtype=int))
        yield slice(start, start + size)
        start += size
