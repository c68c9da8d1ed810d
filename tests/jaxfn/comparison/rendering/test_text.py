"""The table, plain and with rich."""

from __future__ import annotations

import dataclasses
import io
import subprocess
import sys

from rich.console import Console

from jaxfn.comparison.figures import regimes
from jaxfn.comparison.figures.records import Pair
from jaxfn.comparison.figures.residuals import Residual, Residuals
from jaxfn.comparison.rendering.text import sections
from tests.jaxfn.comparison import synthetic
from tests.jaxfn.comparison.helpers import FAILED, normal, quick, wrong_sin


def test_the_table_says_everything(relu):
    text = str(relu)
    for part in (
        *("relu(x float32[8,16])", "verdict: 0.2 times the residual memory", "gradcheck: pass"),
        *("bool[8, 16] new: or", "128 B", "640 B", "scan over layers", "gradient of x, autodiff"),
        *("same program", "too few runs", "forward half, custom rule", "seed 3"),
    ):
        assert part in text
    assert all(line == line.rstrip() for line in text.splitlines())


def test_rich_prints_the_same_figures(relu):
    file = io.StringIO()
    Console(file=file, width=160).print(relu)
    for part in ("bool[8, 16] new: or", "time: median (quartiles)", "scan over layers"):
        assert part in file.getvalue()


def test_a_refusal_is_a_table_too():
    text = str(quick(wrong_sin, (normal(3),), proof=FAILED))
    assert "refused" in text
    assert "the gradient is something else" in text
    assert "time:" not in text


def test_a_rule_alone_has_one_column_and_no_ratio():
    result = synthetic.comparison(figures=synthetic.alone(), against="", verdict="alone")
    times, kept, compiled, errors = sections(result)
    assert times.headings == ("program", "custom rule")
    assert kept.headings == ("residuals", "custom rule")
    assert [row[0] for row in times.rows][-1] == "trace (value and gradients)"
    assert [row[0] for row in compiled.rows] == [*regimes.EXPLANATIONS]
    assert errors.rows == (("value", "1", "1.2e-07", "1"),)
    for section in (times, kept, compiled, errors):
        assert {len(row) for row in section.rows} == {len(section.headings)}
    for word in ("autodiff", "equal", "same program"):
        assert word not in str(result)
    file = io.StringIO()
    Console(file=file, width=160).print(result)
    assert "time: median (quartiles)" in file.getvalue()


def test_without_errors_there_is_no_table_of_them():
    figures = dataclasses.replace(synthetic.alone(), errors={}, errors_against="")
    text = str(synthetic.comparison(figures=figures, against=""))
    assert "accuracy" not in text


def test_neither_rich_nor_matplotlib_is_imported_before_it_is_needed():
    code = (
        "import sys, jaxfn.comparison.compare\n"
        "import jaxfn.comparison.rendering.plot, jaxfn.comparison.rendering.text\n"
        "print({'rich', 'matplotlib'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_of_many_residuals_the_eight_largest_are_listed():
    leaves = tuple(Residual("new", f"op{i}", (i,), "bool", i) for i in range(1, 11))
    both = Pair(Residuals(leaves, 0), Residuals(leaves[:8], 2))
    text = str(synthetic.comparison(figures=synthetic.figures(residuals=both)))
    assert "bool[3] new: op3" in text
    assert "op2" not in text.replace("bool[2] new: op2", "", 1)  # of the side with eight
    assert "2 more, 3 B" in text
    assert "2 duplicates" in text
