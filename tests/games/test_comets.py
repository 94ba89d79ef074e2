# ruff: noqa: D103 (the names of tests are their sentences)
"""Comets, played by the computer over a network in virtual time: what the players see against what the server knows."""

import heapq
import itertools
import random
from dataclasses import dataclass, field
from typing import Any, cast

import pytest

import netplay as net
from netplay.examples import _comets_messages as messages
from netplay.examples import _comets_rules as rules
from netplay.examples._comets_client import Client, Pose
from netplay.examples._comets_rules import TICK_RATE, Ship
from netplay.examples._comets_server import Server

FRAME = 1 / 60


@dataclass
class Link:
    """One direction of a network. What is lossy may be lost, and the newest wins; the rest arrives, in order."""

    lag: float = 0.0
    jitter: float = 0.0
    loss: float = 0.0
    chance: random.Random = field(default_factory=random.Random)
    on_the_way: list[tuple[float, int, Any, int]] = field(default_factory=list)
    now: float = 0.0
    last: float = 0.0
    counter: Any = field(default_factory=itertools.count)

    def send(self, data: object, channel: int = 0, lossy: bool = False) -> bool:
        """Takes a message as `Peer.send` does."""
        at = self.now + self.lag + self.chance.uniform(-self.jitter, self.jitter)
        if lossy and self.chance.random() < self.loss:
            return True
        if not lossy:
            at = self.last = max(at, self.last)
        heapq.heappush(self.on_the_way, (at, next(self.counter), data, channel))
        return True

    def arrived(self, now: float) -> list[tuple[object, int]]:
        """Returns what has arrived by now."""
        self.now = now
        out = []
        while self.on_the_way and self.on_the_way[0][0] <= now:
            _, _, data, channel = heapq.heappop(self.on_the_way)
            out.append((data, channel))
        return out


@dataclass
class Wire:
    """A peer over a link: as much of `net.Peer` as the game uses."""

    link: Link
    name: str
    state: str = "connected"
    data: dict[str, Any] = field(default_factory=dict)

    def send(self, data: object, channel: int = 0, lossy: bool = False) -> bool:
        """Sends a message."""
        return self.link.send(data, channel, lossy)

    def close(self, _reason: str = "") -> None:
        """Is closed."""
        self.state = "closed"

    def __str__(self) -> str:
        return self.name


@dataclass
class Event:
    """An event: as much of `net.Event` as the game uses."""

    what: net.What
    peer: Any
    channel: int = 0
    data: Any = None


class Player:
    """A client, its two links, and what it saw."""

    def __init__(self, game: "Game", name: str, lag: float, jitter: float, loss: float) -> None:
        chance = random.Random(f"{name} {game.server.seed}")
        self.up, self.down = (Link(lag, jitter, loss, chance) for _ in range(2))
        self.at_server = Wire(self.down, name)
        self.client = Client(cast("net.Peer", Wire(self.up, "server")), 1000.0)  # its clock shows another time
        self.predicted: dict[int, tuple[int, ...]] = {}
        self.heard: dict[int, dict[int, tuple[int, ...]]] = {}
        self.poses: list[dict[int, Pose]] = []
        self.down.now = self.up.now = game.now
        game.server.handle(cast("net.Event", Event(net.NETWORK_CONNECTED, self.at_server)), game.now)

    def play(self, now: float) -> None:
        """Plays one frame."""
        client, self.up.now = self.client, now
        for data, channel in self.down.arrived(now):
            client.handle(cast("net.Event", Event(net.NETWORK_DATA_IN, None, channel, data)), 1000 + now)
            if channel == messages.CHANNEL_STATE:
                self.heard[client.truth_tick] = {number: messages.pack(ship) for number, ship in client.truth.items()}
        keys = 0
        if client.me:
            keys = rules.steer(client.me, list(client.truth.values()), client.comets, client.tick)
        tick = client.tick
        client.update(1000 + now, keys)
        if client.me and client.tick == tick + 1:
            self.predicted[client.tick] = messages.pack(client.me)
        self.poses.append({pose.ship.id: pose for pose in client.poses()})


class Game:
    """A server and its players."""

    def __init__(self, seed: int = 7, bots: int = 3) -> None:
        self.now = 0.0
        self.server = Server(seed, bots, 0.0)
        self.players: list[Player] = []
        self.states: dict[int, dict[int, tuple[int, ...]]] = {}
        step = self.server.step

        def recorded() -> None:
            step()
            ships = [pilot.ship for pilot in self.server.pilots.values()]
            self.states[self.server.tick] = {ship.id: messages.pack(ship) for ship in ships}

        self.server.step = recorded  # type: ignore[method-assign]

    def join(self, name: str, lag: float = 0.0, jitter: float = 0.0, loss: float = 0.0) -> Player:
        """Lets a player in."""
        self.players.append(Player(self, name, lag, jitter, loss))
        return self.players[-1]

    def run(self, ticks: int) -> None:
        """Plays so many ticks, sixty frames a second, the players a little apart from each other."""
        frames = round(ticks / TICK_RATE / FRAME)
        for _ in range(frames):
            self.now += FRAME
            for player in self.players:
                player.down.now = self.now
                for data, channel in player.up.arrived(self.now):
                    event = Event(net.NETWORK_DATA_IN, player.at_server, channel, data)
                    self.server.handle(cast("net.Event", event), self.now)
            self.server.update(self.now)
            for player in self.players:
                player.play(self.now)


def percentile(values: list[float], share: float) -> float:
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]


def test_for_600_ticks_every_client_has_the_state_of_the_server_tick_by_tick() -> None:
    game = Game(seed=7)
    players = [game.join(name) for name in ("Ada", "Bob")]
    game.run(600)
    for player in players:
        assert len(player.heard) >= 598
        for tick, ships in player.heard.items():
            assert ships == game.states[tick], f"tick {tick}"
    assert max(max(player.client.corrections) for player in players) == 0.0, "a perfect network needs no corrections"
    assert sum(pilot.ship.hits for pilot in game.server.pilots.values()) > 3, "nobody was hit: that proves little"


def test_the_same_seed_plays_the_same_game() -> None:
    states = []
    for _ in range(2):
        game = Game(seed=7)
        game.join("Ada", lag=0.08, jitter=0.02, loss=0.05)
        game.run(600)
        states.append(game.states)
    assert states[0] == states[1]


@pytest.mark.parametrize("seed", range(4))
def test_at_150_ms_and_5_percent_loss_corrections_stay_small_and_nobody_jumps(seed: int) -> None:
    game = Game(seed=seed)
    players = [game.join(name, lag=0.15, jitter=0.02, loss=0.05) for name in ("Ada", "Bob", "Cleo")]
    game.run(1800)
    corrections = [pixels for player in players for pixels in player.client.corrections]
    print(f"corrections p99 {percentile(corrections, 0.99):.2f} max {max(corrections):.2f} px")
    assert len(corrections) > 1000
    assert percentile(corrections, 0.99) < 4
    fastest = rules.MAX_SPEED * 1.1 * FRAME + 0.1
    for player in players:
        for before, after in itertools.pairwise(player.poses):
            for number, pose in after.items():
                earlier = before.get(number)
                if earlier and number != player.client.number and is_one_life(earlier.ship, pose.ship):
                    assert rules.distance((earlier.x, earlier.y), (pose.x, pose.y)) <= fastest


def is_one_life(a: Ship, b: Ship) -> bool:
    return a.deaths == b.deaths and not a.dead and not b.dead
