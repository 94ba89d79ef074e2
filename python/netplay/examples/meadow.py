"""Meadow: hundreds of rabbits in one meadow, each picking flowers and seeing what is near.

What it shows about networking:

* One server for a crowd. It moves everybody twenty times a second and tells each player what is so, in one small lossy
  message: only what is near, only what has changed since the picture that this player has, the nearest first, and never
  more than BUDGET bytes. How that is done is in `_crowd.py`; here it is used.
* A lost message is not sent again. Each says which picture it begins at, so the next one makes good for it.
* The client says where it wants to go, and which picture it has. It moves itself at once and everybody else smoothly.
* The panel shows what that saves: bytes for each player and tick, beside what it would be to send everything.

Keys: arrows or the held mouse walk, G shows the cells of the grid, Tab hides the panel, F3 shows the network,
Escape leaves.

Try it alone with 150 others, or with a server in one terminal and bots and yourself in two more:

    python -m netplay.examples.meadow --bots 150
    python -m netplay.examples.meadow --serve --headless
    python -m netplay.examples.meadow play://localhost:5000 --headless --bots 100
    python -m netplay.examples.meadow "play://localhost:5000?lag_ms=80&loss_pct=5"
"""

import argparse
import math
import random
import time
import zlib
from collections.abc import Callable
from typing import Any

import pygame

import netplay as net
from netplay.examples._crowd import Hearer, View, far, place
from netplay.examples._friends import CAME, WENT, Invitation, call, in_words, is_about
from netplay.examples._game import Menu, command_line, no_traceback, parse, run
from netplay.examples._meadow_server import (
    CELL,
    CHANNEL_NEWS,
    CHANNEL_PICTURE,
    CHANNEL_STEER,
    CHANNEL_WELCOME,
    FLOWERS,
    SPEED,
    STEER,
    TICKS,
    VERSION,
    Server,
    walk,
)
from netplay.examples._meadow_window import HEIGHT, WIDTH, Window, draw_backdrop
from netplay.sync import InterpolationBuffer

PAUSE = 0.001  # seconds between two looks of a flock without a window: many at once are less work than one by one
INSIDE = "local://meadow"  # where players of this very process find the server
ROOM_PLACES = 64  # as many as a room can have; who calls the server's address needs none


class Guest:
    """One player, as that player's own program knows it."""

    def __init__(self, server: net.Peer, name: str, seed: object = None) -> None:
        self.server = server
        self.dice = random.Random(f"{seed} {name}")  # with which the computer plays
        self.state, self.trouble = "calling", ""
        self.begin()

    def begin(self) -> None:
        """Knows nothing of the meadow yet. A server that was started again has another one, and counts from 0."""
        self.hearer = Hearer()
        self.you, self.size = -1, 0
        self.news: dict[str, Any] = {}
        self.goal = (0, 0)  # where the computer walks, and until when
        self.until = 0

    def handle(self, e: net.Event | pygame.event.Event) -> None:
        """Takes in one event of the network."""
        if e.what == net.NETWORK_DATA_IN and e.channel == CHANNEL_PICTURE:
            self.handle_picture(e.data)
        elif e.what == net.NETWORK_DATA_IN and e.channel == CHANNEL_NEWS:
            self.news = e.data
        elif e.what == net.NETWORK_DATA_IN and e.channel == CHANNEL_WELCOME:
            self.you, self.size = e.data["you"], e.data["size"]
        elif e.what in CAME:
            self.begin()
            self.state = "here"
        elif e.what == net.NETWORK_RESUMED:
            self.state = "here"
        elif e.what == net.NETWORK_LOST:
            self.state = "lost"
        elif e.what in WENT:
            self.state, self.trouble = "gone", in_words(e)

    def handle_picture(self, data: bytes) -> None:
        """Takes in a snapshot."""
        self.hearer.handle_snapshot(data)

    def steer(self, dx: float, dy: float) -> None:
        """Says where we want to go, and what we have seen. Each at most 1."""
        self.server.send(STEER.pack(self.hearer.tick, int(dx * 100), int(dy * 100)), CHANNEL_STEER, lossy=True)

    def think(self) -> None:
        """Lets the computer steer."""
        if self.state == "here":
            self.steer(*self.choose())

    def choose(self) -> tuple[float, float]:
        """Returns where the computer would go: to a near flower, and after a while to another."""
        view, tick = self.hearer.view, self.hearer.tick
        if self.you not in view:
            return 0.0, 0.0
        x, y, _ = place(view[self.you])
        dx, dy = self.goal[0] - x, self.goal[1] - y
        long = math.hypot(dx, dy)
        if long > SPEED and tick < self.until:
            return dx / long, dy / long
        near = [spot for thing, spot in view.items() if thing >= FLOWERS]
        if near and self.dice.random() < 0.8:
            tries = self.dice.choices(near, k=4)  # not the nearest of all: then they would run in one herd
            self.goal = place(min(tries, key=lambda spot: far(spot, view[self.you])))[:2]
        else:
            whole = self.size * CELL
            self.goal = self.dice.randrange(whole), self.dice.randrange(whole)
        self.until = tick + self.dice.randrange(20, 80)
        return 0.0, 0.0


class Player(Guest):
    """A guest with eyes: the others move smoothly for it, and its own rabbit does not wait for the server."""

    def __init__(self, server: net.Peer, name: str, seed: object = None) -> None:
        self.pictures: InterpolationBuffer[View] = InterpolationBuffer()
        super().__init__(server, name, seed)

    def begin(self) -> None:
        """Knows nothing yet."""
        super().begin()
        self.pictures.clear()
        self.me = (0.0, 0.0)  # where we draw our own rabbit
        self.slack = float("inf")  # how many pixels that may be from where the server last saw it

    def handle_picture(self, data: bytes) -> None:
        """Takes in a snapshot, and keeps it for drawing."""
        super().handle_picture(data)
        self.pictures.push(self.hearer.tick / TICKS, self.hearer.view, time.monotonic())

    def move(self, dx: float, dy: float, seconds: float) -> None:
        """Moves our own rabbit at once. Where we are wrong, the server's word draws it back, gently."""
        if self.you not in self.hearer.view:
            return
        told = place(self.hearer.view[self.you])
        if math.isinf(self.slack):
            self.me = float(told[0]), float(told[1])
        self.me = walk(*self.me, dx, dy, SPEED * TICKS * seconds, self.size * CELL - 1)
        # What the server said is old: walking, we are ahead by what we walked since. Then that melts away.
        ahead = SPEED * TICKS * (self.server.rtt + 2 / TICKS)
        self.slack = ahead if dx or dy else max(0.0, min(self.slack, ahead) - 100 * seconds)
        off = math.dist(self.me, told[:2])
        if off > self.slack:
            share = min(1.0, 6 * seconds) * (off - self.slack) / off
            self.me = self.me[0] + (told[0] - self.me[0]) * share, self.me[1] + (told[1] - self.me[1]) * share

    def scene(self) -> dict[int, tuple[float, float, int, float]]:
        """Returns what to draw: the position of each thing, its look, and how far it moves to the right in a tick."""
        sample = self.pictures.sample(time.monotonic())
        if sample is None:
            return {}
        things = {}
        for thing, spot in sample.before.items():
            (x, y, look), (new_x, new_y, _) = place(spot), place(sample.after.get(thing, spot))
            at = x + (new_x - x) * sample.fraction, y + (new_y - y) * sample.fraction
            things[thing] = (*at, look, new_x - x if new_x != x else 0.01 * (new_y - y))
        return things


class Flock:
    """Many players of the computer's on one network, each with a connection of its own."""

    def __init__(self, url: str, count: int = 0, seed: int = 0, first: int = 0, kind: type[Guest] = Guest) -> None:
        self.url, self.seed, self.kind = url, seed, kind
        self.network = net.Network()
        self.guests: dict[net.Peer, Guest] = {}
        self.order: list[Guest] = []
        self.start, self.steered = time.monotonic(), 0
        for number in range(first, first + count):
            self.join(f"bot {number}")

    def join(self, name: str) -> None:
        """Lets one more call the server."""
        guest = self.kind(self.network.connect(self.url, name=name, version=VERSION, timeout=30), name, self.seed)
        self.guests[guest.server] = guest
        self.order.append(guest)

    def update(self) -> None:
        """Hears the server, and lets everybody steer once a tick: not all at once, for players do not do so either."""
        for e in self.network.get():
            self.guests[e.peer].handle(e)
        count = len(self.order)
        due = int((time.monotonic() - self.start) * TICKS * count)
        for turn in range(max(self.steered, due - count), due):
            self.order[turn % count].think()
        self.steered = due


def play(screen: pygame.Surface, args: argparse.Namespace) -> str:
    """Plays until somebody leaves. Returns what went wrong, in words."""
    server, invitation = None, Invitation()
    if args.mode != "join":
        server = Server(args.name, *hosting(args), size=size_for(args), seed=args.seed)
        invitation.open(server.network, args, "meadow", VERSION, ROOM_PLACES)
    url = INSIDE if args.mode == "host" else args.url
    peer = call(screen, args, url, "meadow", VERSION)
    if not peer:
        return ""
    flock = Flock(url, bots_of(args), args.seed)
    guest = Player(peer, args.name, args.seed)
    window = Window(screen, server.address if server and args.mode == "host" else "")
    graph = net.NetGraph(buffer=guest.pictures)  # F3 shows and hides it
    clock, next_steer, end = pygame.time.Clock(), 0.0, time.monotonic() + args.seconds
    dx = dy = 0.0
    while guest.state != "gone" and time.monotonic() < end:
        if server:
            server.update()
        flock.update()
        net.poll()  # the one extra line: what came from the network stands now in pygame's queue
        for e in pygame.event.get():
            if e.type == net.NETWORK and is_about(e, peer):
                guest.handle(e)
            elif e.type == pygame.QUIT or (e.type == pygame.KEYDOWN and e.key == pygame.K_ESCAPE):
                args.is_over, end = e.type == pygame.QUIT, 0.0
            else:
                window.handle(e)
                invitation.handle(e)
        now = time.monotonic()
        if now >= next_steer and guest.state == "here":
            next_steer = max(next_steer + 1 / TICKS, now)
            dx, dy = guest.choose() if args.autoplay else window.wanted(guest)
            guest.steer(dx, dy)
        guest.move(dx, dy, min(0.1, clock.get_time() / 1000))
        window.draw(guest)
        invitation.draw(screen, (WIDTH // 2, 52))
        graph.draw(screen)
        pygame.display.flip()
        clock.tick(60)
    net.close()  # says goodbye, so that the others need not wonder where we went
    for network in [flock.network, *([server.network] if server else [])]:
        network.close()
    return guest.trouble


def serve(args: argparse.Namespace) -> None:
    """Is a server and nothing else, or a flock and nothing else, for machines without a screen."""
    end = time.monotonic() + args.seconds
    if args.mode == "join":
        flock = Flock(args.url, bots_of(args), args.seed)
        while time.monotonic() < end:
            flock.update()
            time.sleep(PAUSE)
    else:
        server = Server(args.name, args.url, size=size_for(args), seed=args.seed)
        print(f"serving {server.address}", flush=True)
        Invitation().open(server.network, args, "meadow", VERSION, ROOM_PLACES)
        while time.monotonic() < end:
            server.update(1.0)


def rehearse(_screen: pygame.Surface, args: argparse.Namespace) -> str:
    """Plays without a clock, and makes sure at each tick that all have the picture which the server believes they have.

    Returns what is always the same.
    """
    server = Server("Server", args.url, size=size_for(args), seed=args.seed)
    flock = Flock(args.url, seed=args.seed)
    digest, ticks, deadline = 0, args.ticks or 600, time.monotonic() + 300

    def until(is_done: Callable[[], bool]) -> None:
        while not is_done():
            if time.monotonic() > deadline:
                raise SystemExit(f"stuck at tick {server.world.tick}")
            for e in flock.network.get():
                flock.guests[e.peer].handle(e)
            for e in server.network.get():
                server.handle(e)
                if e.what == net.NETWORK_DATA_IN:
                    heard.add(e.peer)

    heard: set[net.Peer] = set()
    for number in range(bots_of(args)):
        flock.join(f"bot {number}")
        until(lambda: all(guest.you >= 0 for guest in flock.guests.values()))
    guests = list(flock.guests.values())
    for _ in range(ticks):
        heard.clear()
        for guest in guests:
            guest.think()
        until(lambda: len(heard) == len(guests))
        server.step()
        until(lambda: all(guest.hearer.tick == server.world.tick for guest in guests))
        believed = {rabbit.number: rabbit.teller.views[server.world.tick] for rabbit in server.rabbits.values()}
        for guest in guests:
            if guest.hearer.view != believed[guest.you]:
                raise SystemExit(f"tick {server.world.tick}: {guest.hearer.view}, but {believed[guest.you]} was told")
            digest = zlib.crc32(repr(sorted(guest.hearer.view.items())).encode(), digest)
    picked = sum(rabbit.flowers for rabbit in server.rabbits.values())
    return f"{ticks} ticks, {picked} flowers, {digest:08x}: the same on the server and {len(guests)} clients"


def bots_of(args: argparse.Namespace) -> int:
    """Returns how many players the computer makes up."""
    return (0 if args.mode == "join" or (args.serve and args.headless) else 60) if args.bots is None else int(args.bots)


def size_for(args: argparse.Namespace) -> int:
    """Returns how many cells the world has in a row: about four rabbits for each, so that one meets others."""
    return int(args.size) or max(4, math.ceil(math.sqrt(max(bots_of(args), 100 if args.mode == "host" else 1) / 4)))


def hosting(args: argparse.Namespace) -> list[str]:
    """Returns where our own server listens."""
    return [args.url, INSIDE] if args.mode == "host" else [args.url]


def main(words: list[str] | None = None) -> None:
    """Reads the command line, or these words, asks in a menu what they do not say, and plays."""
    parser = command_line(__doc__)
    parser.add_argument("--size", type=int, default=0, help="how many cells the server's world has in a row")
    parser.set_defaults(bots=None)
    args = parse(parser, words)
    menu = Menu(
        "Meadow", "hundreds of rabbits, and flowers for all", "arrows or the mouse walk, G shows the grid", "#8fd66b"
    )
    if args.headless and (args.serve or (args.mode == "join" and args.bots)):
        with no_traceback():
            serve(args)
    else:
        run(args, menu, (WIDTH, HEIGHT), play, draw_backdrop, rehearse)


if __name__ == "__main__":
    main()
