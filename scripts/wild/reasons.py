"""Why a rule has no case: patterns of names, the first that fits counts."""

from __future__ import annotations

from fnmatch import fnmatchcase

from scripts.wild.find import Rule

NONE_YET = "no case written yet"
WRAPS = "gives a rule to a function that the user hands over"
RAISES = "raises by design when it is differentiated"
TENSORFLOW = "needs TensorFlow"

REASONS = (
    ("jax._src.ad_checkpoint.*", "inside of `jax.checkpoint`; no public function has it alone"),
    ("jax._src.cudnn.*", "needs an NVIDIA GPU: cuDNN"),
    ("jax.experimental.rnn.lstm", "needs an NVIDIA GPU: cuDNN"),
    ("jax._src.custom_derivatives.wrapped_fun", WRAPS),
    (
        "jax._src.export._export.f_flat",
        "an exported function, of one dtype: no float64 to check in",
    ),
    ("jax._src.state.discharge.*", RAISES),
    ("jax.experimental.jax2tf.*", TENSORFLOW),
    ("jax.experimental.pallas.ops.gpu.*", "a kernel that only a GPU's compiler takes"),
    ("jax.experimental.pallas.ops.tpu.*", "a kernel that only a TPU's compiler takes"),
    ("flax.core.lift.*", WRAPS),
    ("flax.linen.transforms.*", WRAPS),
    ("flax.nnx.*", WRAPS),
    ("equinox._ad._nondifferentiable", RAISES),
    ("equinox._ad.*", WRAPS),
    ("equinox.debug.*", "prints the cotangent and hands it on"),
    ("equinox.internal._loop.checkpointed._record*", "inside of the while loop's derivative"),
    ("matfree.backend.func.func", WRAPS),
    ("mujoco.mjx.third_party.warp.*", "needs an NVIDIA GPU: Warp"),
    ("s2fft.transforms.c_backend_spherical.*", "needs a library in C, called back on the host"),
    ("tensorflow_probability.*.internal.custom_gradient._prevent*", RAISES),
    ("tensorflow_probability.*.internal.custom_gradient.*", WRAPS),
    (
        "tensorflow_probability.*.internal.distribute_lib.*",
        "needs a mapped axis with several devices",
    ),
    ("tensorflow_probability.*.backend.jax.ops.wrapped", WRAPS),
    ("tensorflow_probability.*._grad_fn_of_y_with_gradient", "inside of another rule's derivative"),
    ("aqt.jax_legacy.*", "in modules of the former version, kept for old programs"),
)


def reason(rule: Rule) -> str:
    """Why a rule has no case.

    Args:
      rule: the rule.

    Returns:
      The reason; `NONE_YET` if there is none.
    """
    fitting = (why for pattern, why in REASONS if fnmatchcase(rule.name, pattern))
    return next(fitting, NONE_YET)
