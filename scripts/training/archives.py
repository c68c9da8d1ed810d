"""The IDX files of a data set on disk: found, or downloaded, and checked by hash."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path

import pooch

from scripts.command.program import UserError, check

TRAIN_FILES = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte")
TEST_FILES = ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")


@dataclasses.dataclass(frozen=True)
class Archive:
    """Where a public data set is, and the hash of each of its files.

    Attributes:
      url: the folder of the files, with a slash at its end.
      hashes: file name → `"algorithm:hexadecimal digest"`.
    """

    url: str
    hashes: Mapping[str, str]


ARCHIVES = {
    "mnist": Archive(
        "https://storage.googleapis.com/cvdf-datasets/mnist/",
        {
            "train-images-idx3-ubyte.gz": (
                "sha256:440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609"
            ),
            "train-labels-idx1-ubyte.gz": (
                "sha256:3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c"
            ),
            "t10k-images-idx3-ubyte.gz": (
                "sha256:8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6"
            ),
            "t10k-labels-idx1-ubyte.gz": (
                "sha256:f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6"
            ),
        },
    ),
    "fashion-mnist": Archive(
        "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",
        {
            "train-images-idx3-ubyte.gz": "md5:8d4fb7e6c68d591d4c3dfef9ec88bf0d",
            "train-labels-idx1-ubyte.gz": "md5:25c81989df183df01b3e8a0aad5dffbe",
            "t10k-images-idx3-ubyte.gz": "md5:bef4ecab320f06d8554ea6380940ec79",
            "t10k-labels-idx1-ubyte.gz": "md5:bb300cfdad3c16e7a12a480ee83cd310",
        },
    ),
}


def locate(directory: Path, name: str, archive: Archive | None = None) -> Path:
    """The file `name`, or `name`.gz, in `directory`.

    With an archive, a missing file is downloaded to `name`.gz, and a `name`.gz that is there must
    have the archive's hash. No file is ever overwritten.

    Raises:
      UserError: if the file is missing and cannot be downloaded, or has another hash.
    """
    plain, compressed = directory / name, directory / f"{name}.gz"
    if compressed.exists():
        if archive is not None:
            _check_hash(compressed, archive.hashes[compressed.name])
        return compressed
    if plain.exists():
        return plain
    if archive is None:
        raise UserError(f"{plain}: expected this file, or {compressed.name}: there is neither")
    return _download(compressed, archive)


def _check_hash(path: Path, expected: str) -> None:
    algorithm, digest = expected.split(":")
    try:
        got = pooch.file_hash(str(path), alg=algorithm)
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from error
    check(
        got == digest,
        f"{path}: expected {algorithm} {digest}, got {got}: not the published file. Delete it to "
        "have it downloaded, or use your own files with --dataset idx",
    )


def _download(path: Path, archive: Archive) -> Path:
    url = archive.url + path.name
    try:
        pooch.retrieve(url, archive.hashes[path.name], fname=path.name, path=path.parent)
    except ValueError as error:
        raise UserError(f"{url}: expected {archive.hashes[path.name]}, got another file") from error
    except OSError as error:  # no network, no such address, no place on the disk
        raise UserError(
            f"{path}: is not there and cannot be downloaded ({type(error).__name__}): "
            f"get {url} in another way and put it into {path.parent}"
        ) from error
    return path
