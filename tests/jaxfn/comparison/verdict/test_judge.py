"""From figures to words."""

from __future__ import annotations

import pytest

from jaxfn.comparison.figures import regimes
from jaxfn.comparison.figures.flops import Flops
from jaxfn.comparison.figures.records import Pair
from jaxfn.comparison.figures.timing import Timing
from jaxfn.comparison.verdict.judge import judge
from tests.jaxfn.comparison.synthetic import (
    PROGRAM,
    changed,
    error,
    figures,
    kept,
    programs,
    timed,
)


def verdict(**changes) -> str:
    return judge(figures(**changes), True)[0]


def test_nothing_differs():
    assert verdict() == "same residual memory, same speed, same accuracy"


def test_the_same_program_in_some_regimes():
    same = programs(regimes.BOTH, PROGRAM, PROGRAM)
    found, findings = judge(figures(programs=same), True)
    assert found.startswith("same compiled program in one jit, same residual memory")
    assert findings[0] == "the same compiled program in one jit"
    everywhere = {name: Pair(PROGRAM, PROGRAM) for name in regimes.EXPLANATIONS}
    slower = {name: Pair(timed(2.0), timed(1.0)) for name in regimes.EXPLANATIONS}
    found, findings = judge(figures(programs=everywhere, times=slower), True)
    assert found == "same compiled program: the custom rule buys nothing"
    assert "same speed" in findings  # whatever the clock says


def test_an_unknown_program_is_not_the_same():
    unknown = changed(fingerprint=None)
    everywhere = {name: Pair(unknown, unknown) for name in regimes.EXPLANATIONS}
    assert "same compiled program" not in verdict(programs=everywhere)


@pytest.mark.parametrize(
    ("rule", "reference", "said"),
    [
        (kept(50, read=1), kept(100), "half the residual memory (50 B instead of 100 B)"),
        (kept(25, read=1), kept(100), "a quarter of the residual memory"),
        (kept(230, read=1), kept(100), "2.3 times the residual memory"),
        (kept(104, read=1), kept(100), "1.04 times the residual memory"),
        (kept(123, read=1), kept(100), "1.2 times the residual memory"),
        (kept(0, read=1), kept(100), "no residual memory instead of 100 B"),
        (kept(100, read=1), kept(0), "100 B of residual memory instead of none"),
        (kept(50, read=9), kept(100, read=9), "once compiled both backward halves read the same"),
        (kept(100, argument=64), kept(100), "keeps 64 B of its arguments instead of none"),
    ],
)
def test_residuals(rule, reference, said):
    assert said in verdict(residuals=Pair(rule, reference))


def test_memory_of_the_programs():
    layers = programs(regimes.LAYERS, PROGRAM, changed(temp_bytes=300, fingerprint="b"))
    said = "0.67 times the temporary memory (200 B instead of 300 B) in a scan over layers"
    assert said in verdict(programs=layers)
    unknown = programs(regimes.LAYERS, PROGRAM, changed(temp_bytes=None, fingerprint="b"))
    assert "temporary" not in verdict(programs=unknown)


def test_operations_are_a_finding():
    more = programs(regimes.BOTH, changed(flops=Flops(300)), changed(fingerprint="b"))
    _, findings = judge(figures(programs=more), True)
    said = "3 times as many floating point operations as written (300 instead of 100)"
    assert said in findings


@pytest.mark.parametrize(
    ("times", "said"),
    [
        ({regimes.BOTH: (1, 2.3)}, "2.3 times as fast in one jit; otherwise the same speed"),
        ({regimes.STEPS: (3, 1)}, "takes 3 times as long in a scan over steps; otherwise"),
        (dict.fromkeys(regimes.EXPLANATIONS, (1, 2)), "2 times as fast everywhere"),
        (
            dict.fromkeys(regimes.EXPLANATIONS, (2, 1)) | {regimes.BOTH: (4, 1)},
            "takes 2 to 4 times as long everywhere",
        ),
        ({regimes.VALUE: (9, 1)}, "same speed"),  # the function alone is not the rule's
    ],
)
def test_speed(times, said):
    pairs = {name: Pair(timed(a), timed(b)) for name, (a, b) in times.items()}
    assert said in verdict(times=figures().times | pairs)


def test_too_few_runs():
    once = Timing(1.0, 1.0, 1.0, 1)
    times = {name: Pair(once, once) for name in regimes.EXPLANATIONS}
    assert "too few runs to compare the speed" in verdict(times=times)


@pytest.mark.parametrize(
    ("rule", "reference", "said"),
    [
        (5, 1, "gradient of x 4 ulps less accurate"),
        (1, 5, "gradient of x 4 ulps more accurate"),
        (1.4, 0.5, "same accuracy"),  # less than an ulp apart
        (5, 4, "same accuracy"),  # less than twice
        (float("inf"), 1, "gradient of x inf ulps less accurate"),
        (float("inf"), float("inf"), "same accuracy"),
    ],
)
def test_accuracy(rule, reference, said):
    errors = {
        "value": Pair(error(1), error(1)),
        "gradient of x": Pair(error(rule), error(reference)),
    }
    assert said in verdict(errors=errors)


def test_without_exact_values_accuracy_is_a_distance():
    errors = {"value": Pair(error(3), error(0))}
    assert "at most 3 ulps from the reference" in verdict(
        errors=errors, errors_against="the reference"
    )
