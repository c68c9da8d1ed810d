"""Docstrings, which are plain text with backticks, as the reStructuredText that Sphinx reads."""

from __future__ import annotations

import re

_QUOTED = re.compile(r"(`[^`]+`)")
_PROMPT = re.compile(r"\s*>>> ")


def as_restructured(lines: list[str]) -> list[str]:
    """The lines of a docstring with what is special in reStructuredText made plain.

    Code in backticks becomes literal, `|x|` and `a * b` stay as they are, and what stands indented
    after an empty line, a formula or a table, keeps its columns. Examples are left alone.
    """
    found: list[str] = []
    for paragraph in _paragraphs(lines):
        if any(_PROMPT.match(line) for line in paragraph):
            found += [*paragraph, ""]
        elif all(line.startswith("    ") for line in paragraph):
            found += ["::", "", *paragraph, ""]
        else:
            if paragraph[0].startswith("  - "):  # a list, which is no quotation
                paragraph = [line.removeprefix("  ") for line in paragraph]
            found += [*_plain("\n".join(paragraph)).split("\n"), ""]
    return found


def summary(text: str) -> str:
    """The first paragraph of a docstring, in one line."""
    return _plain(" ".join(text.partition("\n\n")[0].split()))


def _paragraphs(lines: list[str]) -> list[list[str]]:
    text = "\n".join(lines).strip("\n")
    return [paragraph.split("\n") for paragraph in re.split(r"\n(?:[ \t]*\n)+", text)]


def _plain(text: str) -> str:
    parts = _QUOTED.split(text)
    for i, part in enumerate(parts):
        if i % 2:
            before = "\\ " if parts[i - 1][-1:].isalnum() else ""
            after = "\\ " if parts[i + 1][:1].isalnum() else ""
            parts[i] = f"{before}`{part}`{after}"
        else:
            parts[i] = re.sub(r"([|*]|(?<=\w)_(?!\w))", r"\\\1", part)
    return "".join(parts)
