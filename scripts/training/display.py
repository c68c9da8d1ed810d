"""What a training shows while it runs: a line for each epoch, and a bar on a terminal."""

from __future__ import annotations

from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn


class Display:
    """Lines of text, above a progress bar if stdout is a terminal.

    Args:
      total: how many steps the bar has.
      quiet: show nothing but warnings.
    """

    def __init__(self, total: int, *, quiet: bool = False):
        self._console = Console(quiet=quiet, highlight=False)
        self._progress = Progress(
            TextColumn("epoch"),
            MofNCompleteColumn(),
            BarColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.description}"),
            console=self._console,
            disable=quiet or not self._console.is_terminal,
            transient=True,  # the lines above it say all that it said
        )
        self._task = self._progress.add_task("compiling …", total=total)

    def __enter__(self) -> Display:
        self._progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._progress.stop()

    def say(self, text: str) -> None:
        """Prints a text."""
        self._console.print(text, soft_wrap=True, markup=False)

    def warn(self, text: str) -> None:
        """Prints a text to stderr, even where all else is quiet."""
        Console(stderr=True, highlight=False).print(text, soft_wrap=True, markup=False)

    def start(self, completed: int) -> None:
        """Says how many of the steps are done before."""
        self._progress.update(self._task, completed=completed)

    def advance(self, text: str, description: str) -> None:
        """Prints the line of a finished step, and moves the bar; `description` stands beside it."""
        self.say(text)
        self._progress.update(self._task, advance=1, description=description)
