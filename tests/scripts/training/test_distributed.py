"""Several processes: they train as one does; and what becomes of them when one is lost."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from scripts.command.program import UserError
from scripts.train_lenet import main
from scripts.training import distributed
from scripts.training.lenet_config import Config

pytestmark = [pytest.mark.numbers, pytest.mark.usefixtures("quick")]

NUMBERS = ("train_loss", "train_accuracy", "test_loss", "test_accuracy")
STEPS = 3  # of an epoch

ALONE = """
import sys
from scripts.training import distributed
distributed.CONNECT_SECONDS = 1
with distributed.joined(sys.argv[1], 2, int(sys.argv[2])):
    print("joined")
"""


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("host:1", None, None), "expected --num-processes and --process-id, too"),
        ((None, 2, 0), "expected --coordinator, too"),
        ((None, None, 0), "expected --coordinator and --num-processes, too"),
        (("host", 2, 0), "--coordinator: expected host:port, the same in each process, got 'host'"),
        ((":1234", 2, 0), "--coordinator: expected host:port"),
        (("host:", 2, 0), "--coordinator: expected host:port"),
        (("host:0", 2, 0), "--coordinator: expected host:port"),
        (("host:70000", 2, 0), "--coordinator: expected host:port"),
        (("host:-1", 2, 0), "--coordinator: expected host:port"),
        (("host:1", 0, 0), "--num-processes: expected at least 1, got 0"),
        (("host:1", 2, 2), "--process-id: expected 0 to 1, another in each process, got 2"),
        (("host:1", 2, -1), "--process-id: expected 0 to 1, another in each process, got -1"),
    ],
)
def test_wrong_flags(flags, message):
    with pytest.raises(UserError) as raised, distributed.joined(*flags):
        pass
    assert message in str(raised.value)


def test_right_flags():
    distributed.check_flags(None, None, None)
    distributed.check_flags("10.0.0.1:1234", 4, 3)
    distributed.check_flags("[::1]:1234", 1, 0)


def test_without_flags_there_is_one_process():
    with distributed.joined(None, None, None):
        assert distributed.is_first()
        assert distributed.greatest(7) == 7
        distributed.wait_for_all("nobody")


def test_an_error_without_other_processes_is_an_ordinary_one():
    with pytest.raises(UserError, match="mine"), distributed.joined(None, None, None):
        raise UserError("mine")


@pytest.mark.parametrize("process_id", [0, 1])
def test_the_others_do_not_come(process_id):
    begin = time.monotonic()
    coordinator = f"127.0.0.1:{free_port()}"
    process = subprocess.run(
        [sys.executable, "-c", ALONE, coordinator, str(process_id)],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert (process.returncode, process.stdout) == (2, "")
    assert process.stderr == (
        f"error: --coordinator {coordinator}: process {process_id} of 2 and the others did not "
        "find each other within 1 s\n"
    )
    assert time.monotonic() - begin < 240


# What `python -m scripts.train_lenet` does, in a process that may send itself a signal before a
# call of the compiled program, once a file is there: the others then wait for it in their next sum.
TRAIN = """
import os, sys, time
from scripts import train_lenet
from scripts.command import program
from scripts.training import lenet_config, resuming, trainer

number, call, file = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
agree, calls = trainer.greatest, []

def greatest(own):
    calls.append(own)
    if len(calls) == call:
        while not os.path.exists(file):
            time.sleep(0.01)
        os.kill(os.getpid(), number)
    return agree(own)

trainer.greatest = greatest
trainer.PROFILED_STEPS = 1
sys.argv[1:] = sys.argv[4:]
program.run_program(train_lenet.main, lenet_config.Config, None, resuming.complete)
"""


@dataclasses.dataclass
class Ending:
    """How a process ended: its code, what it wrote to stderr, and the time."""

    code: int
    error: str
    time: float


@dataclasses.dataclass
class Loss:
    """The signal that a process sends itself, before which call, and after which file is there."""

    process: int
    number: int
    call: int
    after: Path


def train(processes: int, *flags: object, loss: Loss | None = None) -> list[Ending]:
    """Trains in so many processes; says how they ended."""
    coordinator = f"127.0.0.1:{free_port()}"
    environment = os.environ | {"JAX_DISABLE_MOST_OPTIMIZATIONS": "1"}
    started = []
    for i in range(processes):
        ending = (0, 0, "")
        if loss is not None and loss.process == i:
            ending = (loss.number, loss.call, loss.after)
        own = ("--coordinator", coordinator, "--num-processes", processes, "--process-id", i)
        command = [sys.executable, "-c", TRAIN, *map(str, (*ending, *flags, *own))]
        started.append(
            subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)
        )
    endings: dict[int, Ending] = {}
    deadline = time.monotonic() + 400
    try:
        while len(endings) < processes and time.monotonic() < deadline:
            time.sleep(0.05)
            for i, process in enumerate(started):
                if i not in endings and process.poll() is not None:
                    assert process.stderr is not None
                    error = process.stderr.read()
                    endings[i] = Ending(process.returncode, error, time.monotonic())
    finally:
        for process in started:
            process.kill()
            process.communicate()
    assert len(endings) == processes, "a process did not end"
    return [endings[i] for i in range(processes)]


@pytest.fixture
def flags(tiny_data, tmp_path) -> tuple[object, ...]:
    """Of a run of three epochs of three steps."""
    return (
        "--dataset", "idx", "--data-dir", tiny_data, "--epochs", 3, "--batch-size", 12,
        "--run-dir", tmp_path, "--name", "run", "--quiet",
    )  # fmt: skip


@pytest.fixture(scope="module")
def history(tiny_data, tmp_path_factory):
    """The same run in one process."""
    root = tmp_path_factory.mktemp("one")
    config = Config(
        dataset="idx", data_dir=tiny_data, epochs=3, batch_size=12, run_dir=root, quiet=True
    )
    return main(config).history


def metrics(directory: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (directory / "metrics.jsonl").read_text().splitlines()]


def assert_close(found: list[dict[str, float]], history) -> None:
    assert [line["epoch"] for line in found] == list(range(1, len(found) + 1))
    for line, expected in zip(found, history, strict=False):
        numbers = dataclasses.asdict(expected)
        for name in NUMBERS:
            np.testing.assert_allclose(line[name], numbers[name], rtol=1e-5, err_msg=name)


def killed(process: int, directory: Path) -> Loss:
    """Before the third epoch, when the second is saved."""
    file = directory / "checkpoints" / f"{2 * STEPS}.sha256"
    return Loss(process, signal.SIGKILL, 3, file)


def assert_lost(directory: Path, history, endings: list[Ending], lost: int) -> None:
    """The others noticed soon, and there is a run of two epochs to go on from."""
    assert endings[lost].code == -signal.SIGKILL
    for i, ending in enumerate(endings):
        if i == lost:
            continue
        assert ending.time - endings[lost].time < distributed.HEARTBEAT_SECONDS
        # The coordinator's end makes JAX abort the others, if they do not end before.
        assert ending.code in ((2,) if lost else (2, -signal.SIGABRT))
        if ending.code == 2:
            assert f"error: process {i}: the computation with the other processes" in ending.error
        else:
            assert "another task died" in ending.error
    assert len(metrics(directory)) == 2
    assert_close(metrics(directory), history)


@pytest.mark.long
def test_two_processes_train_as_one_and_one_goes_on_when_one_is_lost(flags, history, tmp_path):
    endings = train(2, *flags, loss=killed(1, tmp_path / "run"))
    assert_lost(tmp_path / "run", history, endings, lost=1)
    finished = tmp_path / "run" / "checkpoints" / str(STEPS)
    assert {path.name for path in finished.rglob("ocdbt.process_*")} == {
        "ocdbt.process_0",
        "ocdbt.process_1",
    }
    main(Config(resume=tmp_path / "run", quiet=True))
    assert len(metrics(tmp_path / "run")) == 3
    assert_close(metrics(tmp_path / "run"), history)


@pytest.mark.long
def test_two_devices_of_one_process_train_as_one(tiny_data, history, tmp_path):
    config = Config(
        dataset="idx", data_dir=tiny_data, epochs=3, batch_size=12, run_dir=tmp_path, quiet=True
    )
    result = main(dataclasses.replace(config, name="run", mesh="data=2"))
    assert len(result.history) == 3
    assert_close(metrics(tmp_path / "run"), history)
    with pytest.raises(UserError, match="--batch-size 13: expected a multiple of the 2 devices"):
        main(dataclasses.replace(config, batch_size=13, devices=2))


@pytest.mark.long
@pytest.mark.parametrize("lost", [0, 3])
def test_four_processes_train_as_one_and_two_go_on_when_one_is_lost(lost, flags, history, tmp_path):
    endings = train(4, *flags, loss=killed(lost, tmp_path / "run"))
    assert_lost(tmp_path / "run", history, endings, lost)
    endings = train(2, "--resume", tmp_path / "run", "--quiet")
    assert [ending.code for ending in endings] == [0, 0]
    assert len(metrics(tmp_path / "run")) == 3
    assert_close(metrics(tmp_path / "run"), history)


@pytest.mark.long
def test_a_signal_to_one_process_stops_all_in_good_order(flags, history, tmp_path):
    file = tmp_path / "run" / "checkpoints" / f"{STEPS}.sha256"
    # With --profile the first epoch takes two calls, in the process that does not trace, too.
    endings = train(2, *flags, "--profile", loss=Loss(1, signal.SIGTERM, 3, file))
    assert [ending.code for ending in endings] == [143, 143]
    assert all("interrupted in epoch" in ending.error for ending in endings)
    endings = train(2, "--resume", tmp_path / "run", "--quiet")
    assert [ending.code for ending in endings] == [0, 0]
    assert len(metrics(tmp_path / "run")) == 3
    assert_close(metrics(tmp_path / "run"), history)


@pytest.mark.long
def test_an_error_of_one_process_ends_all(flags, tmp_path):
    """The folder of the run is there, which the first process alone sees."""
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "notes").write_text("mine")
    endings = train(2, *flags)
    assert endings[0].code == 2
    assert "error: process 0: " in endings[0].error
    assert "expected a new or empty run directory" in endings[0].error
    assert endings[1].code in (2, -signal.SIGABRT)
    assert (tmp_path / "run" / "notes").read_text() == "mine"
