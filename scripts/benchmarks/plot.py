"""A benchmark as a picture."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from scripts.benchmarks.report import three_digits
from scripts.benchmarks.timing import Row

COLOURS = {
    "jaxfn": "#2166ac",
    "jaxfn, rules removed": "#92c5de",
    "plain Flax": "#fdae61",
    "plain JAX": "#fdae61",
    "PyTorch": "#d6604d",
    "PyTorch, channels_last": "#b2182b",
    "PyTorch, torch.compile": "#67001f",
    "matrix-product limit": "#4d4d4d",
}
PEERS = {"flax": "plain Flax", "pytorch": "fastest PyTorch", "plain": "plain JAX"}
PER_IMAGE = "ms per 1000 images"
DPI = 100
BAR = 0.19  # inches that a bar takes
FRAME = 1.1  # inches of a panel besides its bars
WIDTH = 9.0  # inches of a column of panels


def plot(
    path: Path, sections: Mapping[str, list[Row]], titles: Mapping[str, str], footer: str
) -> None:
    """Writes a PNG with a panel for each section: a bar from the axis to the median, a whisker from
    the least to the greatest time.

    Args:
      path: the file.
      sections: rows by section; those that have no time are left out.
      titles: of the sections.
      footer: what the benchmark ran on.
    """
    timed = {name: [row for row in rows if row.timing] for name, rows in sections.items()}
    timed = {name: rows for name, rows in timed.items() if rows}
    columns = _columns(timed)
    height = max(sum(_height(timed[name]) for name in names) for names in columns)
    figure = Figure(figsize=(WIDTH * len(columns), height + 0.5), dpi=DPI, layout="constrained")
    parts = figure.subfigures(1, len(columns), squeeze=False)[0]
    for part, names in zip(parts, columns, strict=True):
        heights = [_height(timed[name]) for name in names]
        rest = max(height - sum(heights), 1e-3)  # empty, so that bars are equally wide everywhere
        axes = part.subplots(len(names) + 1, 1, height_ratios=[*heights, rest], squeeze=False)[:, 0]
        for axis, name in zip(axes, names, strict=False):
            _panel(axis, titles[name], timed[name])
        axes[-1].set_axis_off()
    figure.supxlabel(footer, fontsize=9, x=0.01, ha="left", color="#555555")
    figure.savefig(path)


def _columns(timed: Mapping[str, list[Row]]) -> list[list[str]]:
    """The sections in one column, or in two of about the same height if they are many bars."""
    heights = {name: _height(rows) for name, rows in timed.items()}
    if len(timed) == 1 or sum(heights.values()) < 8:
        return [[*timed]]
    columns: list[list[str]] = [[], []]
    for name in sorted(heights, key=lambda name: -heights[name]):
        min(columns, key=lambda names: sum(heights[n] for n in names)).append(name)
    return [sorted(names, key=[*timed].index) for names in columns]


def _height(rows: list[Row]) -> float:
    return FRAME + BAR * (len(rows) + len(_groups(rows)))


def _groups(rows: list[Row]) -> list[str]:
    return [*dict.fromkeys(row.group for row in rows)]


def _panel(axis: Axes, title: str, rows: list[Row]) -> None:
    unit = PER_IMAGE if all("ms_per_1000_images" in row.figures for row in rows) else "ms"
    places = _places(rows)
    lows, highs = [], []
    for row, place in zip(rows, places, strict=True):
        low, median, high = _spread(row, unit)
        lows.append(low)
        highs.append(high)
        colour = COLOURS.get(row.contestant, COLOURS["jaxfn"])
        axis.barh(place, median, 0.85, color=colour, label=row.contestant)
        axis.plot([low, high], [place, place], color="black", lw=0.8)
        text = f"{three_digits(median)}{_speeds(row)}"
        offset = {"xytext": (4, 0), "textcoords": "offset points"}
        axis.annotate(text, (max(median, high), place), va="center", fontsize=8, **offset)
    _name_bars(axis, title, rows, places)
    _frame(axis, min(lows), max(highs), unit)
    axis.set_ylim(max(places) + 0.8, min(places) - 0.8)  # reads from the top


def _name_bars(axis: Axes, title: str, rows: list[Row], places: list[float]) -> None:
    """By contestant, unless there are many groups of the same two: then by group, with a legend."""
    groups = _groups(rows)
    if len(groups) > 1 and len(rows) <= 2 * len(groups):
        middles = {group: _middle(group, rows, places) for group in groups}
        axis.set_yticks([*middles.values()], [*middles], fontsize=9)
        bars = dict(zip((row.contestant for row in rows), axis.containers, strict=True))
        place = {"loc": "lower right", "bbox_to_anchor": (1, 1), "borderaxespad": 0.1}
        axis.legend([*bars.values()], [*bars], fontsize=8, ncols=2, frameon=False, **place)
    else:
        names = [row.contestant for row in rows]
        if len(groups) > 1:
            names = [f"{row.group}: {row.contestant}" for row in rows]
        else:
            title = f"{title}: {groups[0]}"
        axis.set_yticks(places, names, fontsize=9)
    axis.set_title(title, loc="left", fontsize=11, fontweight="bold")


def _places(rows: list[Row]) -> list[float]:
    """One below the other, with a gap between groups."""
    groups = _groups(rows)
    return [i + groups.index(row.group) for i, row in enumerate(rows)]


def _middle(group: str, rows: list[Row], places: list[float]) -> float:
    own = [place for row, place in zip(rows, places, strict=True) if row.group == group]
    return sum(own) / len(own)


def _spread(row: Row, unit: str) -> tuple[float, float, float]:
    assert row.timing is not None
    seconds = row.timing.seconds
    scale = 1e3
    if unit != "ms":
        scale = row.figures["ms_per_1000_images"] / row.timing.median
    return min(seconds) * scale, row.timing.median * scale, max(seconds) * scale


def _speeds(row: Row) -> str:
    """Our own speed against each peer's."""
    if row.contestant != "jaxfn":
        return ""
    speeds = [
        f"{row.figures[f'speed_against_{peer}']:.2f} × {name}"
        for peer, name in PEERS.items()
        if f"speed_against_{peer}" in row.figures
    ]
    return f"   ({', '.join(speeds)})" if speeds else ""


def _frame(axis: Axes, low: float, high: float, unit: str) -> None:
    if high >= 10 * low:
        axis.set_xscale("log")
        axis.xaxis.set_major_formatter("{x:g}")
        axis.set_xlim(low / 2, high * 20)
    else:
        axis.set_xlim(0, high * 1.6)
    axis.set_xlabel(unit, fontsize=9)
    axis.spines[["top", "right"]].set_visible(False)
    axis.grid(axis="x", color="#e5e5e5")
    axis.set_axisbelow(True)
