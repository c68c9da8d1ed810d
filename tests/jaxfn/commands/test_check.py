"""`python -m jaxfn check`: reports, exit codes, bad commands."""

import json

import pytest

from jaxfn.commands import check
from jaxfn.verification import GradcheckReport

pytestmark = pytest.mark.numbers


def test_a_right_rule(command):
    code, out, err = command("check", "jax.nn:leaky_relu", "f32[3]", "0.1", "--order", 1, "--json")
    assert (code, err) == (0, "")
    assert json.loads(out)["verdict"] == "pass"


@pytest.mark.parametrize("verdict", ["fail", "inconclusive"])
def test_what_is_asked_and_the_exit_code(ops, command, monkeypatch, verdict):
    asked = {}

    def gradcheck(fun, args, **options):
        asked.update(options, fun=fun.__name__, args=args)
        return GradcheckReport("sine", verdict, ())

    monkeypatch.setattr(check, "gradcheck", gradcheck)
    flags = ["--args", "ops:example_args", "--seed", 3, "--surrogate", "ops:sine", "--mutate"]
    code, out, err = command("check", "ops:of_tree", *flags, "--no-linear-in-cotangent")
    assert (code, err) == (1, "")
    assert out.startswith(f"gradcheck of sine: {verdict.upper()}")
    assert (asked["fun"], asked["args"][1], asked["seed"]) == ("of_tree", 2, 3)
    assert (asked["surrogate"].__name__, asked["reference"]) == ("sine", None)
    assert (asked["mutate"], asked["linear_in_cotangent"]) == (True, False)


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["jaxfn:no_such", "f32[3]"], "no_such"),
        (["jaxfn:relu", "f3[3]"], "expected an array such as"),
        (["jaxfn:relu"], "expected its arguments"),
        (["jaxfn:linear", "f32[4,3]", "f32[2,2]"], "f32[2,2]): ValueError: linear: "),
        (["jaxfn:relu", "f32[3]", "--order", "3"], "expected order to be 1 or 2, got 3"),
        (["jaxfn:relu", "f32[3]", "--reference", "relu"], "expected 'package.module:function'"),
    ],
)  # fmt: skip
def test_bad_commands(refused, argv, message):
    assert message in refused("check", *argv)
