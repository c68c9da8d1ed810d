"""The regression, really run."""

import json

import numpy as np
import pytest
from matplotlib import image

from scripts import train_regression
from scripts.command.program import UserError
from scripts.train_regression import Config, main


def test_by_default(tmp_path, capsys):
    result = main(Config(run_dir=tmp_path, name="regression"))
    assert result.losses.shape == (500,)
    assert result.losses.dtype == np.float32
    assert 1e7 < result.losses[0] < 1e8
    assert result.losses[-1] < 1e-2
    shown = capsys.readouterr().out.splitlines()
    steps = [int(line.split()[1]) for line in shown if line.startswith("step")]
    assert steps == [0, 100, 200, 300, 400, 499]
    assert shown[-1].startswith("500 steps in ")


def test_what_a_run_leaves(tmp_path):
    result = main(Config(steps=5, run_dir=tmp_path, quiet=True))
    directory = result.directory
    assert directory.name.startswith("regression-")
    assert {path.name for path in directory.iterdir()} == {
        "config.json", "metrics.jsonl", "loss.png"
    }  # fmt: skip
    lines = [json.loads(line) for line in (directory / "metrics.jsonl").read_text().splitlines()]
    assert lines == [{"step": i, "loss": float(loss)} for i, loss in enumerate(result.losses)]
    assert json.loads((directory / "config.json").read_text())["config"]["steps"] == 5
    assert image.imread(directory / "loss.png").shape == (504, 840, 4)


@pytest.fixture
def undrawn(monkeypatch):
    """Trainings that draw no curve, which takes longer than they do."""
    monkeypatch.setattr(train_regression, "plot_loss", lambda path, losses: path.touch())


@pytest.mark.usefixtures("undrawn")
def test_seed_and_rules(tmp_path):
    losses = {
        (seed, rules): main(
            Config(steps=20, seed=seed, rules=rules, run_dir=tmp_path, quiet=True)
        ).losses
        for seed in (0, 1)
        for rules in ("custom", "autodiff")
    }
    again = main(Config(steps=20, run_dir=tmp_path, quiet=True)).losses
    np.testing.assert_array_equal(again, losses[0, "custom"])
    np.testing.assert_allclose(losses[0, "custom"], losses[0, "autodiff"], rtol=1e-5)
    assert losses[0, "custom"][0] != losses[1, "custom"][0]


def test_loss_that_is_not_finite(tmp_path):
    with pytest.raises(UserError, match=r"step \d+: expected a finite loss, got .*than 1"):
        main(Config(learning_rate=1.0, steps=20, run_dir=tmp_path, quiet=True))


@pytest.mark.parametrize(
    ("flag", "value", "message"),
    [
        ("--steps", 0, "--steps: expected at least 1, got 0"),
        ("--log-every", 0, "--log-every: expected at least 1, got 0"),
        ("--learning-rate", "nan", "--learning-rate: expected > 0, got nan"),
        ("--seed", -1, "--seed: expected 0 to"),
        ("--name", "a/b", "--name: expected the name of a folder, got 'a/b'"),
    ],
)
def test_wrong_flags(command_line, flag, value, message):
    code, error = command_line(train_regression, flag, value)
    assert code == 2
    assert error.startswith(f"error: {message}")
    assert error.count("\n") == 1
