"""The regression, really run."""

import json

import jax
import numpy as np
import pytest
from matplotlib import image

from scripts import train_regression
from scripts.command.program import UserError
from scripts.train_regression import Config, main, make_problem, train

TINY = Config(samples=8, inputs=5, hidden=4, outputs=3, learning_rate=1e-3, steps=30)


def numpy_training(params, x, y, learning_rate, steps):
    """The original, in NumPy."""
    w1, w2 = (np.asarray(params[layer]["kernel"]) for layer in ("fc1", "fc2"))
    losses = []
    for _ in range(steps):
        h = x @ w1
        r = np.maximum(h, 0)
        d = r @ w2 - y
        losses.append(np.sum(d * d))
        h_bar = (2 * d @ w2.T) * (h >= 0)
        w2 = w2 - learning_rate * r.T @ (2 * d)
        w1 = w1 - learning_rate * x.T @ h_bar
    return w1, w2, np.array(losses)


@pytest.mark.parametrize("rules", ["custom", "autodiff"])
def test_agrees_with_numpy_in_float64(rules):
    with jax.enable_x64(True):
        graphdef, params, x, y = jax.tree.map(lambda leaf: leaf, make_problem(TINY))
        params, x, y = jax.tree.map(lambda a: a.astype("float64"), (params, x, y))
        end, losses = train(graphdef, params, x, y, 1e-3, 30, rules)
        assert losses.dtype == np.float64
        w1, w2, expected = numpy_training(params, np.asarray(x), np.asarray(y), 1e-3, 30)
        np.testing.assert_allclose(losses, expected, rtol=1e-12)
        np.testing.assert_allclose(end["fc1"]["kernel"], w1, rtol=1e-12)
        np.testing.assert_allclose(end["fc2"]["kernel"], w2, rtol=1e-12)


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
        main(Config(learning_rate=1.0, run_dir=tmp_path, quiet=True))


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
