"""The faults of published code: each named in its step, with no right rule beside it accused."""

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


@pytest.mark.parametrize("name", steps.STEPS)
def test_each_is_named_and_no_other(name):
    report = jaxfn.audit(steps.STEPS[name], steps.data(), order=1, raise_exception=False)
    assert {rule.name for rule in report.rules if rule.verdict != "pass"} == {name}
    assert report.verdict == "fail"
    assert {rule.name for rule in report.rules} >= {name, "unit_rms", "softplus"}
    (wrong,) = (rule for rule in report.rules if rule.name == name)
    assert wrong.signature.startswith("f32[12,6], f32[6,10], i32[12]")
    assert wrong.report.diagnosis


# What people have: `check_grads` of the whole loss. It sees those that a weighted loss shows, at
# the single cotangent of that loss, names no rule, and misses a padded column of small weight.
@pytest.mark.parametrize(("name", "seen"), [("tiled_loss", True), ("fused_losses", True)])
def test_beside_check_grads_of_the_whole_loss(name, seen):
    x, weight, labels = steps.data()

    def loss(x, weight):
        return steps.STEPS[name](x, weight, labels)

    with jax.enable_x64(True):
        if seen:
            with pytest.raises(AssertionError):
                check_grads(loss, (x, weight), order=1, modes=["rev"])
        else:
            check_grads(loss, (x, weight), order=1, modes=["rev"])


def test_check_grads_of_the_plain_loss_sees_nothing():
    """As the tests of these projects were: a cotangent of 1, for all tokens the same."""
    x, weight, labels = steps.data()
    for head in (steps.tiled_loss, steps.fused_losses):

        def loss(x, weight, head=head):
            return head(x, weight, labels).sum()

        check_grads(loss, (x, weight), order=1, modes=["rev"])
