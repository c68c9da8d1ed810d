"""Exit codes and messages, beside those of `jaxfn.commands`."""

import dataclasses
import signal
import types

import pytest

from scripts.command.program import UserError
from scripts.command.signals import Interrupted


@dataclasses.dataclass(frozen=True)
class Config:
    """A flag."""

    number: int = 0


def program(outcome: BaseException | None) -> types.SimpleNamespace:
    def main(config: Config) -> None:
        if outcome:
            raise outcome

    return types.SimpleNamespace(main=main, Config=Config, __doc__="A program.")


def test_no_error(command_line):
    assert command_line(program(None), "--number", 3) == (0, "")


def test_user_error(command_line):
    assert command_line(program(UserError("so much"))) == (2, "error: so much\n")


def test_interrupt(command_line):
    assert command_line(program(KeyboardInterrupt())) == (130, "\ninterrupted\n")
    assert command_line(program(Interrupted(signal.SIGINT, "go on"))) == (130, "\ngo on\n")
    assert command_line(program(Interrupted(signal.SIGTERM, "go on"))) == (143, "\ngo on\n")


def test_other_exceptions_pass(command_line):
    with pytest.raises(ZeroDivisionError):
        command_line(program(ZeroDivisionError()))
