"""A comparison as a picture."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jaxfn.comparison.constants import MOST_ERRORS, WIDEST_AXIS
from jaxfn.comparison.figures import regimes
from jaxfn.comparison.figures.accuracy import Error
from jaxfn.comparison.figures.records import Figures, Pair
from jaxfn.comparison.figures.residuals import ARGUMENT, NEW, OUTPUT
from jaxfn.comparison.rendering.compared import Compared, sides_of
from jaxfn.comparison.verdict.differences import is_enough, is_same_program, speed_ratio
from jaxfn.comparison.verdict.units import byte_unit, format_bytes, format_seconds, second_unit

_COLOURS = ("#2166ac", "#b0b0b0")  # the rule, and what it is compared with
_BAR = 0.38
_SMALL = 8  # the labels of bars, in points
_EXACT = "exact"


def draw(comparison: Compared, path: str | Path) -> None:
    """Writes the picture of a comparison to `path`, as a PNG."""
    picture_of(comparison).savefig(path, dpi=110, format="png")


def picture_of(comparison: Compared) -> Any:
    """The picture of a comparison, as matplotlib's `Figure`."""
    if comparison.figures is None:
        raise ValueError(f"plot: {comparison.name} has no figures: {comparison.verdict}")
    try:
        from matplotlib.figure import Figure
        from matplotlib.layout_engine import ConstrainedLayoutEngine
    except ImportError as error:
        message = 'plot: expected matplotlib to be installed: pip install "jaxfn[cli]"'
        raise ImportError(message) from error
    figures = comparison.figures
    picture = Figure(figsize=(13, 9), layout=ConstrainedLayoutEngine(wspace=0.05))
    axes = picture.subplots(2, 2)
    _draw_times(axes[0, 0], figures, comparison.against)
    _draw_memory(axes[0, 1], figures)
    _draw_residuals(axes[1, 0], figures)
    _draw_errors(axes[1, 1], figures)
    handles, _ = axes[0, 0].get_legend_handles_labels()
    sides = sides_of(comparison)
    picture.legend(handles, sides, loc="outside lower right", ncols=len(sides), frameon=False)
    arguments = textwrap.shorten(", ".join(comparison.arguments), 120, placeholder=" …")
    title = f"{comparison.name}({arguments})"
    verdict = textwrap.fill(comparison.verdict, 120)
    picture.suptitle(f"{title}\n{verdict}", fontsize=13, x=0.01, ha="left")
    own = comparison.environment
    footer = f"{own['device']}, jax {own['jax']}, Python {own['python']}, {own['date'][:10]}"
    picture.supxlabel(footer, fontsize=9, x=0.01, ha="left", color="#555555")
    return picture


def _draw_times(axes: Any, figures: Figures, against: str) -> None:
    names = [name for name in regimes.EXPLANATIONS if name in figures.times]
    pairs = [figures.times[name] for name in names]
    own_unit, size = second_unit(max(pair.rule.median for pair in pairs))
    units = [size if p.reference is None else p.reference.median for p in pairs]
    spreads, labels = [], []
    for own in zip(*(pair.sides for pair in pairs), strict=True):
        scaled = [[t / unit for t in _quartiles(o)] for o, unit in zip(own, units, strict=True)]
        spreads.append(scaled)
        labels.append([format_seconds(timing.median) for timing in own])
    for side, (scaled, texts) in enumerate(zip(spreads, labels, strict=True)):
        medians = [median for _, median, _ in scaled]
        whiskers = [[m - low for low, m, _ in scaled], [high - m for _, m, high in scaled]]
        style = {"ecolor": "#444444", "lw": 1}
        places = _bars(axes, medians, side, len(spreads), xerr=whiskers, error_kw=style)
        for y, text in zip(places, texts, strict=True):
            # In a column right of the frame: beside a bar its whisker would run through it.
            column = axes.get_yaxis_transform()
            axes.text(1.01, y, text, transform=column, va="center", fontsize=_SMALL)
    said = names
    if against:
        said = [f"{n}\n{_speed(p, figures.programs[n])}" for n, p in zip(names, pairs, strict=True)]
        axes.axvline(1, color="#666666", lw=0.8, ls=":")
    unit = f"{against} = 1" if against else own_unit
    _finish(axes, f"time of a run, {unit} (bar: median, whisker: quartiles)", said)
    most = max(median for scaled in spreads for _, median, _ in scaled)
    axes.set_xlim(0, min(axes.get_xlim()[1], WIDEST_AXIS * most))


def _quartiles(timing: Any) -> tuple[float, float, float]:
    return timing.low, timing.median, timing.high


def _speed(times: Pair[Any], programs: Pair[Any]) -> str:
    if is_same_program(programs):
        return "(same program)"
    if not is_enough(times):
        return "(too few runs)"
    ratio = speed_ratio(times)
    return "(equal)" if ratio == 1 else f"({ratio:.2g} times as fast)"


def _draw_memory(axes: Any, figures: Figures) -> None:
    chosen = (
        (regimes.BOTH, "total_bytes", "arguments, results, temporary"),
        (regimes.FORWARD, "total_bytes", "arguments, results, temporary"),
        (regimes.BACKWARD, "total_bytes", "arguments, results, temporary"),
        (regimes.STEPS, "temp_bytes", "temporary alone"),
        (regimes.LAYERS, "temp_bytes", "temporary alone"),
    )
    names, values = [], []
    for name, attribute, what in chosen:
        if name in figures.programs:
            pair = figures.programs[name]
            own = [getattr(side, attribute) for side in pair.sides]
            if None not in own:
                names.append(f"{name}\n{what}")
                values.append(own)
    _byte_bars(axes, values)
    _finish(axes, "memory of the compiled programs", names)


def _draw_residuals(axes: Any, figures: Figures) -> None:
    sides = figures.residuals.sides
    values, names = [], []
    for kind, what in ((NEW, "new buffers"), (ARGUMENT, "arguments"), (OUTPUT, "results")):
        nbytes = [side.nbytes(kind) for side in sides]
        if any(nbytes) or kind == NEW:
            values.append(nbytes)
            names.append(f"{what}\nkept by JAX")
    read = [side.read_when_compiled for side in sides]
    if None not in read:
        values.append([nbytes or 0 for nbytes in read])
        names.append("read by the compiled\nbackward half")
    _byte_bars(axes, values)
    _finish(axes, "residuals: kept between forward and backward pass", names)


def _byte_bars(axes: Any, values: Sequence[Sequence[float]]) -> None:
    unit, size = byte_unit(max((max(pair) for pair in values), default=0))
    sides = list(zip(*values, strict=True))
    for side, own in enumerate(sides):
        places = _bars(axes, [n / size for n in own], side, len(sides))
        for y, n in zip(places, own, strict=True):
            _label(axes, n / size, y, format_bytes(n))
    axes.set_xlabel(unit, fontsize=9)


def _offset(side: int, sides: int) -> float:
    """From the place of a pair to the bar of a side."""
    return (side - (sides - 1) / 2) * _BAR


def _bars(axes: Any, values: Sequence[float], side: int, sides: int, **kw: Any) -> list[float]:
    """Draws the bars of one side, and returns where they are."""
    places = [i + _offset(side, sides) for i in range(len(values))]
    axes.barh(places, values, _BAR, color=_COLOURS[side], label=str(side), **kw)
    axes.margins(x=0.25)
    return places


def _label(axes: Any, x: float, y: float, text: str) -> None:
    """Right of a bar or a dot that ends at (x, y), over the lines of the grid."""
    box = {"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 0.5}
    offset = {"xytext": (7, 0), "textcoords": "offset points"}
    axes.annotate(text, (x, y), va="center", fontsize=_SMALL, bbox=box, **offset)


def _finish(axes: Any, title: str, names: Sequence[str]) -> None:
    axes.set_title(title, fontsize=11, loc="left")
    axes.set_yticks(range(len(names)), names, fontsize=9)
    axes.set_ylim(len(names) - 0.4, -0.6)  # reads from the top
    axes.set_xlim(left=0)
    _plain_frame(axes)


def _plain_frame(axes: Any) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="x", color="#e5e5e5")
    axes.set_axisbelow(True)


def _draw_errors(axes: Any, figures: Figures) -> None:
    if not figures.errors:
        axes.set_title("errors: not measured", fontsize=11, loc="left")
        axes.set_axis_off()
        return
    items = _largest_errors(figures)
    finite = [e.ulps for _, p in items for e in p.sides if 0 < e.ulps < float("inf")]
    low, high = min([*finite, 0.5]) / 4, max([*finite, 2.0]) * 4
    for place, (_, pair) in enumerate(items):
        for side, error in enumerate(pair.sides):
            y = place + _offset(side, len(pair.sides))
            x = min(max(error.ulps, low), high)
            axes.plot([low, x], [y, y], color=_COLOURS[side], lw=2.5, solid_capstyle="butt")
            axes.plot([x], [y], "o", color=_COLOURS[side], ms=6)
            _label(axes, x, y, _EXACT if error.ulps == 0 else f"{error.ulps:.2g}")
    axes.set_xscale("log")
    axes.set_yticks(range(len(items)), [name for name, _ in items], fontsize=9)
    axes.set_xlim(low, high * 1.5)
    axes.set_ylim(len(items) - 0.4, -0.6)
    title = f"largest error in ulps, against {figures.errors_against}"
    omitted = len(figures.errors) - len(items)
    title += f" ({omitted} smaller ones left out)" if omitted else ""
    axes.set_title(title, fontsize=11, loc="left")
    _plain_frame(axes)


def _largest_errors(figures: Figures) -> list[tuple[str, Pair[Error]]]:
    """As many as can be read, in the order of the arguments."""
    items = list(figures.errors.items())
    largest = sorted(items, key=lambda item: -max(error.ulps for error in item[1].sides))
    chosen = {name for name, _ in largest[:MOST_ERRORS]}
    return [item for item in items if item[0] in chosen]
