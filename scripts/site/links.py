"""Links and headings of the pages, as GitHub has them, as the site has them."""

from __future__ import annotations

import re
from collections.abc import Collection

# Pages of the site that show a page from outside of docs/.
SHOWN = {"README.md": "index.md", "CONTRIBUTING.md": "contributing.md"}


def for_the_site(text: str) -> str:
    """A page whose links lead to pages of the site, where all pages lie in one folder."""
    text = re.sub(r"\]\((?:docs|\.\.)/", "](", text)
    for page, shown in SHOWN.items():
        text = re.sub(rf"\]\({re.escape(page)}(?=[)#])", f"]({shown}", text)
    return text.replace("[Back to the README]", "[Back to the start]")


def name_in(code: str, names: Collection[str]) -> str | None:
    """The public name that a piece of code stands for: in `jaxfn.relu(x)`, `relu(x)`, `jaxfn.relu`.

    A name without its package counts where it is called or is a class's, for `function` may be
    anything.
    """
    head, rest = re.fullmatch(r"([\w.]*)(.*)", code, re.DOTALL).groups()  # type: ignore
    if (rest.startswith("(") or head[:1].isupper()) and f"jaxfn.{head}" in names:
        return f"jaxfn.{head}"
    parts = head.split(".")
    longest = (".".join(parts[:size]) for size in range(len(parts), 1, -1))
    return next((name for name in longest if name in names), None)
