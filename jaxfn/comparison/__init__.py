"""Means to know that a hand-written gradient pays."""

from jaxfn.comparison.compare import compare as compare
from jaxfn.comparison.result import Comparison as Comparison
