# ruff: noqa: D103 (the names of tests are their sentences)
"""The tutorial: each step runs, does what its page says, and is the step before it with the marked lines added."""

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from test_examples import free_port, wait_until_somebody_listens

TUTORIAL = Path(__file__).parents[2] / "docs" / "tutorial"
STEPS = [TUTORIAL / f"{name}.py" for name in ("step0_alone", "step1_together", "step2_one_star", "step3_bad_network")]
ENV = {**os.environ, "SDL_VIDEODRIVER": "dummy", "SDL_AUDIODRIVER": "dummy", "PYTHONUNBUFFERED": "1"}

# Runs a step with somebody at the keyboard, who holds keys down and then closes the window; prints what the step knew.
PLAYER = """
import collections, runpy, sys, threading, time
import pygame
path, url, seconds, held = sys.argv[1:5]
chosen = [getattr(pygame, key) for key in held.split()]
pygame.key.get_pressed = lambda: collections.defaultdict(int, dict.fromkeys(chosen, 1))
def close():
    time.sleep(float(seconds))
    pygame.event.post(pygame.event.Event(pygame.QUIT))
threading.Thread(target=close).start()
sys.argv = [path, url]
known = runpy.run_path(path, run_name="step")
if "play" in known:
    print(known["play"](url))
else:
    print(({str(i): place for i, place in enumerate(known.get("others", {}).values())}, {"you": known["score"]}))
"""


def player(step: Path, url: str, seconds: float, held: str = "") -> subprocess.Popen[str]:
    """Starts a step with somebody at the keyboard."""
    command = [sys.executable, "-c", PLAYER, str(step), url, str(seconds), held]
    return subprocess.Popen(command, env=ENV, stdout=subprocess.PIPE, text=True)


def known(program: subprocess.Popen[str]) -> tuple[dict[object, tuple[float, float]], dict[str, object]]:
    """Waits for its end, and returns the places of the others and the game, as it knew them."""
    printed, _ = program.communicate(timeout=30)
    assert program.returncode == 0, printed
    others, game = ast.literal_eval(printed.splitlines()[-1])
    return others, game


def test_step_0_is_a_game_in_which_one_can_catch_the_star() -> None:
    _, game = known(player(STEPS[0], "", 3, "K_LEFT K_UP"))
    assert game == {"you": 0}, "in the corner there is no star"
    code = STEPS[0].read_text("utf-8").replace("star = (100, 100)", "star = (WIDTH / 2, 0)")
    assert "import netplay" not in code


def test_in_step_1_each_sees_the_other_move() -> None:
    url = f"play://localhost:{free_port()}"
    first = player(STEPS[1], url, 5, "K_RIGHT")
    wait_until_somebody_listens(int(url.rsplit(":", 1)[1]))
    second = player(STEPS[1], url, 3.5, "K_DOWN")
    seen_by_second, _ = known(second)
    seen_by_first, _ = known(first)
    assert list(seen_by_second.values()) == [(640, 240)], "the first walked to the right edge"
    assert seen_by_first == {}, "the second said goodbye"


@pytest.mark.parametrize(
    ("step", "options"),
    [(STEPS[2], ""), (STEPS[3], ""), (STEPS[3], "?lag_ms=50&jitter_ms=20&loss_pct=10&seed=3")],
    ids=["step 2", "step 3", "step 3 on a bad network"],
)
def test_in_steps_2_and_3_the_server_gives_the_star_to_one_and_tells_all(step: Path, options: str) -> None:
    url = f"play://localhost:{free_port()}"
    # A star that comes back to the corner into which the first runs.
    served = (
        step.read_text("utf-8")
        .replace("random.randrange(40, WIDTH - 40)", "620")
        .replace("random.randrange(40, HEIGHT - 40)", "470")
    )
    served = served.replace("star = (100, 100)", "star = (620, 470)")
    server = subprocess.Popen([sys.executable, "-c", served, "--serve", url], env=ENV)
    try:
        wait_until_somebody_listens(int(url.rsplit(":", 1)[1]))
        runner = player(step, url + options, 6, "K_RIGHT K_DOWN")
        watcher = player(step, url + options, 5.5, "K_LEFT K_UP")
        others, game = known(watcher)
        assert [tuple(map(round, place)) for place in others.values()] == [(640, 480)]
        assert game["star"] == (620, 470)
        assert game["you"] == 0
        assert isinstance(game["best"], int)
        assert game["best"] > 3
        assert isinstance(known(runner)[1]["you"], int)
    finally:
        server.terminate()
        server.wait(10)


def test_the_server_of_step_3_believes_nobody_who_flies_or_sends_nonsense() -> None:
    import netplay as net

    url = f"play://localhost:{free_port()}"
    server = subprocess.Popen(
        [sys.executable, str(STEPS[3]), "--serve", url], env=ENV, stdout=subprocess.PIPE, text=True
    )
    assert server.stdout
    try:
        assert any(line.startswith("serving") for line in server.stdout)
        with net.Network() as cheat, net.Network() as watcher:
            cheat.connect(url)
            watcher.connect(url)
            seen: list[tuple[float, float]] = []
            for turn in range(30):
                for nonsense in ("text", None, (1,), (1, "2"), [1, 2], (-5, 1), (1, 1e9), (float("nan"), 1)):
                    cheat.send(nonsense, 1)
                cheat.send((0, 0) if turn == 0 else (640, 480), 1)  # in half a second
                for e in watcher.get(0.02):
                    if e.what == net.NETWORK_DATA_IN and e.channel == 2:
                        seen += e.data[1].values()
            assert set(seen) == {(0, 0)}
        assert server.poll() is None
    finally:
        server.terminate()
        server.wait(10)
        server.stdout.close()


def bare(line: str) -> str:
    """A line of code without its indentation and its comment."""
    return re.sub(r"  +#.*", "", line).strip()


def code_of(step: Path) -> tuple[list[str], list[str]]:
    """Returns the lines of a step that are not new in it, and those that are, without indentation and comments.

    The server, where it is new, is so in whole; docstrings do not count.
    """
    old: list[str] = []
    new: list[str] = []
    tree = ast.parse(step.read_text("utf-8"))
    lines = step.read_text("utf-8").splitlines()
    whole: set[int] = set(range(1, (tree.body[0].end_lineno or 0) + 1))
    for node in tree.body:
        if isinstance(node, ast.FunctionDef):
            is_new = node.name != "play" and "# NEW" in lines[node.lineno - 1]
            last = node.end_lineno if is_new else node.body[0].end_lineno
            whole |= set(range(node.lineno + (0 if is_new else 1), (last or 0) + 1))
    for number, line in enumerate(lines, 1):
        text = bare(line)
        if number not in whole and text and not text.startswith("#"):
            (new if "# NEW" in line else old).append(text)
    return old, new


@pytest.mark.parametrize("number", [1, 2, 3])
def test_a_step_is_the_one_before_it_and_the_lines_marked_as_new(number: int) -> None:
    before = {bare(line) for line in STEPS[number - 1].read_text("utf-8").splitlines()}
    old, new = code_of(STEPS[number])
    unknown = [text for text in old if text not in before]
    assert unknown == [], f"step {number} has lines that are neither of the step before nor marked as new"
    assert len(new) > 5


def test_every_line_of_code_on_the_page_stands_in_a_step() -> None:
    page = (TUTORIAL / "README.md").read_text("utf-8")
    everything = {line.strip() for step in STEPS for line in step.read_text("utf-8").splitlines()}
    blocks = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    assert len(blocks) >= 6
    for block in blocks:
        for line in filter(None, map(str.strip, block.splitlines())):
            assert line in everything, f"{line!r} stands on the page and in no step"
    for step in STEPS:
        assert f"({step.name})" in page
