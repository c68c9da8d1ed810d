"""Checks the cases, and keeps what comes out as lines of JSON."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import functools
import hashlib
import importlib
import importlib.metadata
import json
import platform
import re
import time
import warnings
from pathlib import Path

import jaxfn.verification
from jaxfn import custom_rules
from jaxfn.autodiff import CustomRule
from jaxfn.verification import gradcheck
from scripts.wild.case import Entry
from scripts.wild.find import Rule, find, relative

ERROR = "error"
PATH = re.compile(r" \(/[^)]*\)")  # where a module lies on this machine, in an ImportError's words


@dataclasses.dataclass(frozen=True)
class Inventory:
    """The rules that a package has.

    Attributes:
      package: its name.
      version: of the package.
      rules: the rules.
      failed: the modules that cannot be imported, with the reason.
      error: why the package itself cannot be imported; "" if it can.
      python: the version of Python that looked for the rules.
    """

    package: str
    version: str
    rules: tuple[Rule, ...] = ()
    failed: dict[str, str] = dataclasses.field(default_factory=dict)
    error: str = ""
    python: str = platform.python_version()


@dataclasses.dataclass(frozen=True)
class Verdict:
    """What became of an entry.

    Attributes:
      package, function, note: of the entry.
      version: of the package.
      kind: the kinds of rule that were seen in the trace.
      rules: the "file:line" of each of them, and the names that the entry gives.
      verdict: of `gradcheck`, or "error" if the function or the check raised.
      seconds: that it took.
      report: what `gradcheck` said.
      date: of the check.
      checker: a digest of the checker's sources, to tell one state of it from another.
    """

    package: str
    function: str
    note: str
    version: str
    kind: str
    rules: tuple[str, ...]
    verdict: str
    seconds: float
    report: str
    date: str
    checker: str


def take_stock(package: str) -> Inventory:
    """Lists the rules of a package.

    Args:
      package: its name.

    Returns:
      The inventory; with an error if the package is not there, or cannot be imported.
    """
    try:
        found = find(package)
    except Exception as error:  # whatever a package raises is why it cannot be imported
        return Inventory(package, version(package), error=_one_line(error))
    return Inventory(package, version(package), found.rules, found.failed)


def examine(entry: Entry) -> Verdict:
    """Checks one entry.

    Args:
      entry: what to check.

    Returns:
      Its verdict; an exception, the function's or the check's, is the verdict "error".
    """
    start = time.perf_counter()
    rules: tuple[CustomRule, ...] = ()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the packages' own
        try:
            case = entry.make()
            with contextlib.suppress(Exception):  # not traceable: gradcheck says so, too
                rules = custom_rules(case.fun, *case.args)
            report = gradcheck(case.fun, case.args, raise_exception=False, **case.options)
            verdict, text = report.verdict, report.text(verbose=True)
        except Exception as error:  # whatever a package raises is what the table says
            verdict, text = ERROR, _one_line(error)
    return Verdict(
        package=entry.package,
        function=entry.function,
        note=entry.note,
        version=version(entry.package),
        kind=", ".join(sorted({rule.kind for rule in rules})) or "none",
        rules=(*dict.fromkeys(relative(rule.source) for rule in rules), *entry.rules),
        verdict=verdict,
        seconds=round(time.perf_counter() - start, 1),
        report=text,
        date=datetime.date.today().isoformat(),
        checker=checker(),
    )


def _one_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines() or [""]
    return PATH.sub("", f"{type(error).__name__}: {lines[0]}")


@functools.cache
def version(package: str) -> str:
    """The version of the distribution that a package comes from.

    Args:
      package: the name under which it is imported, with or without a module in it.

    Returns:
      The version; "" if there is none.
    """
    top = package.partition(".")[0]
    for distribution in importlib.metadata.packages_distributions().get(top, ()):
        return importlib.metadata.version(distribution)
    return ""


@functools.cache
def checker() -> str:
    """A digest of the checker's sources, eight hexadecimal digits."""
    folder = Path(str(jaxfn.verification.__file__)).parent
    texts = (file.read_bytes() for file in sorted(folder.glob("*.py")))
    return hashlib.sha256(b"".join(texts)).hexdigest()[:8]


def append(path: Path, record: Inventory | Verdict) -> None:
    """Writes a record as a line of JSON at the end of a file, at once.

    Args:
      path: the file; it and its folder are made if need be.
      record: what to write.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    line = {"record": type(record).__name__, **dataclasses.asdict(record)}
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(line, ensure_ascii=False) + "\n")


def read(path: Path) -> tuple[dict[str, Inventory], dict[tuple[str, str], Verdict]]:
    """Reads the records of a file; of two of the same package or entry the later one counts.

    Args:
      path: the file; none at all is an empty one.

    Returns:
      The inventories by package, and the verdicts by package and function.
    """
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    inventories: dict[str, Inventory] = {}
    verdicts: dict[tuple[str, str], Verdict] = {}
    for line in map(json.loads, lines):
        record = line.pop("record")
        if record == "Inventory":
            line["rules"] = tuple(Rule(*rule) for rule in line["rules"])
            inventories[line["package"]] = Inventory(**line)
        else:
            line["rules"] = tuple(line["rules"])
            verdicts[line["package"], line["function"]] = Verdict(**line)
    return inventories, verdicts
