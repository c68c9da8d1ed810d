"""Why a rule has no case."""

from scripts.wild.find import Rule
from scripts.wild.reasons import NONE_YET, REASONS, reason


def rule(name):
    return Rule("package", name, "custom_jvp", "file.py:1", "import")


def test_the_first_pattern_that_fits():
    assert "cuDNN" in reason(rule("jax.experimental.rnn.lstm"))
    assert reason(rule("package.module.f")) == NONE_YET


def test_each_pattern_is_reached():
    patterns = [pattern for pattern, _ in REASONS]
    assert len(patterns) == len(set(patterns))
    for pattern, why in REASONS:
        assert reason(rule(pattern.replace("*", "x"))) == why
