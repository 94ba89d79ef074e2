"""Values and typed messages beside pickle and json: encode, decode and size. Knows no network.

`python bench/codec.py` prints the table and puts it into docs/benchmarks.md; `make bench` has it made too.
Every round measures everybody, one after the other; the numbers are the least of all rounds, as of `timeit`.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import pickle
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Final

import msgspec

import netplay as net
from netplay import _codec, _core, _kinds, _messages

__all__ = ["HEADING", "section"]

PAGE: Final = Path(__file__).parents[1] / "docs" / "benchmarks.md"
HEADING: Final = "## Values, beside pickle and json"
ENTITIES: Final = 200

TEXT: Final = """\
{heading}

{table}

Made by `python bench/codec.py`: the least of {rounds} rounds, µs for one.
*action* is a player's move, *snapshot* is {entities} entities of six fields.
pickle is protocol 5. json gets dicts that are made already, and gives dicts; so does netplay in the rows *plain dict*.
In the other rows pickle gets the same objects as netplay, which checks each field on both sides.
json knows no objects, so it is measured with the dicts there too.
*compact* is a class whose fields are `net.Float(0, 800, step=0.1)`, `net.Int(0, 100)` and the like.
What netplay's encoding and decoding include: measuring against the limits, and the bounds of each field.
Of a list of dicts netplay writes each key once, as pickle does; a typed message writes none.
"""


@dataclasses.dataclass
class Action:
    """A player's move."""

    tick: int
    x: float
    y: float
    angle: float
    fire: bool


@dataclasses.dataclass
class Entity:
    """What a snapshot has 200 of."""

    id: int
    x: float
    y: float
    angle: float
    hp: int
    alive: bool


@dataclasses.dataclass
class Snapshot:
    """The state of a game."""

    tick: int
    entities: list[Entity]


class EntityStruct(msgspec.Struct):
    """The same as a Struct."""

    id: int
    x: float
    y: float
    angle: float
    hp: int
    alive: bool


class SnapshotStruct(msgspec.Struct):
    """The same as a Struct."""

    tick: int
    entities: list[EntityStruct]


Coordinate = Annotated[float, net.Float(0, 800, step=0.1)]
Direction = Annotated[float, net.Angle()]


@dataclasses.dataclass
class CompactAction:
    """The same in bits."""

    tick: Annotated[int, net.Int(0, 2**32 - 1)]
    x: Coordinate
    y: Coordinate
    angle: Direction
    fire: bool


@dataclasses.dataclass
class CompactEntity:
    """The same in bits."""

    id: Annotated[int, net.Int(0, 1023)]
    x: Coordinate
    y: Coordinate
    angle: Direction
    hp: Annotated[int, net.Int(0, 100)]
    alive: bool


@dataclasses.dataclass
class CompactSnapshot:
    """The same in bits."""

    tick: int
    entities: list[CompactEntity]


for _name, _class in (
    ("Action", Action),
    ("Entity", Entity),
    ("Snap", Snapshot),
    ("EntityS", EntityStruct),
    ("SnapS", SnapshotStruct),
    ("ActionC", CompactAction),
    ("EntityC", CompactEntity),
    ("SnapC", CompactSnapshot),
):
    net.message(name=_name)(_class)


class Receiver:
    """Stands for a peer, which measures what it sent."""

    def _measure(self, data: bytes) -> int:
        return _core._measure(data)


RECEIVER: Final[Any] = Receiver()


def _encode_typed(value: object) -> bytes:
    return _kinds.packers[type(value)](value)[1]


def _decode_typed(data: bytes) -> object:
    return _messages._unpack(data, RECEIVER)


def _encode_plain(value: object) -> bytes:
    return _core._fold(_codec.encode(value))


def _decode_plain(data: bytes) -> object:
    _core._measure(data)
    return _codec.decode(data)


def _pickle(value: object) -> bytes:
    return pickle.dumps(value, 5)


def _json(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


Codec = tuple[Callable[[Any], bytes], Callable[[bytes], Any]]
TYPED: Final[Codec] = (_encode_typed, _decode_typed)
PLAIN: Final[Codec] = (_encode_plain, _decode_plain)
PICKLE: Final[Codec] = (_pickle, pickle.loads)
JSON: Final[Codec] = (_json, json.loads)


def _rows() -> list[tuple[str, Any, Codec, Any]]:
    """Returns what is measured: a name, the value, netplay's way, and what json gets."""
    action = Action(123456, 400.3, 299.9, 271.5, True)
    action_dict = dataclasses.asdict(action)
    numbers = [(i, i * 3.7 % 800, i * 2.3 % 600, i * 1.8 % 360, i % 101, i % 7 != 0) for i in range(ENTITIES)]
    snapshot = Snapshot(123456, [Entity(*each) for each in numbers])
    snapshot_dict = dataclasses.asdict(snapshot)
    return [
        ("action, plain dict", action_dict, PLAIN, action_dict),
        ("action, dataclass", action, TYPED, action_dict),
        ("action, compact", CompactAction(**action_dict), TYPED, action_dict),
        ("snapshot, plain dict", snapshot_dict, PLAIN, snapshot_dict),
        ("snapshot, dataclass", snapshot, TYPED, snapshot_dict),
        ("snapshot, Struct", SnapshotStruct(123456, [EntityStruct(*each) for each in numbers]), TYPED, snapshot_dict),
        (
            "snapshot, compact",
            CompactSnapshot(123456, [CompactEntity(*each) for each in numbers]),
            TYPED,
            snapshot_dict,
        ),
    ]


def _measure(codec: Codec, value: Any, times: int) -> tuple[float, float, int]:
    """Returns the µs to encode and to decode, and the bytes."""
    encode, decode = codec
    data = encode(value)
    start = time.perf_counter()
    for _ in range(times):
        encode(value)
    middle = time.perf_counter()
    for _ in range(times):
        decode(data)
    end = time.perf_counter()
    return (middle - start) / times * 1e6, (end - middle) / times * 1e6, len(data)


def section(rounds: int) -> str:
    """Measures everything, and returns the section of the page."""
    head = ["", *(f"{who}: {what}" for who in ("netplay", "pickle", "json") for what in ("µs", "bytes"))]
    lines = [head, ["-", *["-:"] * 6]]
    for name, value, codec, for_json in _rows():
        times = 1000 if name.startswith("action") else 20
        found: list[list[tuple[float, float, int]]] = [[], [], []]
        for _ in range(rounds):
            for kept, (each, given) in zip(found, ((codec, value), (PICKLE, value), (JSON, for_json)), strict=True):
                kept.append(_measure(each, given, times))
        line = [name]
        for kept in found:
            encode, decode = min(one[0] for one in kept), min(one[1] for one in kept)
            line += [f"{encode:.1f} + {decode:.1f}", f"{kept[0][2]:,}"]
        lines.append(line)
    table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    return TEXT.format(heading=HEADING, table=table, rounds=rounds, entities=ENTITIES)


def main() -> None:
    """Prints the section and writes it into the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--only-print", action="store_true", help="leaves the page as it is")
    options = parser.parse_args()
    made = section(options.rounds)
    print(made)
    if options.only_print:
        return
    text = PAGE.read_text(encoding="utf-8")
    before, found, behind = text.partition(HEADING)
    next_heading = behind.find("\n## ")
    rest = behind[next_heading + 1 :] if found and next_heading >= 0 else ""
    PAGE.write_text(before.rstrip() + "\n\n" + made + ("\n" + rest if rest else ""), encoding="utf-8")


if __name__ == "__main__":
    main()
