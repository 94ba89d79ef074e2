"""Keys: this machine's own is kept, a server's is remembered, a changed one is refused until told otherwise."""

from __future__ import annotations

import json
import logging
import os
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import netplay
from conftest import only, wait_for
from netplay import NETWORK_CONNECTED, NETWORK_DISCONNECTED, Network, _trust

Make = Callable[[], Network]

HERE = "play://10.1.2.3:5000"
KEY = "ab" * 32


@pytest.fixture(autouse=True)
def forgetful(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_trust, "_warned", set())
    monkeypatch.setattr(_trust, "_identity_in_memory", None)


def test_the_first_listen_makes_a_key_that_only_the_user_can_read(networks: Make, data_dir: Path) -> None:
    first = networks().listen("play://127.0.0.1:0")
    path = data_dir / "identity"
    if os.name == "posix":
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert stat.S_IMODE(data_dir.stat().st_mode) == 0o700
    second = networks().listen("play://127.0.0.1:0")
    assert first.key == second.key
    assert len(first.key) == 64
    assert first.key not in path.read_text("ascii")
    assert sorted(data_dir.iterdir()) == [path]


def test_connecting_alone_writes_nothing(networks: Make, data_dir: Path) -> None:
    networks().connect("play://127.0.0.1:9")
    assert not data_dir.exists()


def test_programs_that_start_at_once_agree_on_one_key(data_dir: Path) -> None:
    code = "import netplay; print(netplay.listen('play://127.0.0.1:0').key)"
    programs = [subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) for _ in range(4)]
    keys = {program.communicate(timeout=30)[0] for program in programs}
    assert len(keys) == 1
    assert len(keys.pop().strip()) == 64


def test_without_a_place_for_files_a_key_is_kept_in_memory_and_one_warning_given(
    networks: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("NETPLAY_DATA_DIR", str(tmp_path / "file" / "folder"))
    with caplog.at_level(logging.WARNING, "netplay"):
        assert networks().listen("local://a").key == networks().listen("local://b").key
        _trust.remember(HERE, KEY)
        _trust.remember(HERE, KEY)
    assert _trust.pinned_key(HERE) is None
    messages = [record.getMessage() for record in caplog.records]
    assert len([message for message in messages if "key in" in message or "machine's key" in message]) == 1
    assert len(messages) <= 2


def test_a_damaged_key_file_is_left_alone_and_reported(
    networks: Make, data_dir: Path, caplog: pytest.LogCaptureFixture
) -> None:
    data_dir.mkdir()
    (data_dir / "identity").write_text("not a key")
    with caplog.at_level(logging.WARNING, "netplay"):
        networks().listen("local://damaged")
    assert "this run uses a new one" in caplog.text
    assert (data_dir / "identity").read_text() == "not a key"


def test_a_server_is_remembered_until_forgotten(data_dir: Path) -> None:
    assert _trust.pinned_key(HERE) is None
    _trust.remember(HERE, KEY)
    assert _trust.pinned_key(HERE) == bytes.fromhex(KEY)
    _trust.remember(HERE, "cd" * 32)
    assert _trust.pinned_key(HERE) == bytes.fromhex(KEY)
    assert _trust.pinned_key("play://10.1.2.3:5001") is None
    assert json.loads((data_dir / "known_servers.json").read_text()) == {"10.1.2.3:5000": KEY}
    assert netplay.forget(HERE)
    assert not netplay.forget(HERE)
    assert _trust.pinned_key(HERE) is None


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("play://Example.COM", "play://example.com:5000"),
        ("play://example.com:5000?lag_ms=5", "play+udp://example.com"),
        ("play://[2001:db8::1]:5000", "play://[2001:0db8:0:0::1]"),
        ("play://example.com.", "play://example.com"),
    ],
)
def test_one_place_written_in_two_ways_is_one_place(one: str, other: str) -> None:
    _trust.remember(one, KEY)
    assert _trust.pinned_key(other) == bytes.fromhex(KEY)


@pytest.mark.parametrize(
    "url",
    [
        "play://localhost:5000",
        "play://game.localhost",
        "play://127.0.0.1:5000",
        "play://127.1.2.3:5000",
        "play://[::1]:5000",
        "play://0.0.0.0",
        "local://arena",
        f"play://10.1.2.3:5000#k={KEY}",
        "nonsense",
        "play://host:99999999",
    ],
)
def test_this_machine_and_pinned_servers_are_not_remembered(url: str, data_dir: Path) -> None:
    _trust.remember(url, KEY)
    assert _trust.pinned_key(url) is None
    assert not netplay.forget(url)
    assert not data_dir.exists()


def test_a_damaged_list_of_servers_is_put_aside_and_begun_anew(
    data_dir: Path, caplog: pytest.LogCaptureFixture
) -> None:
    data_dir.mkdir()
    (data_dir / "known_servers.json").write_text("{half")
    with caplog.at_level(logging.WARNING, "netplay"):
        assert _trust.pinned_key(HERE) is None
    assert len(caplog.records) == 1
    _trust.remember(HERE, KEY)
    assert _trust.pinned_key(HERE) == bytes.fromhex(KEY)
    assert (data_dir / "known_servers.unreadable").read_text() == "{half"


@pytest.mark.parametrize("text", ["[]", '{"10.1.2.3:5000": 5}', '{"10.1.2.3:5000": "short"}', '"text"'])
def test_a_list_of_servers_of_the_wrong_shape_knows_nobody(data_dir: Path, text: str) -> None:
    data_dir.mkdir()
    (data_dir / "known_servers.json").write_text(text)
    assert _trust.pinned_key(HERE) is None


def test_a_pinned_key_gets_in_and_another_is_refused(networks: Make) -> None:
    listener = networks().listen("play://127.0.0.1:0")
    client = networks()
    client.connect(f"{listener.url}#k={listener.key}")
    wait_for(client, NETWORK_CONNECTED)
    client.connect(f"{listener.url}#k={KEY}")
    event = only(wait_for(client, NETWORK_DISCONNECTED))
    assert event.reason == "key changed"


def test_a_changed_key_is_refused_and_the_detail_says_how_to_accept_it(
    networks: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    # This machine is not remembered; for this test it is.
    monkeypatch.setattr(_trust, "_place", lambda url: url.partition("?")[0])
    server = networks()
    listener = server.listen("play://127.0.0.1:0")
    client = networks()
    client.connect(listener.url)
    wait_for(client, NETWORK_CONNECTED)
    assert _trust.pinned_key(listener.url) == bytes.fromhex(listener.key)
    server.close()
    wait_for(client, NETWORK_DISCONNECTED)

    (_trust.data_dir() / "identity").unlink()
    again = networks().listen(listener.url)
    assert again.key != listener.key
    client.connect(listener.url)
    event = only(wait_for(client, NETWORK_DISCONNECTED))
    assert event.reason == "key changed"
    assert f'netplay.forget("{listener.url}")' in event.detail
    assert netplay.forget(listener.url)
    client.connect(listener.url)
    wait_for(client, NETWORK_CONNECTED)


def test_the_users_data_folder_is_used_when_none_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NETPLAY_DATA_DIR")
    assert _trust.data_dir().is_absolute()
    assert "netplay" in str(_trust.data_dir())
