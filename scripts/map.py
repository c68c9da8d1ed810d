"""Draws the map of the house: which part of the project imports which, read from the sources.

    python -m scripts.map

Each part is a room; it may import only from rooms on floors below its own. An arrow is left out of
the picture where a longer way leads to the same room. The picture keeps all arrows in its metadata,
so that a test tells whether it is still true.
"""

from __future__ import annotations

import ast
import collections
import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

from scripts.command.program import UserError, run_program

ROOT = Path(__file__).parent.parent
PACKAGES = "jaxfn", "models", "scripts"
# From the top down, each with where it stands from left to right. A module belongs to the room with
# the longest name that its own begins with.
FLOORS: tuple[dict[str, float], ...] = (
    {"scripts": 0.5},
    {"scripts.benchmarks": 0.2, "scripts.wild": 0.5, "scripts.site": 0.8},
    {"scripts.training": 0.2, "scripts.cases": 0.5},
    {"models": 0.16, "jaxfn.__main__": 0.5, "scripts.command": 0.84},
    {"jaxfn.nn": 0.16, "jaxfn.commands": 0.84},
    {"jaxfn": 0.5},
    {"jaxfn.comparison": 0.16, "jaxfn.auditing": 0.5, "jaxfn.microbatches": 0.84},
    {"jaxfn.comparison.rendering": 0.16, "jaxfn.function": 0.84},
    {"jaxfn.comparison.verdict": 0.16, "jaxfn.verification": 0.5, "jaxfn.functional": 0.84},
    {"jaxfn.comparison.figures": 0.16, "jaxfn.verification.layers": 0.5},
    {"jaxfn.verification.diagnosis": 0.5},
    {"jaxfn.comparison.constants": 0.16, "jaxfn.verification.evidence": 0.5},
    {"jaxfn.verification.points": 0.5},
    {"jaxfn.verification.subject": 0.5},
    {"jaxfn.verification.report": 0.32, "jaxfn.verification.constants": 0.68},
    {"jaxfn._version": 0.16, "jaxfn.autodiff": 0.5},
    {"jaxfn._jaxpr": 0.5},
    {"jaxfn._jax_internals": 0.5},
)
# What each room is for, in a few words.
SAYS = {
    "scripts": "programs that people run",
    "scripts.benchmarks": "speed and memory",
    "scripts.wild": "rules of other packages",
    "scripts.site": "what the site is made of",
    "scripts.training": "what the trainings are made of",
    "scripts.cases": "registry of operations",
    "scripts.command": "what all programs do alike",
    "models": "Flax NNX models",
    "jaxfn.nn": "Flax's layers over them",
    "jaxfn.__main__": "python -m jaxfn",
    "jaxfn.commands": "check, compare, audit",
    "jaxfn": "the public API",
    "jaxfn.auditing": "audit: is every rule of it?",
    "jaxfn.comparison": "compare: does a rule pay?",
    "jaxfn.comparison.rendering": "tables and pictures",
    "jaxfn.comparison.verdict": "from figures to words",
    "jaxfn.comparison.figures": "what is measured",
    "jaxfn.comparison.constants": "what decides",
    "jaxfn.verification": "gradcheck: is a rule right?",
    "jaxfn.verification.layers": "the questions asked",
    "jaxfn.verification.diagnosis": "what an error looks like",
    "jaxfn.verification.evidence": "what differs",
    "jaxfn.verification.points": "where to look",
    "jaxfn.verification.subject": "what is under test",
    "jaxfn.verification.report": "what is found",
    "jaxfn.verification.constants": "what decides",
    "jaxfn.function": "Function: forward and backward",
    "jaxfn.functional": "the operations",
    "jaxfn.autodiff": "a function without its rules",
    "jaxfn.microbatches": "a batch in parts",
    "jaxfn._jaxpr": "rules in a jaxpr",
    "jaxfn._version": "the version",
    "jaxfn._jax_internals": "undocumented JAX, all of it",
}
ARROWS = "Arrows"  # the metadata that the picture keeps

WIDTH, FLOOR_HEIGHT = 13.0, 1.05  # inches
BOX_WIDTH, BOX_HEIGHT = 0.27, 0.56  # of the picture's width; of a floor
COLOURS = {"jaxfn": "#dbe9f6", "models": "#e5f2df", "scripts": "#f7ead8"}
BEND = 0.35  # of an arrow past a room of its own column
INK, LINE = "#222222", "#7a8793"

Arrows = dict[tuple[str, str], int]


@dataclasses.dataclass(frozen=True)
class Config:
    """Flags of `map`."""

    output: Path = Path("docs/map.png")
    """The picture."""


def sources(root: Path = ROOT) -> dict[str, Path]:
    """Every module of the project by its name."""
    found = {}
    for package in PACKAGES:
        for path in sorted((root / package).rglob("*.py")):
            parts = path.relative_to(root).with_suffix("").parts
            found[".".join(parts).removesuffix(".__init__")] = path
    return found


def imports(path: Path, modules: dict[str, Path]) -> Iterator[str]:
    """The modules among `modules` that a file imports, those inside of functions included."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            whole = [f"{node.module}.{alias.name}" for alias in node.names]
            names = [name if name in modules else node.module for name in whole]
        else:
            continue
        yield from (name for name in names if name in modules)


def room_of(module: str) -> str:
    """The room that a module belongs to."""
    rooms = [room for floor in FLOORS for room in floor]
    return max((r for r in rooms if f"{module}.".startswith(f"{r}.")), key=len)


def arrows(root: Path = ROOT) -> Arrows:
    """How many imports lead from one room to another."""
    modules = sources(root)
    pairs = (
        (room_of(module), room_of(imported))
        for module, path in modules.items()
        for imported in imports(path, modules)
    )
    return dict(sorted(collections.Counter(p for p in pairs if p[0] != p[1]).items()))


def against(found: Arrows) -> list[str]:
    """The arrows that do not lead to a floor below."""
    floor_of = {room: i for i, floor in enumerate(FLOORS) for room in floor}
    return [f"{start} imports {end}" for start, end in found if floor_of[end] <= floor_of[start]]


def as_text(found: Arrows) -> str:
    """The arrows as a picture keeps them; not how many imports each stands for."""
    return json.dumps(sorted(found))


def without_detours(found: Arrows) -> list[tuple[str, str]]:
    """The arrows that no longer way leads along: the others would hide them in the picture."""
    below = collections.defaultdict(set)
    for start, end in found:
        below[start].add(end)

    def reached(room: str) -> set[str]:
        return below[room].union(*(reached(other) for other in below[room]))

    return [
        (start, end)
        for start, end in found
        if not any(end in reached(other) for other in below[start] - {end})
    ]


def main(config: Config) -> Arrows:
    """Writes the picture.

    Returns:
      The arrows in it.

    Raises:
      UserError: if an import leads upwards.
    """
    found = arrows()
    if wrong := against(found):
        raise UserError(f"expected imports to lead to a floor below, got: {'; '.join(wrong)}")
    figure = Figure(figsize=(WIDTH, FLOOR_HEIGHT * len(FLOORS)))
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    axes.set_xlim(0, 1)
    axes.set_ylim(-len(FLOORS) + 0.4, 0.6)
    places = {room: (x, -i) for i, floor in enumerate(FLOORS) for room, x in floor.items()}
    for start, end in without_detours(found):
        _draw_arrow(axes, places[start], places[end])
    for room, place in places.items():
        _draw_room(axes, room, place)
    config.output.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(config.output, dpi=80, metadata={ARROWS: as_text(found), "Software": None})
    print(f"{len(found)} arrows between {len(places)} rooms: {config.output}")
    return found


def _draw_room(axes: Axes, room: str, place: tuple[float, float]) -> None:
    x, y = place
    corner = (x - BOX_WIDTH / 2, y - BOX_HEIGHT / 2)
    colour = COLOURS[room.partition(".")[0]]
    axes.add_patch(
        FancyBboxPatch(
            corner, BOX_WIDTH, BOX_HEIGHT, boxstyle="round,pad=0,rounding_size=0.01",
            facecolor=colour, edgecolor=LINE, mutation_aspect=FLOOR_HEIGHT, zorder=2,
        )
    )  # fmt: skip
    axes.text(x, y + 0.1, room, ha="center", va="center", color=INK, weight="bold", zorder=3)
    axes.text(x, y - 0.12, SAYS[room], ha="center", va="center", color=INK, zorder=3)


def _draw_arrow(axes: Axes, start: tuple[float, float], end: tuple[float, float]) -> None:
    """From the lower edge of one room to the upper edge of the other, bent where rooms stand."""
    (x, y), (to_x, to_y) = start, end
    bend = BEND if x == to_x and y - to_y > 1 else 0.0
    axes.add_patch(
        FancyArrowPatch(
            (x, y - BOX_HEIGHT / 2), (to_x, to_y + BOX_HEIGHT / 2), arrowstyle="-|>",
            connectionstyle=f"arc3,rad={bend}", mutation_scale=14, color=LINE, zorder=1,
        )
    )  # fmt: skip


if __name__ == "__main__":
    run_program(main, Config, __doc__)
