"""A trained net as a file, in a process that has none of its source."""

import json
import subprocess
import sys

import jax
import numpy as np
import pytest
from flax import nnx
from matplotlib import image

import models
from scripts import export, predict
from scripts.training import model_file
from scripts.training.lenet_config import make_optimizer, restore_state, stored_run
from scripts.training.step import split_model

# `None` in sys.modules makes an import of that name fail.
WITHOUT_SOURCE = """
import json, sys
for name in ("models", "jaxfn", "flax", "optax", "orbax"):
    sys.modules[name] = None
from pathlib import Path
from scripts.predict import Config, main
prediction = main(Config(Path(sys.argv[1]), model=Path(sys.argv[2])))
print(json.dumps(prediction.probabilities))
"""


@pytest.fixture(scope="module")
def file(digits_run, tmp_path_factory):
    path = tmp_path_factory.mktemp("models") / "digits.jaxfn"
    assert export.main(export.Config(digits_run.directory, path)) == path
    return path


@pytest.fixture(scope="module")
def digit(tmp_path_factory):
    path = tmp_path_factory.mktemp("images") / "digit.png"
    ink = np.random.default_rng(0).random((8, 8))
    ink[[0, -1]] = ink[:, [0, -1]] = 0
    image.imsave(path, ink, cmap="gray", vmin=0, vmax=1)
    return path


def test_without_the_source(digits_run, file, digit):
    command = [sys.executable, "-c", WITHOUT_SOURCE, digit, file]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    found = json.loads(output.splitlines()[-1])
    expected = predict.main(predict.Config(digit, run=digits_run.directory)).probabilities
    assert [*found] == [*expected]
    np.testing.assert_allclose([*found.values()], [*expected.values()], rtol=1e-5, atol=1e-7)


def test_the_file(digits_run, file):
    """The net of the run on any number of images, and what it takes to prepare them."""
    model = model_file.read(file)
    stored, preprocessing = stored_run(digits_run.directory)
    graphdef, _, state = restore_state(digits_run.directory, stored, make_optimizer(stored, 1))
    assert model.preprocessing == preprocessing
    assert model.classes == tuple("0123456789")
    x = jax.random.normal(jax.random.key(0), (7, 32, 32, 1))
    expected = jax.jit(lambda x: jax.nn.softmax(nnx.merge(graphdef, state.params)(x)))(x)
    np.testing.assert_allclose(jax.jit(model.program.call)(x), expected, rtol=1e-4, atol=1e-6)


def test_by_default_in_the_folder_of_the_run(digits_run, command_line, capsys):
    code, error = command_line(export, "--run", digits_run.directory)
    assert (code, error) == (0, "")
    assert (digits_run.directory / "model.jaxfn").is_file()
    (digits_run.directory / "model.jaxfn").unlink()


def test_errors(digits_run, tmp_path, command_line):
    for flags, message in [
        (["--run", tmp_path], "config.json: cannot be read: No such file"),
        (["--run", digits_run.directory, "--output", tmp_path], "cannot be written"),
    ]:
        code, error = command_line(export, *flags)
        assert (code, error.count("\n")) == (2, 1)
        assert message in error


def test_every_platform():
    """The same program for all: what a platform prefers is chosen where it is loaded."""
    program = export.export_classifier(*split_model(models.LeNet(rngs=nnx.Rngs(0))))
    assert program.platforms == ("cpu", "cuda", "tpu")
    assert str(program.in_avals[0].shape[0]) == "n"
