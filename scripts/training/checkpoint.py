"""Checkpoints: the one module that knows Orbax.

`checkpoints/7` is the checkpoint of step 7 as Orbax writes it, `checkpoints/7.sha256` lists the
hashes of its files, as `sha256sum --check` reads them: Orbax itself loads some damaged files
without noticing. The hashes are written last. What has none was not finished.

Of several processes all save, each what it has; the first one writes the hashes, and deletes.

Orbax's v1 interface is the one that its authors recommend, while it still lies under
`experimental`: should a name there change, it changes here.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import re
import shutil
from collections.abc import Callable, Collection
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import jax
from orbax.checkpoint import v1 as ocp

from scripts.command.program import UserError, check
from scripts.training.distributed import is_first

OURS = re.compile(r"(\d+)(\.sha256|\.tmp|\.orbax-checkpoint-tmp.*)?")

# Orbax raises its errors and logs their tracebacks as well; what it raises becomes one line here.
logging.getLogger("absl").setLevel(logging.CRITICAL)


class Saver:
    """Saves while the training goes on, one checkpoint at a time; as a context it waits at its end.

    Args:
      directory: where the checkpoints lie.
      keep: how many are kept, the latest ones.
    """

    def __init__(self, directory: Path, keep: int):
        self._directory, self._keep = directory, keep
        self._executor = ThreadPoolExecutor(max_workers=1)
        self._unfinished: Future[None] | None = None

    def __enter__(self) -> Saver:
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self.wait()
        finally:
            self._executor.shutdown()

    def save(self, step: int, tree: Any, protect: Collection[int] = ()) -> None:
        """Starts to save a pytree of arrays as `directory/step`, once the one before is complete.

        When it is complete the older ones go, but for those kept and those of the steps in
        `protect`; at any time there is a complete one.

        Raises:
          UserError: if the checkpoint before cannot be written, or this one not be begun.
        """
        self.wait()
        finish = _begin(self._directory, step, tree)
        self._unfinished = self._executor.submit(self._finish, finish, step, frozenset(protect))

    def wait(self) -> None:
        """Returns when everything is saved.

        Raises:
          UserError: if it cannot be written.
        """
        unfinished, self._unfinished = self._unfinished, None
        if unfinished is not None:
            unfinished.result()

    def _finish(self, finish: Callable[[], None], step: int, protect: frozenset[int]) -> None:
        finish()
        if not is_first():
            return
        # A later one was passed over, or is of a part of the run that is done again.
        before = sorted(other for other in steps(self._directory) if other <= step)
        try:
            _delete_others(self._directory, protect.union(before[-self._keep :]))
        except OSError as error:
            raise UserError(
                f"{self._directory}: old checkpoints cannot be deleted: {error}"
            ) from error


def save(directory: Path, step: int, tree: Any) -> None:
    """Saves a pytree of arrays as `directory/step`.

    Raises:
      UserError: if it cannot be written.
    """
    _begin(directory, step, tree)()


def load(
    directory: Path, like: Any, pass_over: Callable[[str], None] | None = None
) -> tuple[int, Any]:
    """The latest checkpoint in `directory`.

    Args:
      directory: what `save` was given.
      like: tree of the same structure whose leaves have a shape and a dtype, as `jax.eval_shape`
        gives it.
      pass_over: is told of each checkpoint that is damaged or half-written; the one before it is
        then taken. Without it a damaged one is an error.

    Returns:
      The step, and the tree on the first device of this process.

    Raises:
      UserError: if there is no intact checkpoint, or it is of another structure.
    """
    found = steps(directory)
    check(bool(found), f"{directory}: expected the checkpoint of a run, there is none")
    for step in sorted(found | _half_written(directory), reverse=True):
        path = directory / str(step)
        damage = _damage(path) if step in found else "was not written to its end"
        if damage is None:
            return step, _load(path, like)
        if pass_over is None:
            check(step not in found, f"{path}: the checkpoint {damage}")
        else:
            pass_over(f"{path}: the checkpoint {damage}: passed over for the one before")
    raise UserError(
        f"{directory}: expected an intact checkpoint, all {len(found)} are damaged; "
        "without them --resume starts from the beginning"
    )


def steps(directory: Path) -> set[int]:
    """The steps whose checkpoints were finished."""
    return {int(file.stem) for file in directory.glob("*.sha256") if file.stem.isdecimal()}


def _begin(directory: Path, step: int, tree: Any) -> Callable[[], None]:
    """Starts to save; what it returns waits for the end of it."""
    path = directory / str(step)
    try:
        if is_first():
            _hash_file(path).unlink(missing_ok=True)
        response = ocp.save_async(str(path.resolve()), tree, overwrite=True)
    except (OSError, ValueError) as error:
        raise _unwritable(path, error) from error

    def finish() -> None:
        try:
            response.result()
            if not is_first():
                return
            unfinished = directory / f"{step}.tmp"
            unfinished.write_text(_hashes(path))
            unfinished.replace(_hash_file(path))
        except (OSError, ValueError) as error:
            raise _unwritable(path, error) from error

    return finish


def _unwritable(path: Path, error: Exception) -> UserError:
    if is_first():
        with contextlib.suppress(OSError):  # the error to report is the one before
            _delete_others(path.parent, steps(path.parent))  # what it has written takes up space
    code = re.search(r"(?:os_error_code='|Errno )(\d+)", str(error))
    reason = os.strerror(int(code[1])) if code else str(error).splitlines()[0]
    kept = max(steps(path.parent), default=None)
    last = "there is none before it" if kept is None else f"the last good one is {kept}"
    return UserError(f"{path}: the checkpoint cannot be written: {reason}; {last}")


def _load(path: Path, like: Any) -> Any:
    device = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
    abstract = jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=device), like
    )
    try:
        return ocp.load(str(path.resolve()), abstract)
    except ValueError as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"{path}: the checkpoint is not of this model: {reason}") from error


def _damage(path: Path) -> str | None:
    try:
        intact = _hash_file(path).read_text() == _hashes(path)
    except (OSError, UnicodeError) as error:
        return f"cannot be read ({error})"
    return None if intact else "is damaged (its files do not have the hashes recorded)"


def _half_written(directory: Path) -> set[int]:
    names = [OURS.fullmatch(path.name) for path in directory.glob("*")]
    return {int(name[1]) for name in names if name} - steps(directory)


def _delete_others(directory: Path, kept: Collection[int]) -> None:
    """Deletes all checkpoints but those of the steps `kept`, unfinished ones included."""
    for hashes in directory.glob("*.sha256"):  # first, since a checkpoint without is unfinished
        if hashes.stem.isdecimal() and int(hashes.stem) not in kept:
            hashes.unlink()
    finished = {name for step in kept for name in (str(step), f"{step}.sha256")}
    for path in directory.glob("*"):
        if OURS.fullmatch(path.name) and path.name not in finished:
            shutil.rmtree(path) if path.is_dir() else path.unlink()


def _hash_file(path: Path) -> Path:
    return path.with_name(f"{path.name}.sha256")


def _hashes(path: Path) -> str:
    lines = []
    for file in sorted(file for file in path.rglob("*") if file.is_file()):
        with file.open("rb") as content:
            digest = hashlib.file_digest(content, "sha256").hexdigest()
        lines.append(f"{digest}  {file.relative_to(path.parent)}\n")
    return "".join(lines)
