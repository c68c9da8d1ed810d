"""The list of commands, what they need, and the process in somebody's own folder."""

import os
import subprocess
import sys
import venv
from pathlib import Path

import pytest

from jaxfn.commands import main as commands

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize("argv", [(), ("--help",), ("-h",)])
def test_the_list(command, argv):
    code, out, err = command(*argv)
    assert (code, err) == (0, "")
    for name in commands.COMMANDS:
        assert f"\n  {name} " in out


@pytest.mark.parametrize("name", commands.COMMANDS)
def test_each_has_its_help(command, name):
    code, out, _ = command(name, "--help")
    assert code == 0
    assert f"usage: python -m jaxfn {name} " in out
    assert "--args" in out


@pytest.mark.parametrize("name", commands.COMMANDS)
def test_a_wrong_flag(command, name):
    code, out, err = command(name, "jaxfn:relu", "f32[3]", "--no-such-flag")
    assert (code, out) == (2, "")
    assert "--no-such-flag" in err
    assert f"python -m jaxfn {name} --help" in err


def test_an_unknown_command(refused):
    assert "'chek': expected one of check, compare, audit" in refused("chek", "jaxfn:relu")


def test_without_the_extra(refused, command, monkeypatch):
    monkeypatch.setattr(commands, "NEEDS", (*commands.NEEDS, "no_such_package"))
    said = "error: python -m jaxfn check needs no_such_package: pip install 'jaxfn[cli]'\n"
    assert refused("check", "jaxfn:relu", "f32[3]") == said
    assert command()[0] == 0


def test_in_a_folder_with_one_module(ops):
    """On two devices, and with nothing of the checkout but `jaxfn`."""
    command = [sys.executable, "-m", "jaxfn", "check", "ops:sine", "f32[3]", "--order", "1"]
    env = {name: value for name, value in os.environ.items() if name != "JAX_NUM_CPU_DEVICES"}
    env["PYTHONPATH"] = str(ROOT)
    done = subprocess.run(
        [*command, "--verbose"], capture_output=True, text=True, check=True, env=env, cwd=ops
    )
    assert "gradcheck of sine: PASS" in done.stdout
    assert "under shard_map on two devices" in done.stdout


TEST = """
import jax.numpy as jnp
import ops

def test_sine():
    assert ops.sine(jnp.zeros(3)).sum() == 0
"""


@pytest.mark.long
def test_the_wheel_in_a_new_environment(ops, tmp_path_factory):
    """Beside what is installed here; without the extra there is one line. pip gets hatchling."""
    folder = tmp_path_factory.mktemp("installed")
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "wheel", "--no-deps", "-w", folder, ROOT], check=True)
    (wheel,) = folder.glob("*.whl")
    venv.create(folder / "venv")
    python = folder / "venv" / "bin" / "python"
    subprocess.run([*pip, "--python", python, "install", "--no-deps", wheel], check=True)
    (site,) = (folder / "venv").glob("lib/*/site-packages")
    env = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}

    def run(*command: str, leave_out: tuple[str, ...] = ()) -> subprocess.CompletedProcess:
        present = tmp_path_factory.mktemp("present")
        for path in Path(pytest.__file__).parents[1].iterdir():
            if path.name not in leave_out and "jaxfn" not in path.name:
                (present / path.name).symlink_to(path)
        (site / "present.pth").write_text(str(present))
        whole = [python, "-m", *command]
        return subprocess.run(whole, capture_output=True, text=True, cwd=ops, env=env)

    check = "jaxfn", "check", "ops:sine", "f32[3]", "--order", "1"
    done = run(*check, leave_out=tuple(commands.NEEDS))
    assert done.returncode == 2
    assert done.stderr.endswith("needs tyro, rich, matplotlib: pip install 'jaxfn[cli]'\n")
    assert done.stderr.count("\n") == 1
    (ops / "test_ops.py").write_text(TEST)
    tree = "ops:of_tree", "--args", "ops:example_args"
    for command, said in {
        check: "gradcheck of sine: PASS",
        ("jaxfn", "compare", *tree, "--seconds", "0.05"): "of_tree",
        ("jaxfn", "audit", *tree, "--order", "1"): "audit of of_tree: PASS, 1 rule: 1 right",
        ("pytest", "--audit-rules"): "audit of the tests: PASS, 1 rule: 1 right",
    }.items():
        done = run(*command)
        assert (done.returncode, done.stderr) == (0, ""), command
        assert said in done.stdout
