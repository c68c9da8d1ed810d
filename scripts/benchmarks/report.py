"""What a benchmark leaves: tables, a JSON of every time, a picture."""

from __future__ import annotations

import dataclasses
import io
import itertools
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from jaxfn.comparison.verdict.units import format_bytes
from scripts.benchmarks.timing import Row
from scripts.command.run_directory import append_metrics

RESULTS, TABLES = "benchmark.json", "tables.txt"
WIDTH = 140  # of tables in files
Format = Callable[[float], str]


def three_digits(value: float) -> str:
    """Three significant digits, never fewer than those before the point."""
    return f"{value:,.0f}" if abs(value) >= 99.95 else f"{value:.3g}"


def _ratio(value: float) -> str:
    return f"{value:.2f}"


# The figures that a row may have, in the order of the columns: heading and format. A figure that
# is not here is in the JSON alone.
HEADINGS: dict[str, tuple[str, Format]] = {
    "ms_per_1000_images": ("ms / 1000 images", three_digits),
    "cost_against_least": ("per image, least = 1", _ratio),
    "cost_against_alone": ("per image, no mesh = 1", _ratio),
    "speed_against_flax": ("× plain Flax", _ratio),
    "speed_against_pytorch": ("× fastest PyTorch", _ratio),
    "speed_against_plain": ("× plain JAX", _ratio),
    "share_of_limit": ("of limit", lambda share: f"{share:.0%}"),
    "gflop": ("GFLOP", three_digits),
    "temporary_bytes": ("temporary", format_bytes),
    "result_bytes": ("results", format_bytes),
    "compile_seconds": ("compile s", _ratio),
}


def table(title: str, rows: list[Row]) -> Table:
    """A line for each row, grouped."""
    figures = [name for name in HEADINGS if any(name in row.figures for row in rows)]
    drawn = Table(title=title, title_justify="left", caption=_caption(rows), caption_justify="left")
    for heading in ("what", "contestant"):
        drawn.add_column(heading, no_wrap=True)
    for heading in ("median ms", "min", "max", *(HEADINGS[name][0] for name in figures)):
        drawn.add_column(heading, justify="right")
    for group, members in itertools.groupby(rows, lambda row: row.group):
        drawn.add_section()
        for i, row in enumerate(members):
            own = (_figure(row, name) for name in figures)
            drawn.add_row("" if i else group, row.contestant, *_times(row), *own)
    return drawn


def _caption(rows: list[Row]) -> str:
    """What the columns mean, and the notes."""
    notes = [f"{row.group}, {row.contestant}: {row.note}" for row in rows if row.note]
    if any(name.startswith("speed_against") for row in rows for name in row.figures):
        notes.insert(0, "×: times as fast as")
    if busy := [f"{r.group}, {r.contestant}" for r in rows if r.timing and r.timing.disturbed]:
        few = "; ".join(busy[:3]) + (f" and {len(busy) - 3} more" if busy[3:] else "")
        notes.append(f"median above 1.5 times the least, was the machine busy? {few}")
    return "\n".join(notes)


def _times(row: Row) -> list[str]:
    if row.timing is None:
        return ["", "", ""]
    seconds = row.timing.seconds
    return [three_digits(1e3 * s) for s in (row.timing.median, min(seconds), max(seconds))]


def _figure(row: Row, name: str) -> str:
    return HEADINGS[name][1](row.figures[name]) if name in row.figures else ""


def line(section: str, rows: list[Row]) -> str:
    """A group in a line, to show that it goes on."""
    times = [
        f"{row.contestant} {three_digits(1e3 * row.timing.median)} ms"
        for row in rows
        if row.timing is not None
    ]
    return f"{section}, {rows[0].group}: {'; '.join(times)}"


def as_json(row: Row) -> dict[str, Any]:
    """A row in the types that JSON has."""
    seconds = None
    if row.timing is not None:
        runs = row.timing.seconds
        seconds = {"median": row.timing.median, "min": min(runs), "max": max(runs), "all": runs}
    plain = {"what": row.group, "contestant": row.contestant, "seconds": seconds}
    return plain | dict(row.figures) | ({"note": row.note} if row.note else {})


def as_line(section: str, row: Row) -> dict[str, Any]:
    """A row as a line of metrics.jsonl: the same without each single time."""
    plain = {"section": section, **as_json(row)}
    return plain | {"seconds": plain["seconds"]["median"]}


@dataclasses.dataclass
class Report:
    """The results so far, on the console and in the folder of the run.

    Attributes:
      directory: the folder.
      console: what the terminal shows.
      head: what was run, and on what; the first keys of the JSON.
      titles: of the sections, by name.
      sections: the rows of each section that has any.
    """

    directory: Path
    console: Console
    head: Mapping[str, Any]
    titles: Mapping[str, str]
    sections: dict[str, list[Row]] = dataclasses.field(default_factory=dict)

    def add(self, section: str, rows: list[Row]) -> None:
        """Keeps a group that is finished, and writes the JSON."""
        self.sections.setdefault(section, []).extend(rows)
        self.console.print(line(section, rows), markup=False, soft_wrap=True)
        results = {name: [as_json(row) for row in found] for name, found in self.sections.items()}
        append_metrics(self.directory, *(as_line(section, row) for row in rows if row.timing))
        content = json.dumps({**self.head, "results": results}, indent=1, allow_nan=False)
        (self.directory / RESULTS).write_text(content + "\n")

    def finish(self, section: str) -> None:
        """Prints a section's table, and writes all tables."""
        if section not in self.sections:
            return
        self.console.print(table(self.titles[section], self.sections[section]))
        text = io.StringIO()
        for name, rows in self.sections.items():
            Console(file=text, width=WIDTH).print(table(self.titles[name], rows))
        (self.directory / TABLES).write_text(text.getvalue())
