"""Ctrl-C and SIGTERM as a wish to stop, for which a program has time to put things in order."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator
from types import FrameType

STOP = (signal.SIGINT, signal.SIGTERM)


class StopRequest:
    """What came: `number` is the signal's, None while there is none."""

    number: int | None = None


class Interrupted(BaseException):
    """A program was stopped by a signal, in good order. Like `KeyboardInterrupt`, it is no error.

    Args:
      number: of the signal.
      message: a line that says how to go on.
    """

    def __init__(self, number: int, message: str):
        super().__init__(message)
        self.number = number


@contextlib.contextmanager
def stop_on_signal() -> Iterator[StopRequest]:
    """Notes the first Ctrl-C or SIGTERM; a second one ends the process at once.

    To be used in the main thread, where Python takes signals.
    """
    request = StopRequest()

    def note(number: int, _: FrameType | None) -> None:
        request.number = number
        # The default ends the process even while it is inside a compiled program, which a handler
        # written in Python would wait for.
        for each in STOP:
            signal.signal(each, signal.SIG_DFL)

    before = [signal.signal(each, note) for each in STOP]
    try:
        yield request
    finally:
        for each, handler in zip(STOP, before, strict=True):
            signal.signal(each, handler)
