"""Debian's own responder for DNS-SD, on one of the hosts: what every other program of such a system sees and says."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from hosts import Hosts


@contextmanager
def avahi(hosts: Hosts, place: int, folder: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Runs the responder on one host, with a message bus of its own; what it gives starts a command there."""
    folder.mkdir()
    bus = folder / "bus"
    (folder / "bus.conf").write_text(
        f"<busconfig><listen>unix:path={bus}</listen><auth>EXTERNAL</auth><policy context='default'>"
        "<allow send_destination='*' eavesdrop='true'/><allow eavesdrop='true'/><allow own='*'/>"
        "</policy></busconfig>"
    )
    (folder / "avahi.conf").write_text(
        "[server]\nhost-name=debian\nallow-interfaces=cable\n"
        "[publish]\npublish-workstation=no\n[wide-area]\nenable-wide-area=no\n"
    )
    within = ["ip", "netns", "exec", hosts.names[place]]
    environment = {**os.environ, "DBUS_SYSTEM_BUS_ADDRESS": f"unix:path={bus}"}
    started: list[subprocess.Popen[str]] = []

    def begin(*command: str) -> subprocess.Popen[str]:
        started.append(subprocess.Popen([*within, *command], stdout=subprocess.PIPE, text=True, env=environment))
        return started[-1]

    try:
        begin("dbus-daemon", f"--config-file={folder / 'bus.conf'}", "--nofork", "--nopidfile")
        until = time.monotonic() + 10
        while not bus.exists():
            assert time.monotonic() < until
            time.sleep(0.05)
        daemon = shutil.which("avahi-daemon") or "/usr/sbin/avahi-daemon"
        # `ip netns exec` has mounts of its own, so a responder of this machine itself keeps its files in /run.
        options = f"--no-drop-root --no-chroot --no-rlimits -f {folder / 'avahi.conf'}"
        begin("sh", "-c", f"mount -t tmpfs tmpfs /run && exec {daemon} {options}")
        yield begin
    finally:
        for process in reversed(started):
            process.kill()
            process.communicate()
