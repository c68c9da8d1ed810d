"""A run that is resumed has the flags that it was started with."""

import dataclasses
import json

import pytest

from scripts import train_lenet
from scripts.command import run_directory
from scripts.command.program import UserError
from scripts.training.images import Preprocessing
from scripts.training.lenet_config import PROGRAM, Config
from scripts.training.resuming import flags_of_run

FLAGS = Config(epochs=5, batch_size=16, seed=3, keep=5, skip_nonfinite=True, platform="cpu")


@pytest.fixture
def run(tmp_path):
    run_directory.write_config(
        tmp_path,
        program=PROGRAM,
        config=FLAGS,
        preprocessing=Preprocessing(8, "resize", 0.1, 0.2),
    )
    return tmp_path


def test_its_own_flags(run):
    assert flags_of_run(Config(resume=run), run) == dataclasses.replace(FLAGS, resume=run)
    again = flags_of_run(Config(resume=run, quiet=True, tensorboard=True, batch_size=16), run)
    assert again == dataclasses.replace(FLAGS, resume=run, quiet=True, tensorboard=True)
    assert flags_of_run(again, run) == again


def test_all_differences_are_shown(run):
    with pytest.raises(UserError) as error:
        flags_of_run(Config(resume=run, learning_rate=0.1, epochs=9, batch_size=16), run)
    assert str(error.value) == (
        f"--resume: expected the flags that {run} was started with: --epochs: the run has 5, got 9 "
        "(a run cannot be prolonged); --learning-rate: the run has 0.025, got 0.1"
    )


@pytest.mark.parametrize(
    ("flags", "difference"),
    [
        (["--epochs", 20], "--epochs: the run has 5, got 20"),  # what a new run has by default
        (["--batch-size", 32], "--batch-size: the run has 16, got 32"),
        (["--keep", 3], "--keep: the run has 5, got 3"),
        (["--optimizer", "adamw"], "--optimizer: the run has sgd, got adamw"),
        (["--accumulate", 2], "--accumulate: the run has 1, got 2"),
        (["--checkpoint-every", 4], "--checkpoint-every: the run has None, got 4"),
    ],
)
def test_flags_that_contradict(run, command_line, flags, difference):
    code, error = command_line(train_lenet, "--resume", run, *flags)
    assert (code, error.count("\n")) == (2, 1)
    assert difference in error


def test_flags_that_agree(run, command_line, monkeypatch):
    """Said again, they are accepted; what is not said is the run's."""
    configs = []
    monkeypatch.setattr(train_lenet, "main", configs.append)
    flags = ["--epochs", 5, "--learning-rate", 0.025, "--seed", 3, "--skip-nonfinite", "--quiet"]
    assert command_line(train_lenet, "--resume", run, *flags) == (0, "")
    assert configs == [dataclasses.replace(FLAGS, resume=run, quiet=True)]


def damaged(content: str) -> dict[str, bytes]:
    stored = json.loads(content)

    def changed(section, **values):
        return json.dumps(stored | {section: stored[section] | values}).encode()

    return {
        "truncated": content[:-20].encode(),
        "a bit of the syntax": content.replace(":", ";", 1).encode(),
        "no text": b"\xff" + content.encode(),
        "another program": json.dumps(stored | {"program": "train_regression"}).encode(),
        "no program": json.dumps(stored | {"program": None}).encode(),
        "no flags": json.dumps(stored | {"config": []}).encode(),
        "a flag too many": changed("config", colour="red"),
        "text for a number": changed("config", epochs="5"),
        "a truth value for a number": changed("config", epochs=True),
        "a number beyond all": changed("config", epochs=10**40),
        "not a number": changed("config", learning_rate=float("nan")),
        "an unknown choice": changed("config", rules="none"),
        "no contrast": changed("preprocessing", std=0.0),
    }


CONTENT = json.dumps({"program": "", "config": {}, "preprocessing": {}})


@pytest.mark.parametrize("damage", damaged(CONTENT))
def test_damaged_configurations(run, command_line, damage):
    file = run / "config.json"
    file.write_bytes(damaged(file.read_text())[damage])
    code, error = command_line(train_lenet, "--resume", run)
    assert (code, error.count("\n")) == (2, 1)
    assert error.startswith(f"error: {file}: ")
