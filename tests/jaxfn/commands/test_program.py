"""Exit codes and messages; the devices."""

import dataclasses

import jax
import pytest

from jaxfn.commands import program
from jaxfn.commands.program import UserError, check, errors_of, run_program


@dataclasses.dataclass(frozen=True)
class Config:
    """A flag."""

    number: int = 0


@pytest.fixture
def ended(capsys):
    """Exit code and stderr of a program that raises `outcome`, if that is not None."""

    def run(outcome, *flags):
        def main(config):
            if outcome is not None:
                raise outcome

        try:
            run_program(main, Config, "A program.", flags, "python -m program")
        except SystemExit as end:
            return end.code, capsys.readouterr().err
        return 0, capsys.readouterr().err

    return run


def test_exit_codes(ended):
    assert ended(None, "--number", "3") == (0, "")
    assert ended(UserError("so much")) == (2, "error: so much\n")
    assert ended(KeyboardInterrupt()) == (130, "\ninterrupted\n")
    assert ended(KeyboardInterrupt("half of it")) == (130, "\nhalf of it\n")
    with pytest.raises(ZeroDivisionError):
        ended(ZeroDivisionError())


@pytest.mark.parametrize("flags", [("--number", "x"), ("--unknown", "1")])
def test_bad_flag(ended, flags):
    code, message = ended(None, *flags)
    assert code == 2
    assert flags[0] in message
    assert "Traceback" not in message


def test_check():
    check(True, "unused")
    with pytest.raises(UserError, match="so much"):
        check(False, "so much")


def test_errors_of_somebody_else_s_function():
    for error, line in [
        (ValueError("one\ntwo"), "f(x): ValueError: one"),
        (KeyError(), "f(x): KeyError: "),
        (UserError("as it is"), "as it is"),
    ]:
        with pytest.raises(UserError) as caught, errors_of("f(x)"):
            raise error
        assert str(caught.value) == line


@pytest.mark.parametrize(
    ("number", "flags", "set_to"),
    [(-1, "", 2), (4, "", None), (-1, "--xla_force_host_platform_device_count=8", None)],
)
def test_two_devices_unless_the_environment_says(monkeypatch, number, flags, set_to):
    found = {}
    config = type("Jax", (), {"jax_num_cpu_devices": number, "update": found.__setitem__})
    monkeypatch.setattr(program, "jax", type("Module", (), {"config": config}))
    monkeypatch.setenv("XLA_FLAGS", flags)
    program.two_devices()
    assert found == ({} if set_to is None else {"jax_num_cpu_devices": set_to})
    assert jax.config.jax_num_cpu_devices != -1  # the tests' own stays
