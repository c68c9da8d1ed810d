"""A trained net as one file that needs none of its source: `jax.export`'s program, its weights in
it, with the preprocessing of the images and the names of the classes.

    jaxfn-model 1 sha256 1f0c…     (of everything after this line)
    {"preprocessing": …, "classes": …, …}
    the program, as `jax.export` writes it: StableHLO for any batch size, on each platform

A decoder's file says `"kind": "decoder"` instead of the preprocessing and the classes, and its
program is one for any number of texts of any length.

`head -2` shows what a file is. Nothing in it is pickled. The hash finds damage, which JAX itself
may read without noticing, or stop at in many ways; it is no signature, so a program that calls
anything outside of itself is refused.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import export

from scripts.command import run_directory
from scripts.command.program import UserError, check
from scripts.training.images import INPUT_SIZE, Preprocessing

HEAD = re.compile(rb"jaxfn-model 1 sha256 ([0-9a-f]{64})")
INPUT = (INPUT_SIZE, INPUT_SIZE, 1)
# How a program of symbolic sizes says that it was called with sizes that it was not made for.
CALLS = {"shape_assertion"}
IMAGES, DECODER = "images", "decoder"  # the kinds; the files of images do not say so


class Model(NamedTuple):
    """What it takes to ask a net about images.

    Attributes:
      program: `[N, 32, 32, 1]` (float32) → probabilities `[N, classes]`, for any N from 1 on;
        `program.call` is the function.
      preprocessing: brings images into that form.
      classes: their names.
    """

    program: export.Exported
    preprocessing: Preprocessing
    classes: tuple[str, ...]


def write(path: Path, model: Model, about: Mapping[str, Any]) -> None:
    """Writes the file whole or not at all.

    Args:
      path: the file, which may exist.
      model: what goes into it.
      about: whatever else its reader should know, in JSON's types.

    Raises:
      UserError: if the file cannot be written.
    """
    described = {
        "preprocessing": dataclasses.asdict(model.preprocessing),
        "classes": model.classes,
    }
    _write(path, described, model.program, about)


def write_decoder(path: Path, program: export.Exported, about: Mapping[str, Any]) -> None:
    """Writes a decoder, as `write` does images' nets.

    Args:
      path: the file, which may exist.
      program: tokens `[n, t]` (int32) → logits of each text's next token `[n, vocabulary]`, for
        any n and t from 1 on.
      about: as for `write`.

    Raises:
      UserError: if the file cannot be written.
    """
    _write(path, {"kind": DECODER}, program, about)


def _write(
    path: Path, described: Mapping[str, Any], program: export.Exported, about: Mapping[str, Any]
) -> None:
    head = {**described, "platforms": program.platforms, **about}
    content = json.dumps(head).encode() + b"\n" + bytes(program.serialize())
    unfinished = path.with_name(path.name + ".tmp")
    try:
        unfinished.write_bytes(
            f"jaxfn-model 1 sha256 {hashlib.sha256(content).hexdigest()}\n".encode() + content
        )
        unfinished.replace(path)
    except OSError as error:
        raise UserError(f"{path}: cannot be written: {error.strerror}") from error


def read(path: Path) -> Model:
    """The model of a file that `write` wrote.

    Raises:
      UserError: if the file cannot be read, is damaged or something else.
    """
    described, program = _parts(path)
    preprocessing, classes = _description(path, described)
    exported = _program(path, program)
    n = exported.in_avals[0].shape[0] if exported.in_avals else 0
    check(
        not isinstance(n, int)
        and [(a.shape, a.dtype) for a in exported.in_avals] == [((n, *INPUT), jnp.float32)]
        and [a.shape for a in exported.out_avals] == [(n, len(classes))],
        f"{path}: expected a program from images [n, 32, 32, 1] in float32 to probabilities "
        f"[n, {len(classes)}], got {exported.in_avals} to {exported.out_avals}",
    )
    return Model(exported, preprocessing, classes)


def read_decoder(path: Path) -> export.Exported:
    """The program of a file that `write_decoder` wrote.

    Raises:
      UserError: if the file cannot be read, is damaged or something else.
    """
    described, program = _parts(path)
    _head(path, described, DECODER)
    exported = _program(path, program)
    shape = exported.in_avals[0].shape if exported.in_avals else ()
    check(
        [(len(a.shape), a.dtype) for a in exported.in_avals] == [(2, jnp.int32)]
        and not any(isinstance(size, int) for size in shape)
        and [a.shape[:-1] for a in exported.out_avals] == [shape[:1]],
        f"{path}: expected a program from tokens [n, t] in int32 to logits [n, vocabulary], got "
        f"{exported.in_avals} to {exported.out_avals}",
    )
    return exported


def _parts(path: Path) -> tuple[bytes, bytes]:
    """The description and the program of an intact file."""
    try:
        first, _, content = path.read_bytes().partition(b"\n")
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from error
    head = HEAD.fullmatch(first)
    if head is None:
        raise UserError(f"{path}: expected a file that scripts.export wrote, its first line is not")
    check(
        hashlib.sha256(content).hexdigest().encode() == head[1],
        f"{path}: damaged: it does not have the hash recorded",
    )
    described, _, program = content.partition(b"\n")
    return described, program


def _head(path: Path, line: bytes, kind: str) -> dict[str, Any]:
    try:
        head = json.loads(line)
    except ValueError as error:
        raise UserError(f"{path}: damaged: {error}") from error
    found = head.get("kind", IMAGES) if isinstance(head, dict) else IMAGES
    check(found == kind, f"{path}: expected a model of the kind {kind!r}, got {found!r}")
    return head


def _description(path: Path, line: bytes) -> tuple[Preprocessing, tuple[str, ...]]:
    head = _head(path, line, IMAGES)
    try:
        classes = head["classes"]
        preprocessing = run_directory.restore(Preprocessing, head["preprocessing"])
    except (ValueError, TypeError, KeyError) as error:
        raise UserError(f"{path}: damaged: {error}") from error
    named = isinstance(classes, list) and all(isinstance(name, str) for name in classes)
    check(named, f"{path}: damaged: expected the names of the classes, got {classes!r}")
    return preprocessing, tuple(classes)


def _program(path: Path, content: bytes) -> export.Exported:
    try:
        exported = export.deserialize(bytearray(content))
        calls = set(re.findall(r"custom_call @(\w+)", exported.mlir_module()))
    except Exception as error:  # JAX names no kind: struct.error, IndexError, JaxRuntimeError, …
        raise UserError(
            f"{path}: JAX {jax.__version__} cannot read the program in it, perhaps because a newer "
            f"one wrote it: {type(error).__name__}: {str(error).partition(chr(10))[0]}"
        ) from error
    outside = sorted(calls - CALLS)
    check(
        not outside,
        f"{path}: expected a program that calls nothing outside of itself, it calls {outside}",
    )
    return exported
