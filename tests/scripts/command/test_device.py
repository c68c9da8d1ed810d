"""The platform asked for, or a clear message."""

import jax
import pytest

from scripts.command.device import environment, select_platform
from scripts.command.program import UserError


@pytest.fixture(autouse=True)
def _platforms_stay():
    before = jax.config.jax_platforms  # pyright: ignore[reportAttributeAccessIssue]
    yield
    jax.config.update("jax_platforms", before)


@pytest.mark.parametrize("platform", [None, "cpu", "gpu", "tpu"])
def test_the_platform_or_a_message(platform):
    if platform in (None, jax.default_backend()):
        select_platform(platform)
        return
    with pytest.raises(UserError, match=f"--platform {platform}: expected a {platform} device"):
        select_platform(platform)


def test_environment():
    here = environment()
    assert here["jax"] == jax.__version__
    assert here["platform"] == jax.default_backend()
    assert {"date", "python", "jaxlib", "flax", "optax", "jaxfn", "device"} <= set(here)
