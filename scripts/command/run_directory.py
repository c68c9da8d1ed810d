"""The folder that a run leaves: `config.json`, `metrics.jsonl`, checkpoints and pictures."""

from __future__ import annotations

import dataclasses
import errno
import json
import os
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

from scripts.command.program import UserError, check

T = TypeVar("T")

CONFIG, METRICS, CHECKPOINTS = "config.json", "metrics.jsonl", "checkpoints"


def create(root: Path, name: str | None, prefix: str) -> Path:
    """Makes the folder of a new run, `root/name`.

    Without a name it is the prefix and the time, and a number if that is taken. A named folder
    that has something in it stays as it is.

    Raises:
      UserError: if there is such a folder and it is not empty, or it cannot be written to.
    """
    if name is None:
        return _make(_unused(root, f"{prefix}-{datetime.now():%Y%m%d-%H%M%S}"))
    check(
        name == Path(name).name and name not in ("", ".."),
        f"--name: expected the name of a folder, got {name!r}",
    )
    return _make(root / name)


def _unused(root: Path, name: str) -> Path:
    path, number = root / name, 1
    while path.exists():
        number += 1
        path = root / f"{name}-{number}"
    return path


def _make(path: Path) -> Path:
    try:
        path.mkdir(parents=True, exist_ok=True)
        empty = not any(path.iterdir())
        # That the folder exists does not say that it can be written to.
        if empty:
            (path / METRICS).touch()
    except OSError as error:
        raise UserError(f"{path}: the run directory cannot be made: {error.strerror}") from error
    check(empty, f"{path}: expected a new or empty run directory, there is something in it")
    return path


def write_config(path: Path, **sections: Any) -> None:
    """Writes `config.json`, whole or not at all: each section a dataclass or a mapping.

    Raises:
      UserError: if it cannot be written.
    """
    unfinished = path / f"{CONFIG}.tmp"
    try:
        unfinished.write_text(json.dumps(_plain(sections), indent=2) + "\n")
        unfinished.replace(path / CONFIG)
    except OSError as error:
        raise UserError(f"{path / CONFIG}: cannot be written: {error.strerror}") from error


def append_metrics(path: Path, *lines: Mapping[str, float]) -> None:
    """Adds lines to `metrics.jsonl`, each a JSON object; when it returns they are on the disk.

    They are written all at once: what a kill can leave is a last line that is torn, which
    `keep_metrics` cuts off.

    Raises:
      UserError: if they cannot be written; the file is then as before.
    """
    content = "".join(json.dumps(line, allow_nan=False) + "\n" for line in lines).encode()
    try:
        # Without a buffer: one write.
        with (path / METRICS).open("ab", buffering=0) as file:
            before = file.tell()
            if file.write(content) != len(content):
                file.truncate(before)
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            os.fsync(file.fileno())
    except OSError as error:
        raise UserError(f"{path / METRICS}: cannot be written: {error.strerror}") from error


def read_config(path: Path) -> dict[str, Any]:
    """The content of `config.json`.

    Raises:
      UserError: if there is no such run, or the file is damaged.
    """
    file = path / CONFIG
    try:
        config = json.loads(file.read_text())
    except OSError as error:
        raise UserError(
            f"{file}: cannot be read: {error.strerror}; expected the folder of a run"
        ) from error
    except (ValueError, RecursionError) as error:
        raise UserError(f"{file}: damaged: {error}") from error
    check(isinstance(config, dict), f"{file}: damaged: expected a JSON object")
    return config


def restore(kind: type[T], section: Any) -> T:
    """The dataclass `kind` from a section of `config.json`.

    Raises:
      ValueError: if the section does not have its fields, with values of their types.
    """
    hints = get_type_hints(kind)
    if not isinstance(section, dict) or set(section) != set(hints):
        raise ValueError(f"expected the values {', '.join(hints)}")
    values = {}
    for name, hint in hints.items():
        value = section[name]
        if isinstance(value, list) and get_origin(hint) is tuple:  # JSON has no tuples
            paths = Path in get_args(hint)
            value = tuple(Path(v) if paths and isinstance(v, str) else v for v in value)
        if isinstance(value, str) and Path in (hint, *get_args(hint)):
            value = Path(value)
        if not _is_a(value, hint):
            raise ValueError(f"{name}: expected {hint}, got {value!r}")
        values[name] = value
    return kind(**values)


def keep_metrics(path: Path, lines: int) -> list[dict[str, Any]]:
    """The first lines of `metrics.jsonl`, which loses all that comes after them.

    Raises:
      UserError: if there are fewer, or one is damaged.
    """
    file = path / METRICS
    try:
        *whole, _torn = file.read_bytes().split(b"\n")
        check(len(whole) >= lines, f"{file}: expected {lines} lines, got {len(whole)}")
        metrics = [json.loads(line) for line in whole[:lines]]
        os.truncate(file, sum(len(line) + 1 for line in whole[:lines]))
    except OSError as error:
        raise UserError(f"{file}: cannot be read and written: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise UserError(f"{file}: damaged: {error}") from error
    return metrics


def _is_a(value: Any, hint: Any) -> bool:
    if get_origin(hint) is Literal:
        return value in get_args(hint)
    if get_origin(hint) is tuple:
        return isinstance(value, tuple) and all(_is_a(v, get_args(hint)[0]) for v in value)
    if get_args(hint):
        return any(_is_a(value, option) for option in get_args(hint))
    if isinstance(value, bool):  # which Python counts among the integers
        return hint is bool
    return isinstance(value, int | float if hint is float else hint)


def _plain(value: Any) -> Any:
    """`value` in the types that JSON has."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        value = dataclasses.asdict(value)
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return str(value) if isinstance(value, Path) else value
