"""Pictures have their size, and show what they were given."""

import numpy as np
import pytest
from matplotlib import image

from scripts.training import plots


@pytest.fixture
def saved(monkeypatch):
    """The figures that were saved."""
    figures = []
    save = plots.Figure.savefig

    def savefig(self, path):
        figures.append(self)
        save(self, path)

    monkeypatch.setattr(plots.Figure, "savefig", savefig)
    return figures


def check_png(path, width, height):
    pixels = image.imread(path)
    assert pixels.shape[:2] == (height, width)
    assert pixels[..., :3].std() > 0.05


@pytest.mark.parametrize("epochs", [1, 4])
def test_text_curves(tmp_path, saved, epochs):
    metrics = [
        {"epoch": i, "train_loss": np.log(2) / i, "test_loss": np.log(4) / i}
        for i in range(1, epochs + 1)
    ]
    plots.plot_text_curves(tmp_path / "curves.png", metrics)
    check_png(tmp_path / "curves.png", 840, 504)
    (figure,) = saved
    (axis,) = figure.axes
    train, test = (line.get_ydata() for line in axis.lines)
    np.testing.assert_allclose(train, [1 / i for i in range(1, epochs + 1)])
    np.testing.assert_allclose(test, 2 * train)
    assert axis.get_title() == f"{2 / epochs:.3f} bits per held-out byte after {epochs} epochs"


@pytest.mark.parametrize("epochs", [1, 30])
def test_curves(tmp_path, saved, epochs):
    metrics = [
        {
            "epoch": i,
            "train_loss": 1 / i,
            "test_loss": 2 / i,
            "train_accuracy": 1 - 1 / i,
            "test_accuracy": 0.9,
        }
        for i in range(1, epochs + 1)
    ]
    plots.plot_curves(tmp_path / "curves.png", metrics)
    check_png(tmp_path / "curves.png", 1320, 504)
    loss, accuracy = saved[0].axes
    np.testing.assert_array_equal(loss.lines[1].get_ydata(), [m["test_loss"] for m in metrics])
    np.testing.assert_array_equal(accuracy.lines[0].get_ydata()[:1], [0])


@pytest.mark.parametrize(("images", "mistakes"), [(100, 3), (5, 0), (100, 60)])
def test_predictions(tmp_path, saved, images, mistakes):
    random = np.random.default_rng(0)
    probabilities = random.dirichlet(np.ones(10), images)
    labels = probabilities.argmax(1)
    wrong = random.choice(images, mistakes, replace=False)
    labels[wrong] = (labels[wrong] + 1) % 10
    pixels = random.normal(size=(images, 32, 32, 1))
    path = tmp_path / "predictions.png"
    plots.plot_predictions(path, pixels, labels, probabilities, [f"<{i}>" for i in range(10)])
    check_png(path, 1248, 990)

    titles = [axis.get_title() for axis in saved[0].axes if axis.axison]
    assert len(titles) == min(images, 40)
    assert ["is" in title for title in titles] == [i < mistakes for i in range(len(titles))]
    confidence = [float(title.split()[1].strip("%")) for title in titles[:mistakes]]
    assert confidence == sorted(confidence, reverse=True)
    assert saved[0].get_suptitle().startswith(f"{mistakes} of {images} test images wrong")


def test_loss(tmp_path, saved):
    losses = 1.0 / np.arange(1, 500)
    plots.plot_loss(tmp_path / "loss.png", losses)
    check_png(tmp_path / "loss.png", 840, 504)
    assert saved[0].axes[0].get_yscale() == "log"
    np.testing.assert_array_equal(saved[0].axes[0].lines[0].get_ydata(), losses)


@pytest.mark.parametrize(
    ("first", "last", "labels"),
    [
        (0.9, 0.35, ["0.4", "0.5", "0.6", "0.7", "0.8", "0.9"]),
        (9e5, 4e5, [f"{k}00,000" for k in range(4, 10)]),
        (2.3, 0.12, ["0.2", "0.5", "1", "2"]),
        (3e4, 2e3, ["2,000", "5,000", "10,000", "20,000"]),
        (2.3, 0.0031, ["0.01", "0.1", "1"]),
        (2.3, 1e-9, [f"$10^{{{k}}}$" for k in (-8, -6, -4, -2, 0)]),
        (3.2e-5, 2.9e-5, None),
        (0.3, 0.2999, None),
        (1e30, 1e-30, None),
        (1.5, 1.5, None),
    ],
)
def test_a_logarithmic_axis_has_a_few_labels(tmp_path, saved, first, last, labels):
    plots.plot_loss(tmp_path / "loss.png", np.geomspace(first, last, 20))
    axis = saved[0].axes[0].yaxis
    drawn = [label.get_text() for label in axis.get_ticklabels(which="both") if label.get_text()]
    assert 3 <= len(drawn) <= 8
    assert len({*drawn}) == len(drawn)
    assert labels is None or drawn == labels
