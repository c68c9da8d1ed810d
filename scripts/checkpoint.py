"""Checkpoints: the one module that knows Orbax.

`checkpoints/7` is the checkpoint of step 7 as Orbax writes it, `checkpoints/7.sha256` lists the
hashes of its files, as `sha256sum --check` reads them: Orbax itself loads some damaged files
without noticing.

Orbax's v1 interface is the one that its authors recommend, while it still lies under
`experimental`: should a name there change, it changes here.
"""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path
from typing import Any

import jax
from orbax.checkpoint import v1 as ocp

from scripts.program import UserError, check


def save(directory: Path, step: int, tree: Any) -> None:
    """Saves a pytree of arrays as `directory/step`, and then deletes the checkpoints before: at any
    time there is a complete one."""
    path = directory / str(step)
    ocp.save(str(path.resolve()), tree, overwrite=True)
    unfinished = directory / f"{step}.tmp"
    unfinished.write_text(_hashes(path))
    unfinished.replace(_hash_file(path))
    for old in _steps(directory):
        if old != step:
            _hash_file(directory / str(old)).unlink()
            shutil.rmtree(directory / str(old))


def load(directory: Path, like: Any) -> tuple[int, Any]:
    """The latest checkpoint in `directory`.

    Args:
      directory: what `save` was given.
      like: tree of the same structure whose leaves have a shape and a dtype, as `jax.eval_shape`
        gives it.

    Returns:
      The step, and the tree on the first device.

    Raises:
      UserError: if there is no checkpoint, or it is damaged or of another structure.
    """
    step = max(_steps(directory), default=None)
    if step is None:
        raise UserError(f"{directory}: expected the checkpoint of a run, there is none")
    path = directory / str(step)
    try:
        intact = _hash_file(path).read_text() == _hashes(path)
    except (OSError, UnicodeError) as error:
        raise UserError(f"{path}: the checkpoint cannot be read: {error}") from error
    check(intact, f"{path}: the checkpoint is damaged: its files do not have the hashes recorded")
    device = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    abstract = jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=device), like
    )
    try:
        return step, ocp.load(str(path.resolve()), abstract)
    except ValueError as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"{path}: the checkpoint is not of this model: {reason}") from error


def _steps(directory: Path) -> list[int]:
    return [int(file.stem) for file in directory.glob("*.sha256") if file.stem.isdecimal()]


def _hash_file(path: Path) -> Path:
    return path.with_name(f"{path.name}.sha256")


def _hashes(path: Path) -> str:
    files = sorted(file for file in path.rglob("*") if file.is_file())
    return "".join(
        f"{hashlib.sha256(file.read_bytes()).hexdigest()}  {file.relative_to(path.parent)}\n"
        for file in files
    )
