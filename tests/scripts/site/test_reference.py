"""The pages of the reference."""

import runpy

import pytest

import jaxfn
from scripts.site import reference
from scripts.site.names import public
from tests.test_package import ROOT


def test_every_public_name_has_a_page_that_is_listed():
    pages = reference.pages()
    assert len(pages) == len(public()) + 1
    for name in public():
        (page,) = [p for p in pages if p in (f"{name}.rst", f"{name}_class.rst")]
        assert pages[page].startswith(f"{name}\n==")
        assert f"{name}" in pages[page].split(".. auto")[1].splitlines()[0]
        assert f":doc:`{name} <{page.removesuffix('.rst')}>`" in pages["index.rst"]
        assert f"<{page.removesuffix('.rst')}>\n" in pages["index.rst"].split(":hidden:", 1)[1]


def test_no_two_files_differ_in_case_alone():
    files = reference.pages()
    assert len({file.lower() for file in files}) == len(files)
    assert {"jaxfn.function.rst", "jaxfn.Function_class.rst"} <= set(files)


def test_a_module_has_its_members_on_its_page():
    page = reference.pages()["jaxfn.surrogates.rst"]
    assert ".. automodule:: jaxfn.surrogates" in page
    assert ".. autofunction:: jaxfn.surrogates.atan" in page


def test_it_writes_what_has_changed_and_takes_away_what_is_gone(tmp_path, monkeypatch):
    pages = {"index.rst": "list", "jaxfn.relu.rst": "page"}
    monkeypatch.setattr(reference, "pages", lambda: pages)
    (tmp_path / "jaxfn.gone.rst").touch()
    (tmp_path / "jaxfn.relu.rst").write_text("old")
    (tmp_path / "index.rst").write_text("list")
    before = (tmp_path / "index.rst").stat().st_mtime_ns
    reference.write(tmp_path)
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == pages
    assert (tmp_path / "index.rst").stat().st_mtime_ns == before


@pytest.fixture(scope="module")
def conf():
    return runpy.run_path(str(ROOT / "docs" / "conf.py"))


def test_the_site_has_the_version_of_the_package(conf):
    assert conf["version"] == conf["release"] == jaxfn.__version__


@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        ("(x: TypeAliasForwardRef('ArrayLike') | None)", "(x: ArrayLike | None)"),
        ("(x: int)", "(x: int)"),
        (None, None),
    ],
)
def test_types_in_signatures_go_by_their_names(conf, shown, expected):
    signature = conf["signature"]
    assert signature(None, "function", "", jaxfn.relu, None, shown, "y") == (expected, "y")


def test_a_model_shows_the_arguments_of_its_own(conf):
    model = public()["models.LeNet"]
    shown, _ = conf["signature"](None, "class", "models.LeNet", model, None, "(*args)", None)
    assert shown.startswith("(*, kernel_size: int = 3,")
    assert shown.endswith("rngs: nnx.Rngs)")
