"""The interface of `gradcheck`: verdicts, errors, misuse, reports, settings that stay."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from jaxfn.verification import GradcheckError, gradcheck, gradgradcheck
from jaxfn.verification.report import GradcheckReport
from jaxfn.verification.subject import mutation


def ruled(fun, backward):
    op = jax.custom_vjp(fun)
    op.defvjp(lambda *args: (fun(*args), args), lambda args, g: backward(*args, g))
    return op


X = np.array([0.5, -1.25, 2.0], np.float32)
JUDGED = "autodiff", "differences"
right_sine = ruled(jnp.sin, lambda x, g: (g * jnp.cos(x),))
wrong_sine = ruled(jnp.sin, lambda x, g: (1.001 * g * jnp.cos(x),))


@pytest.fixture(scope="module")
def right_report():
    return gradcheck(right_sine, (X,))


@pytest.fixture(scope="module")
def wrong_report():
    return gradcheck(wrong_sine, (X,), raise_exception=False)


def test_right_rule_passes(right_report):
    assert right_report.verdict == "pass"
    assert {check.verdict for check in right_report.checks} <= {"pass", "skipped"}


def test_wrong_rule_raises_with_the_report():
    with pytest.raises(GradcheckError, match=r"1\.001 times") as caught:
        gradcheck(wrong_sine, (X,), layers=("autodiff",))
    assert isinstance(caught.value, AssertionError)
    assert caught.value.report.verdict == "fail"
    assert caught.value.report.cause == "scale"


def test_worst_element_is_named():
    rule = ruled(lambda p: p["w"] ** 2, lambda p, g: ({"w": (2 * p["w"] * g).at[1].set(0)},))
    report = gradcheck(rule, ({"w": X},), layers=("autodiff",), raise_exception=False)
    worst = report.check("autodiff").worst
    assert worst is not None
    assert (worst.path, worst.index, worst.rule) == ("p['w']", (1,), 0)
    assert report.cause == "elements"


@pytest.mark.parametrize("size", [10_000, pytest.param(100_000, marks=pytest.mark.long)])
def test_one_element_of_many_zeroed(size):
    rule = ruled(jnp.sin, lambda x, g: ((g * jnp.cos(x)).at[7_777].set(0),))
    x = np.random.default_rng(0).standard_normal(size).astype(np.float32)
    report = gradcheck(rule, (x,), layers=("autodiff",), raise_exception=False)
    assert report.verdict == "fail"
    assert f"in 1 of {size} elements: [7777]" in report.diagnosis


def test_power_is_stated_and_small(right_report):
    for name in ("autodiff", "differences", "linearity", "primal", "precision", "shapes"):
        power = right_report.check(name).power
        assert power is not None
        assert 0 < power < 1e-4


def test_no_setting_is_left_changed(right_report):
    assert right_report.check("autodiff").verdict == "pass"
    assert not jax.config.read("jax_enable_x64")


def test_a_function_that_already_works_in_double_precision():
    with jax.enable_x64(True):
        assert gradcheck(right_sine, (X.astype(np.float64),)).verdict == "pass"
        report = gradcheck(
            wrong_sine, (X.astype(np.float64),), layers=("autodiff",), raise_exception=False
        )
    assert report.verdict == "fail"


def test_report_serialises_and_prints(wrong_report):
    report = wrong_report
    data = json.loads(report.to_json())
    assert data["verdict"] == "fail"
    assert data["checks"][0]["name"] == "types"
    text = str(report)
    assert "FAIL" in text
    assert "worst, autodiff: x[" in " ".join(text.split())
    assert max(map(len, text.splitlines())) <= 100
    assert isinstance(report, GradcheckReport)


@pytest.mark.parametrize("step", [4, pytest.param(1, marks=pytest.mark.long)])
def test_planted_faults_are_caught(step, monkeypatch):
    plant = mutation.mutants
    monkeypatch.setattr(mutation, "mutants", lambda *given: list(plant(*given))[::step])
    matmul = ruled(jnp.matmul, lambda x, w, g: (g @ w.T, x.T @ g))
    x = np.random.default_rng(0).standard_normal((3, 3)).astype(np.float32)
    report = gradcheck(matmul, (x, 2 * x + 1), layers=("autodiff",), mutate=True)
    assert report.verdict == "pass"
    assert len(report.mutants) >= 8 / step
    assert all(mutant.caught for mutant in report.mutants), str(report)


def test_kink_any_value_between_the_one_sided_derivatives():
    x = np.array([-1, 0, 2], np.float32)
    for at_zero in (0.0, 0.3, 1.0):
        relu = ruled(
            lambda x: jnp.maximum(x, 0),
            lambda x, g, c=at_zero: (g * jnp.where(x == 0, c, x > 0),),
        )
        assert gradcheck(relu, (x,), layers=JUDGED).verdict == "pass"
    beyond = ruled(lambda x: jnp.maximum(x, 0), lambda x, g: (g * jnp.where(x == 0, 2.0, x > 0),))
    with pytest.raises(GradcheckError):
        gradcheck(beyond, (x,), layers=JUDGED)


def test_surrogate():
    through = ruled(lambda x: jnp.round(x), lambda x, g: (g,))
    assert gradcheck(through, (X,), surrogate=lambda x: x).verdict == "pass"
    report = gradcheck(through, (X,), layers=("autodiff",), raise_exception=False)
    assert report.cause == "surrogate"


def test_declared_nonlinear():
    clip = ruled(lambda x: 1.0 * x, lambda x, g: (jnp.clip(g, -1, 1),))
    assert gradcheck(clip, (X,), linear_in_cotangent=False).verdict == "pass"
    assert gradcheck(clip, (X,), layers=("linearity",), raise_exception=False).cause == "nonlinear"


def test_without_autodiff_differences_decide():
    def root(x):
        return lax.while_loop(
            lambda y: jnp.any(abs(y * y - x) > 1e-6 * x), lambda y: (y + x / y) / 2, x
        )

    x = np.array([0.5, 2.0, 3.0], np.float32)
    right = ruled(root, lambda x, g: (g / (2 * root(x)),))
    wrong = ruled(root, lambda x, g: (g / root(x),))
    report = gradcheck(right, (x,), layers=JUDGED)
    assert report.verdict == "pass"
    assert any("finite differences alone" in note for note in report.notes)
    assert gradcheck(wrong, (x,), layers=JUDGED, raise_exception=False).verdict == "fail"


def test_domain_keeps_the_moved_points_inside():
    rule = ruled(jnp.abs, lambda x, g: (g,))
    x = np.array([0.5, 2.0], np.float32)
    assert gradcheck(rule, (x,), layers=("autodiff",), raise_exception=False).verdict == "fail"
    assert gradcheck(rule, (x,), layers=JUDGED, domain=((0.1, None),)).verdict == "pass"
    assert gradcheck(rule, (x,), layers=JUDGED, domain=lambda x: (x > 0).all()).verdict == "pass"


def test_integers_and_static_arguments():
    rule = ruled(lambda table, i: table[i], lambda t, i, g: (jnp.zeros_like(t).at[i].add(g), None))
    table = np.random.default_rng(0).standard_normal((5, 2)).astype(np.float32)
    assert gradcheck(rule, (table, np.array([3, 1, 4])), order=1).verdict == "pass"
    assert (
        gradcheck(lambda x, n: x**n, (X, 3), layers=("autodiff", "transformations")).verdict
        == "pass"
    )


def test_outputs_that_are_no_arrays_are_left_alone():
    asked = "types", "primal", "autodiff", "transformations"
    report = gradcheck(lambda x: {"y": jnp.sin(x), "name": "sine"}, (X,), layers=asked)
    assert report.verdict == "pass"


def test_overwriting_rule_is_caught_at_repeated_indices():
    rule = ruled(lambda t, i: t[i], lambda t, i, g: (jnp.zeros_like(t).at[i].set(g), None))
    table = np.random.default_rng(0).standard_normal((5, 2)).astype(np.float32)
    with pytest.raises(GradcheckError):
        gradcheck(rule, (table, np.array([3, 1, 4])), layers=("autodiff",))


def test_a_function_that_stops_gradients_has_no_differences():
    rule = ruled(lambda x: x * lax.stop_gradient(x), lambda x, g: (g * x,))
    report = gradcheck(rule, (X,), layers=(*JUDGED, "second order"))
    assert report.verdict == "pass"
    assert any("stop_gradient" in note for note in report.notes)


def test_rarely_entered_branch_is_swept():
    rule = ruled(jnp.square, lambda x, g: (jnp.where((x > 4.0) & (x < 4.1), 0, 2 * x) * g,))
    report = gradcheck(rule, (X,), layers=("autodiff",), raise_exception=False)
    assert report.cause == "zero-region"
    assert "a sweep" in str(report.check("autodiff").worst)


def test_a_rule_that_iterates_is_linear_to_its_tolerance():
    def solved(b):
        def step(state):
            new = (b + jnp.roll(state[0], 1)) / 4
            return new, jnp.max(abs(new - state[0]))

        start = (b / 4, jnp.asarray(jnp.inf, b.dtype))
        return lax.while_loop(lambda state: state[1] > 1e-6, step, start)[0]

    rule = ruled(solved, lambda b, g: (solved(g[::-1])[::-1],))
    report = gradcheck(rule, (X,), layers=("linearity", *JUDGED))
    assert report.verdict == "pass"
    check = report.check("linearity")
    assert "the rule iterates" in check.detail
    assert check.power is not None
    assert check.power >= 1e-4


def test_gradgradcheck():
    assert gradgradcheck(right_sine, (X,)).verdict == "pass"
    stopped = jax.custom_vjp(jnp.sin)
    stopped.defvjp(lambda x: (jnp.sin(x), lax.stop_gradient(jnp.cos(x))), lambda cos, g: (g * cos,))
    with pytest.raises(GradcheckError):
        gradgradcheck(stopped, (X,))


def test_a_function_that_raises_itself_is_no_wrong_rule():
    def refuse(x):
        raise OSError("no such table")

    def looked_up(x):
        return jax.pure_callback(refuse, jax.ShapeDtypeStruct(x.shape, x.dtype), x)

    with pytest.raises(jax.errors.JaxRuntimeError, match="no such table"):
        gradcheck(ruled(looked_up, lambda x, g: (g,)), (X,))


def test_rule_that_raises_fails():
    rule = ruled(jnp.sin, lambda x, g: (g, g))
    report = gradcheck(rule, (X,), raise_exception=False)
    assert report.verdict == "fail"
    assert "raises" in report.diagnosis


MISUSE = {
    "list": (TypeError, "expected args to be a tuple of pytrees, got list", jnp.sin, [X], {}),
    "no function": (TypeError, "expected fun to be callable", 3, (X,), {}),
    "integers": (ValueError, "no argument to differentiate", jnp.sum, (np.arange(3),), {}),
    "order": (ValueError, "expected order", jnp.sin, (X,), {"order": 3}),
    "integer output": (ValueError, "at least one floating", jnp.argmax, (X,), {}),
    "other structure": (
        ValueError,
        "expected reference to return",
        jnp.sin,
        (X,),
        {"reference": lambda x: (x, x)},
    ),
    "other shape": (ValueError, "expected reference", jnp.sin, (X,), {"reference": jnp.sum}),
    "other signature": (
        TypeError,
        "expected reference to take the arguments",
        jnp.sin,
        (X,),
        {"reference": lambda x, y: x},
    ),
}


@pytest.mark.parametrize("name", MISUSE)
def test_misuse(name):
    error, message, fun, args, options = MISUSE[name]
    with pytest.raises(error, match=message):
        gradcheck(fun, args, **options)


def test_output_that_changes():
    sizes = iter([2, 3, 4, 5])
    with pytest.raises(ValueError, match="same structure and shapes at each call"):
        gradcheck(lambda x: jnp.zeros(next(sizes)) + x[0], (X,))


def test_tracers():
    def inside(x):
        gradcheck(jnp.sin, (x,))
        return x

    with pytest.raises(TypeError, match="got a tracer"):
        jax.jit(inside)(X)
    leaked = []
    jax.jit(lambda x: leaked.append(x) or x)(X)
    with pytest.raises(ValueError, match="tracer that leaked"):
        gradcheck(lambda x: x + leaked[0], (X,))
