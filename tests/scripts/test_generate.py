"""Text from a trained decoder."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from scripts import export, generate, predict, train_decoder
from scripts.command.program import UserError
from scripts.generate import Config, main
from scripts.training import decoder_config, model_file
from scripts.training.decoder_config import restore_params, stored_run

pytestmark = pytest.mark.numbers


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A tiny run, with its end: curves and a sample."""
    root = tmp_path_factory.mktemp("runs")
    (root / "text").write_bytes(b"abcdefgh" * 40)
    config = decoder_config.Config(
        text=(root / "text",), context=8, width=8, layers=2, heads=2, kv_heads=1, hidden=8,
        epochs=1, batch_size=6, learning_rate=0.05, run_dir=root, name="run", quiet=True,
    )  # fmt: skip
    return train_decoder.main(config).directory


def test_what_the_run_leaves(run):
    names = {path.name for path in run.iterdir()}
    assert names == {"config.json", "metrics.jsonl", "checkpoints", "curves.png", "sample.txt"}
    assert (run / "sample.txt").read_text().startswith("The ")


def test_the_most_probable_bytes_are_those_of_the_whole_pass(run, capsys):
    text = main(Config(run, "abc", tokens=5, temperature=0.0))
    assert capsys.readouterr().out == f"{text}\n"
    graphdef, params = restore_params(run, stored_run(run)[0])
    model = nnx.merge(graphdef, params)
    expected = b"abc"
    for _ in range(5):
        logits = model(jnp.asarray([[*expected]]))
        expected += bytes([int(logits[0, -1].argmax())])
    assert text == expected.decode(errors="replace")


def test_seeds(run):
    config = Config(run, "é", tokens=20, temperature=2.0)
    first, again, other = (main(dataclasses.replace(config, seed=seed)) for seed in (0, 0, 1))
    assert first == again != other
    assert first.startswith("é")


def test_a_file_with_the_program(run, tmp_path):
    """For any number of texts of any length; a program for images says that it is none."""
    path = export.main(export.Config(run, tmp_path / "decoder.jaxfn"))
    program = model_file.read_decoder(path)
    assert program.platforms == ("cpu", "cuda", "tpu")
    model = nnx.merge(*restore_params(run, stored_run(run)[0]))
    for shape in ((1, 1), (3, 5)):
        tokens = jax.random.randint(jax.random.key(0), shape, 0, 256)
        found = program.call(tokens)
        np.testing.assert_allclose(found, model(tokens)[:, -1], rtol=1e-4, atol=1e-5)
    with pytest.raises(UserError, match="expected a model of the kind 'images', got 'decoder'"):
        predict.main(predict.Config((tmp_path / "image.png",), model=path))


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--prompt", ""], "error: --prompt: expected at least one character"),
        (["--prompt", "a", "--tokens", 0], "error: --tokens: expected at least 1, got 0"),
        (["--prompt", "a", "--temperature", -1], "error: --temperature: expected at least 0"),
        (["--prompt", "a", "--top-k", 0], "error: --top-k: expected at least 1, got 0"),
    ],
)
def test_wrong_flags(run, command_line, flags, message):
    code, error = command_line(generate, "--run", run, *flags)
    assert (code, error.count("\n")) == (2, 1)
    assert error.startswith(message)


def test_wrong_runs(run, tmp_path, command_line):
    (tmp_path / "config.json").write_text('{"program": "train_lenet"}')
    for folder, message in [
        (tmp_path / "absent", "config.json: cannot be read: No such file"),
        (tmp_path, "config.json: expected a run of train_decoder, got 'train_lenet'"),
    ]:
        code, error = command_line(generate, "--run", folder, "--prompt", "a")
        assert (code, error.count("\n")) == (2, 1)
        assert message in error
