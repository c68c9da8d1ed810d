"""The blocks of a page are run, and what they print and draw is put under them."""

import base64

import pytest

from scripts.site.blocks import BlockError, with_output

DOT = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)


def page(*blocks: str) -> str:
    return "# Title\n\n" + "\ntext\n\n".join(f"```python\n{block}\n```\n" for block in blocks)


@pytest.fixture
def shown(tmp_path):
    return lambda *blocks: with_output(page(*blocks), "page", tmp_path, "pictures")


def test_what_a_block_prints_stands_under_it(shown):
    assert shown("print(1 + 1)") == page("print(1 + 1)") + (
        "\n```{code-block} text\n:class: output\n\n2\n```\n"
    )


def test_blocks_share_their_names_and_a_silent_one_shows_nothing(shown):
    text = shown("x = 3", "print(x)")
    assert text.count(":class: output") == 1
    assert "\n3\n```" in text


def test_a_picture_stands_under_the_block_that_saves_it(shown, tmp_path):
    save = f"from pathlib import Path\nPath('two_curves.png').write_bytes({DOT!r})"
    assert shown(save, "x = 1").count("![two curves](pictures/page-two_curves.png)\n") == 1
    assert (tmp_path / "page-two_curves.png").read_bytes() == DOT


def test_output_with_a_fence_is_fenced_by_a_longer_one(shown):
    assert "````{code-block} text\n:class: output\n\n```\n````\n" in shown("print('```')")


def test_what_is_in_pytorch_or_in_no_python_is_not_run(shown, tmp_path):
    assert shown("x = torch.ones(2)") == page("x = torch.ones(2)")
    shell = "```\nexit 1\n```\n"
    assert with_output(shell, "page", tmp_path, "pictures") == shell


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("x = 1\n1 / 0", r"page\.md, line 11: ZeroDivisionError: division by zero"),
        ("import warnings\nwarnings.warn('old')", r"page\.md, line 11: UserWarning: old"),
        ("x = = 1", r"page\.md: SyntaxError: .*line 10"),
    ],
)
def test_a_block_that_raises_or_warns_fails_the_page(shown, code, said):
    with pytest.raises(BlockError, match=said):
        shown("x = 1", code)
