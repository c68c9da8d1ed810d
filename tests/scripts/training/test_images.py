"""Images of every kind become what the net was trained on."""

import numpy as np
import pytest
from matplotlib import image
from PIL import Image

from scripts.command.program import UserError
from scripts.training.images import (
    Preprocessing,
    fit_preprocessing,
    read_ink,
    resize,
    to_input_size,
)

GREY = np.random.default_rng(0).integers(0, 256, (6, 6), dtype=np.uint8)
GREY[[0, -1]] = GREY[:, [0, -1]] = 0
GREY[2, 2] = 255


def save(path, pixels, mode=None):
    Image.fromarray(pixels).convert(mode).save(path) if mode else Image.fromarray(pixels).save(path)
    return path


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "LA", "P"])
def test_every_kind_of_png(tmp_path, mode):
    ink = read_ink(save(tmp_path / "image.png", GREY, mode))
    np.testing.assert_allclose(ink, GREY / 255, atol=1e-6)


def test_16_bits(tmp_path):
    ink = read_ink(save(tmp_path / "image.png", GREY.astype(np.uint16) * 257))
    np.testing.assert_allclose(ink, GREY / 255, atol=1e-6)


def test_jpeg(tmp_path):
    pixels = np.zeros((24, 24), np.uint8)
    pixels[8:16, 8:16] = 255
    ink = read_ink(save(tmp_path / "image.jpg", pixels))
    np.testing.assert_allclose(ink, pixels / 255, atol=0.01)


def test_colours_have_their_luma(tmp_path):
    pixels = np.zeros((5, 5, 3), np.uint8)
    pixels[1, 1], pixels[2, 2, 1] = 255, 255
    ink = read_ink(save(tmp_path / "image.png", pixels))
    np.testing.assert_allclose(ink[[1, 2], [1, 2]], [1, 0.587], atol=1e-6)


@pytest.mark.parametrize("ink_grey", [0, 90, 255])
def test_transparent_is_ground(tmp_path, ink_grey):
    rgba = np.full((4, 4, 4), ink_grey, np.uint8)
    rgba[..., 3] = 0
    rgba[1:3, 1:3, 3] = 255
    expected = np.pad(np.ones((2, 2)), 1)
    np.testing.assert_allclose(read_ink(save(tmp_path / "image.png", rgba)), expected, atol=1e-6)


def test_the_ground_is_that_of_the_border(tmp_path):
    path = save(tmp_path / "image.png", 255 - GREY)
    np.testing.assert_allclose(read_ink(path), GREY / 255, atol=1e-6)
    np.testing.assert_allclose(read_ink(path, ground="light"), GREY / 255, atol=1e-6)
    np.testing.assert_allclose(read_ink(path, ground="dark"), 1 - GREY / 255, atol=1e-6)


@pytest.mark.parametrize("level", [0, 128, 255])
@pytest.mark.parametrize("opacity", [0, 255])
def test_an_empty_picture(tmp_path, level, opacity):
    rgba = np.full((8, 8, 4), level, np.uint8)
    rgba[..., 3] = opacity
    rgba[2, 2, :3] = level + 10 if level < 255 else level - 10  # noise
    with pytest.raises(UserError, match=r"image.png: expected ink on a ground, got an empty"):
        read_ink(save(tmp_path / "image.png", rgba))


@pytest.mark.parametrize("shape", [(4, 7), (7, 4)])
def test_not_square_is_centred(tmp_path, shape):
    pixels = np.pad(np.full([side - 2 for side in shape], 255, np.uint8), 1)
    ink = read_ink(save(tmp_path / "image.png", pixels))
    assert ink.shape == (7, 7)
    middle = ink.sum(0 if shape[1] == 4 else 1)
    np.testing.assert_array_equal(middle, [0, 0, 5, 5, 0, 0, 0])


def test_not_an_image(tmp_path):
    whole = save(tmp_path / "whole.png", GREY).read_bytes()
    path = tmp_path / "image.png"
    end = len(whole) - 12 - 8  # the last chunk, and two checksums that Pillow can do without
    for content in (b"hello", *(whole[:n] for n in range(end))):
        path.write_bytes(content)
        with pytest.raises(UserError, match=f"{path}: "):
            read_ink(path)
    with pytest.raises(UserError, match=r"absent.png: cannot be read: No such file"):
        read_ink(tmp_path / "absent.png")


def test_input_size():
    images = np.random.default_rng(0).random((2, 28, 28))
    padded = to_input_size(images, "pad")
    assert padded.shape == (2, 32, 32)
    np.testing.assert_allclose(padded[:, 2:-2, 2:-2], images, rtol=1e-6)
    assert padded.sum() == pytest.approx(images.sum(), rel=1e-5)
    np.testing.assert_array_equal(to_input_size(padded, "pad"), padded)
    assert to_input_size(images[:, :8, :8], "resize").shape == (2, 32, 32)


def test_shrinking_averages():
    checkers = np.indices((16, 16)).sum(0)[None] % 2
    np.testing.assert_allclose(resize(checkers, 4), 0.5, atol=0.1)


def test_normalised():
    images = np.random.default_rng(0).random((50, 8, 8))
    preprocessing = fit_preprocessing(images, "resize")
    x = preprocessing(images)
    assert x.shape == (50, 32, 32, 1)
    assert x.dtype == np.float32
    assert abs(x.mean()) < 1e-5
    assert x.std() == pytest.approx(1, abs=1e-5)
    assert preprocessing(np.zeros((1, 8, 8)))[0, 0, 0, 0] == pytest.approx(preprocessing.ground)


def test_without_contrast():
    with pytest.raises(UserError, match=r"expected some contrast, got 0.5 in every pixel"):
        fit_preprocessing(np.full((3, 32, 32), 0.5), "pad")


def test_written_and_read(tmp_path):
    image.imsave(tmp_path / "image.png", GREY, cmap="gray", vmin=0, vmax=255)
    prepared = Preprocessing(6, "resize", 0.0, 1.0)(read_ink(tmp_path / "image.png")[None])
    expected = Preprocessing(6, "resize", 0.0, 1.0)(GREY[None] / 255)
    np.testing.assert_allclose(prepared, expected, atol=1 / 255)
