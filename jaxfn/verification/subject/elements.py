"""How single elements of vectors are reported."""

from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np

from jaxfn.verification.report import Element
from jaxfn.verification.subject.coordinates import Arguments, Leaf


def element_of(
    arguments: Arguments, coordinate: int, rule: np.ndarray, reference: np.ndarray, probe: str
) -> Element:
    """The element of a gradient that a coordinate belongs to."""
    return leaf_element(arguments.leaves, coordinate, rule, reference, probe)


def leaf_element(
    leaves: Sequence[Leaf], coordinate: int, rule: np.ndarray, reference: np.ndarray, probe: str
) -> Element:
    """The element of a tree that a coordinate of its vector belongs to."""
    leaf = next(leaf for leaf in leaves if leaf.start <= coordinate < leaf.start + leaf.size)
    a, b = _at(leaf, coordinate, rule), _at(leaf, coordinate, reference)
    return Element(leaf.path, leaf.index_of(coordinate), a, b, ulps(a, b, leaf.dtype), probe)


def _at(leaf: Leaf, coordinate: int, vector: np.ndarray) -> float | complex:
    if not leaf.is_complex:
        return float(vector[coordinate])
    first = leaf.start + (coordinate - leaf.start) % leaf.count
    return complex(vector[first], -vector[first + leaf.count])


def ulps(rule: complex, reference: complex, dtype: object) -> float:
    """The difference in units of the last place of the reference in the argument's dtype."""
    info = jnp.finfo(dtype)
    spacing = max(abs(reference) * float(info.eps), float(info.tiny))
    with np.errstate(all="ignore"):
        return float(np.abs(np.complex128(rule) - np.complex128(reference)) / spacing)
