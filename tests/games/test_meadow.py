# ruff: noqa: D103 (the names of tests are their sentences)
"""The meadow: many real clients, each told what is near and new, and nobody who sends nonsense harms the others."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pygame
import pytest

from netplay.examples._crowd import place
from netplay.examples._meadow_server import BUDGET, CELL, CHANNEL_STEER, FLOWERS, SPEED, STEER, TICKS, Server
from netplay.examples._meadow_window import HEIGHT, WIDTH, Window
from netplay.examples.meadow import Flock, Guest, Player

ENV = {**os.environ, "SDL_VIDEODRIVER": "dummy", "SDL_AUDIODRIVER": "dummy", "PYTHONUNBUFFERED": "1"}


class Play:
    """A server and a flock, over real sockets in this process."""

    def __init__(self, size: int = 4, budget: int = BUDGET) -> None:
        self.server = Server("Host", "play://127.0.0.1:0", size=size, seed=7, budget=budget)
        self.flocks: list[Flock] = []

    def flock(self, count: int, options: str = "", kind: type[Guest] = Guest) -> Flock:
        """Lets so many join."""
        flock = Flock(self.server.address + options, 0, 7, kind=kind)
        self.flocks.append(flock)
        for number in range(count):
            flock.join(f"bot {number}")
            if number % 10 == 9:
                self.run(0.02)
        self.until(lambda: all(guest.you >= 0 and guest.hearer.view for guest in flock.order))
        return flock

    def run(self, seconds: float) -> None:
        """Plays for so long."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.server.update()
            for flock in self.flocks:
                flock.update()
            time.sleep(0.001)

    def until(self, is_done: Callable[[], object], seconds: float = 30) -> None:
        """Plays on until something is the case."""
        deadline = time.monotonic() + seconds
        while not is_done():
            assert time.monotonic() < deadline, f"not within {seconds} s"
            self.run(0.02)


@pytest.fixture
def make() -> Iterator[Callable[..., Play]]:
    made: list[Play] = []

    def play(**options: int) -> Play:
        made.append(Play(**options))
        return made[-1]

    yield play
    for one in made:
        for network in [*(flock.network for flock in one.flocks), one.server.network]:
            network._close_within(0.0)


def test_120_real_clients_at_once_are_told_what_is_near_within_the_budget(make: Callable[..., Play]) -> None:
    sizes: list[int] = []

    class Weighed(Guest):
        def handle_picture(self, data: bytes) -> None:
            sizes.append(len(data))
            super().handle_picture(data)

    play = make(size=6)
    flock = play.flock(120, kind=Weighed)
    play.run(3)
    assert len(play.server.network.peers) == 120
    assert len({guest.you for guest in flock.order}) == 120
    assert max(sizes) <= BUDGET
    assert all(guest.news["players"] == 120 for guest in flock.order)
    everything, near, told = flock.order[0].news["bytes"]
    assert told < near / 2 < everything / 4, "deltas and interest must be worth it"
    assert sum(rabbit.flowers for rabbit in play.server.rabbits.values()) > 20
    for guest in flock.order:
        x, y, _ = place(guest.hearer.view[guest.you])
        for spot in guest.hearer.view.values():
            assert abs(place(spot)[0] // CELL - x // CELL) <= 1
            assert abs(place(spot)[1] // CELL - y // CELL) <= 1


@pytest.mark.parametrize("options", ["", "?lag_ms=40&jitter_ms=20&loss_pct=20&dup_pct=5&reorder_pct=5&seed=3"])
def test_every_picture_is_the_one_that_the_server_believes_to_have_told(
    make: Callable[..., Play], options: str
) -> None:
    play = make(budget=120)
    told: dict[tuple[int, int], dict[int, int]] = {}
    tell = play.server.tell

    def noted() -> None:
        tell()
        for rabbit in play.server.rabbits.values():
            told[rabbit.number, play.server.world.tick] = rabbit.teller.views[play.server.world.tick]

    play.server.tell = noted  # type: ignore[method-assign]
    seen: list[tuple[int, int]] = []

    class Compared(Guest):
        def handle_picture(self, data: bytes) -> None:
            super().handle_picture(data)
            if self.you >= 0:
                assert self.hearer.view == told[self.you, self.hearer.tick]
                seen.append((self.you, self.hearer.tick))

    play.flock(25, options, Compared)
    play.run(4)
    assert len(seen) > 25 * 4 * TICKS / 2


def test_nobody_runs_faster_by_wanting_more_and_nonsense_changes_nothing(make: Callable[..., Play]) -> None:
    play = make()
    flock = play.flock(2)
    cheat, other = flock.order
    flock.order = []  # from here on we steer
    peer = next(peer for peer, rabbit in play.server.rabbits.items() if rabbit.number == cheat.you)
    rabbit = play.server.rabbits[peer]
    rabbit.x = rabbit.y = 2.0 * CELL
    ticks = play.server.world.tick
    before = rabbit.x, rabbit.y
    for data in (b"", b"abc", "text", None, [1, 2], {"dx": 1}, bytes(500), STEER.pack(2**32 - 1, 127, 127)):
        cheat.server.send(data, CHANNEL_STEER)
        play.run(0.06)
    passed = play.server.world.tick - ticks
    far = abs(rabbit.x - before[0]) + abs(rabbit.y - before[1])
    assert 0 < far <= passed * SPEED * 1.42
    assert other.state == "here"
    assert peer.state == "connected"


def test_who_leaves_is_gone_for_everybody(make: Callable[..., Play]) -> None:
    play = make()
    flock = play.flock(3)
    gone, *rest = flock.order
    for rabbit in play.server.rabbits.values():
        rabbit.x = rabbit.y = 2.0 * CELL
    play.until(lambda: all(gone.you in guest.hearer.view for guest in rest))
    gone.server.close()
    play.until(lambda: not any(gone.you in guest.hearer.view for guest in rest))
    assert len(play.server.rabbits) == 2


def test_our_own_rabbit_walks_at_once_and_ends_where_the_server_says(make: Callable[..., Play]) -> None:
    play = make()
    flock = play.flock(1, "?lag_ms=100", Player)
    (me,) = flock.order
    assert isinstance(me, Player)
    flock.order = []
    me.move(0, 0, 0.01)
    right = 1.0 if me.me[0] < 2 * CELL else -1.0
    start = me.me
    for _ in range(30):
        me.steer(right, 0)
        me.move(right, 0, 1 / TICKS)
        play.run(1 / TICKS)
    walked = abs(me.me[0] - start[0])
    assert 0.6 * 30 * SPEED < walked <= 30 * SPEED + 1
    for _ in range(40):
        me.steer(0, 0)
        me.move(0, 0, 1 / TICKS)
        play.run(1 / TICKS)
    x, y, _ = place(me.hearer.view[me.you])
    assert abs(me.me[0] - x) + abs(me.me[1] - y) < 3


def test_600_ticks_are_the_same_everywhere_and_every_time() -> None:
    command = [sys.executable, "-m", "netplay.examples.meadow", "--headless", "--autoplay", "--bots", "30", "--seed"]
    printed = []
    for seed in ("7", "7", "8"):
        done = subprocess.run([*command, seed], env=ENV, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, done.stderr
        printed.append(done.stdout.splitlines()[-1])
    assert printed[0].startswith("600 ticks, ")
    assert printed[0].endswith("the same on the server and 30 clients")
    assert printed[0] == printed[1] != printed[2]


def test_a_server_and_a_flock_in_processes_of_their_own_and_a_window_beside_them(tmp_path: Path) -> None:
    game = [sys.executable, "-m", "netplay.examples.meadow"]
    server = subprocess.Popen(
        [*game, "--serve", "play://127.0.0.1:0", "--headless"], env=ENV, stdout=subprocess.PIPE, text=True
    )
    assert server.stdout
    try:
        url = next(line for line in server.stdout if line.startswith("serving ")).split()[1]
        flock = [*game, url, "--headless", "--bots", "50", "--seconds", "5"]
        picture = tmp_path / "meadow.png"
        window = [*game, url, "--headless", "--autoplay", "--seconds", "4", "--picture", str(picture)]
        programs = [subprocess.Popen(command, env=ENV) for command in (flock, window)]
        assert [program.wait(30) for program in programs] == [0, 0]
        image = pygame.image.load(picture)
        assert image.get_size() == (WIDTH, HEIGHT)
        assert len({tuple(image.get_at((x, y))) for x in range(0, WIDTH, 7) for y in range(0, HEIGHT, 7)}) > 30
    finally:
        server.terminate()
        server.wait(10)
        server.stdout.close()


def test_the_window_draws_what_a_player_knows_from_nothing_to_the_end(make: Callable[..., Play]) -> None:
    os.environ["SDL_VIDEODRIVER"] = "dummy"
    pygame.init()
    window = Window(pygame.display.set_mode((WIDTH, HEIGHT)))
    play = make()
    flock = Flock(play.server.address, kind=Player)
    play.flocks.append(flock)
    flock.join("Ada")
    (me,) = flock.order
    assert isinstance(me, Player)
    window.draw(me)
    play.until(lambda: me.hearer.view and me.news)
    for key in (pygame.K_g, pygame.K_TAB, pygame.K_TAB):
        window.handle(pygame.event.Event(pygame.KEYDOWN, key=key))
        me.move(0.5, 0.5, 0.1)
        window.draw(me)
    assert window.wanted(me) == (0.0, 0.0)
    assert me.you in me.scene()
    assert all(thing < FLOWERS or thing - FLOWERS < 1000 for thing in me.scene())
    play.server.network.close()
    flock.network.get(1.0)
    me.state, me.trouble = "gone", "goodbye"
    window.draw(me)
    pygame.display.quit()
