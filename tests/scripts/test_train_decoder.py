"""A decoder's training, really run: what it has in common with LeNet's is tested there."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import socket
import subprocess
import sys

import jax
import numpy as np
import pytest

from scripts import train_decoder
from scripts.command.program import UserError
from scripts.command.signals import Interrupted
from scripts.train_decoder import main
from scripts.training import checkpoint, trainer
from scripts.training.decoder_config import (
    Config,
    initial_position,
    make_optimizer,
    stored_run,
)
from scripts.training.epoch_metrics import TextMetrics

pytestmark = pytest.mark.numbers

STEPS = 4  # of an epoch
_PROGRAMS = {}


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    path = tmp_path_factory.mktemp("text") / "fox.txt"
    path.write_bytes(b"The quick brown fox jumps over the lazy dog. " * 5)
    return path


@pytest.fixture
def tiny(text, tmp_path):
    return Config(
        text=(text,), context=8, width=8, layers=2, heads=2, kv_heads=1, hidden=8, epochs=2,
        batch_size=6, dropout=0.25, run_dir=tmp_path, quiet=True,
    )  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def quick():
    """Trainings that share their compiled programs and draw and write nothing in the end."""
    compile_program = trainer.compile_program

    def compile_once(config, dataset, run, parts):
        kept = {
            name: getattr(Config(), name)
            for name in ("run_dir", "name", "resume", "seed", "checkpoint_every", "quiet")
        }
        key = (dataclasses.replace(config, **kept), run.devices)
        if key not in _PROGRAMS:
            _PROGRAMS[key] = compile_program(config, dataset, run, parts)
        return _PROGRAMS[key]

    def finish(self, config, dataset, run, outputs):
        (run.directory / train_decoder.SAMPLE).touch()
        return ""

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trainer, "compile_program", compile_once)
        patch.setattr(trainer, "CALL_IMAGES", 1)
        patch.setattr(train_decoder.LanguageModelling, "finish", finish)
        yield


def numbers(history):
    return [dataclasses.replace(m, seconds=0.0, tokens_per_second=0.0) for m in history]


def position(directory):
    config, _ = stored_run(directory)
    _, like = initial_position(config, make_optimizer(config, steps=1))
    return checkpoint.load(directory / "checkpoints", like)[1]._replace(key=None)


def assert_same(directory, other):
    for a, b in zip(*(jax.tree.leaves(position(d)) for d in (directory, other)), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(
    ("number", "step", "where"),
    [(signal.SIGINT, 2, "epoch 1, after 2"), (signal.SIGTERM, 6, "epoch 2, after 2")],
)
def test_an_interrupted_run_goes_on_to_the_bit(tiny, monkeypatch, number, step, where):
    whole = main(dataclasses.replace(tiny, name="whole"))
    directory = tiny.run_dir / "cut"
    save = checkpoint.Saver.save

    def save_and_signal(self, at, tree, protect=()):
        if at == step:
            os.kill(os.getpid(), number)
        save(self, at, tree, protect)

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint.Saver, "save", save_and_signal)
        with pytest.raises(Interrupted) as interrupted:
            main(dataclasses.replace(tiny, name="cut", checkpoint_every=2))
    assert str(interrupted.value) == (
        f"interrupted in {where} of {STEPS} steps; to continue: "
        f"python -m scripts.train_decoder --resume {directory}"
    )
    resumed = main(Config(resume=directory, quiet=True))
    assert numbers(resumed.history) == numbers(whole.history)
    assert_same(directory, whole.directory)
    with pytest.raises(UserError, match="expected an unfinished run, all 2 epochs are done"):
        main(Config(resume=directory, quiet=True))


def test_what_it_prints_and_leaves(tiny, capsys):
    result = main(dataclasses.replace(tiny, quiet=False))
    start, header, *epochs, end = capsys.readouterr().out.splitlines()
    assert result.directory.name.startswith("decoder-")
    assert start.startswith("225 bytes: 24 training pieces and 3 held out, of 8")
    assert epochs == [str(metrics) for metrics in result.history]
    assert {len(line) for line in epochs} == {len(header)}
    assert end.startswith(f"{result.bits_per_byte:.4f} bits per byte after 2 epochs")
    content = (result.directory / "metrics.jsonl").read_text()
    lines = [json.loads(line) for line in content.splitlines()]
    assert [TextMetrics(**line) for line in lines] == list(result.history)
    for line in result.history:
        assert line.bits_per_byte == line.test_loss / np.log(2)
    stored, source = stored_run(result.directory)
    assert (stored.text, source.bytes) == (tiny.text, 225)
    assert result.history[1].test_loss < result.history[0].test_loss


def test_rules_agree(tiny):
    """The losses are the same to float32's accuracy."""
    histories = [
        main(dataclasses.replace(tiny, rules=rules, name=rules)).history
        for rules in ("custom", "autodiff")
    ]
    for custom, autodiff in zip(*histories, strict=True):
        np.testing.assert_allclose(custom.train_loss, autodiff.train_loss, rtol=1e-5)
        np.testing.assert_allclose(custom.test_loss, autodiff.test_loss, rtol=1e-5)


def test_parts_and_devices_change_nothing_but_rounding(tiny):
    """Dropout included: its keys are the examples'."""
    whole = main(dataclasses.replace(tiny, name="whole")).history
    parts = main(dataclasses.replace(tiny, name="parts", accumulate=3, devices=2)).history
    for a, b in zip(whole, parts, strict=True):
        np.testing.assert_allclose(a.train_loss, b.train_loss, rtol=1e-5)
        np.testing.assert_allclose(a.test_loss, b.test_loss, rtol=1e-5)


@pytest.mark.long
def test_two_processes_train_as_one(tiny):
    """To rounding, which is not the same without most of XLA's passes."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        coordinator = f"127.0.0.1:{listener.getsockname()[1]}"
    flags = [
        "--text", tiny.text[0], "--context", 8, "--width", 8, "--layers", 2, "--heads", 2,
        "--kv-heads", 1, "--hidden", 8, "--epochs", 2, "--batch-size", 6, "--dropout", 0.25,
        "--run-dir", tiny.run_dir, "--name", "two", "--quiet", "--coordinator", coordinator,
        "--num-processes", 2, "--process-id",
    ]  # fmt: skip
    command = [sys.executable, "-m", "scripts.train_decoder", *map(str, flags)]
    # One device each, whatever the tests have.
    environment = os.environ | {"JAX_NUM_CPU_DEVICES": "1"}
    processes = [subprocess.Popen([*command, str(i)], env=environment) for i in range(2)]
    assert [process.wait(200) for process in processes] == [0, 0]
    alone = main(dataclasses.replace(tiny, name="alone")).history
    lines = (tiny.run_dir / "two" / "metrics.jsonl").read_text().splitlines()
    for a, b in zip(alone, map(json.loads, lines), strict=True):
        np.testing.assert_allclose(a.train_loss, b["train_loss"], rtol=1e-5)
        np.testing.assert_allclose(a.test_loss, b["test_loss"], rtol=1e-5)
    assert (tiny.run_dir / "two" / "sample.txt").read_text().startswith("The ")


@pytest.mark.long
def test_bfloat16(tiny):
    wide, narrow = (
        main(dataclasses.replace(tiny, dtype=dtype, name=dtype)).history
        for dtype in ("float32", "bfloat16")
    )
    np.testing.assert_allclose(narrow[-1].test_loss, wide[-1].test_loss, rtol=0.01)


@pytest.mark.long
def test_a_rate_that_is_too_high(tiny):
    config = dataclasses.replace(tiny, learning_rate=1e38, schedule="constant", name="high")
    with pytest.raises(UserError, match=r"epoch 1, step \d of 4: .* the first that is not is the"):
        main(config)


@pytest.mark.long
def test_another_text_does_not_go_on(tiny, tmp_path):
    directory = main(dataclasses.replace(tiny, name="run")).directory
    (directory / train_decoder.SAMPLE).unlink()
    config = directory / "config.json"
    stored = json.loads(config.read_text())
    stored["text"]["sha256"] = "0" * 64
    config.write_text(json.dumps(stored))
    with pytest.raises(UserError, match="expected the text that the run was started with, 225 byt"):
        main(Config(resume=directory, quiet=True))


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--context", 0], "error: --context: expected at least 1, got 0"),
        (["--context", 100], "error: --text: expected at least 300 bytes for --context 100"),
        (
            ["--batch-size", 25, "--context", 8],
            "error: --batch-size: expected at most the 24 ",
        ),
        (["--kv-heads", 3], "error: --width, --heads, --kv-heads: Decoder: expected heads to be"),
        (["--dropout", 1], "error: --dropout: expected 0 ≤ … < 1, got 1"),
        (["--warmup", -1], "error: --warmup: expected 0 ≤ … < 1, got -1"),
        (["--resume", "absent", "--epochs", 1], "error: absent/config.json: cannot be read"),
    ],
)
def test_wrong_flags(text, tmp_path, command_line, flags, message):
    where = [] if "--resume" in flags else ["--text", text, "--run-dir", tmp_path]
    code, error = command_line(train_decoder, *where, *flags)
    assert (code, error.count("\n")) == (2, 1)
    assert error.startswith(message)


def test_a_run_cannot_be_prolonged(tiny, tmp_path, command_line):
    directory = main(dataclasses.replace(tiny, name="run")).directory
    code, error = command_line(train_decoder, "--resume", directory, "--epochs", 3)
    assert code == 2
    assert "--epochs: the run has 2, got 3 (a run cannot be prolonged)" in error
