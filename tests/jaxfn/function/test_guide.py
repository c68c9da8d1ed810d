"""The code of docs/from_pytorch.md."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

pytestmark = pytest.mark.numbers

GUIDE = Path(__file__).parents[3] / "docs" / "from_pytorch.md"


def run(in_pytorch: bool) -> dict:
    """What the guide's snippets define, run in order, those in PyTorch or the others."""
    defined = {"__name__": "guide"}
    text = GUIDE.read_text()
    snippets = re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    chosen = [s for s in snippets if ("torch." in s) == in_pytorch]
    assert len(chosen) >= 4
    for snippet in chosen:
        exec(compile(snippet, GUIDE.name, "exec"), defined)
    return defined


def test_the_snippets_in_jax_run(capsys):
    run(in_pytorch=False)
    (comment,) = re.findall(r"^# (Transposed.*)$", GUIDE.read_text(), re.MULTILINE)
    assert capsys.readouterr().out == comment + "\n"


def test_what_the_guide_names_exists():
    names = {*re.findall(r"\b((?:jaxfn|jax|models)\.[\w.]*\w)", GUIDE.read_text())}
    assert len(names) > 20
    for name in names:
        module, *attributes = name.split(".")
        value = importlib.import_module(module)
        for attribute in attributes:
            value = getattr(value, attribute)


@pytest.mark.parity
def test_the_snippets_in_pytorch_run_and_agree():
    import torch  # pyright: ignore[reportMissingImports]

    ours, theirs = run(in_pytorch=False), run(in_pytorch=True)
    x = np.random.RandomState(0).standard_normal((5, 20)).astype(np.float32)
    model = ours["Linear"](20, 30, rngs=ours["nnx"].Rngs(0))
    peer = theirs["Linear"](20, 30)
    peer.weight.data = torch.tensor(np.asarray(model.weight[...]))
    peer.bias.data = torch.tensor(np.asarray(model.bias[...]))
    tensor = torch.tensor(x, requires_grad=True)
    theirs["MyReLU"].apply(peer(tensor)).square().sum().backward()
    grad = jax.grad(lambda x: jnp.sum(ours["MyReLU"].apply(model(x)) ** 2))(x)
    np.testing.assert_allclose(grad, tensor.grad, rtol=1e-4, atol=1e-4)


@pytest.mark.parity
def test_every_feature_is_in_the_table():
    import torch  # pyright: ignore[reportMissingImports]

    text = GUIDE.read_text()
    names = {name for name in dir(torch.autograd.Function) if not name.startswith("_")}
    assert [name for name in sorted(names) if not re.search(rf"\b{name}\b", text)] == []
