"""From the figures of a rule alone to words."""

from __future__ import annotations

import dataclasses

from jaxfn.comparison.figures import regimes
from jaxfn.comparison.figures.records import Pair
from jaxfn.comparison.verdict.alone import judge_alone
from tests.jaxfn.comparison.synthetic import alone, changed, kept, timed


def test_it_says_amounts_and_what_is_missing():
    times = {regimes.VALUE: Pair(timed(0.5)), regimes.BOTH: Pair(timed(2.0))}
    figures = dataclasses.replace(alone(), times=times)
    verdict, findings = judge_alone(figures, "ValueError: a loop", 2e-4)
    amounts = (
        "100 B of residual memory",
        "200 B of temporary memory in a scan over layers",
        "2 s in one jit (the value alone: 500 ms)",
        "agrees with finite differences, which show relative errors above 0.0002",
    )
    assert findings == ("autodiff cannot differentiate it: ValueError: a loop", *amounts)
    assert verdict == (
        "nothing to compare with: autodiff cannot differentiate it, and there is no reference=; "
        f"by itself: {', '.join(amounts)}"
    )


def test_what_was_not_measured_is_not_said():
    layers = {regimes.LAYERS: Pair(changed(temp_bytes=None))}
    figures = dataclasses.replace(alone(), residuals=Pair(kept(0)), programs=layers, times={})
    verdict, findings = judge_alone(figures, "ValueError", None)
    assert findings[1:] == ("no residual memory", "not checked against finite differences")
    assert verdict.endswith("by itself: no residual memory, not checked against finite differences")
    none = dataclasses.replace(figures, programs={})
    assert judge_alone(none, "ValueError", None)[1] == findings
