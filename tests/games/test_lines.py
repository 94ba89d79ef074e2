# ruff: noqa: D103 (the names of tests are their sentences)
"""Dots and boxes: the rules, and what becomes of a table when lines go dead, people come late, or somebody cheats."""

import os
import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pygame
import pytest
from relay import Cable

import netplay as net
from netplay.examples._lines_rules import FREE, HALF, SIDES, SIZE, Illegal, Table, choose_line
from netplay.examples._lines_window import HEIGHT, WIDTH, Window, line_at, start_of
from netplay.examples.lines import VERSION, Guest, Server

ENV = {**os.environ, "SDL_VIDEODRIVER": "dummy", "SDL_AUDIODRIVER": "dummy", "PYTHONUNBUFFERED": "1"}


def playing(*names: str) -> Table:
    """A table at which these have begun."""
    return Table(phase="playing", names=list(names))


def test_the_fourth_side_of_a_box_is_its_owner_and_another_turn() -> None:
    table = playing("Ada", "Bob")
    above, below, left, right = SIDES[7]
    for seat, line in ((0, above), (1, below), (0, left)):
        table.draw(seat, line)
    assert table.turn == 1
    table.draw(1, right)
    assert (table.boxes[7], table.turn, table.score(1)) == (1, 1, 1)


@pytest.mark.parametrize(
    ("seat", "line", "reason"),
    [
        (FREE, 5, "you are watching"),
        (1, 5, "it is Ada's turn"),
        (0, 60, "no such line"),
        (0, -1, "no such line"),
        (0, True, "no such line"),
        (0, 3.0, "no such line"),
        (0, {"line": 1}, "no such line"),
        (0, 0, "drawn already"),
    ],
)
def test_an_illegal_move_has_its_reason_and_changes_nothing(seat: int, line: object, reason: str) -> None:
    table = playing("Ada", "Bob")
    table.lines[0] = 1
    before = repr(table)
    with pytest.raises(Illegal, match=reason):
        table.draw(seat, line)
    assert repr(table) == before


def test_nobody_draws_before_or_after_the_game() -> None:
    for phase, reason in (("gathering", "not begun"), ("over", "is over")):
        with pytest.raises(Illegal, match=reason):
            Table(phase=phase, names=["Ada", "Bob"]).draw(0, 1)
    with pytest.raises(Illegal, match="takes two"):
        Table(names=["Ada"]).begin(0)
    with pytest.raises(Illegal, match="begun already"):
        playing("Ada", "Bob").begin(0)


@pytest.mark.parametrize("players", [2, 3, 4])
@pytest.mark.parametrize("seed", range(5))
def test_every_game_ends_with_every_box_owned(players: int, seed: int) -> None:
    table, dice, moves = playing(*"abcd"[:players]), random.Random(seed), 0
    while table.phase == "playing":
        table.draw(table.turn, choose_line(table, dice))
        moves += 1
    assert moves == 2 * HALF
    assert sum(map(table.score, range(players))) == SIZE * SIZE
    assert table.winners()


def test_whoever_leaves_is_passed_over_and_the_last_one_wins() -> None:
    table = playing("Ada", "Bob", "Cleo")
    table.draw(0, 0)
    table.leave(1)
    assert table.turn == 2
    table.draw(2, 1)
    assert table.turn == 0
    table.leave(2)
    assert (table.phase, table.winners()) == ("over", [0])


class Play:
    """A server and its guests, each with a network of its own."""

    def __init__(self) -> None:
        self.server = Server("Host", "play://127.0.0.1:0")
        self.guests: list[Guest] = []
        self.networks: list[net.Network] = []

    def join(self, name: str, url: str = "") -> Guest:
        """Lets somebody in, and waits until they know the table."""
        network = net.Network()
        guest = Guest(network.connect(url or self.server.address, name=name, version=VERSION), name, 7)
        self.guests.append(guest)
        self.networks.append(network)
        self.until(lambda: guest.state == "here" and guest.table.phase == self.server.table.phase and guest.table.names)
        return guest

    def until(self, is_done: Callable[[], object], seconds: float = 20) -> None:
        """Plays on until something is the case."""
        deadline = time.monotonic() + seconds
        while not is_done():
            assert time.monotonic() < deadline, f"{self.server.table}, {[vars(guest) for guest in self.guests]}"
            self.server.update()
            for network, guest in zip(self.networks, self.guests, strict=True):
                for event in network.get(0.002):
                    guest.handle(event)

    def agree(self) -> bool:
        """Whether all who are here know the table as it is."""
        return all(vars(guest.table) == vars(self.server.table) for guest in self.guests if guest.state == "here")


@pytest.fixture
def table() -> Iterator[Play]:
    play = Play()
    yield play
    for network in [play.server.network, *play.networks]:
        network._close_within(0.0)


def test_an_illegal_wish_gets_its_reason_and_nobody_else_hears_of_it(table: Play) -> None:
    ada, bob = table.join("Ada"), table.join("Bob")
    bob.wish(5)
    table.until(lambda: bob.no)
    assert bob.no == "the game has not begun"
    ada.wish("begin")
    table.until(lambda: ada.table.phase == bob.table.phase == "playing")
    for wish in (5, "5", None, b"", [1, 2], {"a": 1}, 10**12):
        bob.no = ""
        bob.wish(wish)  # type: ignore[arg-type]
        table.until(lambda: bob.no)
        assert bob.no == "not yet: it is Ada's turn"
    assert (ada.no, ada.table.lines.count(FREE)) == ("", 2 * HALF)


def test_a_late_spectator_sees_the_whole_table_and_may_play_the_next_game(table: Play) -> None:
    ada, bob = table.join("Ada"), table.join("Bob")
    ada.wish("begin")
    table.until(lambda: ada.table.phase == "playing")
    for _ in range(20):
        for guest in (ada, bob):
            guest.autoplay()
        table.until(lambda: table.agree() and not ada.is_waiting and not bob.is_waiting)
    cleo = table.join("Cleo")
    assert (cleo.you, ada.table.lines.count(FREE)) == (FREE, 2 * HALF - 20)
    assert vars(cleo.table) == vars(table.server.table)
    table.until(lambda: ada.watching == 1)
    cleo.wish(choose_line(cleo.table, cleo.dice))
    table.until(lambda: cleo.no)
    assert "you are watching" in cleo.no
    while ada.table.phase == "playing":
        for guest in (ada, bob):
            guest.autoplay()
        table.until(lambda: table.agree() and not ada.is_waiting and not bob.is_waiting)
    bob.wish("begin")
    # Each hears of the new game by itself.
    table.until(lambda: cleo.table.phase == ada.table.phase == "playing" and table.agree())
    assert (cleo.table.names, cleo.you, ada.you) == (["Bob", "Ada", "Cleo"], 2, 1), "who sat second begins"


def test_a_pulled_cable_keeps_the_seat_and_all_see_the_countdown(table: Play) -> None:
    cable = Cable(table.server.address)
    try:
        ada, bob = table.join("Ada"), table.join("Bob", cable.url)
        ada.wish("begin")
        table.until(lambda: bob.table.phase == "playing")
        cable.is_pulled = True
        ada.wish(0)
        table.until(lambda: ada.away[1] > 0, 30)
        assert 1 < ada.away[1] - time.monotonic() < 120
        assert (ada.table.left, ada.table.turn) == ([], 1), "everybody waits for Bob"
        table.until(lambda: bob.state == "lost", 30)
        assert "calling again" in bob.words[0]
        cable.is_pulled = False
        table.until(lambda: bob.state == "here" and ada.away == [0.0, 0.0] and bob.table.lines[0] == 0, 30)
        assert (bob.words, bob.you) == (("", ""), 1)
        bob.wish(1)
        table.until(lambda: ada.table.lines[1] == 1)
    finally:
        cable.close()


def test_a_game_that_is_killed_and_started_again_finds_its_seat_and_the_table_as_it_stands(
    table: Play, tmp_path: Path
) -> None:
    command = [sys.executable, "-m", "netplay.examples.lines", table.server.address, "--name", "Bob"]
    env = {**ENV, "NETPLAY_DATA_DIR": str(tmp_path)}
    ada = table.join("Ada")
    program = subprocess.Popen([*command, "--headless", "--autoplay"], env=env)
    try:
        table.until(
            lambda: ada.table.phase == "playing"
        )  # Bob, whom the computer plays, begins as soon as there are two
        assert ada.table.names == ["Ada", "Bob"]
        ada.wish(0)
        table.until(lambda: ada.table.turn == 0 and 1 in ada.table.lines)
        program.kill()
        program.wait()
        drawn = [line for line, seat in enumerate(ada.table.lines) if seat != FREE]
        ada.wish(next(line for line in range(HALF) if line not in drawn))
        table.until(lambda: ada.away[1] > 0, 30)
        assert ada.away[1] - time.monotonic() > 5
        assert (ada.table.left, ada.table.turn) == ([], 1), "everybody waits for Bob"
        program = subprocess.Popen([*command, "--headless", "--autoplay"], env=env)
        table.until(lambda: ada.away == [0.0, 0.0], 30)
        table.until(lambda: ada.table.turn == 0)  # he has drawn, on his seat
        assert len([seat for seat in ada.table.lines if seat == 1]) == 2
        assert (ada.table.names, ada.watching) == (["Ada", "Bob"], 0)
    finally:
        program.kill()
        program.wait()


def test_who_says_goodbye_gives_the_seat_up(table: Play) -> None:
    ada, bob, cleo = (table.join(name) for name in ("Ada", "Bob", "Cleo"))
    bob.server.close("changed my mind")
    table.until(lambda: ada.table.names == ["Ada", "Cleo"])
    ada.wish("begin")
    table.until(lambda: cleo.table.phase == "playing")
    cleo.server.close()
    table.until(lambda: ada.table.phase == "over")
    assert ada.table.winners() == [0]


def rehearse(*options: str) -> str:
    """Runs `lines` alone and without a screen, to its end, and returns what it printed."""
    command = [sys.executable, "-m", "netplay.examples.lines", "--headless", "--autoplay", *options]
    done = subprocess.run(command, env=ENV, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()[-1]


def test_600_ticks_are_the_same_everywhere_and_every_time() -> None:
    first = rehearse("--seed", "7", "--bots", "3")
    assert first.startswith("600 ticks, ")
    assert first.endswith("the same on the server and 4 clients")
    assert rehearse("--seed", "7", "--bots", "3") == first
    assert rehearse("--seed", "8", "--bots", "3") != first


def test_over_a_bad_network_it_is_the_same_game(table: Play) -> None:
    ada = table.join("Ada", table.server.address + "?lag_ms=5&jitter_ms=5&loss_pct=10&dup_pct=5&seed=3")
    bob = table.join("Bob")
    ada.wish("begin")
    seen: list[str] = []
    expected, dice = playing("Ada", "Bob"), [random.Random("7 Ada"), random.Random("7 Bob")]
    table.until(lambda: table.agree() and ada.table.phase == "playing")
    while ada.table.phase == "playing":
        for guest in (ada, bob):
            guest.autoplay()
        table.until(lambda: table.agree() and not ada.is_waiting and not bob.is_waiting)
        expected.draw(expected.turn, choose_line(expected, dice[expected.turn]))
        assert vars(expected) == vars(bob.table)
        seen.append(repr(bob.table))
    assert len(set(seen)) == 2 * HALF


def test_every_line_can_be_clicked_and_the_gaps_between_cannot() -> None:
    for line in range(2 * HALF):
        x, y = start_of(line)
        assert line_at((x + 46, y + 9) if line < HALF else (x - 9, y + 46)) == line
        assert line_at((x, y)) == FREE
    assert line_at((WIDTH - 5, 5)) == FREE


def test_a_click_is_a_wish_and_the_window_shows_the_answer(table: Play) -> None:
    os.environ["SDL_VIDEODRIVER"] = "dummy"
    pygame.init()
    screen = pygame.display.set_mode((WIDTH, HEIGHT))
    ada, bob = table.join("Ada"), table.join("Bob")
    window = Window(screen, ada)
    window.draw()
    window.handle(pygame.event.Event(pygame.KEYDOWN, key=pygame.K_SPACE))
    table.until(lambda: ada.table.phase == "playing")
    window.handle(pygame.event.Event(pygame.MOUSEBUTTONDOWN, button=1, pos=(start_of(3)[0] + 46, start_of(3)[1])))
    table.until(lambda: bob.table.lines[3] == 0)
    window.handle(pygame.event.Event(pygame.MOUSEBUTTONDOWN, button=1, pos=(start_of(4)[0] + 46, start_of(4)[1])))
    table.until(lambda: ada.no)
    window.draw()
    bob.server.close()
    table.until(lambda: ada.table.phase == "over")
    window.draw()
    pygame.display.quit()
