"""Two chats: a server and two chat windows side by side, over real UDP sockets on this computer.

It starts the chat example three times. Bob's connection is made bad on purpose: 40 ms late, and every twentieth packet
lost. What he reads is whole all the same, and that is checked: everybody must have seen the same lines in the same
order, or it exits with code 1.

    python -m netplay.examples.chats                windows to type into: close one to end it
    python -m netplay.examples.chats --autoplay     the computer types
    python -m netplay.examples.chats --headless     the same without a screen: printed, with a picture of both windows
"""

import argparse
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import IO

from netplay.examples._autoplay import DIALOGUE

BAD_NETWORK = "?lag_ms=40&loss_pct=5&seed=7"
DEADLINE = 45.0  # seconds for the whole conversation; it takes about ten
POSITIONS = [(60, 80), (600, 80)]  # of the windows on the screen
GAP = 16  # pixels between the two windows in the picture


class Reader:
    """Collects the lines that a process prints, while we do something else."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.lines: list[str] = []
        self.thread = threading.Thread(target=self._read, args=(process.stdout,), daemon=True)
        self.thread.start()

    def _read(self, output: IO[str]) -> None:
        with output:
            for line in output:
                self.lines.append(line.rstrip("\n"))


class Program:
    """One running chat, and what it has printed so far."""

    def __init__(self, name: str, *arguments: str, position: tuple[int, int] = (0, 0)) -> None:
        self.name = name
        command = [sys.executable, "-m", "netplay.examples.chat", "--name", name, *arguments]
        env = {**os.environ, "SDL_VIDEO_WINDOW_POS": "{},{}".format(*position), "PYGAME_HIDE_SUPPORT_PROMPT": "1"}
        before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for us alone, who then stop them all
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, encoding="utf-8", env=env)
        signal.signal(signal.SIGINT, before)
        self.reader = Reader(self.process)

    @property
    def printed(self) -> list[str]:
        """Everything it has printed."""
        return self.reader.lines

    @property
    def said(self) -> list[str]:
        """The conversation as this one saw it, without the news of who comes and goes."""
        return [line for line in self.printed if ": " in line and not line.startswith("* ")]

    def stop(self) -> None:
        """Asks it to leave, as a closed window does."""
        self.process.terminate()  # pygame makes a QUIT event of it

    def wait(self) -> None:
        """Waits until it has left."""
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
        self.reader.thread.join(10)


def start(options: list[str], pictures: list[Path]) -> list[Program]:
    """Starts the server, and two guests once it is there."""
    server = Program("Host", "--serve", "play://127.0.0.1:0", "--headless")
    address = wait_for_address(server)
    left, right = ([*options, "--picture", str(path)] for path in pictures)
    ada = Program("Ada", address, *left, position=POSITIONS[0])
    bob = Program("Bob", address + BAD_NETWORK, *right, position=POSITIONS[1])
    return [server, ada, bob]


def wait_for_address(server: Program) -> str:
    """Returns the address that the server prints when it is ready."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline and server.process.poll() is None:
        for line in server.printed:
            if line.startswith("serving "):
                return line.removeprefix("serving ")
        time.sleep(0.05)
    server.stop()
    server.wait()
    raise SystemExit("chats: the server did not start")


def is_whole(programs: list[Program]) -> bool:
    """Returns true when everybody has seen every line, in the same order."""
    return len(programs[0].said) >= len(DIALOGUE) and all(p.said == programs[0].said for p in programs)


def report(programs: list[Program]) -> None:
    """Prints the conversation as each of them saw it."""
    for program in programs:
        lost = [line for line in programs[0].said if line not in program.said]
        print(f"\n--- {program.name}'s window: {len(program.said)} lines" + (f", {len(lost)} missing" if lost else ""))
        print("\n".join(f"  {line}" for line in program.printed))


def join_pictures(pictures: list[Path], out: Path) -> None:
    """Saves the pictures of the windows as one, side by side."""
    import pygame  # only now: this program itself needs no window

    images = [pygame.image.load(path) for path in pictures]
    width = sum(image.get_width() for image in images) + GAP * (len(images) + 1)
    whole = pygame.Surface((width, images[0].get_height() + 2 * GAP))
    whole.fill("#0d0f17")
    x = GAP
    for image in images:
        whole.blit(image, (x, GAP))
        x += image.get_width() + GAP
    pygame.image.save(whole, out)
    for path in pictures:
        path.unlink()


def main() -> int:
    """Runs it all; returns 0 if all that was said arrived everywhere."""
    parser = argparse.ArgumentParser(description="A server and two chat windows side by side.")
    parser.add_argument("--headless", action="store_true", help="show no windows; implied where there is no display")
    parser.add_argument("--autoplay", action="store_true", help="let the computer type; implied by --headless")
    parser.add_argument("--seed", type=int, default=1, help="makes the same choices every time")
    parser.add_argument("--picture", type=Path, default=Path("out/chats.png"), help="where the picture goes")
    args = parser.parse_args()

    has_display = sys.platform in ("win32", "darwin") or bool(
        os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    )
    is_headless = args.headless or not has_display
    is_autoplay = args.autoplay or is_headless
    options = ["--seed", str(args.seed)] + ["--autoplay"] * is_autoplay + ["--headless"] * is_headless
    args.picture.parent.mkdir(parents=True, exist_ok=True)
    pictures = [args.picture.with_name(f".{args.picture.stem}-{i}.png") for i in (1, 2)]

    programs = start(options, pictures)
    windows = programs[1:]
    deadline = time.monotonic() + (DEADLINE if is_autoplay else float("inf"))
    try:
        has_arrived = False
        while time.monotonic() < deadline and all(p.process.poll() is None for p in programs):
            if not has_arrived and is_whole(programs):
                has_arrived = True
                print("Every line has arrived everywhere.", flush=True)
                time.sleep(0.5)  # the last one still slides in
            if has_arrived and is_headless:
                break
            time.sleep(0.1)
    except KeyboardInterrupt:
        pass
    for program in windows:
        program.stop()
    for program in windows:
        program.wait()
    programs[0].stop()  # the server last, so that nobody is told that it went away
    programs[0].wait()

    report(programs)
    if all(path.exists() for path in pictures):
        join_pictures(pictures, args.picture)
        print(f"\nBoth windows are in {args.picture}")
    if is_autoplay and not is_whole(programs):
        print("\nThe conversation did not come through whole.")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
