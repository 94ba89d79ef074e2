"""What the documentation says about the tests is so."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_tests_named_in_the_threat_model_exist() -> None:
    folders = {"S": ROOT / "crates/proto/tests/stories", "P": ROOT / "tests/python"}
    named = re.findall(r"`([SP])/([a-z_]+\.(?:rs|py))::([a-z0-9_]+)`", (ROOT / "docs/security.md").read_text("utf-8"))
    assert len(named) > 40
    for folder, file, name in named:
        text = (folders[folder] / file).read_text("utf-8")
        assert re.search(rf"(?:fn|def) {name}\(", text), f"{file} has no test {name}"
