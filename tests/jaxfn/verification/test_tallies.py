"""The tallies run, on a few cases, and their hook for diagnoses reads failed layers only."""

from types import SimpleNamespace

import numpy as np
import pytest

import jaxfn
from tests.jaxfn.verification import bodies, tallies

CASES = {case.name: case for case in bodies.WRONG + bodies.CORRECT}


def _verdicts(tool, *names):
    outcomes = tallies.tally(tallies.tools()[tool], [CASES[name] for name in names])
    return [outcome.verdict for outcome in outcomes.values()]


def test_check_grads_misses_a_rounded_primal_and_rejects_relu_at_zero():
    tool = "jax.test_util.check_grads, order 1"
    wrong = "cosine_without_its_minus", "softmax_with_an_epsilon_in_forward"
    assert _verdicts(tool, *wrong) == [tallies.CAUGHT, tallies.PASSED]
    correct = "relu_zero_at_zero", "linear_layer"
    assert _verdicts(tool, *correct) == [tallies.CAUGHT, tallies.PASSED]


def test_check_grads_catches_a_stopped_residual_at_order_two_only():
    for order, verdict in (1, tallies.PASSED), (2, tallies.CAUGHT):
        tool = f"jax.test_util.check_grads, order {order}"
        assert _verdicts(tool, "sine_with_a_stopped_residual") == [verdict]


@pytest.mark.parametrize("name", ["embedding_with_repeated_rows", "gradient_reversal"])
def test_what_a_tool_cannot_express_is_left_out(name):
    tool = "jax.test_util.check_grads, order 1"
    assert _verdicts(tool, name) == [tallies.INEXPRESSIBLE]


def test_chex_passes_a_small_error():
    verdicts = _verdicts("chex.assert_numerical_grads", "sine_one_per_mille_too_large")
    assert verdicts == [tallies.PASSED]


def test_main_prints_a_table(capsys):
    results = tallies.main(["--only", "^cosine_without", "--tool", "order 1", "--list"])
    assert list(results) == ["jax.test_util.check_grads, order 1"]
    assert "| jax.test_util.check_grads, order 1 | 1 of 1 | 0 of 0 |" in capsys.readouterr().out


def _report(**failed):
    passed = SimpleNamespace(name="vmap", verdict="pass", diagnosis="", detail="the sign")
    check = SimpleNamespace(
        **{"name": "", "verdict": "fail", "diagnosis": "", "detail": ""} | failed
    )
    return SimpleNamespace(checks=(passed, check), diagnosis="")


def test_diagnosis_is_read_from_failed_layers():
    case = CASES["cosine_without_its_minus"]
    assert tallies.diagnosed(_report(diagnosis="the opposite sign everywhere"), case)
    assert not tallies.diagnosed(_report(diagnosis="2.000 times the expected value"), case)
    other = next(case for case in bodies.WRONG if case.cause == "other")
    assert tallies.diagnosed(_report(), other) is None


def test_every_cause_but_other_has_a_pattern():
    assert set(tallies.DIAGNOSES) == set(bodies.CAUSES) - {"other"}


def test_what_one_tool_catches_and_another_misses():
    wrong, correct = CASES["cosine_without_its_minus"], CASES["relu_half_at_zero"]
    caught, passed = tallies.Outcome(tallies.CAUGHT), tallies.Outcome(tallies.PASSED)
    results = {"a": {wrong: caught, correct: caught}, "b": {wrong: passed, correct: passed}}
    assert tallies.missed(results, "b", "a") == ["cosine_without_its_minus"]
    assert tallies.missed(results, "a", "b") == []


@pytest.mark.skipif(not hasattr(jaxfn, "gradcheck"), reason="jaxfn.gradcheck is not there")
def test_jaxfn_gradcheck_is_a_tool():
    names = "cosine_without_its_minus", "relu_half_at_zero"
    assert _verdicts("jaxfn.gradcheck", *names) == [tallies.CAUGHT, tallies.PASSED]


@pytest.mark.parity
@pytest.mark.parametrize("mode", ["slow", "fast"])
def test_torch_bridge_takes_complex_numbers_and_trees(mode):
    tool = tallies.tools(with_torch=True)[f"PyTorch gradcheck, {mode} mode"]
    names = "complex_square", "squared_norm_of_a_tree", "maximum_and_its_index"
    right = tallies.tally(tool, [CASES[name] for name in names])
    wrong = tallies.tally(tool, [CASES["complex_square_conjugated"]])
    assert {outcome.verdict for outcome in right.values()} == {tallies.PASSED}
    assert {outcome.verdict for outcome in wrong.values()} == {tallies.CAUGHT}
    assert np.all([outcome.seconds > 0 for outcome in right.values()])
