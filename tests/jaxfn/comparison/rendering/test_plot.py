"""The picture."""

from __future__ import annotations

import dataclasses
import sys

import jax.numpy as jnp
import pytest

from jaxfn.comparison.figures import regimes
from jaxfn.comparison.figures.records import Pair
from jaxfn.comparison.figures.timing import Timing
from jaxfn.comparison.rendering.plot import picture_of
from tests.jaxfn.comparison import synthetic
from tests.jaxfn.comparison.helpers import normal, plain_sin, quick


def test_the_picture_is_a_png(relu, tmp_path):
    relu.plot(tmp_path / "relu.png")
    written = (tmp_path / "relu.png").read_bytes()
    assert written.startswith(b"\x89PNG")
    assert len(written) > 20_000


def test_the_picture_stands_errors_that_are_infinite_and_many_arguments(tmp_path):
    errors = {
        f"gradient of params[{i}]": Pair(synthetic.error(i), synthetic.error(float("inf")))
        for i in range(15)
    }
    result = synthetic.comparison(figures=synthetic.figures(errors=errors))
    result.plot(str(tmp_path / "many.png"))
    assert (tmp_path / "many.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.long
def test_so_it_does_where_they_are_measured(tmp_path):
    def fun(params):
        return sum(plain_sin(p) for p in params) * jnp.float32(1e38) * jnp.float32(1e38)

    result = quick(fun, ([normal(2, seed=i) for i in range(15)],))
    assert result.arguments == ("params: 15 arrays, 120 B",)
    assert any(pair.rule.ulps == float("inf") for pair in result.figures.errors.values())
    result.plot(str(tmp_path / "many.png"))


def test_of_many_errors_the_twelve_largest_are_drawn():
    errors = {f"gradient of {i}": Pair(*[synthetic.error(100.0 - i)] * 2) for i in range(15)}
    result = synthetic.comparison(figures=synthetic.figures(errors=errors))
    axes = picture_of(result).axes[3]
    assert [label.get_text() for label in axes.get_yticklabels()] == [*errors][:12]
    assert "(3 smaller ones left out)" in axes.get_title(loc="left")


@pytest.mark.parametrize("errors", [synthetic.alone().errors, {}])
def test_of_a_rule_alone_there_is_one_bar_in_seconds(errors, tmp_path):
    figures = dataclasses.replace(synthetic.alone(), errors=errors)
    result = synthetic.comparison(figures=figures, against="")
    result.plot(tmp_path / "alone.png")
    picture = picture_of(result)
    times, memory, residuals, ulps = picture.axes
    assert len(times.patches) == len(regimes.EXPLANATIONS)
    assert times.get_title(loc="left") == "time of a run, s (bar: median, whisker: quartiles)"
    assert [bar.get_width() for bar in times.patches] == [1.0] * len(times.patches)
    assert [text.get_text() for text in times.get_yticklabels()] == [*regimes.EXPLANATIONS]
    for axes in (times, memory, residuals):  # each bar beside its name
        assert [bar.get_y() + bar.get_height() / 2 for bar in axes.patches] == pytest.approx(
            range(len(axes.patches))
        )
    (legend,) = picture.legends
    assert [text.get_text() for text in legend.get_texts()] == ["custom rule"]
    said = "largest error in ulps, against the rule itself" if errors else "errors: not measured"
    assert ulps.get_title(loc="left").startswith(said)


@pytest.mark.parametrize("highest", [1.1, 1000.0])
def test_one_disturbed_run_is_not_the_picture(highest):
    times = {regimes.BOTH: Pair(synthetic.timed(1.0), Timing(1.0, 0.9, highest, 9))}
    result = synthetic.comparison(figures=synthetic.figures(times=times))
    start, end = picture_of(result).axes[0].get_xlim()
    assert start == 0
    # The longest bar takes a third of the width at least, and its label has room beside it.
    assert 1.2 < end < 3
    assert highest < end or end > 2


@pytest.mark.parametrize("highest", [1.01, 1.5, 1000.0])
def test_no_whisker_runs_through_a_label(highest):
    times = {
        name: Pair(Timing(1.0, 0.5, highest, 9), Timing(1.3, 1.2, 1.4, 9))
        for name in regimes.EXPLANATIONS
    }
    picture = picture_of(synthetic.comparison(figures=synthetic.figures(times=times)))
    picture.draw_without_rendering()
    axes = picture.axes[0]
    labels = [text.get_window_extent() for text in axes.texts]
    whiskers = [
        axes.transData.transform(whisker)
        for lines in axes.collections
        for whisker in lines.get_segments()
    ]
    assert len(labels) == len(whiskers) == 2 * len(times)
    for (start, y), (end, _) in whiskers:
        end = min(end, axes.bbox.x1)  # where it is cut off
        for box in labels:
            assert not (box.y0 <= y <= box.y1 and box.x0 <= end and start <= box.x1)
    assert all(box.x1 <= picture.bbox.x1 for box in labels)
    assert max(box.x1 for box in labels) < picture.axes[1].get_tightbbox().x0


def test_without_matplotlib_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ImportError, match=r"pip install \"jaxfn\[cli\]\""):
        synthetic.comparison().plot("nowhere.png")


def test_without_figures_there_is_no_picture():
    result = synthetic.comparison(figures=None, verdict="refused: it is wrong")
    with pytest.raises(ValueError, match="f has no figures: refused"):
        result.plot("nowhere.png")
