"""How much is measured."""

from __future__ import annotations

import pytest

from jaxfn.comparison.figures import measure
from jaxfn.comparison.figures.compiled import Program
from jaxfn.comparison.figures.records import Pair
from tests.jaxfn.comparison.synthetic import PROGRAM


@pytest.mark.parametrize(
    ("seconds", "builds", "counted"),
    [
        (0.001, 6, 5),  # the first is not counted, and five are enough
        (0.25, 3, 2),  # of both sides half a second: another were more than two
        (2.0, 1, 1),  # no time for another: then the first counts
    ],
)
def test_stages_are_timed_five_times_and_within_twice_the_seconds(
    monkeypatch, seconds, builds, counted
):
    built = []

    def build(fun, args):
        built.append(fun)
        return Program(lambda: None, PROGRAM, None, dict.fromkeys(measure.STAGES, seconds / 3))

    monkeypatch.setattr(measure, "build", build)
    effort = measure.Effort(rounds=1, seconds=1.0, length=1)
    _, stages = measure._build_timed(Pair(("rule", ()), ("reference", ())), effort)
    assert built == ["rule", "reference"] * builds
    assert {pair.rule.samples for pair in stages.values()} == {counted}
