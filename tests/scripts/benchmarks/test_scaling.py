"""What weak scaling reports, and that its steps run."""

import json
import subprocess

import pytest

from scripts.benchmarks import scaling
from scripts.benchmarks.timing import Effort

pytestmark = pytest.mark.numbers


@pytest.mark.long
def test_times_are_taken_with_and_without_a_mesh(monkeypatch, capsys):
    monkeypatch.setattr(scaling, "DEVICES", (2,))
    monkeypatch.setattr(scaling, "IMAGES", 4)
    scaling.main(Effort(repeats=2, seconds=1.0))
    measured = json.loads(capsys.readouterr().out)
    assert {name: images for name, (images, _) in measured.items()} == {
        "no mesh": 4,
        "2 devices": 8,
    }
    assert all(len(seconds) == 2 and min(seconds) > 0 for _, seconds in measured.values())


def test_cost_per_image(monkeypatch):
    times = {"no mesh": (128, [1.0, 3.0, 2.0]), "1 device": (128, [2.0]), "2 devices": (256, [3.0])}
    asked = {}

    def run(command, *, env, **_):
        asked.update(command=command, env=env)
        return subprocess.CompletedProcess(command, 0, stdout=json.dumps(times).encode())

    monkeypatch.setattr(subprocess, "run", run)
    (rows,) = scaling.scaling(Effort(repeats=3, seconds=1.0, seed=5))
    assert json.loads(asked["command"][-1]) == [3, 1.0, 5]
    assert (asked["env"]["JAX_PLATFORMS"], asked["env"]["JAX_NUM_CPU_DEVICES"]) == ("cpu", "8")
    assert [row.contestant for row in rows] == ["no mesh", "1 device", "2 devices"]
    assert [row.figures["cost_against_alone"] for row in rows] == pytest.approx([1, 1, 0.75])
