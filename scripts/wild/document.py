"""The tables of docs/rules_in_the_wild.md, written from the records."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from scripts.command.program import check
from scripts.wild.cases import REGISTRY
from scripts.wild.find import Rule
from scripts.wild.packages import PACKAGES
from scripts.wild.reasons import reason
from scripts.wild.verdicts import Inventory, Verdict

BLOCKS = ("run", "rules", "verdicts")
Verdicts = Mapping[tuple[str, str], Verdict]


def write(path: Path, inventories: Mapping[str, Inventory], verdicts: Verdicts) -> None:
    """Replaces what stands between the marks of a document.

    Args:
      path: the document, with the marks of each of `BLOCKS`.
      inventories: by package.
      verdicts: by package and function; those of entries that are gone are left out.

    Raises:
      UserError: if there is no document, or it lacks a mark.
    """
    check(path.is_file(), f"--document {path}: expected a document, there is none")
    stock = [inventories[package] for package in PACKAGES if package in inventories]
    named = [(entry.package, entry.function) for entry in REGISTRY]
    rows = [verdicts[name] for name in named if name in verdicts]
    written = (run(stock, rows), rules(stock, rows), table(named, verdicts))
    text = path.read_text(encoding="utf-8")
    for block, content in zip(BLOCKS, written, strict=True):
        text = _replace(text, block, content, path)
    path.write_text(text, encoding="utf-8")


def marks(block: str) -> tuple[str, str]:
    """The lines that a block of the document stands between.

    Args:
      block: its name.

    Returns:
      The line before, and the line after.
    """
    return f"<!-- {block}: written by scripts/rules_in_the_wild.py -->", f"<!-- end of {block} -->"


def _replace(text: str, block: str, content: str, path: Path) -> str:
    start, end = marks(block)
    before, found, rest = text.partition(start)
    _, closed, after = rest.partition(end)
    check(bool(found and closed), f"--document {path}: expected the lines {start!r} and {end!r}")
    return f"{before}{start}\n\n{content}\n{end}{after}"


def run(stock: Sequence[Inventory], rows: Sequence[Verdict]) -> str:
    """What was run, when, on what, and how it came out.

    Args:
      stock: the inventories.
      rows: the verdicts.

    Returns:
      A paragraph, ending in a newline.
    """
    counts = Counter(row.verdict for row in rows)
    verdicts = ", ".join(f"{count} {verdict}" for verdict, count in counts.most_common())
    seconds = sum(row.seconds for row in rows)
    dates = " to ".join(sorted({row.date for row in rows}))
    pythons = ", ".join(sorted({inventory.python for inventory in stock}))
    rules = sum(len(inventory.rules) for inventory in stock)
    checkers = sorted({row.checker for row in rows})
    states = ", ".join(f"{c} ({sum(row.checker == c for row in rows)})" for c in checkers)
    return (
        f"Run on {dates}, Python {pythons}, a CPU: {len(stock)} packages with "
        f"{rules} rules; {len(rows)} cases in {seconds:.0f} s: {verdicts}. State of the checker "
        f"(a digest of `jaxfn/verification`, and the number of cases): {states}.\n"
    )


def rules(stock: Sequence[Inventory], rows: Sequence[Verdict]) -> str:
    """How many rules each package has, how many a case meets, and why the others have none.

    Args:
      stock: the inventories.
      rows: the verdicts.

    Returns:
      Tables, ending in a newline.
    """
    met = {name for row in rows for name in row.rules}
    lines = _header("package", "version", "rules", "met by a case", "not met")
    without: list[Rule] = []
    for inventory in (i for i in stock if not i.error):
        missing = [r for r in inventory.rules if r.source not in met and r.name not in met]
        count = len(inventory.rules)
        lines.append(
            _row(inventory.package, inventory.version, count, count - len(missing), len(missing))
        )
        without += missing
    lines += ["", *_not_importable(stock), "Rules that no case meets:", ""]
    lines += _header("rule", "kind", "made", "why")
    lines += [_row(f"`{r.name}`", r.kind, _made(r), reason(r)) for r in without]
    return "\n".join(lines) + "\n"


def _made(rule: Rule) -> str:
    return {"import": "at import", "call": "at each call"}.get(rule.made, rule.made)


def _not_importable(stock: Iterable[Inventory]) -> list[str]:
    failed = [f"`{i.package}` {i.version} ({i.error})" for i in stock if i.error]
    return [f"Cannot be imported here: {'; '.join(failed)}.", ""] if failed else []


def table(named: Iterable[tuple[str, str]], verdicts: Verdicts) -> str:
    """The verdicts, and the cases that have none.

    Args:
      named: package and function of each case.
      verdicts: by package and function.

    Returns:
      A table, ending in a newline.
    """
    lines = _header("package", "function", "kind", "verdict", "seconds", "note")
    for name in named:
        if name in verdicts:
            row = verdicts[name]
            lines.append(_row(*name, row.kind, row.verdict, row.seconds, row.note))
        else:
            lines.append(_row(*name, "", "not checked", "", ""))
    return "\n".join(lines) + "\n"


def _header(*headings: str) -> list[str]:
    return [_row(*headings), "|" + " --- |" * len(headings)]


def _row(*cells: object) -> str:
    return f"| {' | '.join(str(cell).replace('|', chr(92) + '|') for cell in cells)} |"
