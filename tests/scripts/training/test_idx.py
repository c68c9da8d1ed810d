"""IDX files: what is written comes back, and nothing that is damaged does."""

import gzip

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from scripts.command.program import UserError
from scripts.training.idx import read_idx, read_images_and_labels
from tests.scripts.conftest import idx_bytes

SMALL = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return tmp_path_factory.mktemp("idx") / "images"


@given(hnp.arrays(np.uint8, hnp.array_shapes(min_dims=1, max_dims=3, min_side=0)), st.booleans())
def test_round_trip(path, array, compressed):
    content = idx_bytes(array)
    path.write_bytes(gzip.compress(content, mtime=0) if compressed else content)
    np.testing.assert_array_equal(read_idx(path, array.ndim), array)


@pytest.mark.parametrize("compressed", [False, True])
def test_truncated_at_every_length(path, compressed):
    content = gzip.compress(idx_bytes(SMALL), mtime=0) if compressed else idx_bytes(SMALL)
    for length in range(len(content)):
        path.write_bytes(content[:length])
        with pytest.raises(UserError, match=str(path)):
            read_idx(path, 3)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "expected an IDX file, got 0 bytes"),
        (b"P5 28 28", "expected magic number 0x00000803 .*, got 0x50352032"),
        (idx_bytes(SMALL[0, 0]), "expected magic number 0x00000803 .*, got 0x00000801"),
        (b"\0\0\x0d\x03" + idx_bytes(SMALL)[4:], "expected magic number .*, got 0x00000d03"),
        (idx_bytes(SMALL)[:10], "expected a header of 16 bytes, got 10: the file is truncated"),
        (idx_bytes(SMALL)[:-1], "expected 24 bytes of data .2×3×4., got 23: .*truncated"),
        (idx_bytes(SMALL) + b"x", "expected 24 bytes of data .2×3×4., got 25: .*trailing bytes"),
        (gzip.compress(idx_bytes(SMALL) + b"x", mtime=0), "got 25: the file has trailing bytes"),
        (gzip.compress(idx_bytes(SMALL), mtime=0) + b"x", "damaged or truncated gzip file"),
        (gzip.compress(idx_bytes(SMALL), mtime=0)[:-9], "damaged or truncated gzip file"),
        (b"\x1f\x8b" + bytes(30), "damaged or truncated gzip file"),
    ],
)
def test_damaged(path, content, message):
    path.write_bytes(content)
    with pytest.raises(UserError, match=message):
        read_idx(path, 3)


def test_unreadable(tmp_path):
    with pytest.raises(UserError, match="absent: cannot be read: No such file"):
        read_idx(tmp_path / "absent", 3)
    with pytest.raises(UserError, match="cannot be read: Is a directory"):
        read_idx(tmp_path, 3)


@pytest.mark.parametrize(
    ("images", "labels", "message"),
    [
        (SMALL, [1, 2, 3], "labels: expected 2 labels, as many as images in .*images, got 3"),
        (SMALL, [9, 10], r"labels: expected labels from 0 to 9, got 10 at position 1 .*1 such"),
        (SMALL[:0], [], "images: expected at least one image, got none"),
    ],
)
def test_images_and_labels_that_do_not_fit(tmp_path, images, labels, message):
    (tmp_path / "images").write_bytes(idx_bytes(images))
    (tmp_path / "labels").write_bytes(idx_bytes(np.array(labels)))
    with pytest.raises(UserError, match=message):
        read_images_and_labels(tmp_path / "images", tmp_path / "labels", classes=10)
