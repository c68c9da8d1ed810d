"""LeNet's training, really run."""

import dataclasses
import json
import subprocess
import sys

import numpy as np
import pytest
from matplotlib import image

from scripts import train_lenet
from scripts.train_lenet import Config, main
from scripts.training.epoch_metrics import EpochMetrics, best
from scripts.training.lenet_config import stored_run
from tests.scripts.conftest import without_times


def test_accuracy_by_default(digits_run):
    assert digits_run.test_accuracy >= 0.98
    assert digits_run.seconds < 60


def test_what_a_run_leaves(digits_run):
    directory = digits_run.directory
    names = {path.name for path in directory.iterdir()}
    assert names == {
        "config.json", "metrics.jsonl", "checkpoints", "curves.png", "predictions.png"
    }  # fmt: skip
    lines = [json.loads(line) for line in (directory / "metrics.jsonl").read_text().splitlines()]
    assert [EpochMetrics(**line) for line in lines] == list(digits_run.history)
    assert [line["epoch"] for line in lines] == list(range(1, 21))
    assert lines[-1]["step"] == 20 * (1437 // 32)
    config = json.loads((directory / "config.json").read_text())
    assert config["program"] == "train_lenet"
    assert config["config"]["dataset"] == "digits"
    assert {"jax", "jaxlib", "flax", "optax", "python", "device", "date"} <= set(
        config["environment"]
    )
    stored, preprocessing = stored_run(directory)
    assert stored == Config(run_dir=directory.parent, name="digits", quiet=True)
    assert dataclasses.astuple(preprocessing)[:2] == (8, "resize")
    kept = {path.name for path in (directory / "checkpoints").iterdir() if path.is_dir()}
    assert kept == {"792", "836", "880", str(best(digits_run.history).step)}
    assert image.imread(directory / "curves.png").shape == (504, 1320, 4)
    assert image.imread(directory / "predictions.png").shape == (990, 1248, 4)


@pytest.mark.usefixtures("undrawn", "quick")
def test_same_seed_same_bits(tiny):
    first, second = (main(dataclasses.replace(tiny, name=name)) for name in ("a", "b"))
    assert without_times(first.history) == without_times(second.history)


@pytest.mark.usefixtures("undrawn", "quick")
def test_rules_agree(tiny):
    """The losses are the same to float32 accuracy; `tests/models/test_trainings.py` looks at those
    of a whole training."""
    by_rules = [
        main(dataclasses.replace(tiny, rules=rules, name=rules)).history
        for rules in ("custom", "autodiff")
    ]
    for custom, autodiff in zip(*by_rules, strict=True):
        np.testing.assert_allclose(custom.train_loss, autodiff.train_loss, rtol=1e-5)
        np.testing.assert_allclose(custom.test_loss, autodiff.test_loss, rtol=1e-4)


@pytest.mark.usefixtures("undrawn", "quick")
def test_adamw_and_what_it_prints(tiny, capsys):
    result = main(dataclasses.replace(tiny, optimizer="adamw", max_shift=0, quiet=False))
    assert result.directory.name.startswith("idx-")
    assert result.history[1].train_loss < result.history[0].train_loss
    start, header, *epochs, end = capsys.readouterr().out.splitlines()
    assert start.startswith("40 training and 13 test images")
    assert epochs == [str(metrics) for metrics in result.history]
    assert {len(line) for line in epochs} == {len(header)}
    assert end.startswith(f"test accuracy {result.test_accuracy:.2%} after 2 epochs")
    top = best(result.history)
    assert f"best {top.test_accuracy:.2%} after epoch {top.epoch}, checkpoints/{top.step}" in end


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--batch-size", 41], "error: --batch-size: expected at most the 40 training images"),
        (["--epochs", 0], "error: --epochs: expected at least 1, got 0"),
        (["--name", "../up"], "error: --name: expected the name of a folder"),
        (["--accumulate", 5], "error: --accumulate: expected a divisor of the batch of 32, got 5"),
        (["--resume", "absent", "--epochs", 1], "error: absent/config.json: cannot be read"),
    ],
)
def test_wrong_flags(tiny, command_line, flags, message):
    where = [] if "--resume" in flags else ["--dataset", "idx", "--data-dir", tiny.data_dir]
    code, error = command_line(train_lenet, *where, *flags)
    assert code == 2
    assert error.startswith(message)
    assert error.count("\n") == 1


def test_a_full_run_directory_stays(tiny, command_line):
    (tiny.run_dir / "mine").mkdir()
    (tiny.run_dir / "mine" / "notes.txt").write_text("mine")
    flags = ["--dataset", "idx", "--data-dir", tiny.data_dir, "--run-dir", tiny.run_dir]
    code, error = command_line(train_lenet, *flags, "--name", "mine")
    assert code == 2
    assert "mine: expected a new or empty run directory" in error
    assert [path.name for path in (tiny.run_dir / "mine").iterdir()] == ["notes.txt"]


def test_as_a_program(tiny_data, tmp_path):
    """In a process of its own: nothing but the one line on stderr, and code 2."""
    (tmp_path / "t10k-labels-idx1-ubyte").write_bytes(b"")
    for file in tiny_data.iterdir():
        if not file.name.startswith("t10k-labels"):
            (tmp_path / file.name).write_bytes(file.read_bytes())
    command = [sys.executable, "-W", "error", "-m", "scripts.train_lenet"]
    flags = ["--dataset", "idx", "--data-dir", str(tmp_path), "--platform", "cpu"]
    done = subprocess.run([*command, *flags], capture_output=True, text=True, check=False)
    path = tmp_path / "t10k-labels-idx1-ubyte"
    assert done.returncode == 2
    assert done.stderr == f"error: {path}: expected an IDX file, got 0 bytes\n"
    assert done.stdout == ""
