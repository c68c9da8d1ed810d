"""`python -m scripts.compare`: its files, its summary, and one clear line for what is wrong."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

import jaxfn.comparison.compare  # noqa: F401 (a module whose name its function hides)
from jaxfn.verification import GradcheckReport
from scripts import compare
from scripts.cases import CASES, LOSSES
from scripts.command.program import run_program
from scripts.compare import Config, main

pytestmark = pytest.mark.numbers

ROOT = Path(__file__).parent.parent.parent


@pytest.fixture
def proved(monkeypatch):
    """Takes every rule for proved: `gradcheck` has tests of its own, and takes seconds."""

    def gradcheck(fun, args, **options):
        return GradcheckReport("proved elsewhere", "pass", ())

    monkeypatch.setattr(compare, "gradcheck", gradcheck)
    monkeypatch.setattr(sys.modules["jaxfn.comparison.compare"], "gradcheck", gradcheck)


def quick(tmp_path, *targets, **options) -> Config:
    return Config(targets, **{"rounds": 1, "seconds": 0.01, "directory": tmp_path} | options)


def test_the_command_of_the_docstring_runs(tmp_path):
    command = [sys.executable, "-m", "scripts.compare", "relu", "--batch", "4"]
    command += ["--rounds", "5", "--seconds", "0.01", "--directory", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert "[1/1] relu: 0.2 times the residual memory" in done.stdout
    assert "relu(x float32[4,30,30,6])" in done.stdout
    found = json.loads((tmp_path / "relu.json").read_text())
    assert found["proof"]["verdict"] == "pass"
    assert found["figures"]["residuals"]["rule"]["leaves"][0]["nbytes"] == 4 * 30 * 30 * 6
    assert (tmp_path / "relu.png").read_bytes().startswith(b"\x89PNG")
    assert "verdict: " in (tmp_path / "relu.txt").read_text()
    assert "relu: 0.2 times" in (tmp_path / "summary.txt").read_text()


def test_without_names_it_takes_everything():
    assert [task.name for task in compare._tasks(Config())] == [*CASES, *LOSSES]


@pytest.mark.long
@pytest.mark.usefixtures("proved")
def test_several_with_dtype_and_batch(tmp_path, capsys):
    done = main(quick(tmp_path, "relu", "regression_loss", batch=3, dtype="bfloat16"))
    assert done["relu"].arguments == ("x bfloat16[3,30,30,6]",)
    loss = done["regression_loss"]
    assert loss.arguments[-1] == "y bfloat16[3,10]"
    gradients = [name for name in loss.figures.errors if name.startswith("gradient")]
    assert gradients == [f"gradient of params['fc{i}']['kernel']" for i in (1, 2)]
    assert "[2/2] regression_loss: " in capsys.readouterr().out
    names = {path.name for path in tmp_path.iterdir()}
    assert {"relu.png", "regression_loss.json", "summary.txt"} <= names


@pytest.mark.usefixtures("proved")
def test_somebody_s_own_function(tmp_path):
    own = quick(tmp_path, "jax.nn:relu", "f32[4,3]", custom_jvp=True, quiet=True)
    comparison = main(own)["relu"]
    assert comparison.rules == ("relu",)
    assert comparison.arguments == ("x float32[4,3]",)


@pytest.mark.usefixtures("proved")
def test_what_autodiff_cannot_differentiate(tmp_path, capsys):
    main(quick(tmp_path, "tests.jaxfn.comparison.helpers:called_sin", "f32[4]"))
    said = "[1/1] called_sin: nothing to compare with: autodiff cannot differentiate it"
    out = capsys.readouterr().out
    assert said in out
    assert "alone" in out.splitlines()[-3]  # instead of a ratio
    found = json.loads((tmp_path / "called_sin.json").read_text())
    assert found["against"] == ""
    assert (tmp_path / "called_sin.png").read_bytes().startswith(b"\x89PNG")
    assert said.partition("] ")[2] in (tmp_path / "summary.txt").read_text()


def test_losses_are_finite():
    for loss in LOSSES.values():
        fun, args = loss.make(2, np.float32, 0)
        assert np.isfinite(jax.jit(fun)(*args))


def test_cases_are_timed_at_the_batch_that_is_asked_for():
    x, weight, bias = CASES["linear"].timed_args(7)
    assert (x.shape, weight.shape, bias.shape) == ((7, 784), (784, 512), (512,))
    assert CASES["linear"].timed_args()[0].shape == (64, 784)


@pytest.mark.usefixtures("proved")
def test_ctrl_c_leaves_what_was_finished(tmp_path, monkeypatch, capsys):
    compared = compare.compare

    def interrupted(*args, name, **options):
        if name == "conv2d":
            raise KeyboardInterrupt
        return compared(*args, name=name, **options)

    monkeypatch.setattr(compare, "compare", interrupted)
    argv = ["compare", "relu", "conv2d", "--batch", "2", "--rounds", "1", "--seconds", "0.01"]
    monkeypatch.setattr(sys, "argv", [*argv, "--directory", str(tmp_path)])
    with pytest.raises(SystemExit) as ended:
        run_program(main, Config, "")
    assert ended.value.code == 130
    assert f"interrupted: 1 of 2 comparisons are in {tmp_path}" in capsys.readouterr().err
    assert json.loads((tmp_path / "relu.json").read_text())["name"] == "relu"
    assert "relu" in (tmp_path / "summary.txt").read_text()


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["lineer"], "'lineer': expected package.module:function or one of linear, linear_no_bias"),
        (["jaxfn:linear", "f32[4"], "'f32[4': expected an array such as 'f32[64,128]'"),
        (["jaxfn:linear", "f31[4]"], "the dtypes are key, bool, bf16, f16"),
        (["jaxfn:linear", "f32[4,,3]"], "'f32[4,,3]': expected an array"),
        (["jaxfn:linear"], "jaxfn:linear: expected its arguments"),
        (["nowhere:fun", "f32[4]"], "No module named 'nowhere'"),
        (["jaxfn:nothing", "f32[4]"], "'nothing'"),
        (["jaxfn:linear", "f32[4,3]", "f32[5,2]"], "linear: expected weight [3, out] to match"),
        (["jax.numpy:sin", "f32[4]", "f32[4]"], "jax.numpy:sin(f32[4], f32[4]): TypeError"),
        (["relu", "--rounds", "0"], "--rounds: expected at least 1, got 0"),
        (["relu", "--batch", "0"], "--batch: expected at least 1, got 0"),
        (["relu", "--seconds", "-1"], "--seconds: expected more than 0"),
        (["jaxfn:relu", "f64[3]"], "set JAX_ENABLE_X64=1 in the environment"),
        (["relu", "--directory", __file__], "cannot be written"),
    ],
)
def test_bad_input_is_one_clear_line(argv, message, monkeypatch, capsys, tmp_path):
    directory = [] if "--directory" in argv else ["--directory", str(tmp_path)]
    monkeypatch.setattr(sys, "argv", ["compare", *argv, "--quiet", *directory])
    with pytest.raises(SystemExit) as ended:
        run_program(main, Config, "")
    error = capsys.readouterr().err
    assert ended.value.code == 2
    assert message in error
    assert error.count("\n") == 1
