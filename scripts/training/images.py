"""Images as LeNet takes them: 32×32, light ink on a dark ground, normalised."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Literal

import jax
import numpy as np
from matplotlib import image

from scripts.command.program import UserError, check

INPUT_SIZE = 32
MIN_CONTRAST = 0.2  # of white; less than that is an empty picture with noise
RGB_WEIGHTS = np.array([0.299, 0.587, 0.114])  # luma as in ITU-R BT.601

Ground = Literal["auto", "dark", "light"]


@dataclasses.dataclass(frozen=True)
class Preprocessing:
    """How the images of a data set become the input of the net; a run keeps it for prediction.

    Attributes:
      source_size: height and width of the data set's images.
      fit: how they come to 32×32: with a margin of the ground, or interpolated linearly.
      mean: mean of the training pixels, after that.
      std: their standard deviation.
    """

    source_size: int
    fit: Literal["pad", "resize"]
    mean: float
    std: float

    @property
    def ground(self) -> float:
        """What a black pixel becomes."""
        return -self.mean / self.std

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """`[N, H, W]`, from 0 (ground) to 1 (ink) → `[N, 32, 32, 1]`, float32."""
        return ((to_input_size(images, self.fit) - self.mean) / self.std)[..., None]


def fit_preprocessing(images: np.ndarray, fit: Literal["pad", "resize"]) -> Preprocessing:
    """The preprocessing that brings the training images `[N, size, size]` to mean 0 and standard
    deviation 1.

    Raises:
      UserError: if all their pixels are alike.
    """
    pixels = to_input_size(images, fit)
    mean, std = float(pixels.mean(dtype=np.float64)), float(pixels.std(dtype=np.float64))
    check(std > 0, f"training images: expected some contrast, got {mean:.3g} in every pixel")
    return Preprocessing(images.shape[1], fit, mean, std)


def to_input_size(images: np.ndarray, fit: Literal["pad", "resize"]) -> np.ndarray:
    """`[N, size, size]` → `[N, 32, 32]`, float32, by a margin of zeros or by interpolation."""
    if fit == "resize":
        return resize(images, INPUT_SIZE)
    before = (INPUT_SIZE - images.shape[1]) // 2
    margin = (before, INPUT_SIZE - images.shape[1] - before)
    return np.pad(images.astype(np.float32), ((0, 0), margin, margin))


def resize(images: np.ndarray, size: int) -> np.ndarray:
    """`[N, H, W]` → `[N, size, size]`, linearly; where it shrinks, the pixels are averaged."""
    shape = (len(images), size, size)
    return np.asarray(jax.image.resize(images.astype(np.float32), shape, "linear"))


def read_ink(path: Path, *, ground: Ground = "auto") -> np.ndarray:
    """Amount of ink in each pixel of an image file, `[size, size]`, from 0 (ground) to 1.

    Grey, RGB, RGBA, palettes, 8 and 16 bits. What is transparent is ground. The ground is light
    where most of the border is nearer to the lightest pixel than to the darkest, unless `ground`
    says which it is; the lightest and the darkest pixel become ink and ground. An image that is not
    square is centred on a square of ground.

    Raises:
      UserError: if the file cannot be read as an image, or all of the image is alike.
    """
    grey = _opaque(*_grey_and_opacity(_read_pixels(path)))
    low, high = grey.min(), grey.max()
    check(
        high - low >= MIN_CONTRAST,
        f"{path}: expected ink on a ground, got an empty picture: "
        f"its pixels lie between {low:.2f} and {high:.2f} of white",
    )
    light = ground == "light" or (ground == "auto" and np.median(_border(grey)) > (low + high) / 2)
    return _square((high - grey if light else grey - low) / (high - low))


def _grey_and_opacity(pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    channels = pixels[..., None] if pixels.ndim == 2 else pixels
    colour, opacity = channels, np.ones(channels.shape[:2])
    if channels.shape[2] in (2, 4):
        colour, opacity = channels[..., :-1], channels[..., -1]
    return colour @ RGB_WEIGHTS if colour.shape[2] == 3 else colour[..., 0], opacity


def _opaque(grey: np.ndarray, opacity: np.ndarray) -> np.ndarray:
    """`grey` laid on a ground where it is not opaque.

    A transparent margin around an opaque picture is cut off. Otherwise
    the ground is that of black and white on which more is seen: black ink goes on white.
    """
    rows, columns = (np.flatnonzero((opacity > 0).any(axis)) for axis in (1, 0))
    if len(rows):
        inside = (slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1))
        if opacity[inside].min() == 1 and np.ptp(grey[inside]) >= MIN_CONTRAST:
            return grey[inside]
    on_black = grey * opacity
    on_white = on_black + 1 - opacity
    return on_white if on_white.std() > on_black.std() else on_black


def _border(grey: np.ndarray) -> np.ndarray:
    return np.concatenate([grey[0], grey[-1], grey[:, 0], grey[:, -1]])


def _read_pixels(path: Path) -> np.ndarray:
    """Pixels from 0 to 1, `[H, W]` or `[H, W, channels]`."""
    try:
        pixels = image.imread(path)
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror or error}") from error
    except (SyntaxError, ValueError) as error:  # what Pillow raises for a file of another format
        raise UserError(f"{path}: expected an image, got {error}") from error
    # Matplotlib scales PNGs itself and leaves other formats as integers.
    scale = np.iinfo(pixels.dtype).max if np.issubdtype(pixels.dtype, np.integer) else 1
    return pixels / scale


def _square(ink: np.ndarray) -> np.ndarray:
    missing = [max(ink.shape) - side for side in ink.shape]
    return np.pad(ink, [(n // 2, n - n // 2) for n in missing])
