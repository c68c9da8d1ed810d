"""The trained net, asked about images."""

import shutil

import numpy as np
import pytest
from matplotlib import image
from PIL import Image, ImageOps
from sklearn.datasets import load_digits

from scripts import predict, train_lenet
from scripts.predict import Config, main
from scripts.training.data import load
from tests.scripts.conftest import draw_nothing

pytestmark = pytest.mark.numbers


@pytest.fixture(scope="module")
def digits_run(tmp_path_factory):
    """LeNet trained on the digits, not to its best, but so that it is sure of the first ones."""
    run_dir = tmp_path_factory.mktemp("runs")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(train_lenet, "_draw", draw_nothing)
        return train_lenet.main(train_lenet.Config(run_dir=run_dir, epochs=12, quiet=True))


@pytest.fixture(scope="module")
def digit(tmp_path_factory, digits_run):
    """An image of scikit-learn's digits as a PNG of 8×8, and its label."""
    images, labels = map(np.asarray, load_digits(return_X_y=True))
    path = tmp_path_factory.mktemp("digit") / "digit.png"
    image.imsave(path, images[0].reshape(8, 8) / 16, cmap="gray", vmin=0, vmax=1)
    return path, int(labels[0])


def test_what_the_net_sees(digits_run, digit, capsys):
    path, label = digit
    (prediction,) = main(Config((path,), run=digits_run.directory))
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
        (prediction,) = main(Config((tmp_path / "image.png",), run=digits_run.directory))
        right += prediction.label == int(dataset.test.labels[i])
    assert right >= 9


def _bytes(ink):
    return np.round(255 * ink).astype(np.uint8)


def _on_transparent(ink, grey):
    return np.stack([np.full_like(_bytes(ink), grey)] * 3 + [_bytes(ink)], -1)


NOISE = np.random.default_rng(0).normal(0, 0.02, (8, 8))
VARIANTS = {
    "light on dark": lambda ink: Image.fromarray(_bytes(ink)),
    "dark on light": lambda ink: Image.fromarray(_bytes(1 - ink)),
    "RGB": lambda ink: Image.fromarray(_bytes(1 - ink)).convert("RGB"),
    "RGBA": lambda ink: Image.fromarray(_bytes(1 - ink)).convert("RGBA"),
    "black on transparent": lambda ink: Image.fromarray(_on_transparent(ink, 0)),
    "white on transparent": lambda ink: Image.fromarray(_on_transparent(ink, 255)),
    "transparent margin": lambda ink: ImageOps.expand(
        Image.fromarray(_bytes(ink)).convert("RGBA"), 1, (255, 255, 255, 0)
    ),
    "palette": lambda ink: Image.fromarray(_bytes(1 - ink)).convert("P"),
    "16 bits": lambda ink: Image.fromarray(_bytes(1 - ink).astype(np.uint16) * 257),
    "pale": lambda ink: Image.fromarray(_bytes(0.9 - 0.5 * ink)),
    "large": lambda ink: Image.fromarray(_bytes(1 - ink).repeat(40, 0).repeat(40, 1)),
    "noise": lambda ink: Image.fromarray(_bytes(np.clip(1 - ink + NOISE, 0, 1))),
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_same_digit_in_every_kind_of_picture(variant, digits_run, tmp_path):
    """A digit of each class, whatever it is drawn on.

    The second of each: this net takes the first 5, in plain light on dark, for a 9.
    """
    images, labels = map(np.asarray, load_digits(return_X_y=True))
    files = tuple(tmp_path / f"{label}.png" for label in range(10))
    for label, file in enumerate(files):
        ink = images[np.flatnonzero(labels == label)[1]].reshape(8, 8) / 16
        VARIANTS[variant](ink).save(file)
    predictions = main(Config(files, run=digits_run.directory))
    assert [prediction.label for prediction in predictions] == [*range(10)]


def test_the_ground_by_hand(digits_run, digit):
    path, label = digit
    (right,) = main(Config((path,), run=digits_run.directory, ground="dark"))
    (wrong,) = main(Config((path,), run=digits_run.directory, ground="light"))
    (same,) = main(Config((path,), run=digits_run.directory, invert=True))
    assert right.label == label
    assert wrong.probabilities != right.probabilities
    assert same == wrong


def test_several_images(digits_run, digit, tmp_path, command_line, capsys):
    path, label = digit
    empty = tmp_path / "empty.png"
    Image.new("RGBA", (8, 8)).save(empty)
    main(Config((path, path), run=digits_run.directory))
    assert [line[:-6] for line in capsys.readouterr().out.splitlines()] == [
        f"{path}: {label}, "
    ] * 2
    code, error = command_line(predict, path, empty, path, "--run", digits_run.directory)
    assert (code, error.count("\n")) == (2, 1)
    assert error.startswith(f"error: {empty}: expected ink on a ground, got an empty picture")


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
    files = (run / "checkpoints" / "528").rglob("ocdbt.process_0/d/*")
    weights = max(files, key=lambda file: file.stat().st_size)
    weights.write_bytes(weights.read_bytes()[:-1] + b"?")
    code, error = command_line(predict, digit[0], "--run", run)
    assert (code, error.count("\n")) == (2, 1)
    assert "checkpoints/528: the checkpoint is damaged" in error
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
