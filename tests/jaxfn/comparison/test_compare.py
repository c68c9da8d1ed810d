"""`compare`: what it takes, what it refuses, what it says."""

from __future__ import annotations

import sys
import time
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.experimental import pallas as pl

import jaxfn
from jaxfn.comparison import Comparison, compare
from jaxfn.comparison.figures import measure, regimes
from jaxfn.comparison.figures.compiled import build
from jaxfn.comparison.figures.problem import make_problem
from jaxfn.comparison.figures.regimes import EXPLANATIONS
from jaxfn.verification import GradcheckReport
from tests.jaxfn.comparison.helpers import (
    FAILED,
    called_sin,
    newton_s_root,
    normal,
    plain_sin,
    quick,
    root,
    sin_of_numpy,
    slow_sin,
    with_rule,
    wrong_sin,
)
from tests.jaxfn.comparison.synthetic import figures

X = normal(6, 8)
POSITIVE = jnp.array([1.2, 2.0, 3.0])


def test_a_right_rule_is_proved_and_then_timed():
    start = time.perf_counter()
    result = compare(jaxfn.relu, (X[:2, :2],), seconds=0.05)
    assert time.perf_counter() - start < 20
    assert isinstance(result, Comparison)
    assert result.proof.verdict == "pass"
    assert result.rules == ("_relu",)
    assert set(result.figures.times) == set(result.figures.programs) == set(EXPLANATIONS)
    assert result.figures.times["value"].rule.samples >= 5
    assert "0.2 times the residual memory" in result.verdict


def test_a_wrong_rule_is_refused():
    result = compare(wrong_sin, (X[:2, :2],))
    assert result.proof.verdict == "fail"
    assert result.figures is None
    assert result.verdict.startswith("refused: the rule is wrong, so it was not timed")
    assert "verdict: refused" in str(result)
    with pytest.raises(ValueError, match="has no figures: refused"):
        result.plot("nowhere.png")


def test_a_doubtful_rule_is_timed_and_the_doubt_said(monkeypatch):
    monkeypatch.setattr(sys.modules[compare.__module__], "measure", lambda *_: figures())
    doubtful = GradcheckReport("sin", "inconclusive", ())
    result = quick(plain_sin, (X,), proof=doubtful)
    assert result.figures is not None
    assert result.verdict.endswith("same accuracy; gradcheck is inconclusive")


def test_a_slow_rule_is_reported_slower():
    result = quick(slow_sin, (X,), reference=plain_sin, rounds=7, seconds=1.0)
    times = result.figures.times
    for regime in ("value and gradients", "backward half", "scan over steps"):
        assert times[regime].rule.median > 3 * times[regime].reference.median
    assert "times as long in one jit" in result.verdict
    assert result.figures.programs["value"].rule == result.figures.programs["value"].reference
    counted = result.figures.programs["backward half"]
    assert counted.rule.flops.total > 1000 * counted.reference.flops.total


def test_the_same_program_buys_nothing(linear):
    assert linear.verdict == "same compiled program: the custom rule buys nothing"
    assert linear.findings[0] == "the same compiled program in every regime"


def test_without_a_rule_there_is_nothing_to_compare():
    result = quick(jnp.sin, (X,))
    assert result.rules == ()
    assert result.verdict == "no custom rule is applied: same compiled program"


@pytest.mark.parametrize(
    ("fun", "reason"),
    [
        (root, "ValueError: Reverse-mode differentiation does not work for lax.while_loop"),
        (called_sin, "ValueError: Pure callbacks do not support JVP"),
    ],
)
def test_what_autodiff_cannot_differentiate_has_figures_of_its_own(fun, reason):
    result = quick(fun, (POSITIVE,))
    assert result.against == ""
    assert result.verdict.startswith(
        "nothing to compare with: autodiff cannot differentiate it, and there is no reference="
    )
    assert result.findings[0].startswith(f"autodiff cannot differentiate it: {reason}")
    own = result.figures
    assert set(own.times) == set(own.programs) == set(EXPLANATIONS)
    pairs = [own.residuals, *own.times.values(), *own.programs.values(), *own.stages.values()]
    assert {pair.reference for pair in [*pairs, *own.errors.values()]} == {None}
    assert own.residuals.rule.nbytes("new") == 0
    assert own.programs["scan over layers"].rule.temp_bytes >= 8 * POSITIVE.nbytes
    assert own.errors_against == "the rule itself in float64"
    assert max(pair.rule.ulps for pair in own.errors.values()) < 4


def test_a_surrogate_is_no_reference_where_the_value_cannot_be_differentiated():
    fun = with_rule(sin_of_numpy, lambda x: (sin_of_numpy(x), None), lambda _, g: (g,))
    result = quick(fun, (X,), surrogate=lambda x: x, linear_in_cotangent=False)
    assert result.against == ""
    assert set(result.figures.errors) == {"value", "gradient of x"}
    assert result.figures.notes == ()
    assert result.verdict.endswith("not checked against finite differences")


def test_a_pallas_kernel_has_figures_of_its_own():
    def kernel(x, y):
        y[...] = jnp.sin(x[...])

    def sin(x):
        return pl.pallas_call(kernel, jax.typeof(x), interpret=True)(x)

    fun = with_rule(sin, lambda x: (sin(x), x), lambda x, g: (g * jnp.cos(x),))
    assert "no reference=; by itself: no residual memory" in quick(fun, (X,)).verdict


def test_alone_a_rule_is_proved_by_finite_differences():
    result = quick(root, (POSITIVE,), proof=None)
    power = result.proof.check("differences").power
    said = f"agrees with finite differences, which show relative errors above {power:.1g}"
    assert said in result.verdict
    wrong = with_rule(newton_s_root, lambda x: (newton_s_root(x),) * 2, lambda y, g: (g / y,))
    refused = quick(wrong, (POSITIVE,), proof=None)
    assert refused.verdict.startswith("refused: the rule is wrong")
    assert refused.figures is None


def test_with_a_reference_it_is_compared():
    result = quick(root, (POSITIVE,), reference=jnp.sqrt)
    assert result.against == "sqrt"
    assert result.figures.times["value"].reference is not None


def test_what_cannot_be_differentiated_is_not_measured():
    refused = quick(plain_sin, (X,), reference=sin_of_numpy)
    assert refused.figures is None
    said = "not compared: the reference cannot be differentiated: ValueError: Pure callbacks"
    assert refused.verdict.startswith(said)
    ruleless = quick(newton_s_root, (POSITIVE,))
    assert ruleless.figures is None
    said = "not compared: the function cannot be differentiated: ValueError: Reverse-mode"
    assert ruleless.verdict.startswith(said)


def test_a_callback_that_refuses_float64_has_no_errors():
    def sin_of_float32(x):
        assert x.dtype == np.float32
        return np.sin(x)

    def sin(x):
        result = jax.ShapeDtypeStruct(x.shape, x.dtype)
        return jax.pure_callback(sin_of_float32, result, x, vmap_method="expand_dims")

    fun = with_rule(sin, lambda x: (sin(x), x), lambda x, g: (g * jnp.cos(x),))
    own = quick(fun, (X,)).figures
    assert (own.errors, own.errors_against) == ({}, "")
    assert own.notes[0].startswith("errors: not measured against float64 because the function ref")


def test_pytrees_integers_statics_and_many_outputs():
    def fun(params, index, mode, scale):
        assert mode == "relu"
        h = jaxfn.relu(jaxfn.linear(params["x"], *params["layer"]))
        return {"h": h[index] * scale, "index": index + 1}, [h.sum(), None]

    params = {"x": X, "layer": (normal(8, 5), normal(5))}
    result = quick(fun, (params, jnp.array([2, 0]), "relu", 0.5))
    assert result.arguments == (
        *("params['layer'][0] float32[8,5]", "params['layer'][1] float32[5]"),
        *("params['x'] float32[6,8]", "index int32[2]", "scale float32[]"),
    )
    assert set(result.figures.errors) == {
        *("value 0", "value 1", "gradient of params['x']", "gradient of scale"),
        *("gradient of params['layer'][0]", "gradient of params['layer'][1]"),
    }
    assert result.figures.notes == ()
    assert set(result.figures.times) == set(EXPLANATIONS)


@pytest.mark.parametrize(
    "place",
    [
        jax.jit,
        # As jit; what they keep is tested with the residuals.
        pytest.param(jax.checkpoint, marks=pytest.mark.long),
        pytest.param(jax.vmap, marks=pytest.mark.long),
        # Control flow, as scan.
        pytest.param(
            lambda op: lambda x: lax.cond(x.sum() > 0, op, jnp.cos, x), marks=pytest.mark.long
        ),
        lambda op: lambda x: lax.scan(lambda c, v: (op(c + v), op(v)), x[0], x)[1],
    ],
    ids=["jit", "checkpoint", "vmap", "cond", "scan"],
)
def test_a_rule_nested_anywhere(place):
    result = quick(place(jaxfn.relu), (X,))
    assert result.rules == ("_relu",)
    assert result.figures.notes == ()
    _, gradient = result.figures.errors.values()
    assert gradient.rule == gradient.reference


def test_argnums_leaves_the_other_arguments_alone():
    result = quick(jaxfn.linear, (X, normal(8, 5), normal(5)), argnums=1)
    assert set(result.figures.errors) == {"value", "gradient of weight"}


def test_the_proof_is_asked_for_the_same_arguments(monkeypatch):
    asked = []

    def gradcheck(fun, args, **options):
        asked.append((fun(*args), args, options))
        return FAILED

    monkeypatch.setattr(sys.modules[compare.__module__], "gradcheck", gradcheck)
    args = (X, normal(8, 5), normal(5))
    result = compare(jaxfn.linear, args, argnums=(-1, 0), domain=("a", "b", "c"), seed=7)
    (value, chosen, options) = asked[0]
    assert result.proof is FAILED
    assert [a.shape for a in chosen] == [(6, 8), (5,)]
    np.testing.assert_allclose(value, jaxfn.linear(*args))
    assert (options["domain"], options["seed"]) == (("a", "c"), 7)
    assert options["raise_exception"] is False


def test_layers_stand_on_each_other_where_they_fit(relu):
    x = normal(8, 16)
    problem = make_problem(jaxfn.relu, (x,), (0,), 0)
    layers = regimes.programs(problem.flatten(jaxfn.relu), problem, 4)["scan over layers"]
    deep, deeper = build(*layers).figures, relu.figures.programs["scan over layers"].rule
    kept = [program.temp_bytes for program in (deep, deeper)]
    assert 4 * x.size <= kept[1] - kept[0] < 8 * x.size  # a byte for each element and layer
    assert deeper.flops.total == 2 * deep.flops.total


def test_a_scan_s_body_counts_as_often_as_it_runs(linear):
    programs = linear.figures.programs
    once, steps = programs["value and gradients"].rule, programs["scan over steps"].rule
    assert steps.flops.total >= 8 * once.flops.total
    assert steps.xla_flops < 2 * once.xla_flops  # XLA counts it once


def test_what_cannot_be_measured_is_noted(monkeypatch):
    def programs(flat, problem, length):
        given = regimes.programs(flat, problem, length)

        def refuse(*args):
            raise NotImplementedError("no loops here\nat all")

        return given | {regimes.LAYERS: (refuse, ())}

    monkeypatch.setattr(
        measure, "regimes", types.SimpleNamespace(**vars(regimes) | {"programs": programs})
    )
    found = quick(jaxfn.relu, (X,)).figures
    why = "scan over layers: not measured because NotImplementedError: no loops here"
    assert found.notes == (why,)
    assert regimes.LAYERS not in found.times
    assert regimes.STEPS in found.times


def test_the_arrays_of_an_argument_that_has_many_are_named_together():
    def fun(few, many):
        return sum(few) + sum(many)

    args = ([normal(2)] * 3, [normal(2)] * 15)
    named = tuple(f"few[{i}] float32[2]" for i in range(3))
    assert quick(fun, args, proof=FAILED).arguments == (*named, "many: 15 arrays, 120 B")


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: compare(3, (X,)), TypeError, "fun to be callable, got int"),
        (lambda: compare(jnp.sin, X), TypeError, "args to be a tuple, got ArrayImpl"),
        (lambda: compare(jnp.sin, (1,)), TypeError, "array among the arguments"),
        (lambda: compare(lambda x: x > 0, (X,)), TypeError, "array among the results"),
        (lambda: compare(jnp.sin, (X,), argnums=1), ValueError, "argnums of 1 arguments, got 1"),
        (lambda: compare(jnp.sin, (X,), rounds=0), ValueError, "rounds to be positive, got 0"),
        (lambda: compare(jnp.sin, (X,), length=0), ValueError, "length to be positive, got 0"),
        (lambda: compare(jaxfn.linear, (X, X)), ValueError, "linear: expected weight"),
    ],
)
def test_wrong_calls(call, error, message):
    with pytest.raises(error, match=message):
        call()
