"""A run's folder is new, complete, and readable again."""

import dataclasses
import json
from pathlib import Path

import pytest

from scripts.command import run_directory
from scripts.command.program import UserError
from scripts.training.images import Preprocessing
from scripts.training.lenet_config import Config
from tests.scripts.conftest import files_of_at_most


def test_names_by_default_differ(tmp_path):
    paths = {run_directory.create(tmp_path / "runs", None, "digits") for _ in range(3)}
    assert len(paths) == 3
    assert all(path.name.startswith("digits-20") for path in paths)


def test_an_empty_folder_is_taken_and_a_full_one_left(tmp_path):
    (tmp_path / "name").mkdir()
    path = run_directory.create(tmp_path, "name", "digits")
    run_directory.append_metrics(path, {"loss": 1.0})
    with pytest.raises(UserError, match="name: expected a new or empty run directory"):
        run_directory.create(tmp_path, "name", "digits")
    assert (path / "metrics.jsonl").read_text() == '{"loss": 1.0}\n'


def test_cannot_be_made(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"file/name: the run directory cannot be made: Not a dir"):
        run_directory.create(tmp_path / "file", "name", "digits")


def test_cannot_be_written(tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "touch", refuse)
    with pytest.raises(UserError, match="cannot be made: Permission denied"):
        run_directory.create(tmp_path, "name", "digits")


@pytest.mark.parametrize("name", ["", "..", ".", "a/b", "/tmp"])
def test_names_of_folders_only(tmp_path, name):
    with pytest.raises(UserError, match="--name: expected the name of a folder"):
        run_directory.create(tmp_path / "runs", name, "digits")


def test_config_comes_back(tmp_path):
    config = Config(run_dir=tmp_path, data_dir=Path("data"), learning_rate=0.1, platform="cpu")
    preprocessing = Preprocessing(8, "resize", 0.1 + 0.2, 1 / 3)
    run_directory.write_config(tmp_path, config=config, preprocessing=preprocessing)
    stored = run_directory.read_config(tmp_path)
    assert run_directory.restore(Config, stored["config"]) == config
    assert run_directory.restore(Preprocessing, stored["preprocessing"]) == preprocessing


@pytest.mark.parametrize(
    "section",
    [
        None,
        [],
        {"source_size": 8},
        {"source_size": "8", "fit": "pad", "mean": 0.0, "std": 1.0},
        {"source_size": 8, "fit": "stretch", "mean": 0.0, "std": 1.0},
        {"source_size": 8, "fit": "pad", "mean": None, "std": 1.0},
        {"source_size": 8, "fit": "pad", "mean": 0.0, "std": 1.0, "other": 0},
    ],
)
def test_a_damaged_section(section):
    with pytest.raises(ValueError, match="expected"):
        run_directory.restore(Preprocessing, section)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\x00", b"\xff", b"3", b"[" * 100_000])
def test_a_damaged_config(tmp_path, content):
    (tmp_path / "config.json").write_bytes(content)
    with pytest.raises(UserError, match=r"config.json: damaged"):
        run_directory.read_config(tmp_path)


def test_a_truth_value_is_no_number():
    with pytest.raises(ValueError, match="epochs: expected"):
        run_directory.restore(Config, dataclasses.asdict(Config(epochs=True)))


def test_no_run(tmp_path):
    (tmp_path / "config.json").mkdir()
    with pytest.raises(UserError, match=r"config.json: cannot be read: Is a directory"):
        run_directory.read_config(tmp_path)
    with pytest.raises(UserError, match=r"config.json: cannot be read: No such file.*of a run"):
        run_directory.read_config(tmp_path / "absent")


def test_metrics(tmp_path):
    lines = [{"epoch": i, "loss": 1 / i} for i in (1, 2, 3)]
    for line in lines:
        run_directory.append_metrics(tmp_path, line)
    assert run_directory.keep_metrics(tmp_path, 2) == lines[:2]
    text = (tmp_path / "metrics.jsonl").read_text()
    assert [json.loads(line) for line in text.splitlines()] == lines[:2]
    with pytest.raises(UserError, match=r"metrics.jsonl: expected 3 lines, got 2"):
        run_directory.keep_metrics(tmp_path, 3)
    assert (tmp_path / "metrics.jsonl").read_text() == text
    (tmp_path / "metrics.jsonl").write_text("{\n")
    with pytest.raises(UserError, match=r"metrics.jsonl: damaged"):
        run_directory.keep_metrics(tmp_path, 1)


@pytest.mark.parametrize("room", [0, 5])
def test_metrics_that_do_not_fit(tmp_path, room):
    """Where there is room for a part of the line, none of it stays."""
    run_directory.append_metrics(tmp_path, {"epoch": 1})
    content = (tmp_path / "metrics.jsonl").read_bytes()
    with (
        files_of_at_most(len(content) + room),
        pytest.raises(UserError, match=r"metrics.jsonl: cannot be written: (File too large|No sp)"),
    ):
        run_directory.append_metrics(tmp_path, {"epoch": 2})
    assert (tmp_path / "metrics.jsonl").read_bytes() == content


def test_a_config_that_does_not_fit(tmp_path):
    run_directory.write_config(tmp_path, program="first")
    with (
        files_of_at_most(3),
        pytest.raises(UserError, match=r"config.json: cannot be written: File too large"),
    ):
        run_directory.write_config(tmp_path, program="second")
    assert run_directory.read_config(tmp_path) == {"program": "first"}
