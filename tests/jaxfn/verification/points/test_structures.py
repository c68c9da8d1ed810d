"""What an array shows of its structure, and that moves keep it."""

import numpy as np

from jaxfn.verification.points.structures import keep, structure_of
from jaxfn.verification.subject.coordinates import Arguments

RNG = np.random.default_rng(0)
SQUARE = RNG.standard_normal((3, 3))


def test_structures():
    assert structure_of(SQUARE) == frozenset()
    assert structure_of(SQUARE + SQUARE.T) <= {"hermitian", "definite"}
    assert "definite" in structure_of(SQUARE @ SQUARE.T + np.eye(3))
    assert "lower" in structure_of(np.tril(SQUARE))
    assert "increasing" in structure_of(np.array([1.0, 2.0, 4.0]))
    assert "probabilities" in structure_of(np.array([0.2, 0.8]))


def test_moves_keep_the_structure():
    given = SQUARE @ SQUARE.T + np.eye(3), np.array([0.2, 0.5, 0.3]), np.array([1.0, 2.0, 4.0])
    arguments = Arguments(given)
    structures = [structure_of(array) for array in given]
    for _ in range(5):
        moved = keep(arguments, structures, RNG.standard_normal(arguments.size), RNG)
        for leaf, structure in zip(arguments.leaves, structures, strict=True):
            assert structure <= structure_of(arguments.array(leaf, moved))
