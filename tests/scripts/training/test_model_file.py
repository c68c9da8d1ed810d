"""A net as one file: it comes back as it was, or one line says what is wrong with it."""

import hashlib
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import export

from scripts.command.program import UserError
from scripts.training import model_file
from scripts.training.images import Preprocessing

pytestmark = pytest.mark.numbers

PREPROCESSING = Preprocessing(source_size=8, fit="resize", mean=0.25, std=0.5)


def brightness(images):
    """Two classes: dark and light."""
    light = jax.nn.sigmoid(images.mean((1, 2, 3)))
    return jnp.stack([1 - light, light], -1)


def program(fun=brightness, dtype=jnp.float32, classes=("dark", "light")):
    (n,) = export.symbolic_shape("n")
    images = jax.ShapeDtypeStruct((n, 32, 32, 1), dtype)
    exported = export.export(jax.jit(fun), platforms=("cpu", "cuda", "tpu"))(images)
    return model_file.Model(exported, PREPROCESSING, classes)


@pytest.fixture(scope="module")
def content(tmp_path_factory):
    path = tmp_path_factory.mktemp("models") / "model"
    model_file.write(path, program(), {"run": "mine"})
    return path.read_bytes()


def signed(content: bytes) -> bytes:
    """A file of this content whose hash is right."""
    return f"jaxfn-model 1 sha256 {hashlib.sha256(content).hexdigest()}\n".encode() + content


def test_round_trip(content, tmp_path):
    (tmp_path / "model").write_bytes(content)
    model = model_file.read(tmp_path / "model")
    assert model.preprocessing == PREPROCESSING
    assert model.classes == ("dark", "light")
    assert model.program.platforms == ("cpu", "cuda", "tpu")
    for n in (1, 3):
        x = jax.random.normal(jax.random.key(n), (n, 32, 32, 1))
        np.testing.assert_allclose(model.program.call(x), brightness(x), rtol=1e-6)


def test_the_head_can_be_read_by_eye(content):
    _, line, _ = content.split(b"\n", 2)
    head = json.loads(line)
    assert head["run"] == "mine"
    assert head["preprocessing"]["mean"] == 0.25
    assert head["platforms"] == ["cpu", "cuda", "tpu"]


def test_nothing_is_left_of_a_file_that_cannot_be_written(tmp_path):
    (tmp_path / "folder").mkdir()
    with pytest.raises(UserError, match="folder: cannot be written: Is a directory"):
        model_file.write(tmp_path / "folder", program(), {})
    with pytest.raises(UserError, match="model: cannot be written: No such file or directory"):
        model_file.write(tmp_path / "absent" / "model", program(), {})


def flipped(content: bytes, place: int) -> bytes:
    return content[:place] + bytes([content[place] ^ 4]) + content[place + 1 :]


DAMAGES = {
    "empty": (lambda c: b"", "expected a file that scripts.export wrote"),
    "text": (lambda c: b"hello\n", "expected a file that scripts.export wrote"),
    "an image": (lambda c: b"\x89PNG\r\n\x1a\n" + c, "expected a file that scripts.export wrote"),
    "its first line alone": (lambda c: c.split(b"\n")[0], "damaged: it does not have the hash"),
    "the last byte missing": (lambda c: c[:-1], "damaged: it does not have the hash"),
    "half of it": (lambda c: c[: len(c) // 2], "damaged: it does not have the hash"),
    "a byte more": (lambda c: c + b"\n", "damaged: it does not have the hash"),
    "a bit of the first word": (lambda c: flipped(c, 3), "expected a file that scripts.export"),
    "a digit of the hash": (
        lambda c: c[:40] + (b"1" if c[40:41] == b"0" else b"0") + c[41:],
        "damaged: it does not have the hash",
    ),
    "a bit of the description": (lambda c: flipped(c, 120), "damaged: it does not have the hash"),
    "a bit of the program": (lambda c: flipped(c, len(c) - 9), "damaged: it does not have the"),
    "no description": (lambda c: signed(b"\n" + c), "damaged: Expecting value"),
    "a list": (lambda c: signed(b"[1]\n" + c), "damaged: list indices must be"),
    "no classes": (lambda c: signed(b'{"preprocessing": {}}\n' + c), "damaged: 'classes'"),
    "no program": (lambda c: signed(c.split(b"\n", 2)[1] + b"\n"), "cannot read the program in it"),
    "half a program": (
        lambda c: signed(b"\n".join(c.split(b"\n", 2)[1:])[:-2000]),
        "cannot read the program in it",
    ),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged(damage, content, tmp_path):
    change, message = DAMAGES[damage]
    (tmp_path / "model").write_bytes(change(content))
    with pytest.raises(UserError) as raised:
        model_file.read(tmp_path / "model")
    assert f"{tmp_path / 'model'}: " in str(raised.value)
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)


def test_absent(tmp_path):
    for path in (tmp_path, tmp_path / "absent"):
        with pytest.raises(UserError, match=f"{path}: cannot be read: "):
            model_file.read(path)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (program(dtype=jnp.float16), "expected a program from images"),
        (program(classes=("dark", "grey", "light")), r"to probabilities \[n, 3\]"),
        (program(lambda x: brightness(x)[:1]), "float32.1,2."),
    ],
)
def test_another_function(model, message, tmp_path):
    model_file.write(tmp_path / "model", model, {})
    with pytest.raises(UserError, match=message):
        model_file.read(tmp_path / "model")


def test_a_program_that_calls_out_is_refused(tmp_path):
    def calls_out(x):
        return jnp.linalg.eigh(x[:, :2, :2, 0])[0]

    (n,) = export.symbolic_shape("n")
    exported = export.export(jax.jit(calls_out), platforms=("cpu",))(
        jax.ShapeDtypeStruct((n, 32, 32, 1), jnp.float32)
    )
    model_file.write(tmp_path / "model", model_file.Model(exported, PREPROCESSING, ("a", "b")), {})
    with pytest.raises(UserError, match=r"calls nothing outside of itself, it calls \['lapack"):
        model_file.read(tmp_path / "model")
