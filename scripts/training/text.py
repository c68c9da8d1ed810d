"""Text as bytes, to train a decoder on: whole on the device."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from scripts.command.program import UserError, check

VOCABULARY = 256
HELD_OUT = 10  # one part of so many


class TextSplit(NamedTuple):
    """Pieces of a text, uint8: `[N, 2 · context]` to train with, each of which begins a context
    after the one before, and `[M, context + 1]` to test with, of which each begins where the one
    before predicts its last byte."""

    pieces: jax.Array


@dataclasses.dataclass(frozen=True)
class TextSource:
    """What a text was, for a run to know it again.

    Attributes:
      bytes: its length.
      sha256: of all of it.
    """

    bytes: int
    sha256: str


class Text(NamedTuple):
    """A text to train with and one to test with."""

    train: TextSplit
    test: TextSplit
    source: TextSource


def load(files: Sequence[Path], context: int) -> Text:
    """The text of the files, one after the other, or by default Python's own.

    The last tenth of the text is held out, to a multiple of `context` bytes, and not single blocks
    from all over it: between blocks of one page that it was trained on, a net has seen the names
    and the phrases of a held-out block, and what it says of new text is less than that. The price
    is that the last tenth may be about something else. Every held-out byte is predicted once, from
    0 to `context` - 1 bytes before it in its piece, and the last training byte stands before it.

    Args:
      files: any; what they hold are bytes, of UTF-8 or anything else.
      context: how many bytes a piece predicts.

    Raises:
      UserError: if a file cannot be read, or there is less text than three pieces.
    """
    content = b"".join(map(_read, files)) if files else python_text()
    text = np.frombuffer(content, np.uint8)
    held_out = max(1, round(len(text) / HELD_OUT / context)) * context
    training = len(text) - held_out
    check(
        training >= 2 * context,
        f"--text: expected at least {3 * context:,} bytes for --context {context}, "
        f"got {len(text):,}",
    )
    return Text(
        TextSplit(jnp.asarray(pieces(text[:training], context, 2 * context))),
        TextSplit(jnp.asarray(pieces(text[training - 1 :], context, context + 1))),
        TextSource(len(content), hashlib.sha256(content).hexdigest()),
    )


def pieces(text: np.ndarray, every: int, length: int) -> np.ndarray:
    """The pieces `[N, length]` of a text that begin at 0, every, 2 · every, …; whole ones alone."""
    return np.lib.stride_tricks.sliding_window_view(text, length)[::every]


def python_text() -> bytes:
    """The help texts of Python's `pydoc`: English about the language, half a megabyte.

    Every Python has them, and needs no network for them. They are those of its version: another
    minor version of Python has another text, so figures are of one version.
    """
    from pydoc_data.topics import topics  # half a megabyte that only this data set needs

    return "\n\n".join(topics[name] for name in sorted(topics)).encode()


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from error
