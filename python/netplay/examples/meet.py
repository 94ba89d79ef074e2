"""Meet: two programs find each other by a name and by a code, and nobody types an address.

What it shows about networking:

* By name, on the local network: one announces its game with listen(advertise=...), the other connects to "lan://...".
* By code, from anywhere: one opens a room with host_room(), the other joins it with join_room() and the code.
  That goes by a relay, here one of our own, so nothing of this leaves the computer.

    python -m netplay.examples.meet      starts the other program and a relay, and says how long it took to meet
"""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator

import netplay as net
from netplay.examples.chats import Reader

APP = "netplay-meet"
PATIENCE = 9.0  # seconds for all of it; one or two are enough


def host(relay: str) -> None:
    """Is the other program: waits to be found for a while, and answers."""
    title = f"table {os.getpid()}"  # so that nobody else's is meant
    net.listen("play://127.0.0.1:0", advertise=APP, title=title)
    room = net.host_room(APP, name="the other program", relay=relay) if relay else None
    net.on(0)(lambda e: f"hello from process {os.getpid()}")  # what a handler returns is the answer to a question
    print("title", title, flush=True)
    end = time.monotonic() + PATIENCE  # whatever becomes of the one who has started us
    while time.monotonic() < end:
        for e in net.get(timeout=0.1):
            if e.what == net.NETWORK_ROOM:
                print("code", e.room.code, flush=True)
    if room:
        room.close()


def meet(call: Callable[[net.Network], object], end: float) -> str:
    """Calls the other program on a new network, asks it something, and returns in words how that went."""
    start = time.monotonic()
    with net.Network() as network:
        call(network)
        while (left := end - time.monotonic()) > 0:
            for e in network.get(left):
                if e.what in (net.NETWORK_CONNECTED, net.NETWORK_JOINED):
                    e.peer.ask("who is there?")
                elif e.what == net.NETWORK_ANSWER and not e.reason:
                    stats = e.peer.stats()
                    way = stats["transport"] + (f", {stats['route']}" if stats["route"] else "")
                    return f"{e.data!r} after {(time.monotonic() - start) * 1000:.0f} ms ({way})"
                elif e.what in (net.NETWORK_DISCONNECTED, net.NETWORK_LEFT):
                    return f"it did not work here: {e.reason}"
    return "nobody was there in time"


class Program(Reader):
    """A program that runs beside us, and what it prints."""

    def __init__(self, *words: str) -> None:
        command = [sys.executable, "-m", *words]
        before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for us alone, who then stop them
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, encoding="utf-8")
        signal.signal(signal.SIGINT, before)
        super().__init__(self.process)

    def says(self, word: str, end: float) -> str:
        """Returns what follows a word that it prints; empty if it does not print that in time."""
        while time.monotonic() < end:
            for line in list(self.lines):
                if word in line:
                    return line.partition(word)[2].strip()
            if not self.thread.is_alive():
                break
            time.sleep(0.01)
        return ""


@contextlib.contextmanager
def running(*words: str) -> Iterator[Program]:
    """Runs a program as long as the block."""
    program = Program(*words)
    try:
        yield program
    finally:
        program.process.kill()
        program.process.wait()
        program.thread.join()


def main(words: list[str] | None = None) -> None:
    """Meets the other program in both ways, and prints how that went. What is missing here is said, and no error."""
    os.environ.setdefault("NETPLAY_LAN", "machine")  # games are announced to this computer alone
    words = sys.argv[1:] if words is None else words
    if words:
        host(words[0])
        return
    print("Two programs on this computer find each other:", flush=True)
    before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # not without the programs that we have started
    try:
        meet_both_ways(time.monotonic() + PATIENCE)
    except (net.Error, OSError) as error:
        print(f"  it did not work here: {error}", flush=True)
    finally:
        signal.signal(signal.SIGTERM, before)


def meet_both_ways(end: float) -> None:
    """Starts a relay and the other program, and meets it by its name and by its code."""
    with running("netplay", "relay", "--host", "127.0.0.1", "--port", "0") as relay:
        url = relay.says("relay=", end - 6)
        with running("netplay.examples.meet", url) as other:
            title = other.says("title ", end - 3)
            print(f"  by name  {meet(lambda us: us.connect(f'lan://{APP}/{title}'), end - 3)}", flush=True)
            code = other.says("code ", end - 1) if url else ""
            if code:
                print(f"  by code  {meet(lambda us: us.join_room(code, APP, relay=url), end)}", flush=True)
            else:
                print("  by code  no room could be opened here", flush=True)


if __name__ == "__main__":
    main()
