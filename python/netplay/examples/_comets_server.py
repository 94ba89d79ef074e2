"""The server of comets: takes in keys, moves everything tick by tick, judges, and tells everybody how it stands."""

import math
from dataclasses import dataclass, field

import netplay as net
from netplay.examples import _comets_rules as rules
from netplay.examples._comets_messages import (
    CHANNEL_HIT,
    CHANNEL_PEOPLE,
    CHANNEL_SHOT,
    CHANNEL_STATE,
    CHANNEL_WELCOME,
    Keys,
    pack,
)
from netplay.examples._comets_rules import TICK_RATE, Comet, Ship, Shot
from netplay.examples._friends import CAME, WENT, is_about_room
from netplay.examples._game import NAMES, printable
from netplay.sync import InputBuffer

MAX_PLAYERS = 16
MAX_REWIND = 0.4 * TICK_RATE  # how many ticks into the past a shot is judged at most


@dataclass
class Pilot:
    """One who flies a ship, as the server knows them: a peer, or a bot."""

    ship: Ship
    name: str
    peer: net.Peer | None = None
    inputs: InputBuffer[int] = field(default_factory=lambda: InputBuffer(0))
    echo: tuple[int, int] = (0, 0)  # the time in their last message, and our time when it came
    rewind: float = 0.0  # how many ticks ago they see the others
    is_away: bool = False  # while their connection is lost


class Server:
    """The one who decides: takes in keys, moves everything tick by tick, and tells everybody how it stands."""

    def __init__(self, seed: int, bots: int, now: float) -> None:
        self.seed, self.bots = seed, bots
        self.start, self.tick = now, 0
        self.pilots: dict[int, Pilot] = {}
        self.comets = [Comet(i, seed) for i in range(rules.COMETS)]
        self.shots: list[tuple[Shot, float]] = []  # each with the rewind of the one who fired it
        self.past: dict[int, dict[int, tuple[float, float]]] = {}  # where who could be hit, by tick
        for i in range(min(bots, MAX_PLAYERS - 1)):
            self.sit_down(f"bot {NAMES[-1 - i % len(NAMES)]}", None)

    def sit_down(self, name: str, peer: net.Peer | None) -> Pilot | None:
        """Gives somebody a ship. When all seats are taken, a bot gets up for a person."""
        bot = next((pilot.ship.id for pilot in self.pilots.values() if not pilot.peer), None)
        if len(self.pilots) == MAX_PLAYERS and bot is not None:
            del self.pilots[bot]
        number = next((i for i in range(MAX_PLAYERS) if i not in self.pilots), None)
        if number is None:
            return None
        ship = Ship(number)
        ship.appear(self.seed)
        self.pilots[number] = Pilot(ship, name, peer)
        return self.pilots[number]

    def handle(self, e: net.Event, now: float) -> None:
        """Takes in one event of the network."""
        if is_about_room(e):
            return
        pilot: Pilot | None = e.peer.data.get("pilot")
        if e.what in CAME:
            pilot = e.peer.data["pilot"] = self.sit_down(printable(e.peer), e.peer)
            if pilot is None:
                e.peer.close("all seats are taken")
                return
            e.peer.send((pilot.ship.id, self.seed), CHANNEL_WELCOME)
        elif pilot is None:
            return
        elif e.what == net.NETWORK_DATA_IN:
            message = e.data
            if not isinstance(message, Keys):
                return
            pilot.echo = (message.sent, self.milliseconds(now))
            pilot.rewind = min(message.late / 100, MAX_REWIND)
            for i, keys in enumerate(message.keys):
                pilot.inputs.put(message.newest - len(message.keys) + 1 + i, keys)
            return
        elif e.what in (net.NETWORK_LOST, net.NETWORK_RESUMED):
            pilot.is_away = e.what == net.NETWORK_LOST
        elif e.what in WENT:
            del self.pilots[pilot.ship.id]
            e.peer.data.clear()
        names = {i: pilot.name + " …" * pilot.is_away for i, pilot in self.pilots.items()}
        self.tell(names, CHANNEL_PEOPLE)

    def tell(self, data: object, channel: int) -> None:
        """Tells everybody something that must arrive."""
        for pilot in self.pilots.values():
            if pilot.peer:
                pilot.peer.send(data, channel)

    def milliseconds(self, now: float) -> int:
        """Returns our time as it travels."""
        return round((now - self.start) * 1000)

    def update(self, now: float) -> None:
        """Plays the ticks that are due, and tells everybody after each."""
        due = int((now - self.start) * TICK_RATE)
        if due - self.tick > TICK_RATE:  # this computer slept: what it missed is not played, but time goes on
            self.tick = due - 1
        while self.tick < due:
            self.step()
            ships = [pack(pilot.ship) for pilot in self.pilots.values()]
            for pilot in self.pilots.values():
                if pilot.peer:
                    state = (self.tick, self.milliseconds(now), *pilot.echo, ships)
                    pilot.peer.send(state, CHANNEL_STATE, lossy=True)

    def step(self) -> None:
        """Plays one tick of the world."""
        self.tick += 1
        ships = [pilot.ship for pilot in self.pilots.values()]
        for pilot in self.pilots.values():
            keys = pilot.inputs.take(self.tick) if pilot.peer else 0
            if not pilot.peer:
                keys = rules.steer(pilot.ship, ships, self.comets, self.tick)
            shot = pilot.ship.step(0 if pilot.is_away else keys, self.tick, self.seed)
            if shot:
                self.shots.append((shot, pilot.rewind))
                self.tell((shot.owner, shot.tick, shot.x, shot.y, shot.vx, shot.vy), CHANNEL_SHOT)
        self.past[self.tick] = {ship.id: (ship.x, ship.y) for ship in ships if not ship.dead and not ship.shield}
        self.past.pop(self.tick - int(MAX_REWIND) - 3, None)
        self.shots = [(shot, rewind) for shot, rewind in self.shots if self.goes_on(shot, rewind)]
        for ship in ships:
            for comet in self.comets:
                reach = rules.SHIP_RADIUS * 0.8 + rules.COMET_RADIUS
                is_open = ship.id in self.past[self.tick] and not ship.dead
                if is_open and rules.distance((ship.x, ship.y), comet.place(self.tick)) < reach:
                    self.destroy(ship, -1, 0)

    def goes_on(self, shot: Shot, rewind: float) -> bool:
        """Moves a shot by one tick; returns whether it flies on."""
        here, there = shot.place(self.tick - 1), shot.place(self.tick)
        for pilot in self.pilots.values():
            # Not where the ship is, but where it was on the screen of the one who fired.
            before, after = (self.seen(pilot.ship.id, self.tick - back - rewind) for back in (1, 0))
            is_open = pilot.ship.id != shot.owner and not pilot.ship.dead
            reach = rules.SHIP_RADIUS + rules.SHOT_RADIUS
            if is_open and before and after and rules.closest(here, there, before, after) < reach:
                self.destroy(pilot.ship, shot.owner, shot.tick)
                return False
        hits_comet = any(rules.distance(there, c.place(self.tick)) < rules.COMET_RADIUS for c in self.comets)
        return not hits_comet and self.tick - shot.tick < rules.SHOT_LIFE

    def seen(self, number: int, tick: float) -> tuple[float, float] | None:
        """Returns where somebody was at a time in the past; None if they could not be hit then."""
        a, b = (self.past.get(math.floor(tick) + i, {}).get(number) for i in (0, 1))
        return rules.between(a, b or a, tick % 1) if a else None

    def destroy(self, ship: Ship, owner: int, tick: int) -> None:
        """Ends a ship's life, and says to whose credit."""
        self.tell((ship.id, owner, tick, ship.x, ship.y), CHANNEL_HIT)
        ship.die()
        if owner in self.pilots:
            self.pilots[owner].ship.hits += 1
