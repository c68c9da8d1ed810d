"""What TensorBoard will show."""

import dataclasses

import pytest
from tensorboardX.proto.event_pb2 import Event

from scripts import train_lenet
from scripts.training.epoch_metrics import EpochMetrics
from scripts.training.tensorboard import FOLDER, Events

pytestmark = pytest.mark.numbers

METRICS = EpochMetrics(1, 44, 0.5, 0.75, 0.25, 0.875, 3, 1000.0, 2.0)


def events(directory):
    """As TensorBoard reads them: records of a length, its check sum, an event, its check sum."""
    for file in sorted((directory / FOLDER).iterdir()):
        content = file.read_bytes()
        while content:
            length = int.from_bytes(content[:8], "little")
            yield Event.FromString(content[12 : 12 + length])
            content = content[16 + length :]


def scalars(directory):
    return {(v.tag, e.step): v.simple_value for e in events(directory) for v in e.summary.value}


def test_scalars_of_each_epoch(tmp_path):
    written = Events(tmp_path, [])
    for epoch in (1, 2):
        written.write(dataclasses.replace(METRICS, epoch=epoch))
    written.close()
    found = scalars(tmp_path)
    names = {field.name for field in dataclasses.fields(EpochMetrics)} - {"epoch", "step"}
    assert set(found) == {(name, epoch) for name in names for epoch in (1, 2)}
    assert (found["train_loss", 1], found["skipped_steps", 2]) == (0.5, 3.0)


def test_a_resumed_run_starts_anew_with_its_history(tmp_path):
    Events(tmp_path, [METRICS]).close()
    (start,) = (e for e in events(tmp_path) if e.HasField("session_log"))
    assert (start.step, start.session_log.status) == (1, 1)
    assert scalars(tmp_path)["train_loss", 1] == 0.5


def test_not_installed(tiny, command_line, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    flags = ["--dataset", "idx", "--data-dir", tiny.data_dir, "--tensorboard"]
    code, error = command_line(train_lenet, *flags)
    assert (code, error.count("\n")) == (2, 1)
    assert error.startswith("error: --tensorboard: expected tensorboardX, it is not installed")


@pytest.mark.usefixtures("quick")
def test_from_a_training(tiny):
    result = train_lenet.main(dataclasses.replace(tiny, tensorboard=True))
    losses = {
        step: value
        for (name, step), value in scalars(result.directory).items()
        if name == "test_loss"
    }
    assert losses == pytest.approx({m.epoch: m.test_loss for m in result.history}, rel=1e-6)
