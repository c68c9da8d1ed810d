"""The flags `--model` and `--bits`: training, resuming, prediction and export find the same net."""

import dataclasses

import numpy as np
import pytest
from flax import nnx
from matplotlib import image

import models
from scripts import export, predict, train_lenet
from scripts.command.program import UserError
from scripts.train_lenet import main
from scripts.training.lenet_config import (
    Config,
    check_config,
    learning_rate,
    make_model,
    make_optimizer,
    restore_state,
    stored_run,
)
from scripts.training.step import split_model

pytestmark = [pytest.mark.numbers, pytest.mark.usefixtures("quick")]


@pytest.mark.parametrize(
    ("model", "kind"),
    [
        ("lenet", models.LeNet),
        ("binary", models.BinaryLeNet),
        ("quantized", models.QuantizedLeNet),
        ("spiking", models.SpikingLeNet),
    ],
)
def test_models(model, kind):
    config = Config(model=model, bits=3)
    net = make_model(config, nnx.Rngs(0))
    assert type(net) is kind
    if isinstance(net, models.QuantizedLeNet):
        assert net.fc1.weight.bits == 3
    rates = [learning_rate(dataclasses.replace(config, optimizer=o)) for o in ("sgd", "adamw")]
    assert rates[0] > rates[1] > 0


@pytest.mark.parametrize("bits", [1, 17])
def test_bits_without_sense(bits):
    with pytest.raises(UserError, match=f"--bits: expected 2 to 16, got {bits}"):
        check_config(Config(bits=bits))


def test_a_run_knows_its_model(tiny, tmp_path, command_line, capsys):
    result = main(dataclasses.replace(tiny, model="quantized", bits=2, epochs=1))
    stored, _ = stored_run(result.directory)
    graphdef, epochs, state = restore_state(result.directory, stored, make_optimizer(stored, 1))
    net = nnx.merge(graphdef, state.params)
    assert (type(net), net.fc1.weight.bits, epochs) == (models.QuantizedLeNet, 2, 1)
    image.imsave(tmp_path / "image.png", np.eye(8), cmap="gray")
    config = predict.Config((tmp_path / "image.png",), run=result.directory)
    (prediction,) = predict.main(config)
    file = export.main(export.Config(result.directory))
    (again,) = predict.main(dataclasses.replace(config, run=None, model=file))
    assert again.label == prediction.label
    values = [again.probabilities[name] for name in prediction.probabilities]
    np.testing.assert_allclose(values, list(prediction.probabilities.values()), rtol=1e-3)
    flags = ("--resume", result.directory, "--model", "binary", "--bits", 4)
    code, error = command_line(train_lenet, *flags)
    assert code == 2
    assert "--model: the run has quantized, got binary" in error
    assert "--bits: the run has 2, got 4" in error


@pytest.mark.parametrize("model", ["binary", "spiking"])
def test_export_for_any_number_of_images(model):
    net = make_model(Config(model=model), nnx.Rngs(0))
    program = export.export_classifier(*split_model(net))
    assert program.platforms == ("cpu", "cuda", "tpu")
    assert str(program.in_avals[0].shape[0]) == "n"
