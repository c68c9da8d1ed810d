"""Flax's layers over the operations: `from jaxfn import nn` in place of `from flax import nnx`.

The layers are subclasses of `flax.nnx`'s own, with their signatures, parameters, initialisers and
results; what they compute with is `jaxfn`. Every other name of `flax.nnx` is here as it is there,
so that a model is changed by the one import:

    from jaxfn import nn as nnx

Flax is imported when this module is.
"""

from typing import TYPE_CHECKING, Any

try:
    from flax import nnx as _nnx
except ModuleNotFoundError as error:
    raise ImportError(f"jaxfn.nn needs Flax: pip install flax; {error}") from error

if TYPE_CHECKING:
    # What `__getattr__` passes on.
    from flax.nnx import *  # noqa: F403 # pyright: ignore[reportWildcardImportFromLibrary]

from jaxfn.nn.layers import Conv as Conv
from jaxfn.nn.layers import ConvTranspose as ConvTranspose
from jaxfn.nn.layers import LayerNorm as LayerNorm
from jaxfn.nn.layers import Linear as Linear
from jaxfn.nn.layers import RMSNorm as RMSNorm
from jaxfn.nn.operations import avg_pool as avg_pool
from jaxfn.nn.operations import gelu as gelu
from jaxfn.nn.operations import max_pool as max_pool
from jaxfn.nn.operations import relu as relu
from jaxfn.nn.operations import silu as silu
from jaxfn.nn.operations import swish as swish

if not TYPE_CHECKING:  # to which every name would be one, of no type

    def __getattr__(name: str) -> Any:
        try:
            return getattr(_nnx, name)
        except AttributeError:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}") from None


def __dir__() -> list[str]:
    return sorted({*globals(), *dir(_nnx)})
