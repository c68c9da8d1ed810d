"""Text as bytes."""

import hashlib

import jax.numpy as jnp
import numpy as np
import pytest

from scripts.command.program import UserError
from scripts.training.text import load, pieces, python_text

pytestmark = pytest.mark.numbers


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "counting"
    path.write_bytes(bytes(i % 251 for i in range(1000)))
    return path


def test_the_last_tenth_is_held_out(file):
    text = load([file], 8)
    (train,), (test,) = text.train, text.test
    assert train.dtype == test.dtype == jnp.uint8
    assert test.shape == (12, 9)  # 12 · 8 is the nearest to 100
    content = np.frombuffer(file.read_bytes(), np.uint8)
    # Each held-out byte is predicted once, the first one from the last training byte.
    np.testing.assert_array_equal(test[:, 1:].ravel(), content[-96:])
    np.testing.assert_array_equal(test[1:, 0], test[:-1, -1])
    assert test[0, 0] == content[-97]
    assert train.shape == ((904 - 16) // 8 + 1, 16)
    np.testing.assert_array_equal(train[3], content[24:40])
    assert (text.source.bytes, text.source.sha256) == (
        1000, hashlib.sha256(file.read_bytes()).hexdigest()
    )  # fmt: skip


def test_no_training_byte_is_held_out(tmp_path):
    (tmp_path / "text").write_bytes(b"a" * 450 + b"b" * 50)
    text = load([tmp_path / "text"], 10)
    assert set(np.unique(text.train.pieces)) == {ord("a")}
    assert set(np.unique(text.test.pieces[:, 1:])) == {ord("b")}


def test_files_come_one_after_the_other(tmp_path, file):
    other = tmp_path / "not UTF-8"
    other.write_bytes(b"\xff\xfe" * 50)
    text = load([file, other], 8)
    assert text.source.bytes == 1100
    assert set(np.unique(text.test.pieces[5:])) == {0xFF, 0xFE}


def test_by_default_it_is_english():
    text = python_text()
    assert len(text) > 300_000
    assert text.count(b" the ") > 3000
    assert text.decode()


def test_pieces():
    found = pieces(np.arange(7), 2, 4)
    np.testing.assert_array_equal(found, [[0, 1, 2, 3], [2, 3, 4, 5]])


def test_errors(tmp_path, file):
    with pytest.raises(UserError, match="absent: cannot be read: No such file"):
        load([tmp_path / "absent"], 8)
    with pytest.raises(UserError, match=r"expected at least 1,536 bytes for --context 512, got 1,"):
        load([file], 512)
