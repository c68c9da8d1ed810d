"""The reference: a page for each public name, and a page that lists them."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

from scripts.site.docstrings import summary
from scripts.site.names import members, public

# Where a name is defined says under which heading it is listed.
HEADINGS = {
    "jaxfn.functional": "Operations",
    "jaxfn.function": "Rules of your own",
    "jaxfn.verification": "Is a rule right?",
    "jaxfn.auditing": "Is a whole step right?",
    "jaxfn.comparison": "Does it pay?",
    "jaxfn": "Functions of functions",
    "models": "Models",
}


def pages() -> dict[str, str]:
    """The pages of the reference: the name of each file, and what stands in it."""
    names = public()
    files = {name: _file(name, names) for name in names}
    found = {f"{files[name]}.rst": _page(name, value) for name, value in names.items()}
    return {"index.rst": _index(names, files), **found}


def write(folder: Path) -> None:
    """Writes the pages; what has not changed stays, and a page whose name is gone goes."""
    folder.mkdir(parents=True, exist_ok=True)
    wanted = pages()
    for old in folder.glob("*.rst"):
        if old.name not in wanted:
            old.unlink()
    for name, text in wanted.items():
        path = folder / name
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")


def _file(name: str, names: dict[str, Any]) -> str:
    """`Function` and `function` need two files where the file system does not tell case."""
    same = [other for other in names if other.lower() == name.lower()]
    return f"{name}_class" if len(same) > 1 and inspect.isclass(names[name]) else name


def _page(name: str, value: Any) -> str:
    lines = [_title(name, "=")]
    if inspect.ismodule(value):
        lines += [f".. automodule:: {name}", ""]
        for member, thing in members(name, value).items():
            lines += [_title(member, "-"), *_directive(member, thing)]
    else:
        lines += _directive(name, value)
    return "\n".join(lines)


def _directive(name: str, value: Any) -> list[str]:
    if inspect.isclass(value):
        return [f".. autoclass:: {name}", "   :members:", ""]
    return [f".. autofunction:: {name}", ""]


def _index(names: dict[str, Any], files: dict[str, str]) -> str:
    lines = [_title("Reference", "="), "Every public name, from its docstring.", ""]
    for heading in HEADINGS.values():
        chosen = [name for name, value in names.items() if _heading(name, value) == heading]
        lines += [_title(heading, "-"), ".. list-table::", "   :widths: 35 65", ""]
        for name in chosen:
            said = summary(inspect.getdoc(names[name]) or "")
            lines += [f"   * - :doc:`{name} <{files[name]}>`", f"     - {said}"]
        lines += ["", ".. toctree::", "   :hidden:", "", *(_entry(n, files[n]) for n in chosen), ""]
    return "\n".join(lines)


def _entry(name: str, file: str) -> str:
    return f"   {name.removeprefix('jaxfn.')} <{file}>"


def _heading(name: str, value: Any) -> str:
    home = value.__name__ if inspect.ismodule(value) else value.__module__
    fitting = [prefix for prefix in HEADINGS if f"{home}.".startswith(f"{prefix}.")]
    return HEADINGS[max(fitting, key=len)]


def _title(text: str, line: str) -> str:
    return f"{text}\n{line * len(text)}\n"
