"""Errors of the Jacobian's entries: contributions that are missing, or that do not belong there."""

import numpy as np

from jaxfn.verification.diagnosis.named_by_integers import of_integers
from jaxfn.verification.diagnosis.places import listed
from jaxfn.verification.diagnosis.seen import Cause, Seen, close

FARTHEST = 4  # places that a gradient is shifted by
MANY = 0.25  # of the wrong entries: fewer that should be zero do not explain the others


def entries(seen: Seen) -> Cause | None:
    """Each entry is right, or zero, or should be zero."""
    if seen.matrices is None or seen.leaf.is_complex:
        return None
    rule, expected = seen.matrices
    scale = np.abs(expected).max(initial=0)
    wrong = np.abs(rule - expected) > 1e-5 * scale
    missing = wrong & (np.abs(rule) <= 1e-9 * scale)
    extra = wrong & (np.abs(expected) <= 1e-9 * scale)
    name, used = seen.leaf.path, np.abs(expected) > 1e-9 * scale
    if not wrong.any():
        return None
    if (missing == wrong).all():
        if not (missing.any(axis=0) & (used & ~missing).any(axis=0)).any():
            return None  # whole elements are zero: those are named elsewhere
        text = (
            f"contributions to the gradient of {name} are missing: {missing.sum()} of the "
            f"{used.sum()} entries of its Jacobian are zero"
        )
        return Cause("dropped-term", text + _which(seen, missing, used))
    if ((missing | extra) == wrong).all() and missing.any() and extra.any():
        text = (
            f"{missing.sum()} entries of the Jacobian of {name} are zero and should not be, "
            f"{extra.sum()} are not zero and should be: "
        )
        text += _shift(seen) or "another mask, axis or order"
        return Cause("elements", text)
    if (extra == wrong).all() and used.any():
        text = (
            f"contributions to the gradient of {name} that do not belong there: {extra.sum()} "
            "entries of its Jacobian should be zero and are not"
        )
        return Cause("extra-term", text + of_integers(seen, 0, np.flatnonzero(extra.any(axis=0))))
    return None


def misplaced(seen: Seen) -> Cause | None:
    """Entries that should be zero and are not, beside others that are wrong."""
    if seen.matrices is None or seen.leaf.is_complex:
        return None
    rule, expected = seen.matrices
    scale = np.abs(expected).max(initial=0)
    wrong = np.abs(rule - expected) > 1e-5 * scale
    missing = wrong & (np.abs(rule) <= 1e-9 * scale)
    extra = wrong & (np.abs(expected) <= 1e-9 * scale)
    if extra.sum() < MANY * wrong.sum() or not extra.any() or (extra == wrong).all():
        return None
    counts = f"{extra.sum()} entries of its Jacobian should be zero and are not"
    others = f"{(wrong & ~missing & ~extra).sum()} others are wrong"
    if missing.any():
        text = (
            f"the gradient of {seen.leaf.path} comes from other places than it should: {counts}, "
            f"{missing.sum()} are zero and should not be, {others}: "
        )
        text += _shift(seen) or "another offset, axis or order"
        return Cause("elements", text)
    text = (
        f"the gradient of {seen.leaf.path} has contributions that do not belong there: {counts}, "
        f"{others}: a mask is missing, or a sum or mean goes too far"
    )
    return Cause("extra-term", text)


def _shift(seen: Seen) -> str:
    """By how many places the Jacobian is shifted, apart from what the shift moves out of it."""
    first, *others = seen.subject.rule.outputs
    if others or np.issubdtype(first.dtype, np.complexfloating) or seen.matrices is None:
        return ""
    shape = (*first.shape, *seen.leaf.shape)
    rule, expected = (matrix.reshape(shape) for matrix in seen.matrices)
    for axis, size in enumerate(shape):
        for shift in range(1, min(FARTHEST + 1, size)):
            for by in (shift, -shift):
                here = np.arange(max(by, 0), size + min(by, 0))
                a, b = rule.take(here, axis), expected.take(here - by, axis)
                if (b**2).sum() > 0.5 * (expected**2).sum() and close(a, b):
                    where = f"axis {axis} of the output"
                    if axis >= len(first.shape):
                        where = f"axis {axis - len(first.shape)} of {seen.leaf.path}"
                    return f"it is shifted by {by} along {where}"
    return ""


def _which(seen: Seen, missing: np.ndarray, used: np.ndarray) -> str:
    kept = used & ~missing
    if missing.shape[0] == missing.shape[1] and not (kept & ~np.eye(len(kept), dtype=bool)).any():
        return ", only its diagonal is there: each element's own share, not that of the others"
    rows = np.asarray(~kept.any(axis=1) & used.any(axis=1))
    first, *others = seen.subject.rule.outputs
    whole = not others and not np.issubdtype(first.dtype, np.complexfloating)
    if whole and (missing == used & rows[:, None]).all():
        shape = tuple(first.shape)
        return f", the cotangent is ignored in {listed(shape, np.flatnonzero(rows))}"
    return ""
