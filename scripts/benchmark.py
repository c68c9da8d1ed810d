"""Times jaxfn beside its peers, in one run: contestants in turn, medians and their spread.

    python -m scripts.benchmark regression import

`regression` is the 500 steps of the two-layer regression, with PyTorch's original loop beside it
where torch is installed (`make parity` installs it); `import` is what `import jaxfn` costs beyond
`import jax`.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Annotated, Literal

import jax
import numpy as np
import tyro
from rich.console import Console
from rich.table import Table

import jaxfn
from scripts import train_regression
from scripts.program import run_program
from scripts.training import Rules

Section = Literal["regression", "import"]


@dataclasses.dataclass(frozen=True)
class Config:
    """What to time."""

    sections: Annotated[tuple[Section, ...], tyro.conf.Positional] = ("regression", "import")
    repeats: int = 9
    """Timed runs of each contestant, after one that warms up."""


@dataclasses.dataclass(frozen=True)
class Timing:
    """Seconds of each timed run."""

    seconds: tuple[float, ...]

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)


def interleave(contestants: dict[str, Callable[[], object]], repeats: int) -> dict[str, Timing]:
    """Runs the contestants in turn, `repeats` times, after a warm-up; each ends when its result
    is there. Before each timed run the contestant runs once untimed: it then finds the caches as it
    left them itself, and no thread of another's still spins."""
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    for name in [*contestants] * (1 + repeats):
        jax.block_until_ready(contestants[name]())
        start = time.perf_counter()
        jax.block_until_ready(contestants[name]())
        seconds[name].append(time.perf_counter() - start)
    return {name: Timing(tuple(runs[1:])) for name, runs in seconds.items()}


def print_table(console: Console, title: str, timings: dict[str, Timing], against: str) -> None:
    """A row for each contestant, with its speed as a multiple of that of `against`."""
    table = Table("contestant", "median ms", "min", "max", f"times as fast as {against}")
    table.title = title
    for name, timing in timings.items():
        row = [timing.median, min(timing.seconds), max(timing.seconds)]
        ratio = timings[against].median / timing.median
        table.add_row(name, *(f"{1e3 * t:.2f}" for t in row), f"{ratio:.2f}")
    console.print(table)


def benchmark_regression(console: Console, repeats: int) -> dict[str, Timing]:
    """The 500 steps, losses included, from the same float32 data and weights."""
    config = train_regression.Config()
    graphdef, params, x, y = train_regression.make_problem(config)

    def ours(rules: Rules) -> Callable[[], object]:
        rate, steps = config.learning_rate, config.steps
        return lambda: train_regression.train(graphdef, params, x, y, rate, steps, rules)

    contestants = {"jaxfn": ours("custom"), "jaxfn, rules removed": ours("autodiff")}
    if importlib.util.find_spec("torch"):
        from scripts import pytorch_peer

        arrays = [np.array(a) for a in (x, y, params["fc1"]["kernel"], params["fc2"]["kernel"])]
        contestants["PyTorch"] = lambda: pytorch_peer.train_regression(
            *arrays, rate=config.learning_rate, steps=config.steps
        )
    else:
        console.print("torch is not installed: no row for PyTorch (pip install torch==2.13.0)")
    timings = interleave(contestants, repeats)
    print_table(console, "500 steps of the regression", timings, against=[*contestants][-1])
    return timings


def benchmark_import(console: Console, repeats: int) -> dict[str, Timing]:
    """`import jax` in a fresh interpreter, and `import jaxfn` after it."""
    code = """
from time import perf_counter
start = perf_counter()
import jax
middle = perf_counter()
import jaxfn
print(middle - start, perf_counter() - middle)
"""
    runs = []
    for _ in range(1 + repeats):
        command = [sys.executable, "-c", code]
        output = subprocess.run(command, check=True, capture_output=True).stdout
        runs.append(tuple(map(float, output.split())))
    jax_seconds, own_seconds = zip(*runs[1:], strict=True)
    timings = {"import jax": Timing(jax_seconds), "import jaxfn after it": Timing(own_seconds)}
    print_table(console, "Import", timings, against="import jax")
    return timings


def main(config: Config) -> dict[str, dict[str, Timing]]:
    console = Console()
    console.print(f"jax {jax.__version__}, jaxfn {jaxfn.__version__}, {jax.devices()[0]}")
    benchmarks = {"regression": benchmark_regression, "import": benchmark_import}
    return {name: benchmarks[name](console, config.repeats) for name in config.sections}


if __name__ == "__main__":
    run_program(main, Config, __doc__)
