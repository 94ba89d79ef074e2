"""Who is near whom, and what of it is new: what a game with a crowd needs. It knows no network, no clock and no window.

A world of a thousand players does not fit into every player's line, twenty times a second. Three things make it fit:

* **Interest.** The world is cut into square cells. You are told of your own cell and the eight around it.
* **Deltas.** You are told how the picture you said you have becomes today's, and not all of today's. A picture that
  never arrived is no trouble: the next delta still begins at the one you do have.
* **A budget.** No snapshot is longer than so many bytes: the nearest first, and the rest waits for the next tick.

    a snapshot:  tick u32, how many ticks old the picture is that it begins at u8 (0: at nothing), gone u8, moved u8;
                 of each that is gone: its number u16; of each that has moved: number u16, dx i8, dy i8;
                 of each that is new or looks different, to the end: number u16, x u16, y u16, look u8

The idea is that of the network code of Quake 3. All who stand in one cell and have the same picture get the same bytes,
so most deltas are made once for many players: that is what lets Python serve a thousand.
"""

import struct
from typing import TypeAlias

Cell: TypeAlias = tuple[int, int]
Spot: TypeAlias = int  # x, y and a look (what that means is the game's business) in one number: see `spot_at`
View: TypeAlias = dict[int, Spot]  # a picture of a part of the world: the number of each thing, and its spot

HEAD = struct.Struct("<IBBB")
GONE, MOVED, NEW = struct.Struct("<H"), struct.Struct("<Hbb"), struct.Struct("<HHHB")
AROUND = [(x, y) for x in (-1, 0, 1) for y in (-1, 0, 1)]
MAX_VIEWS = 60  # pictures kept for a player who does not say what arrived; then all is told anew
UNSEEN = 50  # how far off, in pixels, your picture counts as being of what is not in it at all
NOTHING: View = {}


def spot_at(x: int, y: int, look: int = 0) -> Spot:
    """Returns a spot. As one number it takes a quarter of the memory of a tuple, which a thousand players feel."""
    return look << 32 | y << 16 | x


def place(spot: Spot) -> tuple[int, int, int]:
    """Returns the x, the y and the look of a spot."""
    return spot & 0xFFFF, spot >> 16 & 0xFFFF, spot >> 32


class World:
    """Where everything is, cell by cell."""

    def __init__(self, cell_size: int) -> None:
        self.cell_size = cell_size
        self.tick = 0
        self.cells: dict[Cell, View] = {}
        self.where: dict[int, Cell] = {}  # in which cell each thing is
        self.areas: dict[Cell, View] = {}  # what was asked for since the tick ended: it is made once for all who ask
        self.deltas: dict[tuple[int, int], Delta] = {}

    def cell_of(self, spot: Spot) -> Cell:
        """Returns the cell in which a spot lies."""
        return (spot & 0xFFFF) // self.cell_size, (spot >> 16 & 0xFFFF) // self.cell_size

    def put(self, thing: int, spot: Spot) -> None:
        """Puts a thing somewhere, or moves it there."""
        cell = self.cell_of(spot)
        before = self.where.get(thing)
        if before != cell:
            if before is not None:
                del self.cells[before][thing]
            self.where[thing] = cell
        self.cells.setdefault(cell, {})[thing] = spot

    def remove(self, thing: int) -> None:
        """Takes a thing out of the world."""
        del self.cells[self.where.pop(thing)][thing]

    def end_tick(self) -> None:
        """Says that all have moved: where they are now is what everybody is told of until the next tick ends."""
        self.tick += 1
        self.areas.clear()
        self.deltas.clear()

    def area(self, cell: Cell) -> View:
        """Returns what there is in a cell and the eight around it. Nobody may change it."""
        found = self.areas.get(cell)
        if found is None:
            found = self.areas[cell] = {}
            for dx, dy in AROUND:
                found.update(self.cells.get((cell[0] + dx, cell[1] + dy), NOTHING))
        return found

    def delta(self, old: View, new: View) -> "Delta":
        """Returns how one picture becomes another."""
        key = (id(old), id(new))  # the delta keeps both alive, so no other picture gets their numbers meanwhile
        found = self.deltas.get(key)
        if found is None:
            found = self.deltas[key] = Delta(old, new)
        return found


class Delta:
    """How one picture becomes another: three lists of things, and their bytes."""

    def __init__(self, old: View, new: View) -> None:
        self.old, self.new = old, new
        self.gone = [thing for thing in old if thing not in new]
        self.moved: list[int] = []
        self.fresh: list[int] = []
        for thing, spot in new.items():
            before = old.get(thing)
            if before is None:
                self.fresh.append(thing)
            elif before != spot:
                dx, dy = (spot & 0xFFFF) - (before & 0xFFFF), (spot >> 16 & 0xFFFF) - (before >> 16 & 0xFFFF)
                is_step = -128 <= dx < 128 and -128 <= dy < 128 and spot >> 32 == before >> 32
                (self.moved if is_step else self.fresh).append(thing)
        self.size = len(self.gone) * GONE.size + len(self.moved) * MOVED.size + len(self.fresh) * NEW.size
        self.packed = b""  # made when somebody has room for all of it

    def whole(self) -> bytes:
        """Returns all of it as bytes, beginning with how many are gone and have moved."""
        if not self.packed:
            self.packed = self.pack(self.gone, self.moved, self.fresh)
        return self.packed

    def part(self, around: Spot, budget: int) -> tuple[bytes, View]:
        """Returns what matters most at a place and fits into so many bytes, and the picture that this makes."""
        gone = self.gone[: budget // 4 // GONE.size]  # those first: nobody likes to meet a ghost
        left = budget - len(gone) * GONE.size
        view = dict(self.old)
        for thing in gone:
            del view[thing]

        def distance(thing: int) -> int:
            spot = self.new[thing]
            # How far off your picture of it is counts for it, so that nobody waits forever.
            return far(spot, around) - 4 * (far(spot, self.old[thing]) if thing in self.old else UNSEEN)

        steps = set(self.moved)
        moved: list[int] = []
        fresh: list[int] = []
        for thing in sorted(self.moved + self.fresh, key=distance):
            is_step = thing in steps
            left -= MOVED.size if is_step else NEW.size
            if left < 0:
                break
            (moved if is_step else fresh).append(thing)
            view[thing] = self.new[thing]
        return self.pack(gone, moved, fresh), view

    def pack(self, gone: list[int], moved: list[int], fresh: list[int]) -> bytes:
        """Returns some of it as bytes."""
        old, new = self.old, self.new
        parts = [bytes((len(gone), len(moved))), *map(GONE.pack, gone)]
        for thing in moved:
            (x, y, _), (old_x, old_y, _) = place(new[thing]), place(old[thing])
            parts.append(MOVED.pack(thing, x - old_x, y - old_y))
        for thing in fresh:
            parts.append(NEW.pack(thing, *place(new[thing])))
        return b"".join(parts)


def far(one: Spot, other: Spot) -> int:
    """Returns how far it is from one spot to another, along the streets of a chess board."""
    (x, y, _), (other_x, other_y, _) = place(one), place(other)
    return abs(x - other_x) + abs(y - other_y)


class Teller:
    """The server's side of one player: what it was told, and what of that it said it has."""

    def __init__(self) -> None:
        self.views: dict[int, View] = {0: NOTHING}  # after which tick it saw what, from the picture it has onwards
        self.has = 0  # the tick of the newest picture it said it has

    def handle_has(self, tick: int) -> None:
        """Takes note of what the player said it has. A number that was never told is no news."""
        if tick > self.has and tick in self.views:
            self.has = tick
            for older in [told for told in self.views if told < tick]:
                del self.views[older]

    def snapshot(self, world: World, spot: Spot, budget: int) -> bytes:
        """Returns what to tell the player now, who stands at a spot; never more than `budget` bytes."""
        if len(self.views) > MAX_VIEWS:
            self.views, self.has = {0: NOTHING}, 0
        view = world.area(world.cell_of(spot))
        delta = world.delta(self.views[self.has], view)
        room = min(budget - HEAD.size, 255 * GONE.size)  # the numbers in front are bytes
        if delta.size <= room:
            body = delta.whole()
        else:
            body, view = delta.part(spot, room)
        self.views[world.tick] = view
        return HEAD.pack(world.tick, world.tick - self.has if self.has else 0, body[0], body[1]) + body[2:]


class Hearer:
    """The player's side: what it was told. `handle_snapshot` must be given each snapshot at most once, in order."""

    def __init__(self) -> None:
        self.views: dict[int, View] = {0: NOTHING}
        self.base = 0  # of the oldest picture, but for the one with nothing
        self.tick = 0  # of the newest picture: what to tell the server that we have

    @property
    def view(self) -> View:
        """The newest picture."""
        return self.views[self.tick]

    def handle_snapshot(self, data: bytes) -> None:
        """Makes the next picture of what the server tells.

        Raises:
            KeyError: The server began at a picture that we do not have.
            struct.error: It is no snapshot.
        """
        tick, age, gone, moved = HEAD.unpack_from(data)
        base = tick - age if age else 0
        view = dict(self.views[base])
        body, steps = HEAD.size, HEAD.size + gone * GONE.size
        rest = steps + moved * MOVED.size
        for (thing,) in GONE.iter_unpack(data[body:steps]):
            del view[thing]
        for thing, dx, dy in MOVED.iter_unpack(data[steps:rest]):
            view[thing] += (dy << 16) + dx
        for thing, x, y, look in NEW.iter_unpack(data[rest:]):
            view[thing] = spot_at(x, y, look)
        # The server never again begins at a picture older than this one's beginning; at nothing it may begin any time.
        if base > self.base:
            self.base = base
            self.views = {old: picture for old, picture in self.views.items() if old >= base or old == 0}
        self.views[tick] = view
        self.tick = tick


def everything(count: int) -> int:
    """Returns how many bytes it would take to tell of so many things without interest, deltas and a budget."""
    return HEAD.size + count * NEW.size
