"""The picture of trainings by the rules and by plain autodiff."""

import dataclasses
import json

import pytest
from matplotlib import image

from scripts import learning_curves
from scripts.command import run_directory
from scripts.command.program import UserError
from scripts.learning_curves import Config, Curve, main
from scripts.training.epoch_metrics import EpochMetrics
from scripts.training.images import Preprocessing
from scripts.training.lenet_config import Config as Flags


@pytest.fixture
def make_run(tmp_path):
    def make(accuracies, **flags):
        directory = run_directory.create(tmp_path, None, "run")
        run_directory.write_config(
            directory,
            program="train_lenet",
            config=Flags(**flags),
            preprocessing=Preprocessing(8, "resize", 0.3, 0.4),
        )
        for epoch, accuracy in enumerate(accuracies, 1):
            line = EpochMetrics(epoch, epoch, 1.0, 0.5, 1.0, accuracy, 0, 1.0, 1.0)
            run_directory.append_metrics(directory, dataclasses.asdict(line))
        return directory

    return make


def test_a_panel_for_each_model(tmp_path, make_run, capsys):
    runs = (
        make_run([0.5, 0.9], model="binary"),
        make_run([0.1, 0.1], model="binary", rules="autodiff"),
        make_run([0.8], model="quantized", bits=2),
    )
    output = tmp_path / "curves.png"
    assert main(Config(runs, output)) == [
        Curve("binary", "custom", [0.5, 0.9]),
        Curve("binary", "autodiff", [0.1, 0.1]),
        Curve("quantized, 2 bits", "custom", [0.8]),
    ]
    assert capsys.readouterr().out == f"3 runs → {output}\n"
    height, width, _ = image.imread(output).shape
    assert width > 2 * height * 0.9  # two panels beside each other


def test_what_is_no_run(tmp_path, make_run):
    empty, damaged, cut = make_run([]), make_run([0.5]), make_run([0.5])
    with (damaged / "metrics.jsonl").open("a") as file:
        file.write(json.dumps({"epoch": 2}) + "\n")
    (cut / "metrics.jsonl").unlink()
    for runs, message in (
        ((), "expected the folder of at least one run"),
        ((tmp_path / "none",), "none/config.json: cannot be read"),
        ((empty,), "metrics.jsonl: expected at least one epoch"),
        ((damaged,), "metrics.jsonl: damaged: expected the values epoch"),
        ((cut,), "metrics.jsonl: cannot be read"),
    ):
        with pytest.raises(UserError, match=message):
            main(Config(runs, tmp_path / "curves.png"))
    with pytest.raises(UserError, match=r"absent/curves\.png: cannot be written"):
        main(Config((make_run([0.5]),), tmp_path / "absent" / "curves.png"))


def test_as_a_program(command_line, make_run, tmp_path):
    output = tmp_path / "curves.png"
    code, error = command_line(learning_curves, make_run([0.5]), "--output", output)
    assert (code, error, output.exists()) == (0, "", True)
