"""`python -m jaxfn compare`: the table, the picture, one clear line for what is wrong."""

import json
import sys

import pytest

import jaxfn.comparison.compare  # noqa: F401 (a module whose name its function hides)
from jaxfn.verification import GradcheckReport

pytestmark = pytest.mark.numbers

QUICK = "--rounds", 1, "--seconds", 0.01


@pytest.fixture
def proof(monkeypatch):
    """Takes the place of `gradcheck`, which has tests of its own; the verdict is the list's."""
    verdicts = ["pass"]

    def gradcheck(fun, args, **options):
        return GradcheckReport("proved elsewhere", verdicts[-1], (), "a factor 2")

    monkeypatch.setattr(sys.modules["jaxfn.comparison.compare"], "gradcheck", gradcheck)
    return verdicts


@pytest.mark.usefixtures("proof")
def test_the_table_and_the_picture(command, tmp_path):
    picture = tmp_path / "relu.png"
    flags = ["--reference", "jax.nn:relu", "--plot", picture, *QUICK]
    code, out, err = command("compare", "jaxfn:relu", "f32[4,3]", *flags)
    assert (code, err) == (0, "")
    assert out.startswith("relu(x float32[4,3])\nverdict: ")
    assert "accuracy, against the reference in float64" in out
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_a_wrong_rule_is_not_measured(command, proof, ops):
    proof.append("fail")
    flags = ["--args", "ops:example_args", "--plot", "sine.png", "--json"]
    code, out, err = command("compare", "ops:of_tree", *flags, *QUICK)
    assert code == 0
    found = json.loads(out)
    assert "a factor 2" in found["verdict"]
    assert found["figures"] is None
    assert err == "--plot sine.png: nothing was measured, nothing is drawn\n"
    assert not (ops / "sine.png").exists()


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["nowhere:f", "f32[3]"], "No module named 'nowhere'"),
        (["jaxfn:relu"], "expected its arguments"),
        (["jax.numpy:sin", "f32[4]", "f32[4]"], "jax.numpy:sin(f32[4], f32[4]): TypeError"),
        (["jaxfn:relu", "f32[3]", "--rounds", "0"], "--rounds: expected at least 1, got 0"),
        (["jaxfn:relu", "f32[3]", "--seconds", "0"], "--seconds: expected more than 0"),
        (["jaxfn:relu", "f32[3]", "--plot", "a.gif"], "expected a name that ends in .png"),
        (["jaxfn:relu", "f32[3]", "--plot", "no/a.png"], "expected a folder no, found none"),
    ],
)
def test_bad_commands(refused, argv, message):
    assert message in refused("compare", *argv)
