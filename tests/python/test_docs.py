"""What the documentation says about the tests is so."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

from netplay import Event, _remote

ROOT = Path(__file__).parents[2]


def test_the_tests_named_in_the_threat_model_exist() -> None:
    folders = {
        "S": ROOT / "crates/proto/tests/stories",
        "I": ROOT / "crates/io/tests",
        "L": ROOT / "crates/io/src/lan",
        "R": ROOT / "crates/proto/tests/rooms",
        "P": ROOT / "tests/python",
    }
    named = re.findall(
        r"`([SILPR])/([a-z_]+\.(?:rs|py))::([a-z0-9_]+)`", (ROOT / "docs/security.md").read_text("utf-8")
    )
    assert len(named) > 40
    for folder, file, name in named:
        text = (folders[folder] / file).read_text("utf-8")
        assert re.search(rf"(?:fn|def) {name}\(", text), f"{file} has no test {name}"


def test_every_reason_is_in_the_docstring_and_in_the_protocol() -> None:
    source = (ROOT / "crates/proto/src/reason.rs").read_text("utf-8")
    reasons = re.findall(r'Self::\w+ => "([a-z ]+)"', source)
    assert len(reasons) >= 16
    docstring = inspect.getdoc(Event.reason) or ""
    protocol = (ROOT / "docs/protocol.md").read_text("utf-8")
    for reason in reasons:
        assert f'"{reason}"' in docstring
        assert f"| {reason} |" in protocol


def test_every_standard_event_is_in_the_protocol_with_its_fields() -> None:
    protocol = (ROOT / "docs/protocol.md").read_text("utf-8")
    for name in _remote._STANDARD:
        assert f"`{_remote._standard(name).signature}`" in protocol
