# ruff: noqa: D103 (the names of tests are their sentences)
"""The benchmark of the crowd game measures and judges, here with a few players and for a moment."""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "bench"))

from table import MEADOW, section_of  # noqa: E402 (found only now)


def test_twenty_players_are_measured_and_all_is_well() -> None:
    command = [sys.executable, str(ROOT / "bench" / "meadow.py"), "--clients", "20", "--seconds", "3"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    assert "| ticks a second " in done.stdout, done.stderr
    numbers = dict(re.findall(r"^\| (.+?) +\| +(\S.*?) +\|", done.stdout, re.MULTILINE))
    assert numbers["players, each a connection"] == "20"
    assert 18 < float(numbers["ticks a second"]) < 22
    everything, near, told = (
        float(numbers[name].replace(",", ""))
        for name in (
            "without deltas and without interest",
            "without deltas: mean",
            "bytes for each player and tick: mean",
        )
    )
    assert told < near <= everything


def test_the_page_keeps_what_another_benchmark_wrote() -> None:
    page = (ROOT / "docs" / "benchmarks.md").read_text(encoding="utf-8")
    part = section_of(page, MEADOW)
    assert part.startswith(MEADOW)
    assert "| delivery: p99 " in part
    assert part.count("\n## ") == 0
    assert section_of("# Another page\n", MEADOW) == ""
