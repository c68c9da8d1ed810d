"""Pictures of a training."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter, PercentFormatter

BLUE, ORANGE, RED = "tab:blue", "tab:orange", "tab:red"
SPLITS = (("train", BLUE, "train (shifted images)"), ("test", ORANGE, "test"))
DPI = 120
ROWS, COLUMNS = 5, 8
FEWEST_TICKS, MOST_TICKS = 3, 8


def plot_curves(path: Path, metrics: Sequence[Mapping[str, float]]) -> None:
    """Writes a PNG of loss and accuracy by epoch, in training and in test."""
    figure = Figure(figsize=(11, 4.2), dpi=DPI, layout="constrained")
    epochs = [line["epoch"] for line in metrics]
    axes: Sequence[Axes] = figure.subplots(1, 2)
    for axis, quantity in zip(axes, ("loss", "accuracy"), strict=True):
        for split, colour, label in SPLITS:
            values = [line[f"{split}_{quantity}"] for line in metrics]
            axis.plot(epochs, values, color=colour, marker="o", markersize=3.5, label=label)
        axis.set(xlabel="epoch", title=quantity)
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
        axis.grid(alpha=0.3)
        axis.legend()
    axes[0].set(ylabel="cross-entropy per image")
    _logarithmic(axes[0])
    axes[1].yaxis.set_major_formatter(PercentFormatter(xmax=1, decimals=0))
    figure.suptitle(f"test accuracy {metrics[-1]['test_accuracy']:.2%} after {epochs[-1]} epochs")
    figure.savefig(path)


def plot_text_curves(path: Path, metrics: Sequence[Mapping[str, float]]) -> None:
    """Writes a PNG of a decoder's bits per byte by epoch, in training and on held-out text."""
    figure = Figure(figsize=(7, 4.2), dpi=DPI, layout="constrained")
    axis: Axes = figure.subplots()
    epochs = [line["epoch"] for line in metrics]
    for split, colour, label in (("train", BLUE, "train"), ("test", ORANGE, "held out")):
        bits = [line[f"{split}_loss"] / math.log(2) for line in metrics]
        axis.plot(epochs, bits, color=colour, marker="o", markersize=3.5, label=label)
    axis.set(xlabel="epoch", ylabel="bits per byte")
    axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    axis.grid(alpha=0.3)
    axis.legend()
    last = metrics[-1]["test_loss"] / math.log(2)
    axis.set_title(f"{last:.3f} bits per held-out byte after {epochs[-1]} epochs")
    figure.savefig(path)


def plot_predictions(
    path: Path,
    images: np.ndarray,
    labels: np.ndarray,
    probabilities: np.ndarray,
    names: Sequence[str],
) -> None:
    """Writes a PNG of test images with what the net takes them for: the wrong ones first, in red,
    the surest of them before the others.

    Args:
      path: the file.
      images: `[N, 32, 32, 1]`.
      labels: `[N]`.
      probabilities: `[N, classes]`.
      names: of the classes.
    """
    predicted, confidence = probabilities.argmax(1), probabilities.max(1)
    wrong = predicted != labels
    order = np.lexsort((np.where(wrong, -confidence, 0), ~wrong))[: ROWS * COLUMNS]
    figure = Figure(figsize=(COLUMNS * 1.3, ROWS * 1.55 + 0.5), dpi=DPI, layout="constrained")
    axes: np.ndarray = figure.subplots(ROWS, COLUMNS).ravel()
    for axis in axes[len(order) :]:
        axis.set_axis_off()
    for axis, i in zip(axes, map(int, order), strict=False):
        axis.imshow(images[i, ..., 0], cmap="gray")
        axis.set(xticks=[], yticks=[])
        title = f"{names[predicted[i]]}  {confidence[i]:.0%}"
        if wrong[i]:
            axis.set_title(f"{title}\nis {names[labels[i]]}", fontsize=9, color=RED)
            axis.spines[:].set(color=RED, linewidth=3)
        else:
            axis.set_title(title, fontsize=9)
    rest = f", the surest {len(order)} of them" if wrong.sum() > len(order) else ""
    figure.suptitle(f"{wrong.sum()} of {len(labels)} test images wrong (red){rest}")
    figure.savefig(path)


def plot_loss(path: Path, losses: np.ndarray) -> None:
    """Writes a PNG of the loss by step, on a logarithmic axis."""
    figure = Figure(figsize=(7, 4.2), dpi=DPI, layout="constrained")
    axis: Axes = figure.subplots()
    axis.plot(np.arange(len(losses)), losses, color=BLUE)
    axis.set(xlabel="step", ylabel="sum of squared errors")
    _logarithmic(axis)
    axis.set_title(f"loss {losses[0]:.4g} → {losses[-1]:.4g}")
    axis.grid(alpha=0.3)
    figure.savefig(path)


def _logarithmic(axis: Axes) -> None:
    """Makes the vertical axis logarithmic, with a few labels whatever is drawn."""
    axis.set_yscale("log")
    ticks = _ticks(*axis.get_ylim())
    is_plain = ticks[0] >= 1e-3 and ticks[-1] < 1e6
    axis.set_yticks(ticks, [f"{tick:,.10g}" if is_plain else _power(tick) for tick in ticks])
    axis.yaxis.set_minor_formatter(NullFormatter())


def _ticks(low: float, high: float) -> list[float]:
    """Powers of ten, or 1, 2 and 5 of each decade, or, in a part of a decade, numbers in equal
    steps: the first that are enough."""
    powers = LogLocator(subs=(1.0,), numticks=MOST_TICKS).tick_values(low, high)
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)))
    parts = [float(f"{part}e{decade}") for decade in decades for part in (1, 2, 5)]
    steps = MaxNLocator(MOST_TICKS - 1, steps=[1, 2, 5, 10]).tick_values(low, high)
    choices = [[tick for tick in choice if low <= tick <= high] for choice in (powers, parts)]
    enough = [choice for choice in choices if len(choice) >= FEWEST_TICKS]
    return enough[0] if enough else [tick for tick in steps if low <= tick <= high]


def _power(value: float) -> str:
    mantissa, exponent = f"{value:.10e}".split("e")
    factor = "" if float(mantissa) == 1 else rf"{float(mantissa):g} \times "
    return f"${factor}10^{{{int(exponent)}}}$"
