"""Writes on, byte by byte, with a decoder that has been trained.

For example, after a training of minutes:

    python -m scripts.train_decoder --name pydoc
    python -m scripts.generate --run runs/pydoc --prompt "The "

The prompt passes through the net at once, then each byte that is drawn, with the keys and values of
those before it kept: two compiled programs, whatever the text.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

import jax

from scripts.command.device import Platform, select_platform
from scripts.command.program import check, run_program
from scripts.training.decoder_config import restore_params, stored_run
from scripts.training.language import generate


@dataclasses.dataclass(frozen=True)
class Config:
    """Flags of `generate`."""

    run: Path
    """Folder of a run of train_decoder."""
    prompt: str
    """What the text begins with, at least one character."""
    tokens: int = 400
    """How many bytes are written after it."""
    temperature: float = 0.8
    """1 draws as the net predicts, less prefers what is probable; 0 takes the most probable."""
    top_k: int | None = None
    """Draw among so many bytes, the most probable ones; by default among all."""
    seed: int = 0
    """Of what is drawn."""
    platform: Platform | None = None
    """By default the fastest that JAX finds."""


def main(config: Config) -> str:
    """Prints the prompt and what follows it.

    Bytes that are no UTF-8 are shown as replacement characters.

    Returns:
      The text that was printed.

    Raises:
      UserError: if the run or a flag is wrong.
    """
    # Bytes of the command line that are no UTF-8 come as surrogates, and go back to what they were.
    prompt = config.prompt.encode(errors="surrogateescape")
    check(bool(prompt), "--prompt: expected at least one character")
    check(config.tokens >= 1, f"--tokens: expected at least 1, got {config.tokens}")
    check(
        0 <= config.temperature < float("inf"),
        f"--temperature: expected at least 0, got {config.temperature}",
    )
    top_k = config.top_k
    check(top_k is None or top_k >= 1, f"--top-k: expected at least 1, got {top_k}")
    check(0 <= config.seed < 2**32, f"--seed: expected 0 to 2³² - 1, got {config.seed}")
    select_platform(config.platform)
    stored, _ = stored_run(config.run)
    graphdef, params = restore_params(config.run, stored)
    written = generate(
        graphdef,
        params,
        prompt,
        config.tokens,
        temperature=config.temperature,
        top_k=top_k,
        key=jax.random.key(config.seed),
    )
    text = (prompt + written).decode(errors="replace")
    print(text)
    return text


if __name__ == "__main__":
    run_program(main, Config, __doc__)
