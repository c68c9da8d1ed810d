"""From figures to words: only what the figures bear out."""

from __future__ import annotations

from jaxfn.comparison.constants import NEAR_ONE
from jaxfn.comparison.figures import regimes, residuals
from jaxfn.comparison.figures.accuracy import EXACT
from jaxfn.comparison.figures.records import Figures
from jaxfn.comparison.verdict.differences import (
    accuracy_gap,
    differ,
    is_about,
    is_enough,
    is_same_program,
    speed_ratio,
)
from jaxfn.comparison.verdict.units import format_bytes, format_count

WHERE = {
    regimes.BOTH: "in one jit",
    regimes.FORWARD: "in the forward half",
    regimes.BACKWARD: "in the backward half",
    regimes.STEPS: "in a scan over steps",
    regimes.LAYERS: "in a scan over layers",
}
SAME = "same compiled program: the custom rule buys nothing"


def judge(figures: Figures, has_rule: bool) -> tuple[str, tuple[str, ...]]:
    """The verdict in a line, and every finding.

    Args:
      figures: of both sides.
      has_rule: whether the function applies a custom rule at all.
    """
    same = {name for name, pair in figures.programs.items() if is_same_program(pair)}
    compared = {name for name in figures.programs if name in WHERE}
    accuracy, residual = _accuracy(figures), _residuals(figures)
    findings = [_programs(same & compared, compared), *residual, *_memory(figures, same)]
    findings += [*_flops(figures, same), _speed(figures, same), accuracy]
    findings = tuple(filter(None, findings))
    if compared and same >= compared:
        verdict = SAME if has_rule else "no custom rule is applied: same compiled program"
        return verdict, findings
    parts = [
        "same compiled program in one jit" if regimes.BOTH in same else "",
        residual[0] if residual else "same residual memory",
        *_memory(figures, same)[:1],
        _speed(figures, same),
        accuracy,
    ]
    return ", ".join(filter(None, parts)), findings


def _programs(same: set[str], compared: set[str]) -> str:
    if not same:
        return ""
    if same == compared:
        return "the same compiled program in every regime"
    return f"the same compiled program {_listed([WHERE[n] for n in WHERE if n in same])}"


def _residuals(figures: Figures) -> list[str]:
    pair = figures.residuals
    new = [side.nbytes(residuals.NEW) for side in pair.both]
    kept = [side.nbytes(residuals.ARGUMENT) for side in pair.both]
    found = []
    if new[0] != new[1]:
        read = {side.read_when_compiled for side in pair.both}
        # What JAX keeps is not what the compiler keeps: the one is not to be read as the other.
        same_read = len(read) == 1 and None not in read
        aside = ", though once compiled both backward halves read the same" if same_read else ""
        found.append(_share(new[0], new[1], "residual memory", aside))
    if kept[0] != kept[1]:
        found.append(f"keeps {_of(kept[0])} of its arguments instead of {_of(kept[1])}")
    return found


def _of(nbytes: int) -> str:
    return format_bytes(nbytes) if nbytes else "none"


def _share(rule: float, reference: float, what: str, aside: str = "") -> str:
    if not reference:
        return f"{format_bytes(rule)} of {what} instead of none{aside}"
    if not rule:
        return f"no {what} instead of {format_bytes(reference)}{aside}"
    amounts = f"{format_bytes(rule)} instead of {format_bytes(reference)}"
    return f"{_times(rule / reference)} the {what} ({amounts}{aside})"


def _times(ratio: float) -> str:
    for name, exact in (("half", 1 / 2), ("a third of", 1 / 3), ("a quarter of", 1 / 4)):
        if is_about(ratio, exact):
            return name
    digits = 3 if abs(ratio - 1) < NEAR_ONE else 2
    return f"{ratio:.{digits}g} times"


def _memory(figures: Figures, same: set[str]) -> list[str]:
    """Where residuals have to be buffers, and in one jit."""
    found = []
    for name, attribute, what in (
        (regimes.LAYERS, "temp_bytes", "temporary memory"),
        (regimes.STEPS, "temp_bytes", "temporary memory"),
        (regimes.BOTH, "total_bytes", "memory"),
    ):
        pair = figures.programs.get(name)
        if pair is None or name in same:
            continue
        rule, reference = (getattr(side, attribute) for side in pair.both)
        if rule is not None and reference is not None and differ(rule, reference):
            found.append(f"{_share(rule, reference, what)} {WHERE[name]}")
    return found


def _flops(figures: Figures, same: set[str]) -> list[str]:
    pair = figures.programs.get(regimes.BOTH)
    if pair is None or regimes.BOTH in same:
        return []
    rule, reference = (side.flops.total for side in pair.both)
    if not differ(rule, reference):
        return []
    amount = f"{rule / reference:.2g} times as many" if reference else "more"
    return [
        f"{amount} floating point operations as written "
        f"({format_count(rule)} instead of {format_count(reference)})"
    ]


def _speed(figures: Figures, same: set[str]) -> str:
    timed = [n for n in WHERE if n in figures.times and is_enough(figures.times[n])]
    ratios = {n: 1.0 if n in same else speed_ratio(figures.times[n]) for n in timed}
    if not ratios:
        return "too few runs to compare the speed"
    said = []
    for faster in (True, False):
        group = {
            n: r if faster else 1 / r for n, r in ratios.items() if r != 1 and (r > 1) == faster
        }
        if group and len(group) == len(ratios):
            return _range(list(group.values()), faster) + " everywhere"
        said += [f"{_range([r], faster)} {WHERE[n]}" for n, r in group.items()]
    return "; ".join((", ".join(said), "otherwise the same speed")) if said else "same speed"


def _range(ratios: list[float], faster: bool) -> str:
    low, high = f"{min(ratios):.2g}", f"{max(ratios):.2g}"
    amount = low if low == high else f"{low} to {high}"
    return f"{amount} times as fast" if faster else f"takes {amount} times as long"


def _accuracy(figures: Figures) -> str:
    if figures.errors_against != EXACT:
        most = max(pair.rule.ulps for pair in figures.errors.values())
        return f"at most {_ulps(most)} from the reference"
    worse, better = [], []
    for name, pair in figures.errors.items():
        gap = accuracy_gap(pair)
        if gap:
            (worse if gap > 0 else better).append((abs(gap), name))
    said = [
        f"{max(group)[1]} {_ulps(max(group)[0])} {word} accurate"
        for group, word in ((worse, "less"), (better, "more"))
        if group
    ]
    return ", ".join(said) or "same accuracy"


def _ulps(gap: float) -> str:
    return f"{gap:.2g} ulps"


def _listed(words: list[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"
