"""Lines of metrics.jsonl come back, or not at all."""

import dataclasses
import json

import pytest

from scripts.command import run_directory
from scripts.command.program import UserError
from scripts.training.epoch_metrics import EpochMetrics, TextMetrics, best, keep_history


def line(epoch, **changes):
    metrics = EpochMetrics(epoch, 2 * epoch, 1.0, 0.5, 1.0, 0.5, 0, 100.0, 0.1)
    return dataclasses.replace(metrics, **changes)


HISTORY = [line(1), line(2), line(3)]


@pytest.fixture
def run(tmp_path):
    run_directory.append_metrics(tmp_path, *map(dataclasses.asdict, HISTORY))
    return tmp_path


def test_best():
    history = [
        line(1, test_accuracy=0.5),
        line(2, test_accuracy=0.7, test_loss=0.9),
        line(3, test_accuracy=0.7, test_loss=0.8),
        line(4, test_accuracy=0.7, test_loss=0.8),
    ]
    assert best(history).epoch == 3


def test_the_best_of_a_text():
    history = [
        TextMetrics(i, i, 1.0, loss, loss, 0, 1.0, 1.0) for i, loss in enumerate((3, 2, 2.5))
    ]
    assert best(history).epoch == 1


def test_a_line_says_what_was_skipped():
    assert str(line(1)).endswith("100")
    assert str(line(1, skipped_steps=3)).endswith("100  3 steps skipped")


@pytest.mark.parametrize("tail", ["", '{"epoch": 3, "st', "\x00\x00", "{}\n", "[[[" * 100_000])
def test_what_comes_after_is_dropped(run, tail):
    with (run / "metrics.jsonl").open("a") as file:
        file.write(tail)
    assert keep_history(run, 2) == HISTORY[:2]
    assert keep_history(run, 2) == HISTORY[:2]
    assert len((run / "metrics.jsonl").read_text().splitlines()) == 2


def damaged() -> dict[str, bytes | None]:
    first, second, third = (json.dumps(dataclasses.asdict(metrics)) for metrics in HISTORY)
    content = f"{first}\n{second}\n{third}\n"
    other = json.dumps(json.loads(second) | {"test_loss": "low"})
    return {
        "missing": None,
        "empty": b"",
        "torn within": content[: len(first) + 20].encode(),
        "one too few": f"{first}\n{second}\n".encode(),
        "a line twice": f"{first}\n{first}\n{third}\n".encode(),
        "a line lost": f"{first}\n{third}\n{third}\n".encode(),
        "no object": f"{first}\n3\n{third}\n".encode(),
        "another type": f"{first}\n{other}\n{third}\n".encode(),
        "no text": f"{first}\n".encode() + b"\xff\xfe\n" + f"{third}\n".encode(),
        "deep": f"{first}\n{'[' * 100_000}\n{third}\n".encode(),
        "a bit of the syntax": content.replace(":", ";", 1).encode(),
    }


@pytest.mark.parametrize("damage", damaged())
def test_damage(run, damage):
    file, content = run / "metrics.jsonl", damaged()[damage]
    if content is None:
        file.unlink()
    else:
        file.write_bytes(content)
    with pytest.raises(UserError, match=r"metrics.jsonl: (damaged|expected|cannot be read)"):
        keep_history(run, 3)
    assert (file.read_bytes() if content is not None else None) == content


def test_a_folder_in_its_place(run):
    (run / "metrics.jsonl").unlink()
    (run / "metrics.jsonl").mkdir()
    with pytest.raises(UserError, match=r"metrics.jsonl: cannot be read and written: Is a dir"):
        keep_history(run, 1)
