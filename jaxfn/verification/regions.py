"""The part of the domain in which a gradient is wrong, in words."""

from collections.abc import Callable, Iterator

import numpy as np

from jaxfn.verification.agreement import Comparison
from jaxfn.verification.coordinates import Leaf
from jaxfn.verification.probes import EXTREME
from jaxfn.verification.subject import Subject

MOST = 0.8  # of the domain: a condition that holds nearly everywhere names no part of it


def region(subject: Subject, found: Comparison, leaf: Leaf) -> str:
    """A condition on an argument that holds exactly where the gradient of `leaf` is wrong.

    Conditions on the element itself are tried first, then those on the elements of other leaves
    of the same shape. Empty if none fits, or if the gradient is wrong everywhere.
    """
    bad = np.stack(
        [
            (found.bad & ~found.unstable)[found.items_of(i)][:, leaf.part].any(axis=0)
            if found.items_of(i).size
            else np.zeros(leaf.size, bool)
            for i in range(len(found.probes))
        ]
    )
    used = np.array(
        [found.items_of(i).size > 0 and p.kind != EXTREME for i, p in enumerate(found.probes)]
    )
    if not bad[used].any() or bad[used].all() or leaf.is_complex:
        return ""
    for other in [leaf, *(o for o in subject.arguments.leaves if o != leaf)]:
        if other.is_complex or other.size not in (leaf.size, 1):
            continue
        x = np.stack([p.x[other.part] for p in found.probes])[used]
        x = np.broadcast_to(x, bad[used].shape)
        for text, holds in _conditions(x, bad[used]):
            if _fits(holds(x), bad[used]):
                return text.format(other.path)
    return ""


def _fits(holds: np.ndarray, bad: np.ndarray) -> bool:
    """Wrong only where the condition holds, and there nearly always."""
    if not holds.any() or holds.mean() > MOST:
        return False
    return not (bad & ~holds).any() and bool(bad[holds].mean() > 0.7)


def _conditions(
    x: np.ndarray, bad: np.ndarray
) -> Iterator[tuple[str, Callable[[np.ndarray], np.ndarray]]]:
    yield "{} == 0", lambda v: v == 0
    yield "{} == -0.0", lambda v: (v == 0) & np.signbit(v)
    yield "{} < 0", lambda v: v < 0
    yield "{} <= 0", lambda v: v <= 0
    yield "{} > 0", lambda v: v > 0
    yield "{} is a whole number", lambda v: (v == np.round(v)) & (np.abs(v) < 1e15)
    yield "{} >= 0", lambda v: v >= 0
    low, high = x[bad].min(), x[bad].max()
    yield f"{{}} >= {low:.3g}", lambda v: v >= low
    yield f"{{}} <= {high:.3g}", lambda v: v <= high
    inner, outer = np.abs(x[bad]).min(), np.abs(x[bad]).max()
    yield f"|{{}}| >= {inner:.3g}", lambda v: np.abs(v) >= inner
    yield f"|{{}}| <= {outer:.3g}", lambda v: np.abs(v) <= outer
    yield f"{low:.3g} <= {{}} <= {high:.3g}", lambda v: (v >= low) & (v <= high)
