"""What a comparison ran on."""

from __future__ import annotations

import platform
from datetime import datetime
from importlib.metadata import version

import jax

from jaxfn._version import __version__


def environment() -> dict[str, str]:
    """Versions, device and date."""
    device = jax.devices()[0]
    return {
        "date": datetime.now().astimezone().isoformat(timespec="seconds"),
        "python": platform.python_version(),
        "jaxfn": __version__,
        "jax": jax.__version__,
        "jaxlib": version("jaxlib"),
        "platform": device.platform,
        "device": device.device_kind,
        "host": f"{platform.system()} {platform.machine()}",
    }
