"""The server of `meadow`: moves everybody, and tells each what is near. It knows no window.

The rest of the game, where to begin to read, is `meadow.py`; how little is told, and why that is enough, `_crowd.py`.
"""

import math
import random
import struct
import time
from dataclasses import dataclass, field
from typing import Any

import netplay as net
from netplay.examples._crowd import Spot, Teller, World, everything, spot_at
from netplay.examples._friends import CAME, WENT, is_about_room
from netplay.examples._game import announced, printable

VERSION = "meadow 1"  # those of another game or of another version are told so, and not let in
CHANNEL_STEER = 1  # to the server, lossy: STEER
CHANNEL_WELCOME = 2  # from the server, once: {"you": the number of my rabbit, "size": cells in a row of the world}
CHANNEL_PICTURE = 3  # from the server, lossy, each tick: a snapshot, see _crowd.py
CHANNEL_NEWS = 4  # from the server, lossy, once a second: what the panel shows; the next one comes anyway
STEER = struct.Struct("<Ibb")  # the newest picture that I have; where I want to go, each from -100 to 100

TICKS = 20  # a second
BUDGET = 400  # bytes for one player in one tick
CELL = 480  # pixels: half a window is never more, so the nine cells around you fill it
SPEED = 9  # pixels in a tick
FLOWERS = 10_000  # rabbits have the numbers below, flowers those from here on
FLOWERS_PER_CELL = 4
REACH = 40  # pixels: the side of the squares in which a rabbit finds a flower
MAX_PEERS = 2000


@dataclass
class Rabbit:
    """One player, as the server knows it."""

    number: int
    name: str
    x: float
    y: float
    dx: float = 0.0  # where it wants to go: at most 1 long
    dy: float = 0.0
    flowers: int = 0
    teller: Teller = field(default_factory=Teller)

    @property
    def spot(self) -> Spot:
        """Where it is, and how many flowers it has, as others are told."""
        return spot_at(int(self.x), int(self.y), min(self.flowers, 255))


class Server:
    """Moves everybody, and tells each what is near."""

    def __init__(self, name: str, *urls: str, size: int, seed: int = 0, budget: int = BUDGET) -> None:
        self.network = net.Network()
        listeners = [
            self.network.listen(
                url, name=name, version=VERSION, max_peers=MAX_PEERS, advertise=announced("meadow", url)
            )
            for url in urls
        ]
        self.address = listeners[0].addresses[0]
        self.size, self.budget = size, budget
        self.dice = random.Random(f"{seed} meadow")
        self.world = World(CELL)
        self.rabbits: dict[net.Peer, Rabbit] = {}
        self.last_number = -1
        self.flowers: dict[tuple[int, int], int] = {}  # in which square of REACH pixels which one grows
        self.patches = [(self.dice.random(), self.dice.random()) for _ in range(size * size // 2 + 1)]
        for flower in range(FLOWERS, FLOWERS + FLOWERS_PER_CELL * size * size):
            self.grow(flower)
        self.next_tick = time.monotonic()
        self.told = self.without_deltas = self.without_interest = self.messages = 0  # bytes and messages, and
        self.busy = 0.0  # seconds of work, since the last news
        self.news: dict[str, Any] = {}

    def grow(self, flower: int) -> None:
        """Lets a flower grow, mostly among others."""
        whole = self.size * CELL
        while True:
            x, y = self.dice.choice(self.patches)
            x, y = self.dice.gauss(x * whole, 150), self.dice.gauss(y * whole, 150)
            square = (int(x) // REACH, int(y) // REACH)
            if 20 < x < whole - 20 and 20 < y < whole - 20 and square not in self.flowers:
                self.flowers[square] = flower
                self.world.put(flower, spot_at(int(x), int(y), flower % 5))
                return

    def update(self, timeout: float = 0.0) -> None:
        """Hears everybody, and lets a tick pass when it is time; waits at most so many seconds for that."""
        start = time.thread_time()  # counts work, and not waiting
        for e in self.network.get(min(timeout, max(0.0, self.next_tick - time.monotonic()))):
            self.handle(e)
        now = time.monotonic()
        if now >= self.next_tick:
            self.next_tick = max(self.next_tick + 1 / TICKS, now - 0.5)  # after a long stop it does not race
            self.step()
        self.busy += time.thread_time() - start

    def handle(self, e: net.Event) -> None:
        """Takes in one event of the network."""
        if is_about_room(e):
            return
        if e.what == net.NETWORK_DATA_IN:
            rabbit = self.rabbits[e.peer]
            try:
                has, dx, dy = STEER.unpack(e.data)
            except (struct.error, TypeError):  # from somebody else's computer anything may come
                return
            rabbit.teller.handle_has(has)
            long = max(100.0, math.hypot(dx, dy))  # nobody runs faster by wanting more
            rabbit.dx, rabbit.dy = dx / long, dy / long
        elif e.what in CAME:
            self.last_number = (self.last_number + 1) % FLOWERS
            while self.last_number in self.world.where:
                self.last_number = (self.last_number + 1) % FLOWERS
            place = self.dice.random() * self.size * CELL, self.dice.random() * self.size * CELL
            rabbit = self.rabbits[e.peer] = Rabbit(self.last_number, printable(e.peer), *place)
            self.world.put(rabbit.number, rabbit.spot)
            e.peer.send({"you": rabbit.number, "size": self.size}, CHANNEL_WELCOME)
        elif e.what == net.NETWORK_LOST:
            self.rabbits[e.peer].dx = self.rabbits[e.peer].dy = 0.0  # it waits where it is
        elif e.what in WENT:
            self.world.remove(self.rabbits.pop(e.peer).number)

    def step(self) -> None:
        """Lets one tick pass."""
        self.move()
        self.world.end_tick()
        self.tell()
        if self.world.tick % TICKS == 0:
            self.tell_news()

    def move(self) -> None:
        """Moves everybody by one tick; who comes to a flower picks it."""
        whole = self.size * CELL - 1
        for rabbit in self.rabbits.values():
            if rabbit.dx or rabbit.dy:
                rabbit.x, rabbit.y = walk(rabbit.x, rabbit.y, rabbit.dx, rabbit.dy, SPEED, whole)
                flower = self.flowers.pop((int(rabbit.x) // REACH, int(rabbit.y) // REACH), None)
                if flower is not None:
                    rabbit.flowers += 1
                    self.grow(flower)  # elsewhere
                self.world.put(rabbit.number, rabbit.spot)

    def tell(self) -> None:
        """Tells each what is near and new."""
        everybody = everything(len(self.world.where))
        for peer, rabbit in self.rabbits.items():
            if peer.state != "connected":
                continue
            snapshot = rabbit.teller.snapshot(self.world, rabbit.spot, self.budget)
            peer.send(snapshot, CHANNEL_PICTURE, lossy=True)
            self.messages += 1
            self.told += len(snapshot)
            self.without_deltas += everything(len(self.world.area(self.world.where[rabbit.number])))
            self.without_interest += everybody

    def tell_news(self) -> None:
        """Tells everybody what the last second was like."""
        best = sorted(self.rabbits.values(), key=lambda rabbit: (-rabbit.flowers, rabbit.number))[:5]
        count = max(1, self.messages)
        self.news = {
            "players": len(self.rabbits),
            "load": self.busy,
            "budget": self.budget,
            "bytes": [self.without_interest / count, self.without_deltas / count, self.told / count],
            "best": [(rabbit.name, rabbit.flowers, rabbit.number) for rabbit in best],
        }
        self.network.send(self.news, CHANNEL_NEWS, lossy=True)
        self.told = self.without_deltas = self.without_interest = self.messages = 0
        self.busy = 0.0


def walk(x: float, y: float, dx: float, dy: float, far: float, whole: float) -> tuple[float, float]:
    """Returns where one comes who walks: the server and the player's own window reckon alike."""
    return min(max(x + dx * far, 0.0), whole), min(max(y + dy * far, 0.0), whole)
