"""`python -m scripts.gradcheck`: reports, exit codes, bad commands."""

import json
import subprocess
import sys

import pytest

from scripts import gradcheck
from scripts.command.program import UserError
from scripts.gradcheck import Config, main

pytestmark = pytest.mark.numbers


def test_a_right_rule(capsys):
    report = main(Config("jaxfn:relu", ("f32[3]",), order=1))
    assert report.verdict == "pass"
    assert "gradcheck of relu: PASS" in capsys.readouterr().out


def test_json(capsys):
    main(Config("jax.numpy:sin", ("f32[2]",), order=1, json=True))
    assert json.loads(capsys.readouterr().out)["verdict"] == "pass"


@pytest.mark.parametrize(
    ("operation", "arguments", "message"),
    [
        ("jaxfn.relu", ("f32[3]",), "expected 'package.module:function'"),
        ("jaxfn:no_such", ("f32[3]",), "no_such"),
        ("no_such_module:f", ("f32[3]",), "No module named"),
        ("jaxfn:__version__", ("f32[3]",), "expected a function"),
        ("jaxfn:relu", ("f3[3]",), "expected an array such as"),
        ("jaxfn:relu", (), "at least one argument"),
        ("jaxfn:linear", ("f32[4,3]", "f32[2,2]"), "linear: expected weight"),
    ],
)
def test_bad_commands(operation, arguments, message):
    with pytest.raises(UserError, match=message) as caught:
        main(Config(operation, arguments))
    assert "\n" not in str(caught.value)


def test_exit_code_of_a_bad_command(command_line):
    code, error = command_line(gradcheck, "jaxfn:no_such", "f32[3]")
    assert code == 2
    assert error.count("\n") == 1


def test_program_checks_under_shard_map():
    command = [
        sys.executable,
        "-m",
        "scripts.gradcheck",
        "jaxfn:relu",
        "f32[3]",
        "--order",
        "1",
        "--verbose",
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "under shard_map on two devices" in done.stdout
