"""The site: `make docs` writes it to docs/_build/html.

Pages are the Markdown of this folder, as GitHub shows it; what the site adds is in `scripts/site`:
their code runs, what it prints and draws stands under it, and every public name has a page.
"""

import inspect
import re
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

import jaxfn  # noqa: E402
from scripts.site import blocks, docstrings, links, names, reference  # noqa: E402

project = "jaxfn"
release = version = jaxfn.__version__
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["_build"]
source_suffix = {".md": "markdown", ".rst": "restructuredtext"}

html_theme = "sphinx_book_theme"
html_title = "jaxfn"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_copy_source = html_show_copyright = html_show_sphinx = False
html_theme_options = {
    "show_toc_level": 2,
    "use_download_button": False,
    "use_fullscreen_button": False,
    "navbar_persistent": [],  # a header would take the phone's menu; the side bar has the search
    "footer_content_items": [],
}
html_context = {"default_mode": "auto"}  # light or dark as the reader's system

myst_heading_anchors = 3
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
autodoc_typehints_format = "short"
autodoc_type_aliases = {name: name for name in ("ArrayLike", "DTypeLike", "Padding", "Surrogate")}
python_maximum_signature_line_length = 72
python_use_unqualified_type_names = True
napoleon_use_rtype = False
napoleon_use_ivar = True

PICTURES = Path(__file__).parent / "_build" / "pictures"


def show(app: Any, page: str, source: list[str]) -> None:
    """Follows the site's links and adds the output of a page's code."""
    if app.env.doc2path(app.env.docname).suffix == ".md":
        text = links.for_the_site(source[0])
        source[0] = blocks.with_output(text, page.replace("/", "-"), PICTURES, "_build/pictures")


def show_included(app: Any, path: Path, _page: str, source: list[str]) -> None:
    show(app, path.stem.lower(), source)


def plain(_app: Any, _what: str, _name: str, _value: Any, _options: Any, lines: list[str]) -> None:
    lines[:] = docstrings.as_restructured(lines)


def signature(
    _app: Any,
    what: str,
    _name: str,
    value: Any,
    _options: Any,
    shown: str | None,
    result: str | None,
) -> tuple[str | None, str | None]:
    """Types by their names; Flax's modules with the arguments of `__init__`, not of a metaclass."""
    if what == "class" and type(value) is not type:
        whole = inspect.signature(value.__init__)
        shown = str(whole.replace(parameters=[*whole.parameters.values()][1:]))
        shown = re.sub(r"<class '([\w.]+)'>", r"\1", shown).replace("'", "")
    if value is jaxfn.Function:  # is not instantiated
        return "", None
    return shown and re.sub(r"TypeAliasForwardRef\('(\w+)'\)", r"\1", shown), result


def link_names(_app: Any, tree: Any) -> None:
    """Where a text names a public name in code, it leads to its page."""
    from docutils import nodes
    from sphinx.addnodes import pending_xref  # pyright: ignore[reportMissingImports]

    known = names.public()
    for code in [*tree.findall(nodes.literal)]:
        name = links.name_in(code.astext(), known)
        inside = (nodes.reference, nodes.title, pending_xref)
        if name is None or any(isinstance(node, inside) for node in ancestors(code)):
            continue
        options = {"refdomain": "py", "reftype": "obj", "reftarget": name, "refexplicit": True}
        code.replace_self(pending_xref("", code.deepcopy(), **options))


def ancestors(node: Any) -> list[Any]:
    return [] if node.parent is None else [node.parent, *ancestors(node.parent)]


def setup(app: Any) -> None:
    app.connect("builder-inited", lambda app: reference.write(Path(app.srcdir) / "api"))
    app.connect("source-read", show)
    app.connect("include-read", show_included)
    app.connect("autodoc-process-docstring", plain, priority=400)  # napoleon comes at 500
    app.connect("autodoc-process-signature", signature)
    app.connect("doctree-read", link_names)
