"""Plants one fault after the other in a copy of the project, and asks its tests.

    python -m tests.faults [--only PATTERN] [--list]

A fault is caught if a test that `make test` runs fails; those that mirror the faulty file are asked
first, and all others only if these do not fail.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.faults.planted import FAULTS, Fault

ROOT = Path(__file__).parent.parent.parent
LEFT_OUT = shutil.ignore_patterns(".git", ".venv*", "__pycache__", "runs", "data", ".*_cache")
FAILED, PASSED = 1, 0  # exit codes of pytest
LIMIT = 900  # seconds of one run of tests


def planted(text: str, fault: Fault) -> str:
    """The file's text with the fault in it.

    Raises:
        ValueError: if the right line does not stand there exactly once.
    """
    if (count := text.count(fault.right)) != 1:
        raise ValueError(f"{fault.path}: expected once, got {count} times: {fault.right!r}")
    return text.replace(fault.right, fault.wrong)


def copy_of_the_project(directory: Path) -> Path:
    """A copy that faults can be planted in."""
    return Path(shutil.copytree(ROOT, directory / "project", ignore=LEFT_OUT))


def is_caught(fault: Fault, project: Path) -> bool:
    """Whether a test fails once the fault is planted; the copy is put right again.

    Raises:
        RuntimeError: if the tests can neither pass nor fail, as where none is found.
    """
    path = project / fault.path
    right = path.read_text()
    path.write_text(planted(right, fault))
    try:
        return any(fails(project, tests) for tests in (fault.tests, ("tests",)))
    finally:
        path.write_text(right)


def fails(project: Path, tests: tuple[str, ...]) -> bool:
    """Whether a test fails in the copy."""
    command = [sys.executable, "-m", "pytest", "-x", "-p", "no:cacheprovider", *tests]
    environment = {**os.environ, "PYTHONPATH": str(project), "PYTHONDONTWRITEBYTECODE": "1"}
    environment.pop("PYTEST_ADDOPTS", None)
    result = subprocess.run(
        command, cwd=project, env=environment, text=True, capture_output=True, timeout=LIMIT
    )
    if result.returncode not in (FAILED, PASSED):
        raise RuntimeError(f"pytest ended with {result.returncode}: {result.stdout[-2000:]}")
    return result.returncode == FAILED


def main() -> int:
    """Prints what became of each fault; the exit code is how many were missed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", default="", help="faults whose name matches this pattern")
    parser.add_argument("--list", action="store_true", help="names alone")
    options = parser.parse_args()
    chosen = [fault for fault in FAULTS if re.search(options.only, fault.name)]
    if options.list:
        print(*(fault.name for fault in chosen), sep="\n")
        return 0
    missed = 0
    with tempfile.TemporaryDirectory() as directory:
        project = copy_of_the_project(Path(directory))
        for fault in chosen:
            start = time.perf_counter()
            caught = is_caught(fault, project)
            missed += not caught
            seconds = time.perf_counter() - start
            print(f"{'caught' if caught else 'MISSED'} {seconds:5.0f} s  {fault.name}", flush=True)
    print(f"{len(chosen) - missed} of {len(chosen)} caught")
    return missed


if __name__ == "__main__":
    sys.exit(main())
