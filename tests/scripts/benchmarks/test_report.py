"""Tables, JSON and picture of given rows."""

from __future__ import annotations

import io
import json

import pytest
from matplotlib import image
from rich.console import Console

from scripts.benchmarks import plot
from scripts.benchmarks.report import Report, line, table, three_digits
from scripts.benchmarks.timing import Row, Timing

STEP = [
    Row("batch 4", "jaxfn", Timing((0.001, 0.003, 0.002)), {"speed_against_flax": 5.0}),
    Row("batch 4", "plain Flax", Timing((0.01,)), {"speed_against_flax": 1.0}),
    Row("batch 4", "PyTorch", None, note="not here"),
]
PAIRS = [
    Row(f"operation {i}", name, Timing((seconds,)), {"speed_against_plain": speed})
    for i in range(3)
    for name, seconds, speed in (("jaxfn", 1e-3, 2.5), ("plain JAX", 2.5e-3, 1.0))
]
TITLES = {"step": "A step", "pairs": "Pairs", "one": "One"}


def rendered(title, rows):
    text = io.StringIO()
    Console(file=text, width=120).print(table(title, rows))
    return text.getvalue()


def test_table():
    text = rendered("A step", STEP)
    assert "A step" in text
    rows = [[cell.strip() for cell in row.split("│")[1:-1]] for row in text.splitlines()]
    assert ["batch 4", "jaxfn", "2", "1", "3", "5.00"] in rows
    assert ["", "plain Flax", "10", "10", "10", "1.00"] in rows
    assert ["", "PyTorch", "", "", "", ""] in rows
    assert "×: times as fast as" in text
    assert "batch 4, PyTorch: not here" in text
    assert "was the machine busy? batch 4, jaxfn" in " ".join(text.split())


def test_every_figure_has_its_format():
    figures = {
        "temporary_bytes": 3 * 2**20,
        "share_of_limit": 0.256,
        "compile_seconds": 1.234,
        "ms_per_1000_images": 1234.5,
        "cost_against_least": 1.0,
    }
    text = rendered("", [Row("g", "a", Timing((1.0,)), figures)])
    for expected in ("3 MiB", "26%", "1.23", "1,234", "1.00"):
        assert expected in text


@pytest.mark.parametrize(
    ("value", "text"), [(0.01234, "0.0123"), (1.5, "1.5"), (99.94, "99.9"), (12345.6, "12,346")]
)
def test_three_digits(value, text):
    assert three_digits(value) == text


def test_line():
    assert line("step", STEP) == "step, batch 4: jaxfn 2 ms; plain Flax 10 ms"


def test_report_writes_as_it_goes(tmp_path):
    report = Report(tmp_path, Console(quiet=True), {"program": "benchmark"}, TITLES)
    report.add("step", STEP)
    results = json.loads((tmp_path / "benchmark.json").read_text())
    assert results["program"] == "benchmark"
    ours, _, pytorch = results["results"]["step"]
    seconds = {"median": 0.002, "min": 0.001, "max": 0.003, "all": [0.001, 0.003, 0.002]}
    assert ours == {
        "what": "batch 4",
        "contestant": "jaxfn",
        "seconds": seconds,
        "speed_against_flax": 5.0,
    }
    assert pytorch["seconds"] is None
    assert pytorch["note"] == "not here"
    metrics = [json.loads(text) for text in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [(m["section"], m["contestant"], m["seconds"]) for m in metrics] == [
        ("step", "jaxfn", 0.002),
        ("step", "plain Flax", 0.01),
    ]
    report.finish("step")
    report.add("pairs", PAIRS[:2])
    report.finish("pairs")
    report.finish("one")  # has nothing yet
    tables = (tmp_path / "tables.txt").read_text()
    assert tables.index("A step") < tables.index("Pairs")


def test_plot(tmp_path, monkeypatch):
    figures = []
    save = plot.Figure.savefig
    monkeypatch.setattr(
        plot.Figure,
        "savefig",
        lambda self, path: (figures.append(self), save(self, path)),
    )
    one = [Row("jaxfn", f"batch {i}", Timing((i + 1.0, i + 2.0))) for i in (1, 2)]
    plot.plot(
        tmp_path / "a.png", {"step": STEP, "pairs": PAIRS, "one": one}, TITLES, "here and now"
    )
    pixels = image.imread(tmp_path / "a.png")
    assert pixels.shape[1] == 900
    assert pixels[..., :3].std() > 0.05
    step, pairs, single, _ = figures[0].axes
    assert [bar.get_width() for bar in step.patches] == [2.0, 10.0]
    assert [label.get_text() for label in step.get_yticklabels()] == ["jaxfn", "plain Flax"]
    assert "5.00 × plain Flax" in step.texts[0].get_text()
    assert (step.get_xscale(), single.get_xscale()) == ("log", "linear")
    assert len(pairs.get_yticks()) == 3
    assert [text.get_text() for text in pairs.get_legend().get_texts()] == ["jaxfn", "plain JAX"]
    assert single.get_title(loc="left") == "One: jaxfn"


def test_plot_of_much_in_two_columns_on_a_logarithmic_axis(tmp_path, monkeypatch):
    figures = []
    monkeypatch.setattr(plot.Figure, "savefig", lambda self, path: figures.append(self))
    many = [
        Row(f"batch {i}", name, Timing((seconds,)))
        for i in range(8)
        for name, seconds in (("jaxfn", 1e-3), ("plain Flax", 1e-1), ("PyTorch", 1e-2))
    ]
    plot.plot(tmp_path / "a.png", {"step": many, "pairs": PAIRS, "none": STEP[2:]}, TITLES, "")
    assert figures[0].get_size_inches()[0] == 2 * plot.WIDTH
    step, *_ = figures[0].axes
    assert step.get_xscale() == "log"
    assert step.get_yticklabels()[3].get_text() == "batch 1: jaxfn"
