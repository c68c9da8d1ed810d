"""What the tests of the scripts share."""

from __future__ import annotations

import gzip
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from scripts.archives import TEST_FILES, TRAIN_FILES
from scripts.program import run_program
from scripts.train_lenet import Config, Result, main


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


@pytest.fixture(scope="session")
def digits_run(tmp_path_factory: pytest.TempPathFactory) -> Result:
    """LeNet trained on the digits, everything by default."""
    return main(Config(run_dir=tmp_path_factory.mktemp("runs"), name="digits", quiet=True))


@pytest.fixture
def command_line(monkeypatch, capsys) -> Callable[..., tuple[int, str]]:
    """Runs a program in this process: `command_line(module, *flags)` → exit code, stderr."""

    def run(module, *flags: object) -> tuple[int, str]:
        monkeypatch.setattr("sys.argv", ["program", *map(str, flags)])
        try:
            run_program(module.main, module.Config, module.__doc__)
        except SystemExit as end:
            return int(end.code or 0), capsys.readouterr().err
        return 0, capsys.readouterr().err

    return run
