"""Draws the test accuracy of trainings over their epochs: by the rules and by plain autodiff.

The picture in docs/models.md is of these runs:

    for model in binary quantized spiking; do for rules in custom autodiff; do
      python -m scripts.train_lenet --model $model --rules $rules --name $model-$rules
    done; done
    python -m scripts.learning_curves runs/{binary,quantized,spiking}-*
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Annotated, NamedTuple

import tyro
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from scripts.command import run_directory
from scripts.command.program import UserError, check, run_program
from scripts.training import lenet_config
from scripts.training.data import CLASSES
from scripts.training.epoch_metrics import EpochMetrics
from scripts.training.plots import BLUE, RED
from scripts.training.step import Rules

STYLES: dict[Rules, tuple[str, str]] = {
    "custom": (BLUE, "by the rule"),
    "autodiff": (RED, "by plain autodiff of the same forward pass"),
}
DPI = 90


@dataclasses.dataclass(frozen=True)
class Config:
    """Flags of `learning_curves`."""

    runs: Annotated[tuple[Path, ...], tyro.conf.Positional]
    """Folders of runs of train_lenet: a panel for each model in them."""
    output: Path = Path("docs/learning_curves.png")
    """The picture."""


class Curve(NamedTuple):
    """The test accuracy of a run after each epoch."""

    model: str
    rules: Rules
    accuracies: list[float]


def main(config: Config) -> list[Curve]:
    """Writes the picture.

    Returns:
      What is in it, in the order of the runs.

    Raises:
      UserError: if a folder is not that of a run with an epoch behind it, or the picture cannot be
        written.
    """
    check(bool(config.runs), "expected the folder of at least one run")
    curves = [_curve(directory) for directory in config.runs]
    try:
        plot(config.output, curves)
    except (OSError, ValueError) as error:  # ValueError: the name's ending is no format's
        raise UserError(f"{config.output}: cannot be written: {error}") from error
    print(f"{len(curves)} runs → {config.output}")
    return curves


def plot(path: Path, curves: list[Curve]) -> None:
    """Writes a PNG with a panel for each model and a curve for each run."""
    models = list(dict.fromkeys(curve.model for curve in curves))
    figure = Figure(figsize=(3.4 * len(models), 3.3), dpi=DPI, layout="constrained")
    axes: list[Axes] = figure.subplots(1, len(models), sharey=True, squeeze=False)[0].tolist()
    for axis, model in zip(axes, models, strict=True):
        axis.axhline(1 / CLASSES, color="gray", linewidth=1, linestyle=":", label="chance")
        for curve in curves:
            if curve.model == model:
                colour, label = STYLES[curve.rules]
                epochs = range(1, len(curve.accuracies) + 1)
                axis.plot(
                    epochs, curve.accuracies, color=colour, marker="o", markersize=3, label=label
                )
                last = (epochs[-1], curve.accuracies[-1])
                axis.annotate(
                    f"{last[1]:.1%}", last, (0, -14 if last[1] > 0.5 else 7), color=colour,
                    textcoords="offset points", ha="right",
                )  # fmt: skip
        axis.set(title=model, xlabel="epoch", ylim=(0, 1.02))
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
        axis.yaxis.set_major_formatter(PercentFormatter(xmax=1, decimals=0))
        axis.grid(alpha=0.3)
    axes[0].set_ylabel("test accuracy")
    handles = {
        label: handle
        for axis in axes
        for handle, label in zip(*axis.get_legend_handles_labels(), strict=True)
    }
    figure.legend(
        handles.values(), handles, loc="outside lower center", ncols=len(handles), frameon=False
    )
    figure.savefig(path)


def _curve(directory: Path) -> Curve:
    config, _ = lenet_config.stored_run(directory)
    file = directory / run_directory.METRICS
    try:
        lines = [json.loads(line) for line in file.read_text().splitlines()]
        history = [run_directory.restore(EpochMetrics, line) for line in lines]
    except OSError as error:
        raise UserError(f"{file}: cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise UserError(f"{file}: damaged: {error}") from error
    check(bool(history), f"{file}: expected at least one epoch, there is none")
    name = f"{config.model}, {config.bits} bits" if config.model == "quantized" else config.model
    return Curve(name, config.rules, [line.test_accuracy for line in history])


if __name__ == "__main__":
    run_program(main, Config, __doc__)
