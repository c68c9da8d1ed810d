"""Says what a trained LeNet sees in images.

For example, after a training of seconds:

    python -m scripts.train_lenet --epochs 3 --name three
    python -m scripts.predict --run runs/three image.png

or of a file that `python -m scripts.export --run runs/three` left, without the net's source:

    python -m scripts.predict --model runs/three/model.jaxfn image.png

Several images have a line each. Dark ink on light ground, light on dark or on nothing (transparent)
are told apart by the border.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, NamedTuple

import jax
import numpy as np
import tyro
from rich.console import Console
from rich.table import Table

from scripts.command.device import Platform, select_platform
from scripts.command.program import UserError, check, run_program
from scripts.training import model_file
from scripts.training.images import Ground, Preprocessing, read_ink, resize

SHOWN = 3  # classes


@dataclasses.dataclass(frozen=True)
class Config:
    """Flags of `predict`."""

    images: Annotated[tuple[Path, ...], tyro.conf.Positional]
    """Images of one digit each, or whatever the net was trained on."""
    run: Path | None = None
    """Folder of a run of train_lenet."""
    model: Path | None = None
    """A file that scripts.export wrote, instead of a run."""
    ground: Ground = "auto"
    """By default light or dark as most of the image's border is."""
    invert: bool = False
    """The ink is dark, the ground light: the same as --ground light."""
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


def main(config: Config) -> list[Prediction]:
    """Prepares the images as the training images were, and prints the most probable classes.

    A wrong image among several is named when the others have been printed.

    Raises:
      UserError: if an image, the run, the file of the model or a flag is wrong.
    """
    check(
        (config.run is None) != (config.model is None),
        "expected either --run, a folder, or --model, a file",
    )
    check(bool(config.images), "expected at least one image")
    check(
        not (config.invert and config.ground == "dark"),
        "--invert: expected no --ground dark beside it",
    )
    select_platform(config.platform)
    net = _from_run(config) if config.model is None else _from_file(config.model)
    predictions, wrong = [], []
    for image in config.images:
        try:
            ink = read_ink(image, ground="light" if config.invert else config.ground)
        except UserError as error:
            wrong.append(str(error))
            continue
        predictions.append(_predict(net, ink))
        if len(config.images) == 1:
            _show(image, predictions[-1])
        else:
            print(_line(image, predictions[-1]))
    check(not wrong, "; ".join(wrong))
    return predictions


def _predict(net: Net, ink: np.ndarray) -> Prediction:
    x = net.preprocessing(resize(ink[None], net.preprocessing.source_size))
    probabilities = np.asarray(net.probabilities(x)[0])
    order = np.argsort(-probabilities, stable=True)
    return Prediction(int(order[0]), {net.classes[i]: float(probabilities[i]) for i in order})


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


def _line(image: Path, prediction: Prediction) -> str:
    name, probability = next(iter(prediction.probabilities.items()))
    return f"{image}: {name}, {probability:.1%}"


def _show(image: Path, prediction: Prediction) -> None:
    most_probable = next(iter(prediction.probabilities))
    table = Table("class", "probability", title=f"{image.name}: {most_probable}")
    for name, probability in list(prediction.probabilities.items())[:SHOWN]:
        table.add_row(name, f"{probability:.1%}")
    Console().print(table)


if __name__ == "__main__":
    run_program(main, Config, __doc__)
