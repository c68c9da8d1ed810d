"""Whole trainings run beside each other."""

from __future__ import annotations

import pytest

from scripts import train_lenet
from scripts.benchmarks import trainings
from scripts.benchmarks.lenet import CHANNELS_LAST, FLAX, OURS, PYTORCH, WITHOUT_RULES
from scripts.benchmarks.timing import Effort

QUICK = Effort(repeats=1, seconds=0.01)


@pytest.fixture
def _no_pytorch(monkeypatch):
    monkeypatch.setattr(trainings, "why_no_pytorch", lambda: "no torch here")


@pytest.mark.usefixtures("_no_pytorch")
def test_regression():
    ((ours, without, pytorch),) = trainings.regression(QUICK)
    assert [row.contestant for row in (ours, without, pytorch)] == [OURS, WITHOUT_RULES, PYTORCH]
    assert ours.group == "500 steps"
    assert len(ours.timing.seconds) == 1
    assert (pytorch.timing, pytorch.note) == (None, "no torch here")


@pytest.mark.usefixtures("_no_pytorch")
def test_epoch(monkeypatch):
    compile_epoch, programs = train_lenet.compile_epoch, {}

    def compile_once(config, *args):
        """One program for both, since compiling takes seconds."""
        programs[config.rules] = next(iter(programs.values()), None) or compile_epoch(config, *args)
        return programs[config.rules]

    monkeypatch.setattr(train_lenet, "compile_epoch", compile_once)
    (rows,) = trainings.epoch(QUICK)
    assert [*programs] == ["custom", "autodiff"]
    names = [row.contestant for row in rows]
    assert names == [OURS, WITHOUT_RULES, FLAX, PYTORCH, CHANNELS_LAST]
    assert rows[0].group == "1437 images, batch 32"
    assert all(row.timing for row in rows[:3])
    speed = rows[2].timing.median / rows[0].timing.median
    assert rows[0].figures["speed_against_flax"] == speed


@pytest.mark.parity
@pytest.mark.parametrize("section", [trainings.regression, trainings.epoch])
def test_pytorch_takes_part(section):
    (rows,) = section(QUICK)
    assert all(row.timing for row in rows)
    assert "speed_against_pytorch" in rows[0].figures
