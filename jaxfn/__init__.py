"""Operations with hand-written gradients, as pure JAX functions, and the means to know that such a
gradient is right and that it pays."""

import importlib
from typing import TYPE_CHECKING, Any

from jaxfn._version import __version__ as __version__
from jaxfn.autodiff import CustomRule as CustomRule
from jaxfn.autodiff import autodiff as autodiff
from jaxfn.autodiff import custom_rules as custom_rules
from jaxfn.function import Function as Function
from jaxfn.function import function as function
from jaxfn.functional import approx_sign as approx_sign
from jaxfn.functional import avg_pool2d as avg_pool2d
from jaxfn.functional import ceil_ste as ceil_ste
from jaxfn.functional import clip_gradient as clip_gradient
from jaxfn.functional import clip_gradient_norm as clip_gradient_norm
from jaxfn.functional import clip_ste as clip_ste
from jaxfn.functional import conv1d as conv1d
from jaxfn.functional import conv2d as conv2d
from jaxfn.functional import conv2d_relu_max_pool2d as conv2d_relu_max_pool2d
from jaxfn.functional import conv_transpose2d as conv_transpose2d
from jaxfn.functional import dorefa as dorefa
from jaxfn.functional import dot_product_attention as dot_product_attention
from jaxfn.functional import dropout as dropout
from jaxfn.functional import fake_quantize as fake_quantize
from jaxfn.functional import floor_ste as floor_ste
from jaxfn.functional import geglu as geglu
from jaxfn.functional import gelu as gelu
from jaxfn.functional import gumbel_softmax as gumbel_softmax
from jaxfn.functional import heaviside as heaviside
from jaxfn.functional import layer_norm as layer_norm
from jaxfn.functional import linear as linear
from jaxfn.functional import linear_cross_entropy as linear_cross_entropy
from jaxfn.functional import lsq as lsq
from jaxfn.functional import lsq_init as lsq_init
from jaxfn.functional import max_pool2d as max_pool2d
from jaxfn.functional import onehot_straight_through as onehot_straight_through
from jaxfn.functional import pact as pact
from jaxfn.functional import relu as relu
from jaxfn.functional import relu_max_pool2d as relu_max_pool2d
from jaxfn.functional import reverse_gradient as reverse_gradient
from jaxfn.functional import rms_norm as rms_norm
from jaxfn.functional import round_ste as round_ste
from jaxfn.functional import scale_gradient as scale_gradient
from jaxfn.functional import sign_ste as sign_ste
from jaxfn.functional import silu as silu
from jaxfn.functional import stochastic_round as stochastic_round
from jaxfn.functional import straight_through as straight_through
from jaxfn.functional import surrogates as surrogates
from jaxfn.functional import swiglu as swiglu
from jaxfn.functional import swish_sign as swish_sign
from jaxfn.functional import ternary_ste as ternary_ste
from jaxfn.microbatches import microbatched_value_and_grad as microbatched_value_and_grad

if TYPE_CHECKING:
    from jaxfn.auditing import AuditedRule as AuditedRule
    from jaxfn.auditing import AuditError as AuditError
    from jaxfn.auditing import AuditReport as AuditReport
    from jaxfn.auditing import audit as audit
    from jaxfn.comparison import Comparison as Comparison
    from jaxfn.comparison import compare as compare
    from jaxfn.verification import GradcheckError as GradcheckError
    from jaxfn.verification import GradcheckReport as GradcheckReport
    from jaxfn.verification import gradcheck as gradcheck
    from jaxfn.verification import gradgradcheck as gradgradcheck

# The checks are half of the code, and training needs none of it: they are imported when asked for.
_ON_DEMAND = {
    "AuditedRule": "jaxfn.auditing",
    "AuditError": "jaxfn.auditing",
    "AuditReport": "jaxfn.auditing",
    "audit": "jaxfn.auditing",
    "Comparison": "jaxfn.comparison",
    "compare": "jaxfn.comparison",
    "GradcheckError": "jaxfn.verification",
    "GradcheckReport": "jaxfn.verification",
    "gradcheck": "jaxfn.verification",
    "gradgradcheck": "jaxfn.verification",
}


def __getattr__(name: str) -> Any:
    if name == "nn":  # the layers alone need Flax
        return importlib.import_module("jaxfn.nn")
    if name not in _ON_DEMAND:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_ON_DEMAND[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_ON_DEMAND, "nn"})
