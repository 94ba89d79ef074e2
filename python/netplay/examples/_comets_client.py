"""A client of comets: sends keys, predicts its own ship, and believes the server. It knows nothing of windows."""

import math
from collections import deque
from typing import NamedTuple

import pygame

import netplay as net
from netplay.examples import _comets_rules as rules
from netplay.examples._comets_messages import (
    CHANNEL_HIT,
    CHANNEL_KEYS,
    CHANNEL_PEOPLE,
    CHANNEL_SHOT,
    CHANNEL_STATE,
    CHANNEL_WELCOME,
    KEYS_AT_ONCE,
    Keys,
    unpack,
)
from netplay.examples._comets_rules import TICK_RATE, Comet, Ship, Shot
from netplay.examples._friends import CAME
from netplay.sync import Clock, InputBuffer, InterpolationBuffer

MARGIN = 0.05  # seconds by which our keys arrive early, so that after a lost message the next one still is in time
SMOOTH = 0.05  # seconds in which half of a correction is made: nobody sees it happen


class Pose(NamedTuple):
    """How a ship is drawn: between two ticks it is at none of the places that the rules know."""

    ship: Ship
    x: float
    y: float
    angle: float  # of the 128 directions


class Bang(NamedTuple):
    """Something that burst."""

    x: float
    y: float
    time: float  # when we heard of it
    owner: int  # the number of the ship; -1 for the spark of a shot


class Client:
    """What one player knows of the world: the own ship now, the others a moment ago."""

    def __init__(self, server: net.Peer, now: float) -> None:
        self.server = server
        self.start = self.now = now
        self.is_predicting = self.is_interpolating = True
        self.bangs: deque[Bang] = deque(maxlen=40)
        self.corrections: deque[float] = deque(maxlen=600)  # how many pixels each word of the server moved us by
        self.states = InterpolationBuffer[dict[int, Ship]]()
        self.begin()

    def begin(self) -> None:
        """Knows nothing of the world yet. A server that was started again has another world, and another time."""
        self.number, self.seed = -1, 0
        self.names: dict[int, str] = {}
        self.comets: list[Comet] = []
        self.shots: dict[tuple[int, int], Shot] = {}  # by owner and tick
        self.clock = Clock()
        self.states.clear()
        self.truth: dict[int, Ship] = {}  # the last the server said of each ship
        self.truth_tick = 0
        self.inputs = InputBuffer(0)
        self.tick = 0  # of our own ship, which is ahead of the server's word and of the server itself
        self.me: Ship | None = None
        self.before: Ship | None = None  # our ship a tick ago
        self.slide = (0.0, 0.0)  # what is left of the last corrections to be made

    # What comes in

    def handle(self, e: net.Event | pygame.event.Event, now: float) -> None:
        """Takes in one event of the network. We trust the server we called."""
        if e.what in CAME:
            self.begin()
        if e.what != net.NETWORK_DATA_IN:
            return
        if e.channel == CHANNEL_STATE:
            self.handle_state(now, *e.data)
        elif e.channel == CHANNEL_WELCOME:
            self.number, self.seed = e.data
            self.comets = [Comet(i, self.seed) for i in range(rules.COMETS)]
        elif e.channel == CHANNEL_PEOPLE:
            flying = {number: name for number, name in self.names.items() if number in self.truth}
            self.names = {**flying, **e.data}  # who has just left has a ship in the last state, and it has a name
        elif e.channel == CHANNEL_SHOT:
            shot = Shot(*e.data)
            if shot.owner != self.number:  # our own we have seen already
                self.shots[shot.owner, shot.tick] = shot
        elif e.channel == CHANNEL_HIT:
            victim, owner, tick, x, y = e.data
            self.shots.pop((owner, tick), None)
            self.bangs.append(Bang(x, y, now, victim))

    def handle_state(
        self, now: float, tick: int, sent: int, our_time: int, heard: int, ships: list[tuple[int, ...]]
    ) -> None:
        """Takes in how the server says it stands."""
        if our_time:
            self.clock.add_sample(our_time / 1000, heard / 1000, sent / 1000, now - self.start)
        self.truth, self.truth_tick = {numbers[0]: unpack(numbers) for numbers in ships}, tick
        self.states.push(tick / TICK_RATE, self.truth, now)
        if self.number in self.truth:
            self.reconcile(self.truth[self.number].copy(), tick)

    def reconcile(self, me: Ship, tick: int) -> None:
        """Goes back to where the server says that we were, and plays the keys since then again."""
        before, keys = me, dict(self.inputs.since(tick))
        for replayed in range(tick + 1, self.tick + 1):
            before = me.copy()
            me.step(keys.get(replayed, 0), replayed, self.seed)
        if self.me and self.me.deaths == me.deaths and not self.me.dead and not me.dead:
            dx, dy = rules.way((me.x, me.y), (self.me.x, self.me.y))
            self.corrections.append(math.hypot(dx, dy))
            self.slide = (self.slide[0] + dx, self.slide[1] + dy)  # drawn where it was, and from there bit by bit
        else:
            self.slide = (0.0, 0.0)
        self.me, self.before = me, before

    # What goes out

    def update(self, now: float, keys: int) -> None:
        """Plays our own ship up to now, once a frame, and tells the server which keys did it."""
        remains = 0.5 ** ((now - self.now) / SMOOTH)
        self.slide = (self.slide[0] * remains, self.slide[1] * remains)
        self.now = now
        if not self.me or not self.clock.is_synced:
            self.say()  # before we know the time there, we only ask for it
            return
        due = int(self.own_time)
        if not 0 <= due - self.tick < TICK_RATE:  # the beginning, or a long pause: what was missed is not played
            self.tick = max(due, self.tick)
        has_played = self.tick < due
        while self.tick < due:
            self.tick += 1
            self.inputs.put(self.tick, keys)
            self.before = self.me.copy()
            shot = self.me.step(keys, self.tick, self.seed)
            if shot:
                self.shots[shot.owner, shot.tick] = shot
        if has_played:
            self.say()
        self.look_at_shots()

    def say(self) -> None:
        """Sends the keys of the last ticks. If the message is lost, the next ones say the same."""
        latest = self.inputs.latest(KEYS_AT_ONCE)
        late = max(0.0, self.shown_time - self.others_time)
        sent = round((self.now - self.start) * 1000) + 1  # never 0, with which the server says that it heard nothing
        message = Keys(sent, round(late * 100), self.tick, bytes(keys for _, keys in latest))
        if self.server.state == "connected":
            self.server.send(message, CHANNEL_KEYS, lossy=True)

    def look_at_shots(self) -> None:
        """Ends shots that have flown long enough, and those that hit something on our screen.

        Whether ours really hit a ship, the server will say; the spark need not wait for it.
        """
        time, others = self.shown_time, [pose for pose in self.poses() if pose.ship.id != self.number]
        for key, shot in list(self.shots.items()):
            here = shot.place(time)
            is_hit = any(rules.distance(here, comet.place(time)) < rules.COMET_RADIUS for comet in self.comets)
            if shot.owner == self.number and not is_hit:
                is_hit = any(rules.distance(here, (p.x, p.y)) < rules.SHIP_RADIUS for p in others if not p.ship.dead)
            if is_hit and time > shot.tick:
                self.bangs.append(Bang(*here, self.now, -1))
            if is_hit or time - shot.tick > rules.SHOT_LIFE:
                del self.shots[key]

    # What there is to see

    @property
    def own_time(self) -> float:
        """The tick for which our keys are, if we press them now; with a fraction."""
        return (self.clock.arrival_time(self.now - self.start) + MARGIN) * TICK_RATE

    @property
    def others_time(self) -> float:
        """The tick at which we see the others, with a fraction."""
        sample = self.states.sample(self.now)
        return sample.time * TICK_RATE if sample and self.is_interpolating else self.truth_tick

    @property
    def shown_time(self) -> float:
        """The tick at which we see our own ship, the shots and the comets, with a fraction."""
        return self.own_time - 1 if self.is_predicting else self.others_time

    def poses(self) -> list[Pose]:
        """Returns how each ship is drawn now."""
        poses = []
        sample = self.states.sample(self.now)
        for number, after in self.truth.items() if not sample or not self.is_interpolating else sample.after.items():
            if number == self.number and self.is_predicting and self.me and self.before:
                pose = between(self.before, self.me, min(1.0, max(0.0, self.own_time - self.tick)))
                x, y = (pose.x + self.slide[0]) % rules.WIDTH, (pose.y + self.slide[1]) % rules.HEIGHT
                poses.append(pose._replace(x=x, y=y))
            elif sample and self.is_interpolating:
                poses.append(between(sample.before.get(number, after), after, sample.fraction))
            else:
                poses.append(Pose(after, after.x, after.y, after.angle))
        return poses


def between(before: Ship, after: Ship, fraction: float) -> Pose:
    """Returns how a ship is drawn between two ticks. One that dies or appears does so in one step."""
    if before.dead or after.dead:
        ship = before if fraction < 1 else after
        return Pose(ship, ship.x, ship.y, ship.angle)
    x, y = rules.between((before.x, before.y), (after.x, after.y), fraction)
    half = rules.TURNS // 2
    turn = (after.angle - before.angle + half) % rules.TURNS - half
    return Pose(after, x, y, before.angle + turn * fraction)
