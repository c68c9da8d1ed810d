"""`pytest --audit-rules`: every custom rule that the tests apply, proven once at the end."""

import contextlib
import importlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from _pytest.runner import runtestprotocol  # as those plugins take it that run a test again

from jaxfn import _jax_internals as internals
from jaxfn.auditing.interception import intercepted
from jaxfn.auditing.meeting import Recorder
from jaxfn.auditing.proof import Proofs
from jaxfn.auditing.report import AuditReport, assembled
from jaxfn.verification.report import FAIL

MARKER = "audit_rules"
UNCHANGED = 0  # the run in which nothing is put into what JAX traces
NAMES = 5  # of tests that a line of the notes has


class Plugin:
    """Meets rules while tests run, and proves them when the last one has."""

    def __init__(self, config: pytest.Config) -> None:
        only = config.getoption("audit_rules_only") or ""
        packages = tuple(filter(None, (name.strip() for name in only.split(","))))
        self.surrogates = _of_ini(config.getini("audit_surrogates"))
        self.recorder = Recorder(_accepting(packages))
        self.unchanged: list[str] = []  # tests that passed only without the callbacks
        self.report: AuditReport | None = None
        self.of_workers: list[dict[str, str]] = []  # with pytest-xdist: what each of them found
        self._stack = contextlib.ExitStack()

    def pytest_sessionstart(self) -> None:
        self._stack.enter_context(intercepted(self.recorder))

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item, nextitem: pytest.Item | None) -> bool:
        """Runs a test; one that fails again as it is, for the callbacks may be what it minds."""
        item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
        with self._observed(item):
            reports = runtestprotocol(item, log=False, nextitem=nextitem)
        if any(report.failed for report in reports) and self.recorder.insertions > 0:
            item._initrequest()  # pyright: ignore[reportAttributeAccessIssue] as other plugins do
            with internals.paused(), internals.another_run(UNCHANGED):
                reports = runtestprotocol(item, log=False, nextitem=nextitem)
            if not any(report.failed for report in reports):
                self.unchanged.append(item.nodeid)
        for report in reports:
            item.ihook.pytest_runtest_logreport(report=report)
        item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
        return True

    @contextlib.contextmanager
    def _observed(self, item: pytest.Item) -> Iterator[None]:
        """Notes the rules that a test applies as its own, unless its marker says to skip them."""
        skipped = False
        for marker in item.iter_markers(MARKER):
            self.surrogates.update(marker.kwargs.get("surrogates", {}))
            skipped |= marker.kwargs.get("skip", False)
        self.recorder.by = item.nodeid
        with internals.paused() if skipped else contextlib.nullcontext():
            yield
        self.recorder.by = ""

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        self._stack.close()
        proofs = Proofs(self.surrogates, order=2, seed=0)
        rules = [proofs.prove(met) for met in self.recorder.met.values()]
        notes = []
        if self.unchanged:
            few = ", ".join(self.unchanged[:NAMES])
            notes.append(
                f"{_counted(self.unchanged)} passed only without callbacks in what they trace, "
                f"so rules that only they apply are not here: {few}"
            )
        self.report = assembled("the tests", rules, tuple(notes), sum(r.seconds for r in rules))
        said = {"verdict": self.report.verdict, "text": str(self.report)}
        if hasattr(session.config, "workeroutput"):
            session.config.workeroutput[MARKER] = said  # pyright: ignore[reportAttributeAccessIssue]
        failed = FAIL in {one["verdict"] for one in (said, *self.of_workers)}
        if failed and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        """With pytest-xdist each worker proves what its tests applied, and hands it over."""
        if MARKER in (output := getattr(node, "workeroutput", {})):
            self.of_workers.append(output[MARKER])

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        own = [] if self.report is None or self.of_workers else [str(self.report)]
        terminalreporter.section("custom rules")
        for text in [one["text"] for one in self.of_workers] or own:
            terminalreporter.write_line(text)


def _counted(tests: list[str]) -> str:
    return f"{len(tests)} test{'s' if len(tests) > 1 else ''}"


def _accepting(packages: tuple[str, ...]) -> Callable[[str, str], bool]:
    def accepts(source: str, module: str) -> bool:
        del source
        within = any(module == name or module.startswith(f"{name}.") for name in packages)
        return within if packages else not module.startswith("jaxfn.auditing")

    return accepts


def _of_ini(lines: list[str]) -> dict[str, Any]:
    """The surrogates that an ini file declares.

    Raises:
        UsageError: if a line cannot be read, or names what there is not.
    """
    found: dict[str, Any] = {}
    for text in lines:
        name, equals, target = (part.strip() for part in text.partition("="))
        module, colon, attribute = target.partition(":")
        if target.lower() == "none":
            found[name] = None
            continue
        if not (name and equals and colon):
            raise pytest.UsageError(
                f"audit_surrogates: expected 'name = package.module:function' or 'name = none', "
                f"got {text!r}"
            )
        try:
            found[name] = getattr(importlib.import_module(module), attribute)
        except (ImportError, AttributeError) as error:
            raise pytest.UsageError(f"audit_surrogates: {text!r}: {error}") from error
    return found
