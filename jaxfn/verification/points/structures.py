"""What the given arrays show of a structure that a function may rely on, and moves that keep it."""

from typing import Any

import numpy as np

from jaxfn.verification.subject.coordinates import Arguments


def structure_of(a: np.ndarray) -> frozenset[str]:
    """What an array's values show of a structure that the function may rely on."""
    found = set()
    if np.iscomplexobj(a) or a.size == 0:
        if a.ndim >= 2 and a.shape[-1] == a.shape[-2] > 1 and _hermitian(a):
            found.add("hermitian")
        return frozenset(found)
    a = a.astype(np.float64)
    if not np.isfinite(a).all():
        return frozenset(found)
    if a.ndim >= 1 and a.shape[-1] >= 3 and (np.diff(a, axis=-1) > 0).all():
        found.add("increasing")
    if a.ndim >= 1 and a.shape[-1] >= 2:
        if (a >= 0).all() and np.allclose(a.sum(-1), 1, atol=1e-3):
            found.add("probabilities")
        if np.allclose((a**2).sum(-1), 1, atol=1e-3):
            found.add("unit")
    if a.ndim >= 2 and a.shape[-1] == a.shape[-2] > 1:
        if _hermitian(a):
            positive = np.linalg.eigvalsh(a).min() > 0
            found.add("definite" if positive else "hermitian")
        elif not np.triu(a, 1).any():
            found.add("lower")
        elif not np.tril(a, -1).any():
            found.add("upper")
    return frozenset(found)


def said_of(arguments: Arguments) -> tuple[str, ...]:
    """A sentence for each array whose structure the points keep."""
    return tuple(
        f"{leaf.path} stays as it is given: {', '.join(sorted(kept))}"
        for leaf in arguments.leaves
        if (kept := structure_of(arguments.array(leaf, arguments.given)))
    )


def _hermitian(a: np.ndarray) -> bool:
    return bool(np.allclose(a, np.conj(np.swapaxes(a, -1, -2)), atol=1e-6 * np.abs(a).max()))


def keep(
    arguments: Arguments, structures: list[frozenset[str]], x: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """The vector with the structure of each leaf that the given one has."""
    if not any(structures):
        return x
    x = x.copy()
    for leaf, structure in zip(arguments.leaves, structures, strict=True):
        if structure:
            given, moved = arguments.array(leaf, arguments.given), arguments.array(leaf, x)
            kept: Any = np.asarray(_kept(given, moved, structure, rng)).reshape(-1)
            x[leaf.part] = np.concatenate([kept.real, kept.imag]) if leaf.is_complex else kept
    return x


def _kept(
    given: np.ndarray, moved: np.ndarray, structure: frozenset[str], rng: np.random.Generator
) -> np.ndarray:
    if "increasing" in structure:
        moved = np.sort(moved, axis=-1)
        if (np.diff(moved, axis=-1) <= 0).any():
            return given
    if "probabilities" in structure:
        weights = np.abs(moved) + 1e-3 * np.abs(moved).max() + 1e-300
        return weights / weights.sum(-1, keepdims=True)
    if "unit" in structure:
        norm = np.sqrt((moved**2).sum(-1, keepdims=True))
        return np.where(norm > 0, moved / np.where(norm > 0, norm, 1), given)
    if "definite" in structure:
        factor = np.tanh(moved) if np.abs(moved).max() > 0 else rng.standard_normal(moved.shape)
        noise = np.einsum("...ij,...kj->...ik", factor, factor)
        return given + 0.3 * noise * np.abs(given).max() / max(np.abs(noise).max(), 1e-300)
    if "hermitian" in structure:
        return (moved + np.conj(np.swapaxes(moved, -1, -2))) / 2
    if "lower" in structure:
        return np.tril(moved)
    if "upper" in structure:
        return np.triu(moved)
    return moved
