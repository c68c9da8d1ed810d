"""What pytest loads where jaxfn is installed: options and a marker, and nothing of JAX.

A module of its own beside the package: pytest loads it before a project's conftest, which may have
flags to set before JAX is imported. `jaxfn.auditing.plugin` does the work under `--audit-rules`.
"""

from __future__ import annotations

from typing import Any

import pytest

HELP = {
    "audit_rules": "prove each custom_vjp and custom_jvp rule that the tests apply, as they do",
    "audit_rules_only": "the same, of the rules of these packages alone (commas between)",
    "audit_surrogates": (
        "rules whose gradient is not the derivative on purpose, a line each: "
        "name = package.module:function, whose derivative it is, or name = none, not to be checked"
    ),
    "marker": (
        "audit_rules(surrogates={name: function or None}, skip=False): of rules that the test "
        "applies; skip where it applies wrong ones on purpose"
    ),
}


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("jaxfn", "hand-written gradients in JAX")
    group.addoption("--audit-rules", action="store_true", help=HELP["audit_rules"])
    group.addoption("--audit-rules-only", metavar="PACKAGE", help=HELP["audit_rules_only"])
    parser.addini("audit_surrogates", HELP["audit_surrogates"], type="linelist", default=[])


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", HELP["marker"])
    if config.getoption("audit_rules") or config.getoption("audit_rules_only"):
        from jaxfn.auditing.plugin import Plugin

        config.pluginmanager.register(Plugin(config), "jaxfn-audit")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[Any]) -> Any:
    """Of a gradient that failed its check, the summary's line has the diagnosis."""
    made = yield
    error = call.excinfo.value if call.excinfo is not None else None
    report = getattr(error, "report", None)
    diagnosis = getattr(report, "diagnosis", "")
    crash = getattr(made.longrepr, "reprcrash", None)
    if type(error).__module__.startswith("jaxfn.") and diagnosis and crash is not None:
        crash.message = f"gradcheck of {getattr(report, 'function', '')}: {diagnosis}"
    return made
