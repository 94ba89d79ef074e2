# ruff: noqa: D103, F811 (the names of tests are their sentences; fixtures are imported, and then arguments)
"""The gamepad as players start it, under SDL's dummy driver and in real windows; and the twelve lines of the README."""

import os
import random
import subprocess
import sys
import time
from pathlib import Path

import pygame
import pytest
from screens import Screen, ctrl_c, screen  # noqa: F401
from test_examples import ENV, Running, free_port, run, wait_until_somebody_listens
from test_windows import count

from netplay.examples import chats, gamepad

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


@pytest.mark.usefixtures("ctrl_c")
def test_a_key_in_one_real_window_moves_a_ship_in_another(screen: Screen) -> None:
    env = {**os.environ, "DISPLAY": f":{screen.number}", "SDL_VIDEODRIVER": "x11", "SDL_AUDIODRIVER": "dummy"}
    big = pygame.Rect(20, 60, *gamepad.SCREEN_SIZE)
    small = pygame.Rect(700, 60, *gamepad.PAD_SIZE)
    color = gamepad.COLORS[1]  # of the first pad
    sky = pygame.Rect(big.x, big.y + gamepad.TOP, big.width, big.height - gamepad.TOP)

    def start(area: pygame.Rect, *arguments: str) -> chats.Reader:
        command = [sys.executable, "-m", "netplay.examples.gamepad", *arguments]
        place = {"SDL_VIDEO_WINDOW_POS": f"{area.x},{area.y}", "PYTHONUNBUFFERED": "1"}
        process = subprocess.Popen(command, env={**env, **place}, stdout=subprocess.PIPE, text=True, encoding="utf-8")
        processes.append(process)
        return chats.Reader(process)

    def wait_for(reader: chats.Reader, word: str) -> str:
        deadline = time.monotonic() + 45
        while time.monotonic() < deadline and reader.thread.is_alive():
            for line in list(reader.lines):
                if word in line:
                    return line
            time.sleep(0.05)
        return f"no line with {word!r} among {reader.lines}"

    processes: list[subprocess.Popen[str]] = []
    try:
        host = start(big, "--serve", "play://127.0.0.1:0", "--seed", "3")
        url = wait_for(host, "serving ").removeprefix("serving ")
        pad = start(small, url, "--name", "Ada", "--autoplay", "--seed", "1")
        assert wait_for(host, "flies") == "Ada flies"
        places: list[tuple[int, int]] = []
        for _ in range(3):
            time.sleep(0.4)
            picture = screen.picture()
            ship = pygame.mask.from_threshold(picture.subsurface(sky), pygame.Color(color), (6, 6, 6, 255))
            assert ship.count() > 300, "a ship of the pad's colour on the screen"
            places.append(ship.centroid())
        assert len(set(places)) == 3, f"the ship moves, but is at {places}"
        assert wait_for(pad, "star ") == "star 1"
        time.sleep(1)  # until the flash has faded
        picture = screen.picture()
        (ROOT / "out").mkdir(exist_ok=True)
        pygame.image.save(picture, ROOT / "out" / "gamepad.png")
        assert count(picture, small, gamepad.GOLD) > 300, "the star on the pad, see out/gamepad.png"
        assert count(picture, small, color) > 1000, "a key held down and the name on the pad, see out/gamepad.png"
        assert count(picture, big, gamepad.GOLD) > 500, "the stars on the screen, see out/gamepad.png"
    finally:
        for process in processes:
            process.terminate()
            process.wait(30)
