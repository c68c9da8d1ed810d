"""Says what a trained LeNet sees in an image.

For example, after a training of seconds:

    python -m scripts.train_lenet --epochs 3 --name three
    python -m scripts.predict --run runs/three image.png
"""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from typing import Annotated

import jax
import numpy as np
import tyro
from flax import nnx
from rich.console import Console
from rich.table import Table

from scripts.data import class_names
from scripts.device import Platform, select_platform
from scripts.images import read_ink, resize
from scripts.lenet_config import make_optimizer, restore_state, stored_run
from scripts.program import run_program

SHOWN = 3  # classes


@dataclasses.dataclass(frozen=True)
class Config:
    """Flags of `predict`."""

    image: Annotated[Path, tyro.conf.Positional]
    """Image of one digit, or whatever the net was trained on: light ink on a dark ground."""
    run: Path
    """Folder of a run of train_lenet."""
    invert: bool = False
    """The ink is dark, the ground light."""
    platform: Platform | None = None
    """By default the fastest that JAX finds."""


@dataclasses.dataclass(frozen=True)
class Prediction:
    """What the net sees.

    Attributes:
      label: the most probable class.
      probabilities: of all classes, by name, the most probable first.
    """

    label: int
    probabilities: dict[str, float]


def main(config: Config) -> Prediction:
    """Prepares the image as the training images were, and prints the most probable classes.

    Raises:
      UserError: if the image, the run or a flag is wrong.
    """
    select_platform(config.platform)
    stored, preprocessing = stored_run(config.run)
    graphdef, _, state = restore_state(config.run, stored, make_optimizer(stored, steps=1))
    ink = read_ink(config.image, invert=config.invert)
    _warn_if_ground_is_light(ink, config)
    x = preprocessing(resize(ink[None], preprocessing.source_size))
    probabilities = np.asarray(jax.nn.softmax(nnx.merge(graphdef, state.params)(x))[0])
    names = class_names(stored.dataset)
    order = np.argsort(-probabilities, stable=True)
    prediction = Prediction(int(order[0]), {names[i]: float(probabilities[i]) for i in order})
    _show(config.image, prediction)
    return prediction


def _warn_if_ground_is_light(ink: np.ndarray, config: Config) -> None:
    border = np.concatenate([ink[0], ink[-1], ink[:, 0], ink[:, -1]])
    if np.median(border) > 0.5:
        flag = "without --invert" if config.invert else "with --invert"
        print(f"{config.image}: the ground seems to be ink; try {flag}", file=sys.stderr)


def _show(image: Path, prediction: Prediction) -> None:
    most_probable = next(iter(prediction.probabilities))
    table = Table("class", "probability", title=f"{image.name}: {most_probable}")
    for name, probability in list(prediction.probabilities.items())[:SHOWN]:
        table.add_row(name, f"{probability:.1%}")
    Console().print(table)


if __name__ == "__main__":
    run_program(main, Config, __doc__)
