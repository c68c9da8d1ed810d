"""Compares hand-written gradients with plain autodiff: does a rule pay?

Every operation of the project and the models' losses, some of them, or a function of your own with
its arguments by dtype and shape:

    python -m scripts.compare
    python -m scripts.compare linear relu --batch 1024 --dtype bfloat16
    python -m scripts.compare jax.nn:relu 'f32[128,784]' --custom-jvp

Each comparison leaves NAME.txt, NAME.json and NAME.png in `runs/compare/`, and all together
summary.txt.
"""

from __future__ import annotations

import dataclasses
import io
import re
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal

import jax.numpy as jnp
import tyro
from rich.console import Console
from rich.table import Table

from jaxfn.commands.compare import WIDTH, Options, check_effort, make_console, prepare
from jaxfn.commands.compare import Config as OwnConfig
from jaxfn.comparison import Comparison, compare
from jaxfn.comparison.figures.records import Pair
from jaxfn.comparison.figures.regimes import BOTH, LAYERS
from jaxfn.comparison.figures.residuals import NEW
from jaxfn.comparison.figures.timing import Timing
from jaxfn.comparison.verdict.differences import is_same_program, speed_ratio
from jaxfn.comparison.verdict.units import format_bytes, format_seconds
from jaxfn.verification import GradcheckReport, gradcheck
from scripts.cases import CASES, LOSSES
from scripts.command.device import Platform, select_platform
from scripts.command.program import UserError, check, run_program

Dtype = Literal["float32", "bfloat16", "float16"]
BATCH = 64  # of the losses
SMALL_BATCH = 2  # at which a loss's gradient is checked


@dataclasses.dataclass(frozen=True)
class Config(Options):
    """What to compare."""

    targets: Annotated[tuple[str, ...], tyro.conf.Positional] = ()
    """Names of operations; or package.module:function and its arguments, such as 'f32[64,128]',
    'i32[3]', 'key', 'f32[]', 0.5. Without any, everything of the project."""
    batch: int | None = None
    """Number of examples, for the project's own operations and losses."""
    dtype: Dtype = "float32"
    """Of the arrays, for the same."""
    args: str | None = None
    """package.module:function that returns the arguments of a function of yours."""
    seed: int = 0
    """Of the inputs."""
    platform: Platform | None = None
    """By default the fastest that JAX finds."""
    directory: Path = Path("runs/compare")
    """Where the files go."""
    quiet: bool = False
    """Show nothing but errors."""


@dataclasses.dataclass(frozen=True)
class Task:
    """A comparison to make; `run` makes it."""

    name: str
    run: Callable[[], Comparison]


def main(config: Config) -> dict[str, Comparison]:
    """Makes the comparisons, writes the files, prints the summary.

    Args:
      config: what to compare.

    Returns:
      The comparisons by name.

    Raises:
      UserError: if a name, an argument or a flag is wrong.
      KeyboardInterrupt: with what was finished in its message.
    """
    _check_config(config)
    select_platform(config.platform)
    tasks = _tasks(config)
    _make_directory(config.directory)
    console = make_console(config.quiet)
    done: dict[str, Comparison] = {}
    try:
        for task in tasks:
            with console.status(f"{len(done) + 1} of {len(tasks)}: {task.name} …"):
                comparison = done[task.name] = task.run()
            _write(config.directory, task.name, comparison)
            count = f"[{len(done)}/{len(tasks)}]"
            line = f"{count} {task.name}: {comparison.verdict}"
            console.print(line, markup=False, soft_wrap=True)
    except KeyboardInterrupt as interrupt:
        _summarise(console, config.directory, done)
        files = f"{len(done)} of {len(tasks)} comparisons are in {config.directory}"
        raise KeyboardInterrupt(f"interrupted: {files}") from interrupt
    if len(done) == 1:
        console.print(*done.values())
    _summarise(console, config.directory, done)
    return done


def _check_config(config: Config) -> None:
    check_effort(config)
    check(0 <= config.seed < 2**32, f"--seed: expected 0 to 2³² - 1, got {config.seed}")
    if config.batch is not None:
        check(config.batch >= 1, f"--batch: expected at least 1, got {config.batch}")


def _make_directory(directory: Path) -> None:
    try:
        directory.mkdir(parents=True, exist_ok=True)
        (directory / "summary.txt").touch()
    except OSError as error:
        raise UserError(f"--directory {directory}: cannot be written: {error.strerror}") from error


def _tasks(config: Config) -> list[Task]:
    if config.targets and ":" in config.targets[0]:
        return [_own_task(config)]
    known = [*CASES, *LOSSES]
    for name in config.targets:
        check(
            name in known,
            f"{name!r}: expected package.module:function or one of {', '.join(known)}",
        )
    chosen = [*dict.fromkeys(config.targets)] or known
    return [_case_task(n, config) if n in CASES else _loss_task(n, config) for n in chosen]


def _case_task(name: str, config: Config) -> Task:
    case, dtype = CASES[name], jnp.dtype(config.dtype)

    def run() -> Comparison:
        # At the registry's small inputs, where every element is looked at in a few seconds.
        small = case.args(dtype=dtype)
        proof = gradcheck(case.operation, small, raise_exception=False, **case.declared)
        args = case.timed_args(config.batch, config.seed, dtype)
        declared = {} if case.surrogate is None else {"reference": case.reference}
        options = {**declared, **_effort(config)}
        return compare(case.operation, args, proof=proof, name=name, **options)

    return Task(name, run)


def _loss_task(name: str, config: Config) -> Task:
    dtype = jnp.dtype(config.dtype)

    def run() -> Comparison:
        proof = _proof_of_loss(*LOSSES[name].make(SMALL_BATCH, dtype, config.seed))
        loss, args = LOSSES[name].make(config.batch or BATCH, dtype, config.seed)
        return compare(loss, args, argnums=0, proof=proof, name=name, **_effort(config))

    return Task(name, run)


def _proof_of_loss(loss: Callable[..., Any], args: tuple[Any, ...]) -> GradcheckReport:
    params, *data = args

    def own(params: Any) -> Any:
        return loss(params, *data)

    return gradcheck(own, (params,), raise_exception=False)


def _own_task(config: Config) -> Task:
    target, *specs = config.targets
    options = {field.name: getattr(config, field.name) for field in dataclasses.fields(Options)}
    own = OwnConfig(target, tuple(specs), args=config.args, seed=config.seed, **options)
    return Task(re.sub(r"\W+", "_", target.rpartition(":")[2]), prepare(own))


def _effort(config: Config) -> dict[str, Any]:
    return {"seed": config.seed, "rounds": config.rounds, "seconds": config.seconds}


def _write(directory: Path, name: str, comparison: Comparison) -> None:
    (directory / f"{name}.txt").write_text(f"{comparison}\n")
    (directory / f"{name}.json").write_text(comparison.to_json(indent=1) + "\n")
    picture = directory / f"{name}.png"
    picture.unlink(missing_ok=True)  # that of an earlier run, if this one has none
    if comparison.figures is not None:
        comparison.plot(picture)


def _summarise(console: Console, directory: Path, done: dict[str, Comparison]) -> None:
    if not done:
        return
    table = Table(title="custom rule / what it is compared with", title_justify="left")
    for heading in _HEADINGS:
        table.add_column(heading, no_wrap=heading == _HEADINGS[0])
    for name, comparison in done.items():
        table.add_row(name, comparison.proof.verdict, *_row(comparison))
    console.print(table)
    text = io.StringIO()
    Console(file=text, width=WIDTH).print(table)
    verdicts = [f"{name}: {comparison.verdict}" for name, comparison in done.items()]
    (directory / "summary.txt").write_text("\n".join([text.getvalue(), *verdicts]) + "\n")
    console.print(f"{directory}: a .txt, .json and .png of each, and summary.txt")


_HEADINGS = (
    "operation",
    "gradcheck",
    "new residuals",
    "memory in layers",
    "time in one jit",
    "times as fast",
)


def _row(comparison: Comparison) -> tuple[str, ...]:
    figures = comparison.figures
    if figures is None:
        return "", "", "", "not measured"
    new = [side.nbytes(NEW) for side in figures.residuals.sides]
    layers = figures.programs.get(LAYERS)
    temporary = [] if layers is None else [side.temp_bytes for side in layers.sides]
    times = " / ".join(format_seconds(side.median) for side in figures.times[BOTH].sides)
    same = is_same_program(figures.programs[BOTH])
    return _bytes(new), _bytes(temporary), times, _ratio(figures.times[BOTH], same)


def _bytes(sizes: list[Any]) -> str:
    texts = ["?" if n is None else format_bytes(n) for n in sizes]
    return " / ".join(dict.fromkeys(texts))  # once, if both are the same


def _ratio(pair: Pair[Timing], same: bool) -> str:
    if pair.reference is None:
        return "alone"
    if same:
        return "same program"
    ratio = speed_ratio(pair)
    return "equal" if ratio == 1 else f"{ratio:.2g}"


if __name__ == "__main__":
    run_program(main, Config, __doc__)
