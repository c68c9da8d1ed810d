"""Comparisons that several tests look at: one compiles fourteen programs."""

from __future__ import annotations

import pytest

import jaxfn
from jaxfn.comparison import Comparison
from tests.jaxfn.comparison.helpers import normal, quick


@pytest.fixture(scope="session")
def relu() -> Comparison:
    """Of ReLU with its rule, of 8·16 elements, at scans of 8 steps."""
    return quick(jaxfn.relu, (normal(8, 16),), seed=3)


@pytest.fixture(scope="session")
def linear() -> Comparison:
    """Of a linear layer: x float32[6,8], weight float32[8,5], bias float32[5]."""
    return quick(jaxfn.linear, (normal(6, 8), normal(8, 5), normal(5)))
