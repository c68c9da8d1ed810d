"""Checks the custom rules of public packages with `gradcheck`.

For each package, its rules are looked for (see `scripts.wild.find`), and each case is checked: a
public function of it that has a custom rule, or that calls one, with arguments such as its
documentation has. Each result is written to a file as it comes. A program that was interrupted
goes on where it was, for a case that has a verdict there is left out:

    python -m scripts.rules_in_the_wild
    python -m scripts.rules_in_the_wild optax flax --again --verbose
    python -m scripts.rules_in_the_wild --document docs/rules_in_the_wild.md

Packages that are not installed have no verdicts. A verdict is what `gradcheck` says, or "error" if
the function or the check raises. `--document` replaces what stands between the marks of the
document by what the file of results holds.
"""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from scripts.command.program import check, run_program
from scripts.wild import document
from scripts.wild.cases import REGISTRY
from scripts.wild.packages import PACKAGES
from scripts.wild.verdicts import Verdict, append, examine, read, take_stock

PASS = "pass"


@dataclass(frozen=True)
class Config:
    """What to check.

    Attributes:
      packages: the packages, by the names under which they are imported; by default all of them.
      only: part of the names of the cases to check; by default all of them.
      again: check the cases that have a verdict, too.
      results: the file of results, a line of JSON for each.
      verbose: print the report of each verdict other than "pass".
      document: a Markdown document whose tables are replaced; nothing is checked then.
    """

    packages: Annotated[tuple[str, ...], tyro.conf.Positional] = ()
    only: str = ""
    again: bool = False
    results: Path = Path("runs/rules_in_the_wild.jsonl")
    verbose: bool = False
    document: Path | None = None


def main(config: Config) -> list[Verdict]:
    """Checks the cases of the packages, or writes the document.

    Args:
      config: what to do.

    Returns:
      The verdicts of the cases that were checked, none for the document; with more than one package
      those that the file of results then holds for them.

    Raises:
      UserError: if there is no such package, no case is named so, or the document has no marks.
    """
    if config.document is not None:
        document.write(config.document, *read(config.results))
        return []
    packages = config.packages or PACKAGES
    for package in packages:
        check(package in PACKAGES, f"{package}: no such package among {', '.join(PACKAGES)}")
    named = [e for e in REGISTRY if e.package in packages and config.only in e.function]
    check(bool(named) or not config.only, f"--only {config.only}: no such case")
    if len(packages) == 1:
        return _one_package(packages[0], config)
    for package in packages:
        _in_a_process_of_its_own(package, config)
    return [v for v in read(config.results)[1].values() if v.package in packages]


def _in_a_process_of_its_own(package: str, config: Config) -> None:
    """Some packages change settings of JAX when they are imported, or end the process."""
    command = [sys.executable, "-m", "scripts.rules_in_the_wild", package]
    command += ["--results", str(config.results), "--only", config.only]
    command += ["--again"] * config.again + ["--verbose"] * config.verbose
    code = subprocess.run(command, check=False).returncode
    if code:
        print(f"{package}: ended with code {code}", flush=True)


def _one_package(package: str, config: Config) -> list[Verdict]:
    _, known = read(config.results)
    inventory = take_stock(package)
    append(config.results, inventory)
    if inventory.error:
        print(f"{package}: {inventory.error}", flush=True)
        return []
    print(f"{package} {inventory.version}: {len(inventory.rules)} rules", flush=True)
    verdicts = []
    for entry in REGISTRY:
        is_known = (entry.package, entry.function) in known and not config.again
        if entry.package == package and config.only in entry.function and not is_known:
            verdict = examine(entry)
            append(config.results, verdict)
            verdicts.append(verdict)
            _print(verdict, config.verbose)
    return verdicts


def _print(verdict: Verdict, verbose: bool) -> None:
    name = f"{verdict.package} {verdict.function}"
    print(f"{name}: {verdict.verdict} ({verdict.seconds} s)", flush=True)
    if verbose and verdict.verdict != PASS:
        print(verdict.report, flush=True)


if __name__ == "__main__":
    run_program(main, Config, __doc__)
