"""Times jaxfn beside its peers, in one run: contestants in turn, medians and their spread.

    python -m scripts.benchmark
    python -m scripts.benchmark lenet --batches 128 1024 --repeats 9

The sections:

- regression: the 500 steps of the two-layer regression;
- import: what `import jaxfn` costs beyond `import jax`;
- lenet: LeNet's training step, and our step's cost per image at many batches;
- epoch: a whole epoch of LeNet on the digits;
- operations: each operation forward, and forward and backward, and the gradient of pooling;
- cifar: convolution and pooling at the sizes of a net for CIFAR's images;
- resnet: the training step of a ResNet-18 for such images, and its convolutions and others, alone;
- language: the loss over a vocabulary, attention, and layers of norms and gated units;
- decoder: the training step of a decoder at three sizes;
- scaling: LeNet's step on 1, 2, 4 and 8 host devices.

The peers are plain Flax or plain JAX, differentiated by JAX, and PyTorch where it is installed
(`make bench` installs it). A run leaves `runs/benchmark/<name>/` with benchmark.json (every time),
tables.txt and benchmark.png.
"""

from __future__ import annotations

import dataclasses
import importlib.metadata
import importlib.util
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Literal

import tyro
from rich.console import Console

from scripts.benchmarks import language, lenet, operations, resnet, scaling, trainings
from scripts.benchmarks.plot import plot
from scripts.benchmarks.report import WIDTH, Report
from scripts.benchmarks.timing import Effort, Row, Timing, rounds
from scripts.cases import CASES
from scripts.command import run_directory
from scripts.command.device import Platform, environment, select_platform
from scripts.command.program import check, run_program

PROGRAM = "benchmark"
PICTURE = "benchmark.png"
Section = Literal[
    "regression",
    "import",
    "lenet",
    "epoch",
    "operations",
    "cifar",
    "resnet",
    "language",
    "decoder",
    "scaling",
]
TITLES: dict[Section, str] = {
    "regression": "Training of the regression",
    "import": "Import",
    "lenet": "LeNet's training step",
    "epoch": "Epoch of LeNet on the digits",
    "operations": "Operations",
    "cifar": "Layers for CIFAR's images, batch 128",
    "resnet": "A ResNet-18's training step, and convolutions",
    "language": "Operations of language models, value and gradients",
    "decoder": "A decoder's training step",
    "scaling": "LeNet's step on more and more devices of one CPU",
}
COST = "cost"
COST_TITLE = "LeNet's training step by batch"


@dataclasses.dataclass(frozen=True)
class Config:
    """What to time."""

    sections: Annotated[tuple[Section, ...], tyro.conf.Positional] = tuple(TITLES)
    """Which; by default all."""
    batches: tuple[int, ...] = (64, 128, 1024, 4096)
    """Images per step of lenet, beside its peers."""
    cost_batches: tuple[int, ...] = (64, 128, 256, 512, 1024, 2048, 4096, 8192)
    """Images per step of lenet, for the cost per image."""
    repeats: int = 25
    """Timed runs of each contestant, after one that warms up."""
    seconds: float = 10.0
    """No further round of a group of contestants begins after so long, once there were five; after
    three times as long none at all."""
    compile_seconds: float = 60.0
    """Once torch.compile has taken so long, it compiles nothing more."""
    seed: int = 0
    """Of the weights and the data."""
    platform: Platform | None = None
    """By default the fastest that JAX finds."""
    run_dir: Path = Path("runs/benchmark")
    """Where the folder of the run goes."""
    name: str | None = None
    """Name of that folder; by default the platform and the time."""
    quiet: bool = False
    """Show nothing but errors."""


def main(config: Config) -> dict[str, list[Row]]:
    """Times the sections, and leaves the folder of the run.

    Returns:
      The rows of each section.

    Raises:
      UserError: if a flag is wrong.
      KeyboardInterrupt: with the folder in its message; it has what was finished.
    """
    _check_config(config)
    select_platform(config.platform)
    on = environment() | _more_environment()
    directory = run_directory.create(config.run_dir, config.name, on["platform"])
    run_directory.write_config(directory, program=PROGRAM, config=config, environment=on)
    head = run_directory.read_config(directory)
    report = Report(directory, _console(config), head, TITLES | {COST: COST_TITLE})
    report.console.print(", ".join(f"{name} {value}" for name, value in on.items()), markup=False)
    section = None
    try:
        for section, groups in _sections(config).items():
            with report.console.status(f"{section} …"):
                for rows in groups():
                    report.add(section, rows)
            report.finish(section)
    except KeyboardInterrupt as interrupt:
        report.finish(section or "")
        raise KeyboardInterrupt(f"interrupted: {directory} has what was finished") from interrupt
    finally:
        _draw(report, on)
    report.console.print(f"→ {directory}", markup=False, soft_wrap=True)
    return report.sections


def _draw(report: Report, on: Mapping[str, str]) -> None:
    if not report.sections:
        return
    footer = (
        "bar: median, line: from the least to the greatest, ×: times as fast as; "
        f"{on['device']}, {on['cores']} cores, jax {on['jax']}, {on['date']}"
    )
    plot(report.directory / PICTURE, report.sections, report.titles, footer)


def _check_config(config: Config) -> None:
    check(config.repeats >= 1, f"--repeats: expected at least 1, got {config.repeats}")
    check(config.seconds > 0, f"--seconds: expected more than 0, got {config.seconds}")
    check(
        config.compile_seconds >= 0,
        f"--compile-seconds: expected at least 0, got {config.compile_seconds}",
    )
    check(0 <= config.seed < 2**32, f"--seed: expected 0 to 2³² - 1, got {config.seed}")
    for flag, batches in (("batches", config.batches), ("cost-batches", config.cost_batches)):
        check(
            min(batches, default=1) >= 1,
            f"--{flag}: expected numbers of at least 1, got {min(batches, default=1)}",
        )
        check(len(set(batches)) == len(batches), f"--{flag}: expected each number once")


def _console(config: Config) -> Console:
    console = Console(quiet=config.quiet, highlight=False)
    if not console.is_terminal:
        console.width = WIDTH
    return console


def _more_environment() -> dict[str, str]:
    """What times depend on, besides."""
    torch = "no"
    if importlib.util.find_spec("torch"):
        torch = importlib.metadata.version("torch")
    return {"torch": torch, "cores": str(os.cpu_count())}


def _sections(config: Config) -> dict[str, Callable[[], Iterator[list[Row]]]]:
    """Each section that was asked for, as the function that times its groups."""
    effort = Effort(config.repeats, config.seconds, config.seed)

    def every_operation() -> Iterator[list[Row]]:
        # A declared gradient has no plain form: `scripts.compare` has its figures.
        cases = (case for case in CASES.values() if case.surrogate is None)
        yield from operations.operations(cases, effort)
        yield from operations.pool_gradient(effort)

    known = {
        "regression": lambda: trainings.regression(effort),
        "import": lambda: imports(effort),
        "lenet": lambda: lenet.lenet(config.batches, effort, config.compile_seconds),
        "epoch": lambda: trainings.epoch(effort),
        "operations": every_operation,
        "cifar": lambda: operations.cifar(effort),
        "resnet": lambda: resnet.resnet(effort, config.compile_seconds),
        "language": lambda: language.language(effort, config.compile_seconds),
        "decoder": lambda: language.decoder(effort, config.compile_seconds),
        "scaling": lambda: scaling.scaling(effort),
    }
    chosen: dict[str, Callable[[], Iterator[list[Row]]]] = {}
    for name in config.sections:
        chosen[name] = known[name]
        if name == "lenet" and config.cost_batches:
            chosen[COST] = lambda: lenet.cost_per_image(config.cost_batches, effort)
    return chosen


def imports(effort: Effort) -> Iterator[list[Row]]:
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
    for _ in rounds(effort):
        command = [sys.executable, "-c", code]
        output = subprocess.run(command, check=True, capture_output=True).stdout
        runs.append(tuple(map(float, output.split())))
    names = ("import jax", "import jaxfn after it")
    yield [
        Row("in a fresh interpreter", name, Timing(seconds))
        for name, seconds in zip(names, zip(*runs[1:], strict=True), strict=True)
    ]


if __name__ == "__main__":
    run_program(main, Config, __doc__)
