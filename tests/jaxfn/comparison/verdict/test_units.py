"""Figures as people read them."""

from __future__ import annotations

import pytest

from jaxfn.comparison.verdict import units


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
