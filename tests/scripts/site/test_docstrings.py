"""Docstrings as reStructuredText."""

import pytest

from scripts.site.docstrings import as_restructured, summary


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("`fun(x)` of x", "``fun(x)`` of x"),
        ("the `jax.Array`s", "the ``jax.Array``\\ s"),
        ("|x| ≤ a * b", "\\|x\\| ≤ a \\* b"),
        ("`|x| * y`", "``|x| * y``"),
        ("  - `forward`, a list", "- ``forward``, a list"),
        ("Σ_i x_i, and x_ alone", "Σ_i x_i, and x\\_ alone"),
    ],
)
def test_what_is_special_stays_as_it_is(said, expected):
    assert as_restructured([said]) == [expected, ""]


def test_what_is_indented_keeps_its_columns():
    lines = ["The gradients are", "", "    x̄ = ȳ    where |x| < 1", "", "and so on."]
    shown = ["The gradients are", "", "::", "", "    x̄ = ȳ    where |x| < 1", "", "and so on.", ""]
    assert as_restructured(lines) == shown


def test_sections_and_examples_stay_what_they_are():
    lines = ["Args:", "  x: `[n]`.", "", "Example:", "  >>> 2 * `3`", "  6"]
    assert as_restructured(lines) == [
        *("Args:", "  x: ``[n]``.", ""),
        *("Example:", "  >>> 2 * `3`", "  6", ""),
    ]


def test_the_summary_is_the_first_paragraph():
    assert summary("Two\nlines of `x`.\n\nMore.") == "Two lines of ``x``."
