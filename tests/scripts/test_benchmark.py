"""`python -m scripts.benchmark`: its files, and one clear line for what is wrong."""

from __future__ import annotations

import json

import pytest

from scripts import benchmark
from scripts.benchmark import Config, main
from scripts.benchmarks.timing import Row, Timing


def row(name):
    return Row("a group", name, Timing((1e-3, 2e-3)))


@pytest.fixture
def two_sections(monkeypatch):
    """The section regression with two groups; lenet, in which somebody presses Ctrl-C."""

    def regression():
        yield [row("jaxfn")]
        yield [row("PyTorch")]

    def lenet():
        yield [row("jaxfn")]
        raise KeyboardInterrupt

    known = {"regression": regression, "lenet": lenet}
    monkeypatch.setattr(
        benchmark, "_sections", lambda config: {name: known[name] for name in config.sections}
    )


def test_a_section_really_run(tmp_path, capsys):
    rows = main(Config(("import",), repeats=2, run_dir=tmp_path, name="run"))
    timed, own = rows["import"]
    assert timed.contestant == "import jax"
    assert own.timing.median > 0
    assert len(own.timing.seconds) == 2
    found = json.loads((tmp_path / "run" / "benchmark.json").read_text())
    assert found["config"]["seed"] == 0
    assert {"jax", "torch", "cores", "device", "date"} <= set(found["environment"])
    assert found["results"]["import"][1]["seconds"]["all"] == list(own.timing.seconds)
    assert (tmp_path / "run" / "benchmark.png").read_bytes().startswith(b"\x89PNG")
    assert "import jaxfn after it" in (tmp_path / "run" / "tables.txt").read_text()
    assert "import, in a fresh interpreter: import jax " in capsys.readouterr().out


def test_by_default_every_section():
    names = [*benchmark._sections(Config())]
    assert names == [
        "regression", "import", "lenet", "cost", "epoch", "operations", "cifar",
        "resnet", "language", "decoder", "scaling",
    ]  # fmt: skip
    assert [*benchmark._sections(Config(("lenet",), cost_batches=()))] == ["lenet"]


@pytest.mark.usefixtures("two_sections")
def test_ctrl_c_leaves_what_was_finished(tmp_path, command_line):
    code, error = command_line(
        benchmark, "regression", "lenet", "--quiet", "--run-dir", tmp_path, "--name", "run"
    )
    assert code == 130
    assert f"interrupted: {tmp_path / 'run'} has what was finished" in error
    results = json.loads((tmp_path / "run" / "benchmark.json").read_text())["results"]
    assert [r["contestant"] for r in results["regression"]] == ["jaxfn", "PyTorch"]
    assert len(results["lenet"]) == 1
    assert "LeNet's training step" in (tmp_path / "run" / "tables.txt").read_text()
    assert (tmp_path / "run" / "benchmark.png").exists()


@pytest.mark.usefixtures("two_sections")
def test_runs_do_not_overwrite_each_other(tmp_path):
    for _ in range(2):
        main(Config(("regression",), run_dir=tmp_path, quiet=True))
    folders = [*tmp_path.iterdir()]
    assert len(folders) == 2
    assert all(folder.name.startswith("cpu-") for folder in folders)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--repeats", 0], "--repeats: expected at least 1, got 0"),
        (["--seconds", -1], "--seconds: expected more than 0, got -1.0"),
        (["--compile-seconds", -1], "--compile-seconds: expected at least 0, got -1.0"),
        (["--batches", 64, 0], "--batches: expected numbers of at least 1, got 0"),
        (["--cost-batches", 8, 8], "--cost-batches: expected each number once"),
        (["--seed", -1], "--seed: expected 0 to 2³² - 1, got -1"),
        (["--run-dir", __file__], "the run directory cannot be made"),
    ],
)
def test_a_bad_flag_is_one_clear_line(flags, message, tmp_path, command_line):
    directory = [] if "--run-dir" in flags else ["--run-dir", tmp_path]
    code, error = command_line(benchmark, "import", *flags, *directory)
    assert code == 2
    assert message in error
    assert error.count("\n") == 1


def test_an_unknown_section_is_refused(command_line):
    code, error = command_line(benchmark, "lenets")
    assert code == 2
    assert "lenets" in error
