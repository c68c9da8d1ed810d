"""Rules of installed packages that have passed before, kept in a folder of the user's.

`jax.nn.relu` of one version of JAX is right today if it was yesterday. So a rule that lies in an
installed package and passes is remembered: by its source, the versions of that package, of JAX and
of jaxfn, its operands' dtypes and ranks and its static arguments. Whatever fails, and whatever lies
in a folder of the user's own, is checked every time. `JAXFN_CACHE` names another folder; if it is
empty, nothing is remembered.
"""

import functools
import hashlib
import importlib.metadata
import json
import linecache
import os
import re
from pathlib import Path

import jax

from jaxfn._version import __version__
from jaxfn.auditing.meeting import Met

VARIABLE = "JAXFN_CACHE"
SIZES = re.compile(r"\[([\d,]*)\]")


def folder() -> Path | None:
    """Where it is kept; None if it is switched off."""
    given = os.environ.get(VARIABLE)
    if given is not None:
        return Path(given) if given else None
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "jaxfn" / "known_rules"


@functools.cache
def _packages() -> dict[str, list[str]]:
    return dict(importlib.metadata.packages_distributions())


def _version(met: Met) -> str | None:
    """Name and version of the installed package that has the rule; None of the user's own."""
    if "site-packages" not in Path(met.source.rpartition(":")[0]).parts:
        return None
    names = _packages().get(met.module.split(".")[0], ())
    return ", ".join(f"{name} {importlib.metadata.version(name)}" for name in names) or None


def _key(met: Met, version: str) -> str:
    ranks = SIZES.sub(lambda m: f"[{m[1].count(',') + bool(m[1])}]", met.signature)
    file, _, number = met.source.rpartition(":")
    source = linecache.getline(file, int(number))
    said = (version, jax.__version__, __version__, met.kind, met.source, source, ranks)
    return hashlib.sha256(repr(said).encode()).hexdigest()


def passed_before(met: Met) -> str:
    """What is known of a rule in words; "" if nothing."""
    version, place = _version(met), folder()
    if version is None or place is None:
        return ""
    try:
        found = json.loads((place / _key(met, version)).read_text())
    except (OSError, ValueError):  # not there, or not written to its end
        return ""
    return f"passed before, of {found['version']}, at {found['signature']}"


def remember(met: Met) -> None:
    """Keeps that a rule of an installed package has passed."""
    version, place = _version(met), folder()
    if version is None or place is None:
        return
    try:
        place.mkdir(parents=True, exist_ok=True)
        own = place / f".{_key(met, version)}.{os.getpid()}"
        own.write_text(
            json.dumps({"version": version, "name": met.name, "signature": met.signature})
        )
        own.replace(place / _key(met, version))
    except OSError:  # a folder that cannot be written to remembers nothing, and does no harm
        return
