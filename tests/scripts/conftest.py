"""What the tests of the scripts share."""

from __future__ import annotations

import contextlib
import dataclasses
import gzip
import json
import resource
import struct
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from scripts import train_lenet
from scripts.command.program import run_program
from scripts.train_lenet import PREDICTIONS, Config, Result, main
from scripts.training import trainer
from scripts.training.archives import TEST_FILES, TRAIN_FILES
from scripts.training.epoch_metrics import EpochMetrics
from scripts.training.lenet_config import make_optimizer, restore_state, stored_run
from scripts.training.run import Program


def idx_bytes(array: np.ndarray) -> bytes:
    """The content of an IDX file."""
    header = struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape)
    return header + array.astype(np.uint8).tobytes()


def write_idx_files(directory: Path, *, size: int = 28, train: int = 40, test: int = 13) -> Path:
    """Four IDX files of random images, the first two compressed."""
    random = np.random.default_rng(0)
    directory.mkdir(exist_ok=True)
    for count, (images, labels), compressed in (
        (train, TRAIN_FILES, True),
        (test, TEST_FILES, False),
    ):
        for name, array in (
            (images, random.integers(0, 256, (count, size, size))),
            (labels, np.arange(count) % 10),
        ):
            content = idx_bytes(array)
            if compressed:
                (directory / f"{name}.gz").write_bytes(gzip.compress(content))
            else:
                (directory / name).write_bytes(content)
    return directory


def without_times(history: Sequence[EpochMetrics]) -> list[EpochMetrics]:
    """What two runs of the same numbers have in common."""
    return [dataclasses.replace(m, seconds=0.0, images_per_second=0.0) for m in history]


def parameters(directory: Path) -> dict[str, np.ndarray]:
    """All that a run's latest checkpoint holds of its state."""
    config, _ = stored_run(directory)
    state = restore_state(directory, config, make_optimizer(config, steps=1))[2]
    leaves = jax.tree_util.tree_flatten_with_path(state)[0]
    return {jax.tree_util.keystr(path): np.asarray(leaf) for path, leaf in leaves}


def assert_same_run(directory: Path, other: Path) -> None:
    """Parameters, optimiser and metrics are the same to the bit, and each epoch has one line."""
    for (name, value), (other_name, other_value) in zip(
        parameters(directory).items(), parameters(other).items(), strict=True
    ):
        assert name == other_name
        np.testing.assert_array_equal(value, other_value, err_msg=name)
    histories = []
    for path in (directory, other):
        lines = (path / "metrics.jsonl").read_text().splitlines()
        histories.append([EpochMetrics(**json.loads(line)) for line in lines])
        assert [metrics.epoch for metrics in histories[-1]] == list(range(1, len(lines) + 1))
    assert without_times(histories[0]) == without_times(histories[1])


@contextlib.contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    """A limit that the system itself enforces; a full disk answers alike."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.fixture(scope="session")
def digits_run(tmp_path_factory: pytest.TempPathFactory) -> Result:
    """LeNet trained on the digits, everything by default."""
    return main(Config(run_dir=tmp_path_factory.mktemp("runs"), name="digits", quiet=True))


@pytest.fixture(scope="session")
def tiny_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """IDX files of 40 training images and 13 to test with."""
    return write_idx_files(tmp_path_factory.mktemp("idx"))


@pytest.fixture
def tiny(tiny_data: Path, tmp_path: Path) -> Config:
    """Two epochs of two steps, with images left over in training and in evaluation."""
    return Config(
        dataset="idx", data_dir=tiny_data, epochs=2, batch_size=15, run_dir=tmp_path, quiet=True
    )


# What changes nothing in the compiled program: the seed is an argument of it.
NOT_COMPILED = Config(dataset="idx")
_PROGRAMS: dict[Any, Program] = {}


@pytest.fixture(scope="module")
def quick() -> Iterator[None]:
    """Trainings that share their compiled programs, take one step at a time, and draw nothing."""
    compile_program = trainer.compile_program

    def compile_once(config, dataset, *args):
        kept = {
            name: getattr(NOT_COMPILED, name)
            for name in (
                "dataset", "data_dir", "seed", "run_dir", "name", "resume", "platform", "quiet",
                "keep", "checkpoint_every", "profile", "tensorboard",
            )
        }  # fmt: skip
        key = (dataclasses.replace(config, **kept), dataset.preprocessing, len(dataset.train[1]))
        if key not in _PROGRAMS:
            _PROGRAMS[key] = compile_program(config, dataset, *args)
        return _PROGRAMS[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trainer, "compile_program", compile_once)
        patch.setattr(trainer, "CALL_IMAGES", 1)
        patch.setattr(train_lenet, "_draw", draw_nothing)
        yield


def draw_nothing(_, __, run, ___) -> None:
    """In the place of `train_lenet._draw`, which takes a second."""
    (run.directory / PREDICTIONS).touch()


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch, digits_run: Result) -> None:
    """Trainings that draw nothing; the run that others share is drawn before."""
    monkeypatch.setattr(train_lenet, "_draw", draw_nothing)


@pytest.fixture
def command_line(monkeypatch, capsys) -> Callable[..., tuple[int, str]]:
    """Runs a program in this process: `command_line(module, *flags)` → exit code, stderr."""

    def run(module, *flags: object) -> tuple[int, str]:
        monkeypatch.setattr("sys.argv", ["program", *map(str, flags)])
        try:
            complete = getattr(module, "complete", None)
            run_program(module.main, module.Config, module.__doc__, complete)
        except SystemExit as end:
            return int(end.code or 0), capsys.readouterr().err
        return 0, capsys.readouterr().err

    return run
