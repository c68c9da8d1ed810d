"""The device that a program runs on, and the versions of what runs there."""

from __future__ import annotations

import platform as host
from datetime import datetime
from importlib.metadata import version
from typing import Literal

import jax

from scripts.command.program import UserError

Platform = Literal["cpu", "gpu", "tpu"]
PACKAGES = ("jax", "jaxlib", "flax", "optax")


def select_platform(platform: Platform | None) -> None:
    """Has JAX use the devices of `platform` from now on; None leaves the choice to JAX.

    To be called before JAX starts its backends. Only "cpu" is forced. For the others JAX chooses
    the fastest that it finds: naming "gpu" would make it insist on CUDA and on ROCm at once.

    Raises:
      UserError: if there is no such device.
    """
    if platform is not None:
        jax.config.update("jax_platforms", "cpu" if platform == "cpu" else "")
    try:
        found = jax.default_backend()
    except RuntimeError as error:
        raise UserError(f"JAX cannot start: {str(error).splitlines()[0]}") from error
    if platform not in (None, found):
        raise UserError(
            f"--platform {platform}: expected a {platform} device, JAX {jax.__version__} "
            f"finds only {found} here"
        )


def environment() -> dict[str, str]:
    """What a run runs on: versions, device, date."""
    import jaxfn  # here: an exported model is used without it

    device = jax.devices()[0]
    return {
        "date": datetime.now().astimezone().isoformat(timespec="seconds"),
        "python": host.python_version(),
        "jaxfn": jaxfn.__version__,
        **{package: version(package) for package in PACKAGES},
        "platform": device.platform,
        "device": device.device_kind,
        "host": f"{host.system()} {host.machine()}",
    }
