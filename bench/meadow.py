"""A thousand players in `meadow`: does the tick hold, how late is what they see, and how many bytes is it?

    python bench/meadow.py --clients 1000 --seconds 20

A server in one process, its players in others, over real UDP sockets on this computer. Each player is a connection of
its own with the game's own client behind it: it decodes every snapshot, walks to flowers that it sees, and says what it
has. "Delivery" is from the moment at which the world of a tick was ready, before anything was packed for anybody, until
a player's program has unpacked it. The first seconds, in which everybody is told everything, do not count.
"""

from __future__ import annotations

import argparse
import gc
import itertools
import math
import multiprocessing
import sys
import time
from multiprocessing.connection import Connection
from typing import NamedTuple

import netplay
from netplay.examples._meadow_server import BUDGET, TICKS, Server
from netplay.examples.meadow import PAUSE, Flock, Guest

WARM_UP = 4.0  # seconds
MAX_DELIVERY = 0.100  # seconds, for 99 of 100


class Served(NamedTuple):
    """What the server saw."""

    ready: dict[int, float]  # when the world of each tick was ready
    work: list[float]  # seconds of CPU that each tick took, to move everybody, to pack and to send
    without_deltas: float  # bytes of a snapshot on average, had there been no deltas
    without_interest: float  # the same, with neither deltas nor interest
    players: int
    cpu: float  # seconds of CPU a second, of all threads


class Heard(NamedTuple):
    """What the players of one process saw."""

    arrived: list[tuple[int, float, int]]  # of each snapshot: its tick, when it was unpacked, its bytes
    cpu: float


class Counting(Server):
    """A server that keeps a book."""

    def __init__(self, size: int) -> None:
        super().__init__("meadow", "play://127.0.0.1:0", size=size)
        self.begin()

    def begin(self) -> None:
        """Opens the book on a new page."""
        self.ready: dict[int, float] = {}
        self.work: list[float] = []
        self.sums = [0.0, 0.0, 0.0]
        self.started, self.cpu = time.monotonic(), time.process_time()

    def step(self) -> None:
        """Lets a tick pass."""
        start = time.thread_time()
        super().step()
        self.work.append(time.thread_time() - start)

    def tell(self) -> None:
        """Tells each what is near and new."""
        self.ready[self.world.tick] = time.monotonic()
        before = self.without_interest, self.without_deltas, self.messages
        super().tell()
        now = self.without_interest, self.without_deltas, self.messages
        self.sums = [total + new - old for total, new, old in zip(self.sums, now, before, strict=True)]

    def book(self) -> Served:
        """Returns what stands in the book."""
        count = max(1.0, self.sums[2])
        cpu = (time.process_time() - self.cpu) / (time.monotonic() - self.started)
        return Served(self.ready, self.work, self.sums[1] / count, self.sums[0] / count, len(self.rabbits), cpu)


class Timed(Guest):
    """A player who looks at the watch."""

    arrived: list[tuple[int, float, int]]

    def handle_picture(self, data: bytes) -> None:
        """Takes in a snapshot."""
        super().handle_picture(data)
        self.arrived.append((self.hearer.tick, time.monotonic(), len(data)))


def serve(line: Connection, size: int) -> None:
    """Is the server's process."""
    server = Counting(size)
    line.send(server.address)
    while True:
        server.update(1.0)
        if line.poll():
            if line.recv() == "end":
                break
            gc.collect()
            gc.freeze()
            server.begin()
    line.send(server.book())
    server.network.close()


def play(line: Connection, url: str, first: int, count: int) -> None:
    """Is a process with many players."""
    arrived: list[tuple[int, float, int]] = []
    Timed.arrived = arrived
    flock = Flock(url, kind=Timed)
    for number in range(first, first + count):
        flock.join(f"bot {number}")
        if number % 20 == 0:
            flock.update()
            time.sleep(PAUSE)
    while not all(guest.you >= 0 for guest in flock.order):
        flock.update()
        time.sleep(PAUSE)
    line.send("ready")
    cpu = begun = 0.0
    while True:
        flock.update()
        time.sleep(PAUSE)
        if line.poll():
            if line.recv() == "end":
                break
            gc.collect()
            gc.freeze()
            arrived.clear()
            cpu, begun = time.process_time(), time.monotonic()
    line.send(Heard(arrived, (time.process_time() - cpu) / (time.monotonic() - begun)))
    flock.network.close()


def measure(clients: int, processes: int, seconds: float) -> tuple[Served, list[Heard]]:
    """Runs it all."""
    context = multiprocessing.get_context("spawn")
    size = max(4, math.ceil(math.sqrt(clients / 4)))
    ours, theirs = context.Pipe()
    programs = [context.Process(target=serve, args=(theirs, size), daemon=True)]
    programs[0].start()
    url, lines = ours.recv(), []
    share = math.ceil(clients / processes)
    for first in range(0, clients, share):
        line, their_line = context.Pipe()
        count = min(share, clients - first)
        programs.append(context.Process(target=play, args=(their_line, url, first, count), daemon=True))
        programs[-1].start()
        lines.append(line)
    for line in lines:
        line.recv()
    time.sleep(WARM_UP)
    for line in [ours, *lines]:
        line.send("begin")
    time.sleep(seconds)
    ours.send("end")
    served = ours.recv()
    heard = []
    for line in lines:
        line.send("end")
        heard.append(line.recv())
    for program in programs:
        program.join(20)
    return served, heard


def quantile(values: list[float], share: float) -> float:
    """Returns the value below which this share of all lie."""
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]


def report(served: Served, heard: list[Heard]) -> tuple[list[tuple[str, str]], bool]:
    """Returns the rows of the table, and whether everything is as it should be."""
    ticks = sorted(served.ready)
    # The first and the last tick may be on one side of the moment at which counting began or ended only.
    whole = set(ticks[2:-5])
    arrived = [entry for one in heard for entry in one.arrived if entry[0] in whole]
    delays = [at - served.ready[tick] for tick, at, _ in arrived]
    sizes = [float(size) for _, _, size in arrived]
    rate = (len(ticks) - 1) / (served.ready[ticks[-1]] - served.ready[ticks[0]])
    gaps = [served.ready[b] - served.ready[a] for a, b in itertools.pairwise(ticks)]
    lost = 1 - len(arrived) / (len(whole) * served.players)
    late = quantile(delays, 0.99)
    rows = [
        ("players, each a connection", f"{served.players:,}"),
        ("ticks a second", f"{rate:.2f} of {TICKS}"),
        ("from tick to tick: p99, longest", f"{quantile(gaps, 0.99) * 1000:.0f} ms, {max(gaps) * 1000:.0f} ms"),
        (
            "a tick's work: median, p99",
            f"{quantile(served.work, 0.5) * 1000:.0f} ms, {quantile(served.work, 0.99) * 1000:.0f} ms",
        ),
        ("delivery: p50", f"{quantile(delays, 0.5) * 1000:.0f} ms"),
        ("delivery: p99", f"{late * 1000:.0f} ms, may be {MAX_DELIVERY * 1000:.0f}"),
        ("delivery: latest", f"{max(delays) * 1000:.0f} ms"),
        ("snapshots that did not arrive", f"{lost:.2%}"),
        ("bytes for each player and tick: mean", f"{sum(sizes) / len(sizes):.0f}"),
        ("the same: p99, most", f"{quantile(sizes, 0.99):.0f}, {max(sizes):.0f}; the budget is {BUDGET}"),
        ("the same without deltas", f"{served.without_deltas:,.0f}"),
        ("the same without deltas and interest", f"{served.without_interest:,.0f}"),
        ("the server's CPU, of a core", f"{served.cpu:.0%}"),
        ("the players' CPU, of a core", f"{sum(one.cpu for one in heard):.0%}"),
    ]
    return rows, rate > 0.99 * TICKS and late < MAX_DELIVERY and max(sizes) <= BUDGET


def main() -> int:
    """Measures and prints; returns 1 if the tick did not hold, or delivery was late."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--clients", type=int, default=1000)
    parser.add_argument("--processes", type=int, default=2, help="for the players; the server has one more")
    parser.add_argument("--seconds", type=float, default=20.0)
    args = parser.parse_args()
    rows, is_good = report(*measure(args.clients, args.processes, args.seconds))
    for label, value in rows:
        print(f"| {label:38} | {value:>28} |", flush=True)
    print(f"\nnetplay {netplay.__version__}: {'all is well' if is_good else 'this is not as it should be'}")
    return 0 if is_good else 1


if __name__ == "__main__":
    sys.exit(main())
