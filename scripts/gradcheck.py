"""Checks a hand-written gradient from the command line, as `python -m jaxfn check` does:

    python -m scripts.gradcheck jaxfn:linear 'f32[4,3]' 'f32[3,2]' 'f32[2]'

On a CPU it makes two devices of it, so that the rule is checked under `shard_map` as well.

Prints the report; the exit code is 0 if the rule passes, 1 if it fails or nothing can be said, and
2 if the command is wrong.
"""

from jaxfn.commands.check import Config, program
from scripts.command.program import run_program

if __name__ == "__main__":
    run_program(program, Config, __doc__)
