"""Each constant that decides a verdict is held: ten times larger or smaller, it decides another."""

import pytest

from jaxfn.verification import constants
from tests.jaxfn.verification import (
    held_differences,
    held_elements,
    held_floors,
    held_layers,
    held_precision,
)

MODULES = held_floors, held_differences, held_elements, held_layers, held_precision
HELD = {name: holds for module in MODULES for name, holds in module.HELD.items()}
FACTORS = 10.0, 0.1


def test_each_constant_is_held():
    """And by one function alone."""
    held = [name for module in MODULES for name in module.HELD]
    assert sorted(held) == sorted(name for name in vars(constants) if name.isupper())


@pytest.mark.parametrize("name", HELD)
def test_holds(name):
    HELD[name]()


@pytest.mark.parametrize("factor", FACTORS)
@pytest.mark.parametrize("name", HELD)
def test_ten_times(name, factor, monkeypatch):
    monkeypatch.setattr(constants, name, getattr(constants, name) * factor)
    with pytest.raises(AssertionError):
        HELD[name]()
