"""LeNet's training, really run."""

import dataclasses
import json
import subprocess
import sys

import numpy as np
import pytest
from matplotlib import image

from scripts import checkpoint, train_lenet
from scripts.program import UserError
from scripts.train_lenet import Config, EpochMetrics, main
from tests.scripts.conftest import write_idx_files

TIMES = {"seconds": 0.0, "images_per_second": 0.0}


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    return write_idx_files(tmp_path_factory.mktemp("idx"))


@pytest.fixture
def tiny(data_dir, tmp_path):
    """Two epochs of two steps, with images left over in training and in evaluation."""
    return Config(
        dataset="idx", data_dir=data_dir, epochs=2, batch_size=15, run_dir=tmp_path, quiet=True
    )


def without_times(history: tuple[EpochMetrics, ...]) -> list[EpochMetrics]:
    return [dataclasses.replace(metrics, **TIMES) for metrics in history]


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
    assert image.imread(directory / "curves.png").shape == (504, 1320, 4)
    assert image.imread(directory / "predictions.png").shape == (990, 1248, 4)


def test_same_seed_same_bits(tiny):
    first, second = (main(dataclasses.replace(tiny, name=name)) for name in ("a", "b"))
    assert without_times(first.history) == without_times(second.history)


def test_rules_agree(tmp_path):
    """An epoch on the digits: the losses are the same to float32 accuracy."""
    by_rules = [
        main(Config(epochs=1, rules=rules, run_dir=tmp_path, name=rules, quiet=True)).history[0]
        for rules in ("custom", "autodiff")
    ]
    custom, autodiff = by_rules
    np.testing.assert_allclose(custom.train_loss, autodiff.train_loss, rtol=1e-5)
    np.testing.assert_allclose(custom.test_loss, autodiff.test_loss, rtol=1e-4)


def test_adamw_and_what_it_prints(tiny, capsys):
    result = main(dataclasses.replace(tiny, optimizer="adamw", max_shift=0, quiet=False))
    assert result.directory.name.startswith("idx-")
    assert result.history[1].train_loss < result.history[0].train_loss
    start, header, *epochs, end = capsys.readouterr().out.splitlines()
    assert start.startswith("40 training and 13 test images")
    assert epochs == [str(metrics) for metrics in result.history]
    assert {len(line) for line in epochs} == {len(header)}
    assert end.startswith(f"test accuracy {result.test_accuracy:.2%} after 2 epochs")


def interrupted(config, monkeypatch, after):
    """Runs until Ctrl-C after so many epochs; the message."""
    original = checkpoint.save

    def save(directory, epoch, state):
        original(directory, epoch, state)
        if epoch == after:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "save", save)
        with pytest.raises(KeyboardInterrupt) as interrupt:
            main(config)
    return str(interrupt.value)


def test_resumed_run_is_the_uninterrupted_one(tiny, monkeypatch):
    tiny = dataclasses.replace(tiny, epochs=3)
    whole = main(dataclasses.replace(tiny, name="whole"))
    message = interrupted(dataclasses.replace(tiny, name="cut"), monkeypatch, after=2)
    cut = tiny.run_dir / "cut"
    assert message == (
        f"interrupted after epoch 2; to continue: python -m scripts.train_lenet --resume {cut}"
    )
    with (cut / "metrics.jsonl").open("a") as file:
        file.write('{"newer than": "the checkpoint"}\n')
    resumed = main(Config(resume=cut, quiet=True))
    assert without_times(resumed.history) == without_times(whole.history)
    assert len((cut / "metrics.jsonl").read_text().splitlines()) == 3
    assert (cut / "predictions.png").exists()
    with pytest.raises(UserError, match="expected an unfinished run, all 3 epochs are done"):
        main(Config(resume=cut, quiet=True))


def test_resume_takes_no_other_flags(tmp_path):
    with pytest.raises(UserError, match="--resume: expected no other flags"):
        main(Config(resume=tmp_path, epochs=3))


def test_loss_that_is_not_finite(tiny):
    config = dataclasses.replace(tiny, learning_rate=1e30, schedule="constant", name="nan")
    with pytest.raises(UserError, match=r"epoch 1: expected finite losses, got .*--learning-rate"):
        main(config)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--batch-size", 41], "error: --batch-size: expected at most the 40 training images"),
        (["--epochs", 0], "error: --epochs: expected at least 1, got 0"),
        (["--name", "../up"], "error: --name: expected the name of a folder"),
        (["--resume", "absent", "--epochs", 1], "error: --resume: expected no other flags"),
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


def test_as_a_program(data_dir, tmp_path):
    """In a process of its own: nothing but the one line on stderr, and code 2."""
    (tmp_path / "t10k-labels-idx1-ubyte").write_bytes(b"")
    for file in data_dir.iterdir():
        if not file.name.startswith("t10k-labels"):
            (tmp_path / file.name).write_bytes(file.read_bytes())
    command = [sys.executable, "-W", "error", "-m", "scripts.train_lenet"]
    flags = ["--dataset", "idx", "--data-dir", str(tmp_path), "--platform", "cpu"]
    done = subprocess.run([*command, *flags], capture_output=True, text=True, check=False)
    path = tmp_path / "t10k-labels-idx1-ubyte"
    assert done.returncode == 2
    assert done.stderr == f"error: {path}: expected an IDX file, got 0 bytes\n"
    assert done.stdout == ""
