"""The trained net, asked about images."""

import shutil

import numpy as np
import pytest
from matplotlib import image
from sklearn.datasets import load_digits

from scripts import predict, train_lenet
from scripts.predict import Config, main
from scripts.training.data import load
from tests.scripts.conftest import draw_nothing

pytestmark = pytest.mark.numbers


@pytest.fixture(scope="module")
def digits_run(tmp_path_factory):
    """LeNet trained on the digits, not to its best."""
    run_dir = tmp_path_factory.mktemp("runs")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(train_lenet, "_draw", draw_nothing)
        return train_lenet.main(train_lenet.Config(run_dir=run_dir, epochs=6, quiet=True))


@pytest.fixture(scope="module")
def digit(tmp_path_factory, digits_run):
    """An image of scikit-learn's digits as a PNG of 8×8, and its label."""
    images, labels = map(np.asarray, load_digits(return_X_y=True))
    path = tmp_path_factory.mktemp("digit") / "digit.png"
    image.imsave(path, images[0].reshape(8, 8) / 16, cmap="gray", vmin=0, vmax=1)
    return path, int(labels[0])


def test_what_the_net_sees(digits_run, digit, capsys):
    path, label = digit
    prediction = main(Config(path, run=digits_run.directory))
    assert prediction.label == label
    assert sum(prediction.probabilities.values()) == pytest.approx(1, abs=1e-5)
    values = list(prediction.probabilities.values())
    assert values == sorted(values, reverse=True)
    shown = capsys.readouterr().out
    assert f"digit.png: {label}" in shown
    assert f"{values[2]:.1%}" in shown


def test_the_preprocessing_is_that_of_the_training(digits_run, tmp_path):
    """A test image as a PNG, through `predict`, is right as often as the run says."""
    dataset = load("digits")
    preprocessing = dataset.preprocessing
    right = 0
    for i in range(10):
        pixels = np.asarray(dataset.test.images[i, ..., 0])
        ink = pixels * preprocessing.std + preprocessing.mean
        image.imsave(tmp_path / "image.png", ink, cmap="gray", vmin=0, vmax=1)
        prediction = main(Config(tmp_path / "image.png", run=digits_run.directory))
        right += prediction.label == int(dataset.test.labels[i])
    assert right >= 9


def test_large_dark_on_light(digits_run, digit, tmp_path, capsys):
    path, label = digit
    pixels = 1 - image.imread(path)[..., 0].repeat(40, 0).repeat(40, 1)
    image.imsave(tmp_path / "large.png", pixels, cmap="gray", vmin=0, vmax=1)
    config = Config(tmp_path / "large.png", run=digits_run.directory, invert=True)
    assert main(config).label == label
    assert capsys.readouterr().err == ""
    main(Config(tmp_path / "large.png", run=digits_run.directory))
    assert "try with --invert" in capsys.readouterr().err


def test_errors(digits_run, digit, tmp_path, command_line):
    path, _ = digit
    (tmp_path / "text.png").write_text("hello")
    cases = [
        (tmp_path / "absent.png", digits_run.directory, "absent.png: cannot be read: No such file"),
        (tmp_path / "text.png", digits_run.directory, "text.png: expected an image, got"),
        (path, tmp_path / "absent", "absent/config.json: cannot be read: No such file"),
    ]
    for file, run, message in cases:
        code, error = command_line(predict, file, "--run", run)
        assert code == 2
        assert error.startswith("error: ")
        assert message in error
        assert error.count("\n") == 1


def test_damaged_runs(digits_run, digit, tmp_path, command_line):
    run = tmp_path / "run"
    shutil.copytree(digits_run.directory, run)
    files = (run / "checkpoints" / "264").rglob("ocdbt.process_0/d/*")
    weights = max(files, key=lambda file: file.stat().st_size)
    weights.write_bytes(weights.read_bytes()[:-1] + b"?")
    code, error = command_line(predict, digit[0], "--run", run)
    assert (code, error.count("\n")) == (2, 1)
    assert "checkpoints/264: the checkpoint is damaged" in error
    (run / "config.json").write_text("{")
    code, error = command_line(predict, digit[0], "--run", run)
    assert (code, error.count("\n")) == (2, 1)
    assert "config.json: damaged" in error


def test_either_a_run_or_a_file(digits_run, digit, command_line):
    for flags in ([], ["--run", digits_run.directory, "--model", digit[0]]):
        code, error = command_line(predict, digit[0], *flags)
        assert (code, error.count("\n")) == (2, 1)
        assert "expected either --run, a folder, or --model, a file" in error


def test_damaged_files_of_a_model(digit, tmp_path, command_line):
    for content in (b"", b"\x00" * 1000, b"jaxfn-model 1 sha256 " + b"0" * 64 + b"\n{}\n"):
        (tmp_path / "model").write_bytes(content)
        code, error = command_line(predict, digit[0], "--model", tmp_path / "model")
        assert (code, error.count("\n")) == (2, 1)
        assert error.startswith(f"error: {tmp_path / 'model'}: ")


def test_a_platform_that_is_not_there(digit, tmp_path, command_line):
    flags = (digit[0], "--model", tmp_path / "model", "--platform", "tpu")
    code, error = command_line(predict, *flags)
    assert (code, error.count("\n")) == (2, 1)
    assert "--platform tpu: expected a tpu device, JAX" in error


@pytest.mark.parametrize("damage", ["truncated", "empty", "a bit of a pixel", "a bit of the size"])
def test_damaged_images(damage, digits_run, digit, tmp_path, command_line):
    content = digit[0].read_bytes()
    place = content.index(b"IDAT") + 10 if damage == "a bit of a pixel" else 18
    changed = {
        "truncated": content[: len(content) // 2],
        "empty": b"",
    }.get(damage, content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
    (tmp_path / "image.png").write_bytes(changed)
    code, error = command_line(predict, tmp_path / "image.png", "--run", digits_run.directory)
    assert (code, error.count("\n")) == (2, 1)
    assert error.startswith(f"error: {tmp_path / 'image.png'}: ")
