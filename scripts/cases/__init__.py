"""The registry of the project's operations: for each one example inputs, a reference written
without its rule, and its kinks; and the models' losses. Tests and comparisons read it, and
docs/operations.md has a row for each operation. A module per topic; each has its `CASES`."""

from scripts.cases import (
    attention,
    discrete,
    gradient,
    layers,
    quantisation,
    spike,
    straight_through,
    transformer,
    vocabulary,
)
from scripts.cases.case import Case as Case
from scripts.cases.losses import LOSSES as LOSSES

_TOPICS = (
    layers,
    straight_through,
    spike,
    gradient,
    quantisation,
    discrete,
    vocabulary,
    attention,
    transformer,
)

CASES: dict[str, Case] = {case.name: case for topic in _TOPICS for case in topic.CASES}
