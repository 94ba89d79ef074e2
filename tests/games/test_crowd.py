# ruff: noqa: D103 (the names of tests are their sentences)
"""What a player with a crowd around it is told: exact, near, new, and never more than the budget."""

import random
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from netplay.examples._crowd import HEAD, MOVED, NEW, Hearer, Spot, Teller, World, everything, far, place, spot_at

CELL = 100


def crowd(count: int, size: int, seed: int = 1) -> tuple[World, dict[int, Spot], random.Random]:
    """A world with so many things in a square of so many pixels."""
    dice, world = random.Random(seed), World(CELL)
    spots = {thing: spot_at(dice.randrange(size), dice.randrange(size), dice.randrange(256)) for thing in range(count)}
    for thing, spot in spots.items():
        world.put(thing, spot)
    return world, spots, dice


def walk(world: World, spots: dict[int, Spot], dice: random.Random, size: int) -> None:
    """Moves about half of all by a step."""
    for thing, spot in spots.items():
        if dice.random() < 0.5:
            x, y, look = place(spot)
            step = [dice.randrange(-5, 6) for _ in range(2)]
            spots[thing] = spot_at(min(max(x + step[0], 0), size - 1), min(max(y + step[1], 0), size - 1), look)
            world.put(thing, spots[thing])


def near(spots: dict[int, Spot], me: Spot) -> dict[int, Spot]:
    """The plain way to say who is near."""
    x, y, _ = place(me)
    return {
        thing: spot
        for thing, spot in spots.items()
        if abs(place(spot)[0] // CELL - x // CELL) <= 1 and abs(place(spot)[1] // CELL - y // CELL) <= 1
    }


def test_a_player_sees_what_is_near_and_nothing_else() -> None:
    world, spots, dice = crowd(300, 1000)
    teller, hearer = Teller(), Hearer()
    for _ in range(200):
        walk(world, spots, dice, 1000)
        world.end_tick()
        hearer.handle_snapshot(teller.snapshot(world, spots[7], 100_000))
        teller.handle_has(hearer.tick)
        assert hearer.view == near(spots, spots[7])


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10**6), loss=st.sampled_from([0.0, 0.1, 0.5, 0.9]), budget=st.sampled_from([30, 120, 400]))
def test_whatever_is_lost_on_the_way_the_picture_is_what_was_told(seed: int, loss: float, budget: int) -> None:
    world, spots, dice = crowd(120, 400, seed)
    teller, hearer = Teller(), Hearer()
    late: list[int] = []
    for _ in range(150):
        walk(world, spots, dice, 400)
        if dice.random() < 0.2:
            thing = dice.randrange(1, 200)
            if thing in spots:
                world.remove(thing)
                del spots[thing]
            else:
                spots[thing] = spot_at(dice.randrange(400), dice.randrange(400), dice.randrange(256))
                world.put(thing, spots[thing])
        world.end_tick()
        snapshot = teller.snapshot(world, spots[0], budget)
        assert len(snapshot) <= budget
        if dice.random() >= loss:
            hearer.handle_snapshot(snapshot)
            assert hearer.view == teller.views[hearer.tick]
        if dice.random() >= loss:
            late.append(hearer.tick)
        if len(late) > 3:
            teller.handle_has(late.pop(0))


def test_what_stands_still_costs_nothing_and_a_step_costs_four_bytes() -> None:
    world, spots, _ = crowd(20, CELL)
    teller = Teller()
    for _ in range(3):
        world.end_tick()
        snapshot = teller.snapshot(world, spots[0], 1000)
        teller.handle_has(world.tick)
    assert len(snapshot) == HEAD.size
    world.put(3, spots[3] + 1)
    world.end_tick()
    assert len(teller.snapshot(world, spots[0], 1000)) == HEAD.size + MOVED.size


def test_when_the_budget_is_too_small_the_nearest_come_first_and_the_rest_soon() -> None:
    world, _, _ = crowd(0, 0)
    for thing in range(250):
        world.put(thing, spot_at(thing, 0))
    teller, hearer = Teller(), Hearer()
    budget = HEAD.size + 50 * NEW.size
    for round_ in range(1, 5):
        world.end_tick()
        hearer.handle_snapshot(teller.snapshot(world, spot_at(0, 0), budget))
        teller.handle_has(hearer.tick)
        assert sorted(hearer.view) == list(range(min(50 * round_, 200))), "cells 0 and 1 end at 200"


def test_in_a_crowd_that_always_moves_nobody_is_ever_far_from_where_the_picture_says() -> None:
    world, spots, dice = crowd(200, CELL)
    teller, hearer = Teller(), Hearer()
    worst = 0
    for tick in range(600):
        walk(world, spots, dice, CELL)
        world.end_tick()
        hearer.handle_snapshot(teller.snapshot(world, spots[0], 200))
        teller.handle_has(hearer.tick)
        if tick > 60:
            worst = max(worst, *(far(hearer.view[thing], spot) for thing, spot in spots.items()))
    assert 0 < worst < 2 * CELL / 4 + 10, "though only half of the crowd fits into each snapshot"


def test_a_player_who_says_nothing_is_told_everything_anew_and_takes_no_more_memory() -> None:
    world, spots, dice = crowd(50, 200)
    teller, hearer = Teller(), Hearer()
    for _ in range(500):
        walk(world, spots, dice, 200)
        world.end_tick()
        snapshot = teller.snapshot(world, spots[0], 400)
        assert len(teller.views) < 100
    hearer.handle_snapshot(snapshot)
    teller.handle_has(hearer.tick)
    assert hearer.view == teller.views[hearer.tick]


def test_a_player_who_says_what_cannot_be_changes_nothing() -> None:
    world, spots, _ = crowd(50, 200)
    teller = Teller()
    world.end_tick()
    teller.snapshot(world, spots[0], 400)
    for tick in (-1, 0, 2, 10**9):
        teller.handle_has(tick)
    assert teller.has == 0
    teller.handle_has(1)
    teller.handle_has(0)
    assert teller.has == 1


def test_all_in_one_cell_with_the_same_picture_share_one_delta() -> None:
    world, spots, dice = crowd(100, CELL)
    tellers = [Teller() for _ in spots]
    for _ in range(3):
        walk(world, spots, dice, CELL)
        world.end_tick()
        for thing, teller in enumerate(tellers):
            teller.snapshot(world, spots[thing], 5000)
            teller.handle_has(world.tick)
    assert len(world.deltas) == 1


def test_bytes_that_are_no_snapshot_are_refused() -> None:
    hearer = Hearer()
    for data in (b"", b"abc", HEAD.pack(5, 1, 0, 0), HEAD.pack(5, 0, 0, 0) + b"abc"):
        with pytest.raises((struct.error, KeyError)):
            hearer.handle_snapshot(data)
    assert hearer.view == {}
    assert everything(1000) == 7007
