"""The interface of `audit`: verdicts, what is said, misuse."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxfn
from jaxfn.auditing import known

X = np.array([0.5, -1.25, 2.0], np.float32)


@jax.custom_vjp
def twice(x):
    return 2 * x


twice.defvjp(lambda x: (2 * x, None), lambda _, g: (g,))  # should be 2·g


@jax.custom_vjp
def right(x):
    return jnp.sin(x)


right.defvjp(lambda x: (jnp.sin(x), x), lambda x, g: (g * jnp.cos(x),))


@jax.custom_jvp
def hard_sign(x):
    return jnp.sign(x)


hard_sign.defjvps(lambda x_dot, y, x: jnp.where(jnp.abs(x) <= 1, x_dot, 0.0))


def loss(x):
    return right(twice(x)).sum()


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory):
    patch, folder = pytest.MonkeyPatch(), tmp_path_factory.mktemp("known")
    patch.setenv("JAXFN_CACHE", str(folder))
    yield folder
    patch.undo()


@pytest.fixture(scope="module")
def failed():
    return jaxfn.audit(loss, (X,), order=1, raise_exception=False)


def test_worst_first_with_what_each_was_given(failed):
    assert failed.verdict == "fail"
    assert [(r.name, r.verdict, r.kind) for r in failed.rules] == [
        ("twice", "fail", "custom_vjp"),
        ("right", "pass", "custom_vjp"),
    ]
    wrong = failed.rules[0]
    assert (wrong.where, wrong.count, wrong.signature) == (("",), 1, "f32[3]")
    assert wrong.source.startswith(__file__)
    assert wrong.report.verdict == "fail"
    assert "0.5 times the expected value" in wrong.report.diagnosis
    assert wrong.seconds > 0


def test_the_note_says_what_the_gradient_looks_like_and_how_to_declare_it(failed):
    assert "looks like the identity, ȳ" in failed.rules[0].note
    assert 'surrogates={"twice": fun}' in failed.rules[0].note


def test_printed_and_as_json(failed):
    text = str(failed)
    assert text.startswith("audit of loss: FAIL, 2 rules: 1 wrong, 1 right")
    assert text.index("  fail  twice") < text.index("  pass  right")
    assert "diagnosis: 0.5 times" in text
    plain = json.loads(failed.to_json())
    assert [rule["verdict"] for rule in plain["rules"]] == ["fail", "pass"]
    assert plain["rules"][0]["report"]["verdict"] == "fail"


def test_raises_with_the_report():
    with pytest.raises(jaxfn.AuditError, match="FAIL: twice") as caught:
        jaxfn.audit(twice, (X,), order=1)
    assert isinstance(caught.value, AssertionError)
    assert caught.value.report.verdict == "fail"


def test_a_program_without_rules():
    report = jaxfn.audit(lambda x: (x * x).sum(), (X,))
    assert (report.verdict, report.rules) == ("pass", ())
    assert "applies no custom rule" in str(report)


def test_a_surrogate_is_what_the_gradient_is_checked_against():
    def clipped(x):
        return jnp.clip(x, -1, 1)

    options = {"order": 1, "raise_exception": False}
    assert jaxfn.audit(lambda x: hard_sign(x).sum(), (X,), **options).verdict == "fail"
    for name in ("hard_sign", f"{__name__}:hard_sign"):
        report = jaxfn.audit(hard_sign, (X,), surrogates={name: clipped}, **options)
        assert report.verdict == "pass"
        assert not report.notes
    wrong = {"hard_sign": lambda x: 2 * clipped(x)}
    assert jaxfn.audit(hard_sign, (X,), surrogates=wrong, **options).verdict == "fail"


def test_none_is_listed_and_not_checked():
    (rule,) = jaxfn.audit(hard_sign, (X,), surrogates={"hard_sign": None}).rules
    assert (rule.verdict, rule.report) == ("pass", None)
    assert "meant so, not checked" in rule.note
    assert "ȳ where 0.5 ≤ x ≤ 0.5, 0 elsewhere" in rule.note


def test_a_name_that_no_rule_has_is_said():
    report = jaxfn.audit(right, (X,), surrogates={"rigth": None}, order=1)
    assert report.notes == ("surrogates names 'rigth', and no rule of that name is applied",)


def test_what_an_operation_declares_itself():
    report = jaxfn.audit(
        lambda x: jaxfn.sign_ste(x).sum() + jaxfn.clip_gradient(x, -0.1, 0.1).sum(), (X,), order=1
    )
    assert {rule.name for rule in report.rules} == {"_sign_ste", "_clip_gradient"}
    assert report.verdict == "pass"


def test_a_rule_in_a_branch_that_is_not_taken_is_open():
    def fun(x):
        return jax.lax.cond(x[0] > 5, lambda x: right(x), lambda x: x, x).sum()

    (rule,) = jaxfn.audit(fun, (X,), raise_exception=False).rules
    assert rule.verdict == "inconclusive"
    assert "never run" in rule.note
    assert rule.where == ("cond.branches[1]",)


def test_a_rule_of_an_installed_package_is_remembered(cache, monkeypatch):
    def fun(x):
        return jax.nn.relu(x).sum()

    first = jaxfn.audit(fun, (X,), order=1)
    again = jaxfn.audit(fun, (X[:2],), order=1)
    assert first.rules[0].report is not None
    assert again.rules[0].report is None
    assert "passed before, of jax" in again.rules[0].note
    assert list(cache.iterdir())
    monkeypatch.setenv("JAXFN_CACHE", "")
    assert known.folder() is None
    other = jaxfn.audit(fun, (X[:2],), order=1)
    assert other.rules[0].report is not None


def test_a_rule_that_failed_is_not_remembered(cache):
    before = set(cache.iterdir())
    jaxfn.audit(twice, (X,), order=1, raise_exception=False)
    assert set(cache.iterdir()) == before


def test_operands_with_many_elements_are_cut_and_compared_at_their_size():
    @jax.custom_vjp
    def product(x, w):
        return x @ w

    # wrong in the last 50 of 150 rows alone, which no cut has
    def backward(saved, g):
        x, w = saved
        return g @ w.T, x[:100].T @ g[:100]

    product.defvjp(lambda x, w: (x @ w, (x, w)), backward)
    rng = np.random.default_rng(0)
    x, w = (rng.standard_normal(s).astype(np.float32) for s in ((150, 30), (30, 20)))
    (rule,) = jaxfn.audit(lambda x, w: product(x, w).sum(), (x, w), raise_exception=False).rules
    assert rule.verdict == "fail"
    assert "150 → " in rule.note
    assert "autodiff at its own" in rule.note


@pytest.mark.parametrize(
    ("given", "error", "said"),
    [
        (((X,),), TypeError, "expected fun to be callable, got tuple"),
        ((loss, X), TypeError, "expected args to be a tuple of pytrees, got ndarray"),
    ],
)
def test_misuse(given, error, said):
    fun, *rest = given
    with pytest.raises(error, match=said):
        jaxfn.audit(fun, *rest or ((X,),))


def test_misuse_of_options():
    with pytest.raises(ValueError, match="expected order to be 1 or 2, got 3"):
        jaxfn.audit(loss, (X,), order=3)
    with pytest.raises(TypeError, match="to functions or None, got 'twice': int"):
        jaxfn.audit(loss, (X,), surrogates={"twice": 3})
    with pytest.raises(TypeError, match="to map names to functions, got list"):
        jaxfn.audit(loss, (X,), surrogates=["twice"])


def test_a_tracer_is_refused():
    with pytest.raises(TypeError, match="got a tracer; call audit outside jit"):
        jax.jit(lambda x: jaxfn.audit(loss, (x,)))(X)
