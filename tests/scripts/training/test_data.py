"""Data sets come whole, prepared, and with their errors named."""

import gzip

import numpy as np
import pytest

from scripts.command.program import UserError
from scripts.training import data
from tests.scripts.conftest import idx_bytes, write_idx_files


def test_digits():
    digits = data.load("digits")
    assert digits.train.images.shape == (1437, 32, 32, 1)
    assert digits.test.images.shape == (360, 32, 32, 1)
    assert digits.train.labels.dtype == np.int32
    counts = np.bincount(digits.test.labels)
    assert counts.min() >= 34  # stratified: 36 of each class, as nearly as they can be
    assert counts.max() <= 37
    again = data.load("digits")
    np.testing.assert_array_equal(digits.test.images, again.test.images)


@pytest.mark.parametrize("size", [28, 32])
def test_idx(tmp_path, size):
    dataset = data.load("idx", write_idx_files(tmp_path, size=size))
    assert dataset.train.images.shape == (40, 32, 32, 1)
    assert dataset.test.images.shape == (13, 32, 32, 1)
    np.testing.assert_array_equal(dataset.test.labels, np.arange(13) % 10)
    assert dataset.preprocessing.source_size == size
    assert abs(float(dataset.train.images.mean())) < 1e-5


def test_wrong_size(tmp_path):
    write_idx_files(tmp_path, size=30)
    with pytest.raises(UserError, match=r"ubyte.gz: expected images of 28×28 or 32×32, got 30×30"):
        data.load("idx", tmp_path)


def test_sizes_that_differ(tmp_path):
    write_idx_files(tmp_path, size=28)
    test_images = np.ones((13, 32, 32))
    (tmp_path / "t10k-images-idx3-ubyte").write_bytes(idx_bytes(test_images))
    with pytest.raises(UserError, match="expected test images of 28×28, as in training, got 32×32"):
        data.load("idx", tmp_path)


def test_published_files_are_verified(tmp_path):
    write_idx_files(tmp_path)
    with pytest.raises(UserError, match=r"train-images.*expected sha256 440f.*not the published"):
        data.load("mnist", tmp_path)
    with pytest.raises(UserError, match=r"train-images.*expected md5 8d4f.*not the published"):
        data.load("fashion-mnist", tmp_path)


def test_published_files_without_compression(tmp_path):
    """They have no published hash, so that they are taken as they are."""
    write_idx_files(tmp_path)
    for file in tmp_path.glob("*.gz"):
        file.with_suffix("").write_bytes(gzip.decompress(file.read_bytes()))
        file.unlink()
    assert len(data.load("mnist", tmp_path).train.labels) == 40


def test_where_the_files_are(tmp_path):
    with pytest.raises(UserError, match="--data-dir: digits come with scikit-learn"):
        data.load("digits", tmp_path)
    with pytest.raises(UserError, match="--dataset idx: expected --data-dir"):
        data.load("idx")


def test_class_names():
    assert data.class_names("mnist")[7] == "7"
    assert data.class_names("fashion-mnist")[9] == "ankle boot"
    assert all(len(data.class_names(name)) == 10 for name in ("digits", "idx", "fashion-mnist"))
