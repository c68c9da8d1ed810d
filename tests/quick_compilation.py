"""Programs that are compiled in less time, for tests that look at numbers alone.

JAX has a setting that leaves most of XLA's passes out. On a CPU as much again is spent on how XLA
makes code of fusions, for which there is an option of XLA but no setting of JAX: this module is the
one that reaches into JAX for it.
"""

from typing import Any

import jax
from jax._src import compiler

from jaxfn.verification.subject.programs import known_options

SETTING = "jax_disable_most_optimizations"

_get_compile_options = compiler.get_compile_options


def _with_options(*args: Any, env_options_overrides: Any = None, **kwargs: Any) -> Any:
    if jax.config.read(SETTING):
        env_options_overrides = known_options() | dict(env_options_overrides or {})
    return _get_compile_options(*args, env_options_overrides=env_options_overrides, **kwargs)


compiler.get_compile_options = _with_options


def compile_quickly(quickly: bool) -> None:
    """Whether programs are compiled so from now on.

    JAX does not compile again what it has compiled before; what was compiled quickly it has to.
    """
    if not quickly and jax.config.read(SETTING):
        jax.clear_caches()
    if quickly:
        known_options()  # is found out by compiling
    jax.config.update(SETTING, quickly)
