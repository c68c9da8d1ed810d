"""The table and the picture."""

from __future__ import annotations

import io
import subprocess
import sys

import jax.numpy as jnp
import pytest
from rich.console import Console

import jaxfn
from jaxfn.comparison.verdict import units
from tests.jaxfn.comparison.helpers import FAILED, normal, plain_sin, quick, wrong_sin


@pytest.fixture(scope="module")
def comparison():
    return quick(jaxfn.relu, (normal(8, 16),))


def test_the_table_says_everything(comparison):
    text = str(comparison)
    for part in (
        *("relu(x float32[8,16])", "verdict: 0.2 times the residual memory", "gradcheck: pass"),
        *("bool[8, 16] new: or", "128 B", "640 B", "scan over layers", "gradient of x, autodiff"),
        *("same program", "too few runs", "forward half, custom rule", "seed 0"),
    ):
        assert part in text
    assert all(line == line.rstrip() for line in text.splitlines())


def test_rich_prints_the_same_figures(comparison):
    file = io.StringIO()
    Console(file=file, width=160).print(comparison)
    for part in ("bool[8, 16] new: or", "time: median (quartiles)", "scan over layers"):
        assert part in file.getvalue()


def test_a_refusal_is_a_table_too():
    text = str(quick(wrong_sin, (normal(3),), proof=FAILED))
    assert "refused" in text
    assert "the gradient is something else" in text
    assert "time:" not in text


def test_the_picture_is_a_png(comparison, tmp_path):
    comparison.plot(tmp_path / "relu.png")
    written = (tmp_path / "relu.png").read_bytes()
    assert written.startswith(b"\x89PNG")
    assert len(written) > 20_000


def test_the_picture_stands_errors_that_are_infinite_and_many_arguments(tmp_path):
    def fun(params):
        return sum(plain_sin(p) for p in params) * jnp.float32(1e38) * jnp.float32(1e38)

    result = quick(fun, ([normal(2, seed=i) for i in range(15)],))
    assert result.arguments == ("params: 15 arrays, 120 B",)
    result.plot(str(tmp_path / "many.png"))


def test_without_matplotlib_it_says_what_to_install(comparison, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ImportError, match=r"pip install \"jaxfn\[train\]\""):
        comparison.plot("nowhere.png")


def test_neither_rich_nor_matplotlib_is_imported_before_it_is_needed():
    code = (
        "import sys, jaxfn.comparison.compare\n"
        "import jaxfn.comparison.rendering.plot, jaxfn.comparison.rendering.text\n"
        "print({'rich', 'matplotlib'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (units.format_bytes(0), "0 B"),
        (units.format_bytes(1023), "1023 B"),
        (units.format_bytes(1536), "1.5 KiB"),
        (units.format_bytes(3 * 2**20), "3 MiB"),
        (units.format_count(999), "999"),
        (units.format_count(12_345_678), "12.3 M"),
        (units.format_seconds(1.25e-3), "1.25 ms"),
        (units.format_seconds(83.14e-6), "83.1 µs"),
        (units.format_seconds(2.5e-9), "2.5 ns"),
        (units.format_seconds(12.0), "12 s"),
    ],
)
def test_units(text, expected):
    assert text == expected
