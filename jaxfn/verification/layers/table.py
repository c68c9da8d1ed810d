"""The layers in the order in which they are asked: a new one is one new file and one line here.

Of several that fail, the first says most about the cause.
"""

from collections.abc import Iterable

from jaxfn.verification.layers.autodiff import check_autodiff
from jaxfn.verification.layers.closure import check_closure
from jaxfn.verification.layers.contract import check_primal, check_types
from jaxfn.verification.layers.determinism import check_determinism
from jaxfn.verification.layers.differences import check_differences
from jaxfn.verification.layers.linearity import check_linearity
from jaxfn.verification.layers.observed import Layer, Observed
from jaxfn.verification.layers.precision import check_precision
from jaxfn.verification.layers.second_order import check_second_order
from jaxfn.verification.layers.shapes import check_shapes
from jaxfn.verification.layers.transformations import check_transformations
from jaxfn.verification.report import FAIL, SKIPPED, Check

LAYERS: dict[str, Layer] = {
    "types": check_types,
    "determinism": check_determinism,
    "primal": check_primal,
    "linearity": check_linearity,
    "autodiff": check_autodiff,
    "differences": check_differences,
    "closure": check_closure,
    "transformations": check_transformations,
    "shapes": check_shapes,
    "precision": check_precision,
    "second order": check_second_order,
}
# What a layer says rests on what another one found, which is then asked as well.
NEEDS = {
    "differences": ("autodiff",),
    "transformations": ("determinism",),
    "second order": ("autodiff", "differences"),
}
# These ask where a rule that is right at the given arguments goes wrong: of a wrong one they are
# not asked.
OF_RIGHT_RULES = frozenset({"shapes", "precision", "second order"})


def asked(observed: Observed, names: Iterable[str]) -> tuple[Check, ...]:
    """What the layers of these names find.

    Args:
        observed: what is under test, and what was observed of it.
        names: of layers in `LAYERS`.

    Returns:
        One check each, in the order of the table; those that are not asked of a rule that has
        failed one of these layers are skipped.

    Raises:
        Exception: what the function raises at a point where a layer needs its value.
    """
    wanted = frozenset(names)
    needed = wanted | {need for name in wanted for need in NEEDS.get(name, ())}
    reported: list[Check] = []
    for name, layer in LAYERS.items():
        failed = any(check.verdict == FAIL for check in reported)
        if name not in needed:
            continue
        if failed and name in OF_RIGHT_RULES:
            reported += [_not_run(name)] if name in wanted else []
            continue
        observed = observed.with_check(check := layer(observed))
        reported += [check] if name in wanted else []
    return tuple(reported)


def _not_run(name: str) -> Check:
    shows = ("nothing", "anything, for it was not run")
    return Check(name, SKIPPED, *shows, detail="not run, for the rule has failed already")
