"""What travels in comets, and on which channel. Times are whole milliseconds on the sender's own clock."""

from dataclasses import dataclass
from typing import Annotated

import netplay as net
from netplay.examples._comets_rules import PLACE, SPEED, Ship

VERSION = "comets 1"  # those of another game or of another version are told so, and not let in
CHANNEL_KEYS = 1  # to the server, lossy, each tick: Keys
CHANNEL_STATE = 2  # from it, lossy, each tick: (tick, its time, the time in our last message, its time then, [ships])
CHANNEL_WELCOME = 3  # from it: (your number, the seed of this world)
CHANNEL_PEOPLE = 4  # from it: {number: name}
CHANNEL_SHOT = 5  # from it, when somebody fired: (owner, tick, x, y, vx, vy)
CHANNEL_HIT = 6  # from it: (victim, owner of the shot or -1 for a comet, tick of the shot, x, y)

KEYS_AT_ONCE = 8  # each message repeats the keys of the last ticks, so a lost one costs nothing


@net.message
@dataclass(frozen=True)
class Keys:
    """What a client says each tick. From somebody else's computer may come anything, so each field has bounds."""

    sent: Annotated[int, net.Limit(ge=0, lt=2**40)]  # its time
    late: Annotated[int, net.Limit(ge=0, lt=2**40)]  # how many hundredths of a tick ago it sees the others
    newest: Annotated[int, net.Limit(ge=0, lt=2**40)]  # the tick of the last keys
    keys: Annotated[bytes, net.Limit(max_length=KEYS_AT_ONCE)]  # the keys of the last ticks, a byte each


def pack(ship: Ship) -> tuple[int, ...]:
    """Returns a ship as whole numbers, which travel in few bytes and arrive as exactly the same."""
    x, y, vx, vy = round(ship.x * PLACE), round(ship.y * PLACE), round(ship.vx * SPEED), round(ship.vy * SPEED)
    wait = ship.wait * 2 + ship.is_thrusting
    return (ship.id, x, y, vx, vy, ship.angle, wait, ship.dead, ship.shield, ship.hits, ship.deaths)


def unpack(numbers: tuple[int, ...]) -> Ship:
    """Returns the ship of these numbers."""
    number, x, y, vx, vy, angle, wait, dead, shield, hits, deaths = numbers
    ship = Ship(number, x / PLACE, y / PLACE, vx / SPEED, vy / SPEED, angle)
    ship.wait, ship.is_thrusting = wait // 2, bool(wait % 2)
    ship.dead, ship.shield, ship.hits, ship.deaths = dead, shield, hits, deaths
    return ship
