# ruff: noqa: D103 (the names of tests are their sentences)
"""The benchmarks work: a quick run measures everybody who is installed, and says nothing about how fast."""

import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

RUN = Path(__file__).parents[2] / "bench" / "run.py"


def test_a_quick_run_measures_everything_and_writes_a_page(tmp_path: Path) -> None:
    page = tmp_path / "docs" / "benchmarks.md"
    run = subprocess.run(
        [sys.executable, str(RUN), "--quick", "--out", str(page)],
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=110,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    table, reached, _ = run.stdout.split("\n\n")
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in table.splitlines()]
    head, _, *measured = rows
    assert head[1:7] == ["netplay", "pyenet", "asyncio TCP", "select TCP", "select TCP, joined", "UDP socket"]
    text = page.read_text(encoding="utf-8")
    assert table in text
    assert reached in text
    assert "| 500 clients, at 60 frames: CPU by pyenet's" in reached
    assert len(measured) == 6 + 8 + 20
    for name, netplay, pyenet, *_ in measured:
        assert re.match(r"[0-9]", netplay), f"{name}: {netplay}"
        assert find_spec("enet") is None or "pygame" in name or re.match(r"[0-9]", pyenet), f"{name}: {pyenet}"
        if name.endswith("one way: lost"):
            assert netplay == "0"
