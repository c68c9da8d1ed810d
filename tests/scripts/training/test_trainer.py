"""What happens to real runs: signals, kills, damage, full disks, numbers that are not finite."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from scripts import train_lenet
from scripts.command import run_directory
from scripts.command.program import UserError
from scripts.command.signals import Interrupted
from scripts.train_lenet import main
from scripts.training import checkpoint, trainer
from scripts.training.data import load
from scripts.training.lenet_config import Config, initial_position, make_optimizer, stored_run
from tests.scripts.conftest import assert_same_run, files_of_at_most, parameters

pytestmark = [pytest.mark.numbers, pytest.mark.usefixtures("quick")]


@pytest.fixture(scope="module")
def whole(tiny_data, tmp_path_factory) -> Path:
    """The run that nothing happens to: two epochs of two steps."""
    root = tmp_path_factory.mktemp("whole")
    config = Config(
        dataset="idx", data_dir=tiny_data, epochs=2, batch_size=15, run_dir=root, quiet=True
    )
    return main(config).directory


def at_save(monkeypatch, step, action):
    """Does something right before the checkpoint of a step."""
    save = checkpoint.Saver.save

    def save_and_act(self, at, tree, protect=()):
        if at == step:
            action()
        save(self, at, tree, protect)

    monkeypatch.setattr(checkpoint.Saver, "save", save_and_act)


@pytest.mark.parametrize(
    ("number", "step", "where"),
    [
        (signal.SIGINT, 1, "epoch 1, after 1"),
        (signal.SIGTERM, 2, "epoch 2, after 0"),
        pytest.param(signal.SIGINT, 2, "epoch 2, after 0", marks=pytest.mark.long),
        pytest.param(signal.SIGTERM, 1, "epoch 1, after 1", marks=pytest.mark.long),
    ],
)
def test_a_signal_saves_and_says_how_to_go_on(tiny, whole, monkeypatch, number, step, where):
    config = dataclasses.replace(tiny, name="cut", checkpoint_every=1)
    directory = tiny.run_dir / "cut"
    with monkeypatch.context() as patch:
        at_save(patch, step, lambda: os.kill(os.getpid(), number))
        with pytest.raises(Interrupted) as interrupted:
            main(config)
    assert interrupted.value.number == number
    assert str(interrupted.value) == (
        f"interrupted in {where} of 2 steps; to continue: "
        f"python -m scripts.train_lenet --resume {directory}"
    )
    assert max(checkpoint.steps(directory / "checkpoints")) == step
    resumed = main(Config(resume=directory, quiet=True))
    assert len(resumed.history) == 2
    assert_same_run(directory, whole)
    with pytest.raises(UserError, match="expected an unfinished run, all 2 epochs are done"):
        main(Config(resume=directory, quiet=True))


def test_a_signal_before_the_first_step(tiny, whole, monkeypatch):
    """It leaves a checkpoint too: --resume always works."""

    def load_and_signal(*args):
        os.kill(os.getpid(), signal.SIGINT)
        return load(*args)

    with monkeypatch.context() as patch:
        patch.setattr(train_lenet, "load", load_and_signal)
        with pytest.raises(Interrupted, match="epoch 1, after 0 of 2 steps"):
            main(dataclasses.replace(tiny, name="cut"))
    main(Config(resume=tiny.run_dir / "cut", quiet=True))
    assert_same_run(tiny.run_dir / "cut", whole)


def test_exit_codes(tiny, command_line, monkeypatch):
    at_save(monkeypatch, 2, lambda: os.kill(os.getpid(), signal.SIGTERM))
    flags = ["--dataset", "idx", "--data-dir", tiny.data_dir, "--epochs", 2, "--batch-size", 15]
    code, error = command_line(
        train_lenet, *flags, "--run-dir", tiny.run_dir, "--name", "cut", "--quiet"
    )
    assert (code, error.strip().count("\n")) == (143, 0)
    assert error.strip().endswith(f"--resume {tiny.run_dir / 'cut'}")


def cut_after(whole, directory, steps):
    """The run as a kill after so many steps has left it."""
    shutil.copytree(whole, directory)
    (directory / train_lenet.PREDICTIONS).unlink()
    for step in checkpoint.steps(directory / "checkpoints"):
        if step > steps:
            shutil.rmtree(directory / "checkpoints" / str(step))
            (directory / "checkpoints" / f"{step}.sha256").unlink()
    return directory


def test_a_kill_before_the_first_checkpoint(whole, tmp_path, capsys):
    directory = cut_after(whole, tmp_path / "cut", 0)
    main(Config(resume=directory, quiet=True))
    assert "no checkpoint was finished: from the beginning" in capsys.readouterr().err
    assert_same_run(directory, whole)


def test_a_kill_after_the_last_checkpoint(whole, tmp_path):
    directory = cut_after(whole, tmp_path / "cut", 4)
    assert len(main(Config(resume=directory, quiet=True)).history) == 2
    assert (directory / train_lenet.PREDICTIONS).exists()
    assert_same_run(directory, whole)


def flip(file):
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


@pytest.mark.parametrize(
    "damage", [flip, Path.unlink, lambda file: os.truncate(file, file.stat().st_size // 2)]
)
def test_a_damaged_checkpoint_is_passed_over(whole, tmp_path, capsys, damage):
    directory = cut_after(whole, tmp_path / "cut", 4)
    files = (directory / "checkpoints" / "4").rglob("ocdbt.process_0/d/*")
    damage(max(files, key=lambda file: file.stat().st_size))
    main(Config(resume=directory, quiet=True))
    error = capsys.readouterr().err
    assert error.startswith(f"{directory}/checkpoints/4: the checkpoint is damaged")
    assert error.endswith("passed over for the one before\n")
    assert_same_run(directory, whole)
    assert checkpoint.steps(directory / "checkpoints") == {2, 4}


def test_metrics_that_are_newer_than_the_checkpoint(whole, tmp_path):
    directory = cut_after(whole, tmp_path / "cut", 2)
    with (directory / "metrics.jsonl").open("a") as file:
        file.write('{"epoch": 3, "st')
    main(Config(resume=directory, quiet=True))
    assert_same_run(directory, whole)


@pytest.mark.parametrize("damage", ["too few lines", "another seed's images"])
def test_what_does_not_belong_together(whole, tmp_path, damage):
    directory = cut_after(whole, tmp_path / "cut", 4)
    config = directory / "config.json"
    if damage == "too few lines":
        (directory / "metrics.jsonl").write_text("")
        message = "metrics.jsonl: expected 2 lines, got 0"
    else:
        stored = run_directory.read_config(directory)
        stored["preprocessing"]["mean"] += 0.01
        run_directory.write_config(directory, **stored)
        message = "expected the images that the run was started with, got others"
    before = config.read_bytes()
    with pytest.raises(UserError, match=message):
        main(Config(resume=directory, quiet=True))
    assert config.read_bytes() == before


@pytest.mark.parametrize("limit", [0, 4000])
def test_a_full_disk(tiny, whole, monkeypatch, limit):
    """From the second epoch's end on nothing is written, or no file of more than a page."""
    finish_epoch, disk = trainer.Trainer._finish_epoch, contextlib.ExitStack()

    def finish_epoch_on_a_full_disk(self, *args):
        if int(self._position.epoch) == 2:
            self._saver.wait()
            disk.enter_context(files_of_at_most(limit))
        return finish_epoch(self, *args)

    with monkeypatch.context() as patch, disk:
        patch.setattr(trainer.Trainer, "_finish_epoch", finish_epoch_on_a_full_disk)
        with pytest.raises(UserError, match="cannot be written: File too large"):
            main(dataclasses.replace(tiny, name="full"))
    directory = tiny.run_dir / "full"
    assert checkpoint.steps(directory / "checkpoints") == {2}
    main(Config(resume=directory, quiet=True))
    assert_same_run(directory, whole)


def test_checkpoints_that_cannot_be_written(tiny, monkeypatch):
    at_save(monkeypatch, 2, lambda: (tiny.run_dir / "name" / "checkpoints").touch())
    with pytest.raises(UserError, match="checkpoints/2: the checkpoint cannot be written: "):
        main(dataclasses.replace(tiny, name="name"))


def with_nan(patch, batch_of_step):
    """Training images one of which has a nan, such that it comes in a step of the first epoch."""

    def load_with_nan(*args):
        dataset = load(*args)
        train = dataset.train._replace(
            images=dataset.train.images.at[batch_of_step, 16, 16].set(jnp.nan)
        )
        return dataset._replace(train=train)

    patch.setattr(train_lenet, "load", load_with_nan)


@pytest.fixture
def image_of_step_1(whole) -> int:
    """The index of an image that the second step of the first epoch sees, and no other step."""
    position = checkpoint_like(whole, 2)
    batches = [
        np.asarray(trainer.epoch_batches(position._replace(epoch=jnp.int32(epoch)), 40, 15)[0])
        for epoch in (1, 2)
    ]
    return int(next(iter(set(batches[0][1]) - set(batches[1].ravel()))))


def checkpoint_like(directory, step):
    config, _ = stored_run(directory)
    _, position = initial_position(config, make_optimizer(config, steps=4))
    assert step in checkpoint.steps(directory / "checkpoints")
    return position


def test_a_step_that_is_not_finite(tiny, whole, monkeypatch, image_of_step_1):
    """The run stops there and says why; with --skip-nonfinite it goes on."""
    directory = tiny.run_dir / "nan"
    monkeypatch.setattr(trainer, "CALL_IMAGES", 1000)  # several steps at once
    with_nan(monkeypatch, image_of_step_1)
    with pytest.raises(UserError) as error:
        main(dataclasses.replace(tiny, name="nan"))
    assert str(error.value) == (
        "epoch 1, step 2 of 2: expected finite numbers, the first that is not is the images of "
        f"the batch (nan); {directory}/diagnostic/1 has the state before that step and its batch; "
        "try a lower --learning-rate than 0.025, or go on without such steps: "
        f"python -m scripts.train_lenet --resume {directory} --skip-nonfinite"
    )
    position = checkpoint_like(whole, 4)
    like = {"position": position, "batch": jnp.zeros(15, jnp.int32), "key": position.key}
    step, saved = checkpoint.load(directory / "diagnostic", like)
    assert (step, int(saved["position"].epoch), int(saved["position"].step)) == (1, 1, 1)
    assert image_of_step_1 in saved["batch"]
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(saved["position"].state))
    assert not (directory / "checkpoints").exists()

    resumed = main(Config(resume=directory, skip_nonfinite=True, quiet=True))
    assert [metrics.skipped_steps for metrics in resumed.history] == [1, 0]
    assert all(np.isfinite(leaf).all() for leaf in parameters(directory).values())


def test_a_rate_that_is_too_high(tiny):
    config = dataclasses.replace(tiny, learning_rate=1e30, schedule="constant", name="high")
    with pytest.raises(
        UserError, match=r"epoch 1, step 2 of 2: .* is the output of \w+ \(.*1e\+30"
    ):
        main(config)


def test_no_step_is_finite(tiny, monkeypatch):
    with_nan(monkeypatch, slice(None))
    config = dataclasses.replace(tiny, skip_nonfinite=True, name="nan")
    with pytest.raises(UserError, match="epoch 1: expected a step that is finite, all are skipped"):
        main(config)


def test_bfloat16_in_parts(tiny):
    config = dataclasses.replace(tiny, dtype="bfloat16", accumulate=3, name="narrow")
    result = main(config)
    assert result.history[1].train_loss < result.history[0].train_loss
    assert {value.dtype.name for value in parameters(result.directory).values()} == {
        "float32", "int32"
    }  # fmt: skip


def test_a_profile(tiny, whole):
    """It is of a few steps and changes no number."""
    config = dataclasses.replace(tiny, profile=True, name="profiled")
    directory = main(config).directory
    assert [*(directory / "profile").rglob("*.xplane.pb")]
    assert_same_run(directory, whole)


def start(config: Config) -> subprocess.Popen:
    """The same training in a process of its own, with as many devices as here."""
    resume = ["--resume", config.run_dir / config.name]
    flags = [
        "--dataset", "idx", "--data-dir", config.data_dir, "--epochs", config.epochs,
        "--batch-size", config.batch_size, "--checkpoint-every", config.checkpoint_every,
        "--run-dir", config.run_dir, "--name", config.name,
    ]  # fmt: skip
    known = (config.run_dir / config.name / "config.json").exists()
    command = [sys.executable, "-m", "scripts.train_lenet", *(resume if known else flags)]
    environment = os.environ | {"JAX_NUM_CPU_DEVICES": str(jax.device_count())}
    return subprocess.Popen(
        [*map(str, command), "--quiet"], env=environment, stderr=subprocess.PIPE, text=True
    )


def kill_at_random(config: Config, moments: random.Random) -> None:
    """Starts or resumes the training and kills it at some moment after it has saved something."""
    checkpoints = config.run_dir / config.name / "checkpoints"
    before = checkpoint.steps(checkpoints)
    process = start(config)
    while process.poll() is None and checkpoint.steps(checkpoints) <= before:
        time.sleep(0.01)
    time.sleep(moments.uniform(0.0, 0.2))
    process.kill()
    _, error = process.communicate()
    assert process.returncode in (-signal.SIGKILL, 0), error


@pytest.mark.long
@pytest.mark.optimized
@pytest.mark.parametrize("kills", [1, 20])
def test_kills(tiny, kills):
    """Killed at random moments and resumed each time, the run is the one that was never killed."""
    config = dataclasses.replace(tiny, epochs=3 * kills + 4, checkpoint_every=1)
    whole = main(dataclasses.replace(config, name="whole")).directory
    moments, killed = random.Random(kills), dataclasses.replace(config, name="killed")
    for _ in range(kills):
        kill_at_random(killed, moments)
    assert (config.run_dir / "killed" / "config.json").exists()
    main(Config(resume=config.run_dir / "killed", quiet=True))
    assert_same_run(config.run_dir / "killed", whole)
