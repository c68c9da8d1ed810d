"""Figures as people read them."""

from __future__ import annotations

_BYTES = ("B", "KiB", "MiB", "GiB", "TiB")


def format_bytes(count: float) -> str:
    """`"64 KiB"`, `"1.5 MiB"`, `"12 B"`."""
    unit, size = byte_unit(count)
    return f"{_three_digits(count / size)} {unit}"


def byte_unit(count: float) -> tuple[str, int]:
    """The largest unit that `count` holds, and its size in bytes."""
    power = 0
    while power + 1 < len(_BYTES) and count >= 1024 ** (power + 1):
        power += 1
    return _BYTES[power], 1024**power


def format_count(count: float) -> str:
    """`"12.5 M"`, `"640"`."""
    size, units = float(count), ["", " k", " M", " G", " T", " P"]
    while size >= 1000 and len(units) > 1:
        size /= 1000
        units.pop(0)
    return f"{_three_digits(size)}{units[0]}"


def format_seconds(seconds: float) -> str:
    """`"1.25 ms"`, `"83.1 µs"`."""
    unit, size = second_unit(seconds)
    return f"{_three_digits(seconds / size)} {unit}"


def second_unit(seconds: float) -> tuple[str, float]:
    """The largest unit that `seconds` hold, and its size in seconds."""
    units = (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6))
    return next((own for own in units if seconds >= own[1]), ("ns", 1e-9))


def _three_digits(size: float) -> str:
    return f"{size:.0f}" if size >= 99.95 or size == int(size) else f"{size:.3g}"
