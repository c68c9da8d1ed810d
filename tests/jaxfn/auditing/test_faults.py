"""The faults of published code: each named in its step, with no right rule beside it accused."""

import chex
import jax
import pytest
from jax.test_util import check_grads

import jaxfn
from tests.jaxfn.auditing import steps


@pytest.fixture(scope="module", autouse=True)
def nothing_known(tmp_path_factory):
    patch = pytest.MonkeyPatch()
    patch.setenv("JAXFN_CACHE", "")
    yield
    patch.undo()


@pytest.fixture(scope="module")
def report():
    return jaxfn.audit(steps.all_losses, steps.data(), order=1, raise_exception=False)


def test_each_is_named_and_no_other(report):
    assert report.verdict == "fail"
    assert {rule.name for rule in report.rules if rule.verdict == "fail"} == {*steps.STEPS}
    right = {rule.name for rule in report.rules if rule.verdict == "pass"}
    assert right == {"unit_rms", "softplus", "logaddexp"}


@pytest.mark.parametrize("name", steps.STEPS)
def test_each_has_its_operands_and_a_diagnosis(report, name):
    (wrong,) = (rule for rule in report.rules if rule.name == name)
    assert wrong.signature == "f32[12,6], f32[6,10], i32[12]"
    assert wrong.report.diagnosis


@pytest.mark.parametrize("name", ["tiled_loss", "fused_losses"])
def test_the_parity_tests_of_these_projects_saw_nothing(name):
    """The gradient of the plain loss beside a reference's: a cotangent of 1, for all tokens."""
    x, weight, labels = steps.data()

    def loss(x, weight):
        return getattr(steps, name)(x, weight, labels).sum()

    found = jax.grad(loss, (0, 1))(x, weight)
    chex.assert_trees_all_close(found, jax.grad(jaxfn.autodiff(loss), (0, 1))(x, weight), rtol=1e-4)


@pytest.mark.parametrize("name", steps.STEPS)
def test_check_grads_of_the_whole_loss_says_that_something_is_wrong_and_not_what(name):
    x, weight, labels = steps.data()

    def loss(x, weight):
        return steps.STEPS[name](x, weight, labels)

    with pytest.raises(AssertionError) as caught:
        check_grads(loss, (x, weight), order=1, modes=["rev"])
    assert name not in str(caught.value)
