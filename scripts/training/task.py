"""What sets one training apart from another: LeNet's from a decoder's."""

from __future__ import annotations

import abc
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Generic, NamedTuple, TypeVar

import jax
import optax
from flax import nnx
from jax.sharding import Mesh

from scripts.training.flags import TrainingFlags
from scripts.training.run import Data, Parts, Run
from scripts.training.step import Position

FlagsT = TypeVar("FlagsT", bound=TrainingFlags)
DataT = TypeVar("DataT", bound=Data)


class Measured(NamedTuple):
    """What is known of an epoch when it is done.

    Attributes:
      epoch: counted from 1.
      step: how many steps have been taken since the start.
      train: the means of the metrics over its steps.
      test: the metrics of the evaluation after it.
      skipped_steps: of the epoch, whose loss or gradient was not finite.
      examples_per_second: in training.
      seconds: that the steps took.
    """

    epoch: int
    step: int
    train: Any
    test: Any
    skipped_steps: int
    examples_per_second: float
    seconds: float


class Task(abc.ABC, Generic[FlagsT, DataT]):
    """A training: its data, its net, and what it shows and leaves."""

    header: str  # stands above the lines of the epochs
    line: type  # of metrics.jsonl
    drawn: str  # the file that is written last: a run that has it is done
    example: str  # what one is called

    @abc.abstractmethod
    def check(self, config: FlagsT) -> None:
        """Raises `UserError` if a flag's value makes no sense."""

    @abc.abstractmethod
    def load(self, config: FlagsT) -> DataT:
        """The data that the flags ask for."""

    @abc.abstractmethod
    def prefix(self, config: FlagsT) -> str:
        """What the folder of a run without a name begins with."""

    @abc.abstractmethod
    def about(self, dataset: DataT) -> Mapping[str, Any]:
        """What config.json says of the data: sections by their names."""

    @abc.abstractmethod
    def check_same_data(self, directory: Path, dataset: DataT) -> None:
        """Raises `UserError` if a run was started with other data."""

    @abc.abstractmethod
    def optimizer(self, config: FlagsT, steps: int) -> optax.GradientTransformation:
        """For a training of so many steps."""

    @abc.abstractmethod
    def initial_position(
        self, config: FlagsT, optimizer: optax.GradientTransformation
    ) -> tuple[nnx.GraphDef, Position]:
        """The structure of the net, and the position before the first step."""

    @abc.abstractmethod
    def parts(
        self,
        config: FlagsT,
        dataset: DataT,
        graphdef: nnx.GraphDef,
        optimizer: optax.GradientTransformation,
        devices: Mesh | None,
    ) -> Parts:
        """What the training is made of."""

    @abc.abstractmethod
    def size(self, dataset: DataT) -> str:
        """The first words of what a training says."""

    @abc.abstractmethod
    def line_of(self, config: FlagsT, measured: Measured) -> Any:
        """The line of an epoch."""

    @abc.abstractmethod
    def finish(self, config: FlagsT, dataset: DataT, run: Run, outputs: jax.Array) -> str:
        """Writes what a run leaves in its end; `outputs` are those of the last evaluation.

        Returns:
          What is to be printed of it.
        """

    @abc.abstractmethod
    def result(self, line: Any, *, name: bool = True) -> str:
        """What counts of an epoch, with the name of the quantity or without."""

    def weight(self, config: FlagsT) -> int:
        """How many images of LeNet's training one example costs."""
        return 1
