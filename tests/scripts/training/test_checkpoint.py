"""What is saved comes back bit for bit, or not at all."""

import ast
import shutil
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from scripts.command.program import UserError
from scripts.training import checkpoint
from scripts.training.step import TrainState
from tests.scripts.conftest import files_of_at_most

ROOT = Path(__file__).parents[3]
UNSAFE_MODULES = {"pickle", "marshal", "shelve", "dill", "cloudpickle", "joblib", "yaml"}
UNSAFE_CALLS = {"eval", "exec", "np.load", "numpy.load", "jnp.load", "torch.load"}

PARAMS = {"fc1": {"kernel": jnp.arange(2000.0).reshape(40, 50), "bias": jnp.ones(3)}}
STATE = TrainState(PARAMS, optax.sgd(0.1, momentum=0.9).init(PARAMS))


def scaled(factor):
    return STATE._replace(params=jax.tree.map(lambda leaf: leaf * factor, PARAMS))


def names(directory):
    return {path.name for path in directory.iterdir()}


def complete(*steps):
    return {name for step in steps for name in (str(step), f"{step}.sha256")}


def test_round_trip_of_the_latest(tmp_path):
    with checkpoint.Saver(tmp_path, keep=1) as saver:
        for step in (1, 2, 10):
            saver.save(step, scaled(step))
    step, state = checkpoint.load(tmp_path, jax.eval_shape(lambda: STATE))
    assert step == 10
    assert jax.tree.structure(state) == jax.tree.structure(STATE)
    np.testing.assert_array_equal(state.params["fc1"]["bias"], 10 * np.ones(3))
    assert names(tmp_path) == complete(10)


def test_which_ones_are_kept(tmp_path):
    """The latest ones, and those protected; not what a killed process or another run has left."""
    checkpoint.save(tmp_path, 99, STATE)
    (tmp_path / "3").mkdir()
    (tmp_path / "3.orbax-checkpoint-tmp").mkdir()
    (tmp_path / "notes.txt").touch()
    with checkpoint.Saver(tmp_path, keep=2) as saver:
        for step in (2, 4, 6, 8):
            saver.save(step, STATE, protect=[min(4, step)])
    assert names(tmp_path) == complete(4, 6, 8) | {"notes.txt"}


def test_a_saver_waits_and_says_what_failed(tmp_path):
    checkpoint.save(tmp_path, 1, STATE)
    saver = checkpoint.Saver(tmp_path, keep=2)
    saver.save(2, STATE)
    saver.wait()
    with files_of_at_most(4000):
        saver.save(3, STATE)
        with pytest.raises(UserError, match=r"3: the checkpoint .* written: File too large;.* 2$"):
            saver.wait()
    saver.save(4, STATE)
    saver.wait()
    assert names(tmp_path) == complete(2, 4)
    assert checkpoint.load(tmp_path, STATE)[0] == 4


def test_a_file_in_the_place_of_the_directory(tmp_path):
    (tmp_path / "checkpoints").touch()
    with pytest.raises(UserError, match=r"checkpoints/1: the checkpoint cannot be written: .*none"):
        checkpoint.save(tmp_path / "checkpoints", 1, STATE)
    with pytest.raises(UserError, match="expected the checkpoint of a run, there is none"):
        checkpoint.load(tmp_path / "checkpoints", STATE)


def test_none(tmp_path):
    for directory in (tmp_path, tmp_path / "absent"):
        with pytest.raises(UserError, match="expected the checkpoint of a run, there is none"):
            checkpoint.load(directory, STATE)


def test_a_checkpoint_without_its_hashes_is_not_finished(tmp_path):
    checkpoint.save(tmp_path, 1, STATE)
    checkpoint.save(tmp_path, 2, scaled(2))
    (tmp_path / "2.sha256").unlink()
    (tmp_path / "3.orbax-checkpoint-tmp").mkdir()
    assert checkpoint.load(tmp_path, STATE)[0] == 1
    said = []
    assert checkpoint.load(tmp_path, STATE, said.append)[0] == 1
    assert said == [
        f"{tmp_path / step}: the checkpoint was not written to its end: passed over for the one "
        "before"
        for step in "32"
    ]


def damage_as_a_file(path):
    shutil.rmtree(path)
    path.write_text("no folder")


def damage_by_a_file_too_many(path):
    (path / "state" / "more").write_text("")


def damage_the_hashes(path):
    path.with_name(f"{path.name}.sha256").write_bytes(b"\xff\x00")


def damage_by_a_folder_of_hashes(path):
    hashes = path.with_name(f"{path.name}.sha256")
    hashes.unlink()
    hashes.mkdir()


@pytest.mark.parametrize(
    "damage",
    [
        shutil.rmtree,
        damage_as_a_file,
        damage_by_a_file_too_many,
        damage_the_hashes,
        damage_by_a_folder_of_hashes,
    ],
)
def test_a_damaged_one_is_passed_over(tmp_path, damage):
    for step in (1, 2):
        checkpoint.save(tmp_path, step, scaled(step))
    damage(tmp_path / "2")
    with pytest.raises(UserError, match=r"2: the checkpoint (is damaged|cannot be read)"):
        checkpoint.load(tmp_path, STATE)
    said = []
    step, state = checkpoint.load(tmp_path, STATE, said.append)
    assert step == 1
    np.testing.assert_array_equal(state.params["fc1"]["bias"], np.ones(3))
    assert [text.startswith(f"{tmp_path / '2'}: the checkpoint ") for text in said] == [True]
    damage(tmp_path / "1")
    with pytest.raises(UserError, match="expected an intact checkpoint, all 2 are damaged"):
        checkpoint.load(tmp_path, STATE, said.append)


def test_every_file_damaged(tmp_path, caplog):
    checkpoint.save(tmp_path, 1, STATE)
    files = [file for file in tmp_path.rglob("*") if file.is_file() and file.stat().st_size]
    assert len(files) > 5
    for file in files:
        content = file.read_bytes()
        middle = len(content) // 2
        flipped = content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]
        for damaged in (None, b"", content[:middle], flipped):
            file.unlink()
            if damaged is not None:
                file.write_bytes(damaged)
            with pytest.raises(UserError, match=str(tmp_path)):
                checkpoint.load(tmp_path, STATE)
            file.write_bytes(content)
    checkpoint.load(tmp_path, STATE)
    assert not caplog.records


def test_nothing_that_is_read_can_run_code():
    """Neither here nor in any other source is there a reader of a format that holds code; those of
    Orbax, IDX, PNG and JSON do not."""
    sources = [
        p for folder in ("jaxfn", "models", "scripts") for p in (ROOT / folder).rglob("*.py")
    ]
    assert len(sources) > 50
    # the site runs the code of the project's own pages
    for source in {*sources} - {ROOT / "scripts" / "site" / "blocks.py"}:
        for node in ast.walk(ast.parse(source.read_text())):
            if isinstance(node, ast.Import | ast.ImportFrom):
                names = [alias.name for alias in node.names] + [getattr(node, "module", None) or ""]
                assert not {name.partition(".")[0] for name in names} & UNSAFE_MODULES, source
            if isinstance(node, ast.Call):
                assert ast.unparse(node.func) not in UNSAFE_CALLS, source


def test_of_another_model(tmp_path):
    checkpoint.save(tmp_path, 1, {"a": jnp.ones(3)})
    for like in ({"b": jnp.ones(3)}, {"a": jnp.ones(4)}):
        with pytest.raises(UserError, match="1: the checkpoint is not of this model"):
            checkpoint.load(tmp_path, like)
