"""IDX files, the format of MNIST: a magic number, the sizes, then the bytes.

    0 0 8 n | n sizes, each of 4 bytes, big-endian | unsigned bytes, the last dimension fastest

Source: LeCun, Cortes and Burges, "The MNIST database of handwritten digits".
"""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from pathlib import Path

import numpy as np

from scripts.command.program import UserError, check

GZIP_MAGIC = b"\x1f\x8b"
UNSIGNED_BYTE = 8
IMAGE_DIMENSIONS, LABEL_DIMENSIONS = 3, 1


def read_idx(path: Path, dimensions: int) -> np.ndarray:
    """Array in the IDX file `path`, which may be compressed by gzip.

    Args:
      path: the file.
      dimensions: how many dimensions it must have: 3 for images, 1 for labels.

    Returns:
      Array of uint8.

    Raises:
      UserError: if the file cannot be read or is not exactly such an array.
    """
    data = _read(path)
    header = 4 + 4 * dimensions
    check(len(data) >= 4, f"{path}: expected an IDX file, got {len(data)} bytes")
    magic, expected = data[:4].hex(), bytes([0, 0, UNSIGNED_BYTE, dimensions]).hex()
    check(
        magic == expected,
        f"{path}: expected magic number 0x{expected} (unsigned bytes, {dimensions} dimensions), "
        f"got 0x{magic}",
    )
    check(
        len(data) >= header,
        f"{path}: expected a header of {header} bytes, got {len(data)}: the file is truncated",
    )
    sizes = struct.unpack(f">{dimensions}I", data[4:header])
    size, got = math.prod(sizes), len(data) - header
    shape = "×".join(map(str, sizes))
    problem = "the file is truncated" if got < size else "the file has trailing bytes"
    check(got == size, f"{path}: expected {size} bytes of data ({shape}), got {got}: {problem}")
    return np.frombuffer(data, np.uint8, offset=header).reshape(sizes)


def read_images_and_labels(
    images_path: Path, labels_path: Path, classes: int
) -> tuple[np.ndarray, np.ndarray]:
    """Images `[N, H, W]` and labels `[N]`, N at least 1, each label below `classes`.

    Raises:
      UserError: if a file is wrong or the two do not fit.
    """
    images = read_idx(images_path, IMAGE_DIMENSIONS)
    labels = read_idx(labels_path, LABEL_DIMENSIONS)
    check(len(images) > 0, f"{images_path}: expected at least one image, got none")
    check(
        len(images) == len(labels),
        f"{labels_path}: expected {len(images)} labels, as many as images in {images_path}, "
        f"got {len(labels)}",
    )
    wrong = np.flatnonzero(labels >= classes)
    if wrong.size:
        raise UserError(
            f"{labels_path}: expected labels from 0 to {classes - 1}, got {labels[wrong[0]]} at "
            f"position {wrong[0]} (counted from 0; {wrong.size} such)"
        )
    return images, labels


def _read(path: Path) -> bytes:
    try:
        data = path.read_bytes()
        return gzip.decompress(data) if data.startswith(GZIP_MAGIC) else data
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise UserError(f"{path}: damaged or truncated gzip file: {error}") from error
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from error
