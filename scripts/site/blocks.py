"""Runs the Python of a page, and puts what it prints and draws under it.

A page is plain Markdown whose blocks of Python stand as they would on GitHub. They run one after
the other, with the same names, in a folder of their own. A block that raises or warns fails the
page.
"""

from __future__ import annotations

import contextlib
import io
import re
import tempfile
import traceback
import warnings
from pathlib import Path
from typing import Any

_BLOCK = re.compile(r"^```python\n(.*?)^```\n", re.MULTILINE | re.DOTALL)


class BlockError(Exception):
    """A block of a page does not run."""


def runs(code: str) -> bool:
    """Whether a block is run: one in PyTorch, which stands beside its port, is not."""
    return "torch." not in code


def with_output(text: str, page: str, pictures: Path, link: str) -> str:
    """A page with the output of its blocks.

    Args:
      text: the page, in Markdown.
      page: its name, for messages and for the names of pictures.
      pictures: a folder to which the PNGs go that a block saves.
      link: how the page refers to that folder.

    Returns:
      The page, with what each block printed and drew under it. A picture is described by the name
      under which the block saved it.

    Raises:
      BlockError: if a block raises or warns.
    """
    defined: dict[str, Any] = {"__name__": "page"}

    def add(block: re.Match[str]) -> str:
        if not runs(block[1]):
            return block[0]
        above = text[: block.start(1)].count("\n")  # so that messages name the line of the page
        printed, drawn = _run("\n" * above + block[1], f"{page}.md", defined)
        shown = block[0]
        if printed.strip():
            fence = "`" * max(3, *(len(ticks) + 1 for ticks in re.findall("`+", printed + "`")))
            shown += (
                f"\n{fence}{{code-block}} text\n:class: output\n\n{printed.rstrip()}\n{fence}\n"
            )
        for name, picture in drawn.items():
            file = f"{page}-{name}.png"
            (pictures / file).write_bytes(picture)
            shown += f"\n![{name.replace('_', ' ')}]({link}/{file})\n"
        return shown

    pictures.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        return _BLOCK.sub(add, text)


def _run(code: str, where: str, defined: dict[str, Any]) -> tuple[str, dict[str, bytes]]:
    """What a block prints, and the pictures that it leaves in the working directory."""
    printed = io.StringIO()
    try:
        with contextlib.redirect_stdout(printed), warnings.catch_warnings():
            warnings.simplefilter("error")
            exec(compile(code, where, "exec"), defined)
    except Exception as error:
        frames = traceback.extract_tb(error.__traceback__)
        lines = [f", line {frame.lineno}" for frame in frames if frame.filename == where]
        at = where + "".join(lines[:1])  # of a syntax error the message has it
        raise BlockError(f"{at}: {type(error).__name__}: {error}") from error
    drawn = {}
    for path in sorted(Path().glob("*.png")):
        drawn[path.stem] = path.read_bytes()
        path.unlink()
    return printed.getvalue(), drawn
