"""Data sets of images in at most ten classes, whole on the device."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from scripts.command.program import UserError, check
from scripts.training.archives import ARCHIVES, TEST_FILES, TRAIN_FILES, locate
from scripts.training.idx import read_images_and_labels
from scripts.training.images import INPUT_SIZE, Preprocessing, fit_preprocessing

DatasetName = Literal["digits", "mnist", "fashion-mnist", "idx"]

Arrays = tuple[np.ndarray, np.ndarray]  # images and labels

CLASSES = 10
PADDED_SIZE = 28  # MNIST's; it gets a margin of 2
DIGITS_TEST_IMAGES = 360  # a fifth of 1,797
DIGITS_MAX = 16  # scikit-learn's digits are counts of black pixels in blocks of 4×4

FASHION = (
    "T-shirt", "trousers", "pullover", "dress", "coat",
    "sandal", "shirt", "sneaker", "bag", "ankle boot",
)  # fmt: skip


class Split(NamedTuple):
    """Images `[N, 32, 32, 1]` (float32, normalised) and labels `[N]` (int32), on the device."""

    images: jax.Array
    labels: jax.Array


class Dataset(NamedTuple):
    """Images to train with and images to test with, and how both were prepared."""

    train: Split
    test: Split
    preprocessing: Preprocessing


def load(name: DatasetName, directory: Path | None = None) -> Dataset:
    """The data set `name`.

    - digits: scikit-learn's handwritten digits, 1,797 images of 8×8, interpolated to 32×32. A
      fixed, stratified fifth of them is for testing. Needs no file.
    - mnist, fashion-mnist: the published IDX files, downloaded to `directory` if they are missing.
    - idx: any IDX files of the same four names, with images of 28×28 (they get a margin of 2) or
      32×32, labels from 0 to 9.

    Args:
      name: one of these.
      directory: where the files are; by default `data/<name>`, while idx has no default.

    Raises:
      UserError: if a file is missing or wrong.
    """
    if name == "digits":
        check(directory is None, "--data-dir: digits come with scikit-learn and have no files")
        return _digits()
    if directory is None:
        check(name != "idx", "--dataset idx: expected --data-dir, the folder of the IDX files")
        directory = Path("data") / name
    archive = ARCHIVES.get(name)

    def read(images_file: str, labels_file: str) -> Arrays:
        images_path = locate(directory, images_file, archive)
        labels_path = locate(directory, labels_file, archive)
        images, labels = read_images_and_labels(images_path, labels_path, CLASSES)
        _check_size(images_path, images)
        return images, labels

    train, test = read(*TRAIN_FILES), read(*TEST_FILES)
    check(
        train[0].shape[1:] == test[0].shape[1:],
        f"{directory}: expected test images of {train[0].shape[1]}×{train[0].shape[2]}, as in "
        f"training, got {test[0].shape[1]}×{test[0].shape[2]}",
    )
    return _prepare(train, test, "pad", scale=np.iinfo(np.uint8).max)


def class_names(name: DatasetName) -> tuple[str, ...]:
    """What the labels 0 to 9 stand for."""
    return FASHION if name == "fashion-mnist" else tuple(map(str, range(CLASSES)))


def _digits() -> Dataset:
    # scikit-learn takes a second to import, and only this data set needs it.
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    pixels, labels = map(np.asarray, load_digits(return_X_y=True))
    train, test = map(
        np.asarray,
        train_test_split(
            np.arange(len(labels)), test_size=DIGITS_TEST_IMAGES, stratify=labels, random_state=0
        ),
    )
    images = pixels.reshape(-1, 8, 8)
    return _prepare(
        (images[train], labels[train]), (images[test], labels[test]), "resize", scale=DIGITS_MAX
    )


def _check_size(path: Path, images: np.ndarray) -> None:
    height, width = images.shape[1:]
    sizes = (PADDED_SIZE, INPUT_SIZE)
    if height != width or height not in sizes:
        allowed = " or ".join(f"{n}×{n}" for n in sizes)
        raise UserError(f"{path}: expected images of {allowed}, got {height}×{width}")


def _prepare(train: Arrays, test: Arrays, fit: Literal["pad", "resize"], scale: int) -> Dataset:
    preprocessing = fit_preprocessing(train[0] / np.float32(scale), fit)

    def split(images: np.ndarray, labels: np.ndarray) -> Split:
        inputs = preprocessing(images / np.float32(scale))
        return Split(jnp.asarray(inputs), jnp.asarray(labels, jnp.int32))

    return Dataset(split(*train), split(*test), preprocessing)
