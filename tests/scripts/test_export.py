"""A trained net as a file, in a process that has none of its source."""

import json
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
from flax import nnx
from matplotlib import image

import models
from scripts import export, predict, train_lenet
from scripts.training import model_file
from scripts.training.lenet_config import Config, make_optimizer, restore_state, stored_run
from scripts.training.step import split_model

pytestmark = pytest.mark.numbers

ROOT = Path(__file__).parent.parent.parent

# `None` in sys.modules makes an import of that name fail.
WITHOUT_SOURCE = """
import json, sys, types
for name in ("models", "jaxfn.functional", "jaxfn.function", "flax", "optax", "orbax"):
    sys.modules[name] = None
sys.modules["jaxfn"] = types.ModuleType("jaxfn")  # its commands alone can be found
sys.modules["jaxfn"].__path__ = ["jaxfn"]
from pathlib import Path
from scripts.predict import Config, main
predictions = main(Config((Path(sys.argv[1]),) * 2, model=Path(sys.argv[2])))
print(json.dumps(predictions[1].probabilities))
"""


@pytest.fixture(scope="module")
def run(quick, tiny_data, tmp_path_factory):
    """An epoch of two steps: a net whose parameters are those of no seed."""
    config = Config(
        dataset="idx", data_dir=tiny_data, epochs=1, batch_size=15, quiet=True,
        run_dir=tmp_path_factory.mktemp("runs"),
    )  # fmt: skip
    return train_lenet.main(config)


@pytest.fixture(scope="module")
def file(run, tmp_path_factory):
    path = tmp_path_factory.mktemp("models") / "digits.jaxfn"
    assert export.main(export.Config(run.directory, path)) == path
    return path


@pytest.fixture(scope="module")
def digit(tmp_path_factory):
    path = tmp_path_factory.mktemp("images") / "digit.png"
    ink = np.random.default_rng(0).random((8, 8))
    ink[[0, -1]] = ink[:, [0, -1]] = 0
    image.imsave(path, ink, cmap="gray", vmin=0, vmax=1)
    return path


def test_without_the_source(run, file, digit):
    command = [sys.executable, "-c", WITHOUT_SOURCE, digit, file]
    output = subprocess.run(command, check=True, capture_output=True, text=True, cwd=ROOT).stdout
    found = json.loads(output.splitlines()[-1])
    expected = predict.main(predict.Config((digit,), run=run.directory))[0].probabilities
    assert [*found] == [*expected]
    np.testing.assert_allclose([*found.values()], [*expected.values()], rtol=1e-5, atol=1e-7)


def test_the_file(run, file):
    """The net of the run on any number of images, and what it takes to prepare them."""
    model = model_file.read(file)
    stored, preprocessing = stored_run(run.directory)
    graphdef, _, state = restore_state(run.directory, stored, make_optimizer(stored, 1))
    assert model.preprocessing == preprocessing
    assert model.classes == tuple("0123456789")
    x = jax.random.normal(jax.random.key(0), (7, 32, 32, 1))
    expected = jax.jit(lambda x: jax.nn.softmax(nnx.merge(graphdef, state.params)(x)))(x)
    np.testing.assert_allclose(jax.jit(model.program.call)(x), expected, rtol=1e-4, atol=1e-6)


def test_by_default_in_the_folder_of_the_run(run, command_line, capsys):
    code, error = command_line(export, "--run", run.directory)
    assert (code, error) == (0, "")
    assert (run.directory / "model.jaxfn").is_file()
    (run.directory / "model.jaxfn").unlink()


def test_errors(run, tmp_path, command_line):
    for flags, message in [
        (["--run", tmp_path], "config.json: cannot be read: No such file"),
        (["--run", run.directory, "--output", tmp_path], "cannot be written"),
    ]:
        code, error = command_line(export, *flags)
        assert (code, error.count("\n")) == (2, 1)
        assert message in error


def test_every_platform():
    """The same program for all: what a platform prefers is chosen where it is loaded."""
    program = export.export_classifier(*split_model(models.LeNet(rngs=nnx.Rngs(0))))
    assert program.platforms == ("cpu", "cuda", "tpu")
    assert str(program.in_avals[0].shape[0]) == "n"
