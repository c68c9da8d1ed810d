"""Links of GitHub's pages on the site, and the names that lead to the reference."""

import pytest

from scripts.site.links import for_the_site, name_in

NAMES = {"jaxfn.relu", "jaxfn.function", "jaxfn.Function", "jaxfn.surrogates", "models.lenet"}


@pytest.mark.parametrize(
    ("link", "expected"),
    [
        ("[a](docs/compare.md#b)", "[a](compare.md#b)"),
        ("[a](../README.md)", "[a](index.md)"),
        ("[a](../README.md#b)", "[a](index.md#b)"),
        ("[a](CONTRIBUTING.md)", "[a](contributing.md)"),
        ("[a](compare.md)", "[a](compare.md)"),
        ("[Back to the README](../README.md)", "[Back to the start](index.md)"),
        ("![map](docs/map.png)", "![map](map.png)"),
    ],
)
def test_links_lead_to_pages_of_the_site(link, expected):
    assert for_the_site(link) == expected


@pytest.mark.parametrize(
    ("code", "name"),
    [
        ("jaxfn.relu", "jaxfn.relu"),
        ("jaxfn.relu(x, *, grad_at_zero=0.0)", "jaxfn.relu"),
        ("relu(x)", "jaxfn.relu"),
        ("function", None),
        ("Function", "jaxfn.Function"),
        ("jaxfn.surrogates.atan(2.0)", "jaxfn.surrogates"),
        ("models.lenet.from_torch(state)", "models.lenet"),
        ("jax.grad(jaxfn.relu)", None),
        ("[..., in]", None),
    ],
)
def test_names_in_code(code, name):
    assert name_in(code, NAMES) == name
