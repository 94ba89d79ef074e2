"""What the examples of the Rust layer measure without Python: a thousand clients, and what a connection costs."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Final

__all__ = ["COMMANDS", "is_there", "layer_figures"]

ROOT: Final = Path(__file__).parents[1]
DEADLINE: Final = 900.0
"""Seconds for one of them, building it included."""

COMMANDS: Final = (("fanout", "1000", "3"), ("footprint", "10000"))
"""The examples with their arguments; the number of rounds is added to the first."""


def is_there() -> bool:
    """True if they can be built here."""
    return shutil.which(_cargo()) is not None


def layer_figures(rounds: int) -> dict[str, float]:
    """Runs them and returns their numbers by name.

    Raises:
        subprocess.CalledProcessError: One of them failed.
        subprocess.TimeoutExpired: One of them was not done in time.
    """
    fanout, footprint = COMMANDS
    return _numbers(*fanout, str(rounds)) | _numbers(*footprint)


def _numbers(example: str, *arguments: str) -> dict[str, float]:
    words = (_cargo(), "run", "--release", "--locked", "--quiet", "-p", "netplay-io", "--example", example, "--")
    run = subprocess.run(
        [*words, *arguments], cwd=ROOT, stdout=subprocess.PIPE, text=True, timeout=DEADLINE, check=True
    )
    lines = (line.rsplit("\t", 1) for line in run.stdout.splitlines())
    return {name: float(number) for name, number in lines}


def _cargo() -> str:
    return os.environ.get("CARGO", "cargo")
