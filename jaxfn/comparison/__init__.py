"""Means to know that a hand-written gradient pays.

Takes a function with its arguments, gives a `Comparison`: `compare` stands on `result`, that on
`rendering`, that on `verdict`, that on `figures`, and all on `constants`; none knows those before
it. Must never know the models, the scripts, or the operations that it is asked about.
"""

from jaxfn.comparison.compare import compare as compare
from jaxfn.comparison.result import Comparison as Comparison
