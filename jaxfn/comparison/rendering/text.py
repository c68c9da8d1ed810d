"""A comparison as a table, plain or with rich."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from jaxfn.comparison.constants import MOST_LEAVES
from jaxfn.comparison.figures import regimes
from jaxfn.comparison.figures.records import Figures, Pair
from jaxfn.comparison.figures.residuals import ARGUMENT, CONSTANT, NEW, OUTPUT, Residuals
from jaxfn.comparison.rendering.compared import Compared, sides_of
from jaxfn.comparison.verdict.differences import is_enough, is_same_program, speed_ratio
from jaxfn.comparison.verdict.units import format_bytes, format_count, format_seconds

_KINDS = {
    NEW: "new buffers",
    ARGUMENT: "arguments that are kept",
    OUTPUT: "results that are kept",
    CONSTANT: "closed-over arrays",
}


@dataclass(frozen=True)
class Section:
    """A part of the table: a title, column headings and rows of text."""

    title: str
    headings: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def as_text(comparison: Compared) -> str:
    """The comparison as plain text."""
    parts = [_heading(comparison)]
    for section in sections(comparison):
        parts.append(_plain_table(section))
    return "\n\n".join([*parts, *_footer(comparison)])


def as_rich(comparison: Compared) -> Any:
    """The comparison as something that a rich console prints."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    parts: list[Any] = [Text(_heading(comparison))]
    for section in sections(comparison):
        table = Table(title=section.title, title_justify="left", title_style="bold")
        for i, heading in enumerate(section.headings):
            table.add_column(heading, justify="left" if i == 0 else "right")
        for row in section.rows:
            table.add_row(*row)
        parts.append(table)
    return Group(*parts, *map(Text, _footer(comparison)))


def sections(comparison: Compared) -> Iterator[Section]:
    """The tables of a comparison; none if it has no figures."""
    figures = comparison.figures
    if figures is None:
        return
    sides = sides_of(comparison)
    yield _times(figures, sides)
    yield _residuals(figures, sides)
    yield _programs(figures, sides)
    if figures.errors:
        yield _errors(figures, sides)


def _heading(comparison: Compared) -> str:
    rules = ", ".join(comparison.rules) or "none"
    lines = [
        f"{comparison.name}({', '.join(comparison.arguments)})",
        f"verdict: {comparison.verdict}",
        *(f"  - {finding}" for finding in comparison.findings),
        f"gradcheck: {comparison.proof.verdict}; custom rules: {rules}",
    ]
    if comparison.proof.verdict != "pass":
        lines.append(str(comparison.proof))
    return "\n".join(lines)


def _footer(comparison: Compared) -> list[str]:
    notes = [] if comparison.figures is None else comparison.figures.notes
    own = comparison.environment
    versions = f"jax {own['jax']}, jaxfn {own['jaxfn']}, Python {own['python']}"
    where = f"{own['device']}, {versions}, {own['date']}, seed {comparison.seed}"
    return ["\n".join([*(f"note: {note}" for note in notes), where])]


def _times(figures: Figures, sides: tuple[str, ...]) -> Section:
    def cell(timing: Any) -> str:
        low, high = (format_seconds(t) for t in (timing.low, timing.high))
        return f"{format_seconds(timing.median)}  ({low} to {high})"

    rows = []
    for name in regimes.EXPLANATIONS:
        if name in figures.times:
            pair = figures.times[name]
            same = is_same_program(figures.programs[name])
            rows.append((name, *map(cell, pair.sides), *_speed(pair, same)))
    rows += [
        (f"{stage} (value and gradients)", *map(cell, pair.sides), *_speed(pair, False))
        for stage, pair in figures.stages.items()
    ]
    headings = ("program", *sides, *["times as fast"] * (len(sides) > 1))
    return Section("time: median (quartiles)", headings, tuple(rows))


def _speed(pair: Pair[Any], same: bool) -> list[str]:
    """The cell beside both sides; none beside one."""
    return [] if pair.reference is None else [_ratio(pair, same)]


def _ratio(pair: Pair[Any], same: bool) -> str:
    if same:
        return "same program"
    if not is_enough(pair):
        return "too few runs"
    ratio = speed_ratio(pair)
    return "equal" if ratio == 1 else f"{ratio:.2f}"


def _residuals(figures: Figures, sides: tuple[str, ...]) -> Section:
    own = figures.residuals.sides
    rows: list[tuple[str, ...]] = [
        (_KINDS[kind], *(format_bytes(side.nbytes(kind)) for side in own))
        for kind in _KINDS
        if any(side.nbytes(kind) for side in own)
    ]
    rows.append(("read by the compiled backward half", *map(_read, own)))
    lists = list(map(_leaves, own))
    for i in range(max(map(len, lists))):
        rows.append(("", *(found[i] if i < len(found) else "" for found in lists)))
    return Section("kept between forward and backward pass", ("residuals", *sides), tuple(rows))


def _read(residuals: Residuals) -> str:
    nbytes = residuals.read_when_compiled
    return "?" if nbytes is None else format_bytes(nbytes)


def _leaves(residuals: Residuals) -> list[str]:
    largest = sorted(residuals.leaves, key=lambda leaf: -leaf.nbytes)
    lines = [
        f"{leaf.dtype}{list(leaf.shape)} {leaf.kind}: {leaf.origin}"
        for leaf in largest[:MOST_LEAVES]
    ]
    if len(largest) > MOST_LEAVES:
        rest = largest[MOST_LEAVES:]
        lines.append(f"{len(rest)} more, {format_bytes(sum(leaf.nbytes for leaf in rest))}")
    if residuals.duplicates:
        lines.append(f"{residuals.duplicates} duplicates")
    return lines


def _programs(figures: Figures, sides: tuple[str, ...]) -> Section:
    def known(figure: float | None, form: Callable[[float], str] = format_count) -> str:
        return "?" if figure is None else form(figure)

    rows = []
    for name, pair in figures.programs.items():
        same = is_same_program(pair)
        for side, own in zip(sides, pair.sides, strict=True):
            flops = format_count(own.flops.total)
            flops += " +" if own.flops.not_counted or own.flops.loops_counted_once else ""
            row = (flops, known(own.xla_flops), known(own.xla_bytes, format_bytes))
            row += (known(own.total_bytes, format_bytes), known(own.temp_bytes, format_bytes))
            row += (known(own.fusions), known(own.instructions))
            whose = "both" if same else side
            rows.append((f"{name}, {whose}" if len(sides) > 1 else name, *row))
            if same:
                break
    headings = (
        "program",
        "FLOPs",
        "XLA: FLOPs*",
        "bytes*",
        "memory",
        "temporary",
        "fusions",
        "instr.",
    )
    title = (
        "compiled (* a loop's body once; + not all operations are counted; memory: all but code)"
    )
    return Section(title, headings, tuple(rows))


def _errors(figures: Figures, sides: tuple[str, ...]) -> Section:
    rows = []
    for name, pair in figures.errors.items():
        for side, own in zip(sides, pair.sides, strict=True):
            numbers = (own.ulps, own.relative, own.worst_element_ulps)
            named = f"{name}, {side}" if len(sides) > 1 else name
            rows.append((named, *(f"{x:.2g}" for x in numbers)))
    headings = ("largest error", "ulps", "relative", "worst element, ulps")
    return Section(f"accuracy, against {figures.errors_against}", headings, tuple(rows))


def _plain_table(section: Section) -> str:
    table = [section.headings, *section.rows]
    widths = [max(len(row[i]) for row in table) for i in range(len(section.headings))]
    lines = [section.title]
    for row in table:
        first, *rest = (cell.ljust(w) for cell, w in zip(row, widths, strict=True))
        lines.append("  ".join(["", first, *rest]).rstrip())
    lines.insert(2, "  " + "  ".join("-" * w for w in widths))
    return "\n".join(lines)
