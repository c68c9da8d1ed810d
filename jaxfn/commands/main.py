"""Which command: the list of them, and what they need."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Sequence

from jaxfn.commands.program import check, one_line_errors, run_program

COMMANDS = {
    "check": "is a hand-written gradient right?",
    "compare": "does it pay, beside autodiff?",
    "audit": "is each custom rule in a function right, such as those of a training step?",
}
NEEDS = "tyro", "rich", "matplotlib"  # the extra jaxfn[cli]
PROGRAM = "python -m jaxfn"


def main(argv: Sequence[str] | None = None) -> None:
    """Runs the command that is named first, or lists all.

    Args:
      argv: the command and its flags; by default the process's.
    """
    name, *flags = (sys.argv[1:] if argv is None else argv) or ["--help"]
    if name in ("-h", "--help"):
        print(usage())
        return
    with one_line_errors():
        check(name in COMMANDS, f"{name!r}: expected one of {', '.join(COMMANDS)}")
        missing = [package for package in NEEDS if importlib.util.find_spec(package) is None]
        check(
            not missing,
            f"{PROGRAM} {name} needs {', '.join(missing)}: pip install 'jaxfn[cli]'",
        )
    command = importlib.import_module(f"jaxfn.commands.{name}")
    run_program(command.program, command.Config, command.__doc__, flags, f"{PROGRAM} {name}")


def usage() -> str:
    """The commands, each with what it answers."""
    width = max(map(len, COMMANDS))
    lines = [f"  {name:{width}}  {says}" for name, says in COMMANDS.items()]
    head = f"usage: {PROGRAM} {{{','.join(COMMANDS)}}} package.module:function ARGUMENTS\n"
    return "\n".join([head, *lines, f"\n{PROGRAM} COMMAND --help has the flags of each."])
