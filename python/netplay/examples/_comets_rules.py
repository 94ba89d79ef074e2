"""The rules of comets: what one tick does to a ship, a shot and a comet. They know neither the network nor a window.

The server and every client run these same rules, and must come to the same numbers, down to the last digit. So all
that a ship is gets rounded, after each tick, to the steps in which it also travels over the network; and the directions
it can fly in stand in a table of round numbers, because sine and cosine may differ a little from computer to computer.

The world has no edges: who leaves it on the right comes in on the left.
"""

import math
import random
from dataclasses import dataclass, replace

TICK_RATE = 30  # ticks a second
WIDTH, HEIGHT = 1600, 1200  # of the world, in pixels
PLACE, SPEED = 32, 256  # a place is kept in steps of 1/32 pixel, a speed in 1/256 pixel a tick
TURNS = 128  # directions a ship can point in
LEFT, RIGHT, THRUST, FIRE = 1, 2, 4, 8  # the keys, one bit each

TURN_RATE = 3  # of the 128 directions, a tick
POWER, DRAG = 0.24, 0.978  # what thrust adds to the speed in a tick, and what is left of the speed after one
SHIP_RADIUS, SHOT_RADIUS, COMET_RADIUS = 14, 4, 30  # pixels
SHOT_SPEED, SHOT_LIFE, SHOT_WAIT = 17.0, 34, 7  # pixels a tick, ticks it flies, ticks from one shot to the next
DEAD_TIME, SHIELD_TIME = 45, 60  # ticks until a ship is back, and then until it can be hit again
MAX_SPEED = POWER * DRAG / (1 - DRAG) * TICK_RATE  # pixels a second: faster than that no ship flies
COMETS = 6

DIRECTIONS = [
    (round(math.cos(i * math.tau / TURNS) * 1024) / 1024, round(math.sin(i * math.tau / TURNS) * 1024) / 1024)
    for i in range(TURNS)
]


@dataclass
class Ship:
    """A ship, whole: who has this and the keys of the next tick knows the ship of the next tick."""

    id: int
    x: float = 0.0
    y: float = 0.0
    vx: float = 0.0
    vy: float = 0.0
    angle: int = 0
    wait: int = 0  # ticks until it can shoot again
    dead: int = 0  # ticks until it is back; 0 while it flies
    shield: int = 0  # ticks in which nothing can harm it
    is_thrusting: bool = False  # only for the flame
    hits: int = 0
    deaths: int = 0

    def step(self, keys: int, tick: int, seed: int) -> "Shot | None":
        """Goes on by one tick; returns the shot if it fired one."""
        self.is_thrusting = bool(keys & THRUST) and not self.dead
        self.wait, self.shield = max(0, self.wait - 1), max(0, self.shield - 1)
        if self.dead:
            self.dead -= 1
            if not self.dead:
                self.appear(seed)
            return None
        self.angle = (self.angle + TURN_RATE * (bool(keys & RIGHT) - bool(keys & LEFT))) % TURNS
        dx, dy = DIRECTIONS[self.angle]
        power = POWER if self.is_thrusting else 0.0
        self.vx = round((self.vx + dx * power) * DRAG * SPEED) / SPEED
        self.vy = round((self.vy + dy * power) * DRAG * SPEED) / SPEED
        self.x = round((self.x + self.vx) * PLACE) % (WIDTH * PLACE) / PLACE
        self.y = round((self.y + self.vy) * PLACE) % (HEIGHT * PLACE) / PLACE
        if not keys & FIRE or self.wait:
            return None
        self.wait, self.shield = SHOT_WAIT, 0  # who shoots can be shot
        nose = SHIP_RADIUS + 4
        return Shot(
            self.id,
            tick,
            self.x + dx * nose,
            self.y + dy * nose,
            self.vx + dx * SHOT_SPEED,
            self.vy + dy * SHOT_SPEED,
        )

    def appear(self, seed: int) -> None:
        """Comes into the world. Where, everybody can work out, so nobody need be told."""
        chance = random.Random(f"{seed} {self.id} {self.deaths}")
        self.x, self.y = float(chance.randrange(WIDTH)), float(chance.randrange(HEIGHT))
        self.vx = self.vy = 0.0
        self.angle, self.wait, self.shield = chance.randrange(TURNS), 0, SHIELD_TIME

    def die(self) -> None:
        """Is hit, by a shot or a comet."""
        self.dead, self.is_thrusting, self.deaths = DEAD_TIME, False, self.deaths + 1
        self.vx = self.vy = 0.0

    def copy(self) -> "Ship":
        """Returns another ship that is the same."""
        return replace(self)


@dataclass
class Shot:
    """A shot. It flies straight on, so its beginning says where it is at any time."""

    owner: int
    tick: int  # when it was fired
    x: float
    y: float
    vx: float
    vy: float

    def place(self, tick: float) -> tuple[float, float]:
        """Returns where it is at a tick, or between two."""
        age = tick - self.tick
        return (self.x + self.vx * age) % WIDTH, (self.y + self.vy * age) % HEIGHT


class Comet:
    """A comet. It flies straight on for ever: who knows the seed and the tick knows where it is, and need not ask."""

    def __init__(self, number: int, seed: int) -> None:
        chance = random.Random(f"comet {seed} {number}")
        self.x, self.y = chance.randrange(WIDTH), chance.randrange(HEIGHT)
        self.vx, self.vy = (chance.choice((-1, 1)) * chance.randrange(32, 90) / 32 for _ in range(2))
        self.spin = chance.choice((-1, 1)) * chance.uniform(0.5, 1.5)
        self.number = number

    def place(self, tick: float) -> tuple[float, float]:
        """Returns where it is at a tick, or between two."""
        return (self.x + self.vx * tick) % WIDTH, (self.y + self.vy * tick) % HEIGHT


def way(a: tuple[float, float], b: tuple[float, float]) -> tuple[float, float]:
    """Returns the shortest way from one place to another, which may lead over the edge of the world."""
    dx = (b[0] - a[0] + WIDTH / 2) % WIDTH - WIDTH / 2
    dy = (b[1] - a[1] + HEIGHT / 2) % HEIGHT - HEIGHT / 2
    return dx, dy


def between(a: tuple[float, float], b: tuple[float, float], fraction: float) -> tuple[float, float]:
    """Returns a place on the way from one to another."""
    dx, dy = way(a, b)
    return (a[0] + dx * fraction) % WIDTH, (a[1] + dy * fraction) % HEIGHT


def distance(a: tuple[float, float], b: tuple[float, float]) -> float:
    """Returns how far it is from one place to another."""
    return math.hypot(*way(a, b))


def closest(
    a: tuple[float, float], a_next: tuple[float, float], b: tuple[float, float], b_next: tuple[float, float]
) -> float:
    """Returns how close two things come to each other while both fly on by a tick: fast ones do not jump through."""
    (x, y), (x_next, y_next) = way(a, b), way(a_next, b_next)
    dx, dy = x_next - x, y_next - y
    length = dx * dx + dy * dy
    fraction = 0.0 if length == 0 else min(1.0, max(0.0, -(x * dx + y * dy) / length))
    return math.hypot(x + dx * fraction, y + dy * fraction)


def steer(me: Ship, others: list[Ship], comets: list[Comet], tick: int) -> int:
    """Returns the keys that the computer presses: away from the nearest comet, or else after the nearest ship."""
    here, keys = (me.x, me.y), 0
    comet = min(comets, key=lambda comet: distance(here, comet.place(tick + 12)))
    threat = distance(here, comet.place(tick + 12))
    targets = [ship for ship in others if not ship.dead and ship.id != me.id]
    target = min(targets, key=lambda ship: distance(here, (ship.x, ship.y)), default=None)
    if threat < 150:
        dx, dy = way(comet.place(tick + 12), here)
    elif target:
        dx, dy = way(here, (target.x, target.y))
        flight = math.hypot(dx, dy) / SHOT_SPEED  # ticks that a shot would take to get there
        dx, dy = dx + (target.vx - me.vx) * flight, dy + (target.vy - me.vy) * flight
    else:
        dx, dy = DIRECTIONS[(tick // 4 + me.id * 40) % TURNS]
    turn = (round(math.atan2(dy, dx) * TURNS / math.tau) - me.angle + TURNS // 2) % TURNS - TURNS // 2
    if abs(turn) >= TURN_RATE:
        keys |= RIGHT if turn > 0 else LEFT
    far = math.hypot(dx, dy)
    is_bold = (tick // 40 + me.id * 7) % 5 < 3  # nobody presses on all the time
    if abs(turn) < 16 and (threat < 150 or (far > 170 and is_bold) or not target):
        keys |= THRUST
    if target and threat >= 150 and abs(turn) < 5 and far < 430 and is_bold:
        keys |= FIRE
    return keys
