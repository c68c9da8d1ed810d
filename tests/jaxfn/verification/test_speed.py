"""The functions of the speed table have right rules; its power law is one."""

import numpy as np
import pytest

from jaxfn.verification import gradcheck
from tests.jaxfn.verification import speed


@pytest.mark.parametrize("fun", [speed.elementwise, speed.loss])
def test_rules_are_right(fun):
    x = np.array([0.3, -1.5, 2.0], np.float32)
    assert gradcheck(fun, (x,), layers=("linearity", "autodiff")).verdict == "pass"


def test_power_law():
    sizes = 10, 20, 40
    assert speed.power_law(sizes, [3e-3 * n**1.5 for n in sizes]) == pytest.approx((3e-3, 1.5))


@pytest.mark.parity
def test_measurement_at_small_sizes(monkeypatch):
    monkeypatch.setattr(speed, "ELEMENTS", 50)
    monkeypatch.setattr(speed, "FITTED", (10, 20, 40))
    assert "times" in speed.measure()
