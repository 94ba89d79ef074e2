# ruff: noqa: D103 (the names of tests are their sentences)
"""The gamepad as players start it, and the twelve lines of the README, under SDL's dummy driver."""

import os
import random
import subprocess
import sys
from pathlib import Path

import pygame
from test_examples import ENV, Running, free_port, run, wait_until_somebody_listens

from netplay.examples import gamepad

ROOT = Path(__file__).parents[2]
GAMEPAD = [sys.executable, "-m", "netplay.examples.gamepad"]


def test_a_pad_flies_on_the_screen_of_another_and_hears_of_its_stars(tmp_path: Path) -> None:
    pictures = [tmp_path / "screen.png", tmp_path / "pad.png"]
    url = f"play://127.0.0.1:{free_port()}"
    with Running([*GAMEPAD, "--serve", url, "--headless", "--seed", "3", "--picture", str(pictures[0])]) as screen:
        assert screen.wait_for("serving") == f"serving {url}"
        pad = [*GAMEPAD, url + "?lag_ms=30&loss_pct=5&seed=7", "--name", "Ada", "--headless", "--autoplay"]
        with Running([*pad, "--seed", "1", "--picture", str(pictures[1])]) as ada:
            assert screen.wait_for("flies") == "Ada flies"
            assert ada.wait_for("star") == "star 1"
            assert screen.wait_for("caught") == "Ada has caught 1"
        assert screen.wait_for("left") == "Ada left"
    sizes = [pygame.image.load(picture).get_size() for picture in pictures]
    assert sizes == [gamepad.SCREEN_SIZE, gamepad.PAD_SIZE]


def test_the_screen_is_a_game_for_one_too() -> None:
    url = f"play://127.0.0.1:{free_port()}"
    result = run("netplay.examples.gamepad", "--serve", url, "--headless", "--autoplay", "--seconds", "2")
    assert result.returncode == 0, result.stderr
    assert "Host flies" in result.stdout


def test_a_pad_whose_screen_is_not_there_says_so_and_goes_on() -> None:
    url = f"play://127.0.0.1:{free_port()}"
    with Running([*GAMEPAD, url, "--headless", "--autoplay"]) as pad:
        assert pad.wait_for("not connected") == "not connected: no answer"
        assert pad.process.poll() is None


def test_the_keys_of_a_screen_move_its_own_ship() -> None:
    os.environ["SDL_VIDEODRIVER"] = "dummy"
    pygame.display.init()
    ship = gamepad.Ship("Ada", gamepad.COLORS[0], random.Random(1))
    ship.position.update(320, 240)
    ship.handle(pygame.event.Event(pygame.KEYDOWN, key=pygame.K_d))
    for _ in range(10):
        ship.move(1 / 60)
    x, y = ship.position
    assert (x > 325, y) == (True, 240)
    ship.handle(pygame.event.Event(pygame.KEYUP, key=pygame.K_d))
    ship.handle(pygame.event.Event(pygame.KEYDOWN, key=pygame.K_F1))
    assert ship.held == set()
    for _ in range(600):
        ship.move(1 / 60)
    assert ship.speed.length() < 1
    assert 0 <= ship.position.x < gamepad.WIDTH
    pygame.display.quit()


# What a keyboard is in a test: a thread that waits for the window and presses some keys.
KEYBOARD = """
import threading, time
import pygame

def press():
    while not (pygame.display.get_init() and "ship" in globals()):
        time.sleep(0.02)
    began = ship.x
    print("ready", flush=True)
    for _ in range(PRESSED):
        time.sleep(0.05)
        pygame.event.post(pygame.event.Event(pygame.KEYDOWN, key=pygame.K_RIGHT))
    while ship.x < began + 100:
        time.sleep(0.02)
    print("moved by", ship.x - began, flush=True)

threading.Thread(target=press, daemon=True).start()
"""


def test_the_twelve_lines_in_the_readme_drive_a_ship_on_another_computer(tmp_path: Path) -> None:
    url = f"play://127.0.0.1:{free_port()}"
    code = next(
        block.split("```")[0]
        for block in (ROOT / "README.md").read_text(encoding="utf-8").split("```python\n")
        if block.startswith("import sys, pygame")
    )
    assert len(code.splitlines()) == 12
    assert "net.listen()" in code
    code = code.replace("net.listen()", f"net.listen({url!r})")
    games = [tmp_path / "screen.py", tmp_path / "pad.py"]
    for game, pressed in zip(games, (0, 5), strict=True):
        game.write_text(KEYBOARD.replace("PRESSED", str(pressed)) + code, encoding="utf-8")
    with Running([sys.executable, str(games[0])]) as screen:
        assert screen.wait_for("ready") == "ready"
        wait_until_somebody_listens(int(url.rpartition(":")[2]))
        with Running([sys.executable, str(games[1]), url]) as pad:
            assert pad.wait_for("moved") == "moved by 100"
            assert screen.wait_for("moved") == "moved by 100"


def test_the_gamepad_explains_its_options() -> None:
    done = subprocess.run([*GAMEPAD, "--help"], env=ENV, capture_output=True, text=True, timeout=60, check=True)
    for option in ("--headless", "--autoplay", "--seed", "--serve"):
        assert option in done.stdout
