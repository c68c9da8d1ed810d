"""Says what a trained LeNet sees in an image.

For example, after a training of seconds:

    python -m scripts.train_lenet --epochs 3 --name three
    python -m scripts.predict --run runs/three image.png

or of a file that `python -m scripts.export --run runs/three` left, without the net's source:

    python -m scripts.predict --model runs/three/model.jaxfn image.png
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, NamedTuple

import jax
import numpy as np
import tyro
from rich.console import Console
from rich.table import Table

from scripts.command.device import Platform, select_platform
from scripts.command.program import check, run_program
from scripts.training import model_file
from scripts.training.images import Preprocessing, read_ink, resize

SHOWN = 3  # classes


@dataclasses.dataclass(frozen=True)
class Config:
    """Flags of `predict`."""

    image: Annotated[Path, tyro.conf.Positional]
    """Image of one digit, or whatever the net was trained on: light ink on a dark ground."""
    run: Path | None = None
    """Folder of a run of train_lenet."""
    model: Path | None = None
    """A file that scripts.export wrote, instead of a run."""
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


class Net(NamedTuple):
    """A trained net: its classes, and what leads from images to their probabilities."""

    preprocessing: Preprocessing
    probabilities: Callable[[np.ndarray], jax.Array]
    classes: tuple[str, ...]


def main(config: Config) -> Prediction:
    """Prepares the image as the training images were, and prints the most probable classes.

    Raises:
      UserError: if the image, the run, the file of the model or a flag is wrong.
    """
    check(
        (config.run is None) != (config.model is None),
        "expected either --run, a folder, or --model, a file",
    )
    select_platform(config.platform)
    net = _from_run(config) if config.model is None else _from_file(config.model)
    ink = read_ink(config.image, invert=config.invert)
    _warn_if_ground_is_light(ink, config)
    x = net.preprocessing(resize(ink[None], net.preprocessing.source_size))
    probabilities = np.asarray(net.probabilities(x)[0])
    order = np.argsort(-probabilities, stable=True)
    prediction = Prediction(int(order[0]), {net.classes[i]: float(probabilities[i]) for i in order})
    _show(config.image, prediction)
    return prediction


def _from_run(config: Config) -> Net:
    # Here and not above: a file needs neither `models` nor `jaxfn`.
    from flax import nnx

    from scripts.training.data import class_names
    from scripts.training.lenet_config import make_optimizer, restore_state, stored_run

    assert config.run is not None
    stored, preprocessing = stored_run(config.run)
    graphdef, _, state = restore_state(config.run, stored, make_optimizer(stored, steps=1))
    model = nnx.merge(graphdef, state.params)
    return Net(preprocessing, lambda x: jax.nn.softmax(model(x)), class_names(stored.dataset))


def _from_file(path: Path) -> Net:
    program, preprocessing, classes = model_file.read(path)
    return Net(preprocessing, jax.jit(program.call), classes)


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
