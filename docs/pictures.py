"""Makes the pictures of comets for the README: a still, the menu, and a short animated one. `make pictures` runs it.

All are drawn by the game itself, played by the computer on a bad network, so they stay true. pygame cannot write
animated pictures, so Pillow does.
"""

import argparse
import time
from pathlib import Path

import pygame
from PIL import Image

from netplay.examples import _comets_picture, _game, comets, demo

SMALL = (640, 360)  # of the animated picture
RATE = 20  # its frames a second
NEWS = pygame.Rect(400, 110, 160, 40)  # where the game says that we are dead
SKIP, SECONDS = 4.0, 7.0  # from where, and how long


class Recorder:
    """Takes the place of `pygame.display.flip`, and keeps what it would have shown."""

    def __init__(self) -> None:
        self.start = time.monotonic()
        self.frames: list[Image.Image] = []
        self.still: pygame.Surface | None = None  # the brightest frame in which we live: there something happens

    def flip(self) -> None:
        """Keeps a frame, if it is time for one."""
        passed = time.monotonic() - self.start - SKIP
        if len(self.frames) / RATE <= passed < SECONDS:
            screen = pygame.display.get_surface()
            assert screen is not None, "the game has opened no window"
            words = pygame.mask.from_threshold(screen.subsurface(NEWS), pygame.Color(_game.BAD), (9, 9, 9, 255))
            if self.still is None or (words.count() == 0 and brightness(screen) > brightness(self.still)):
                self.still = screen.copy()
            small = pygame.transform.smoothscale(screen, SMALL)
            self.frames.append(Image.frombytes("RGB", SMALL, pygame.image.tobytes(small, "RGB")))


def brightness(picture: pygame.Surface) -> int:
    """Returns how bright a picture is."""
    return sum(pygame.transform.average_color(picture)[:3])


def play(folder: Path, seed: int) -> None:
    """Plays for a while; saves the animated picture, and one frame in full size."""
    recorder, flip = Recorder(), pygame.display.flip
    pygame.display.flip = recorder.flip
    words = [demo.BAD_NETWORK, "--headless", "--autoplay", "--graph", "--name", "Ada", "--bots", "8"]
    comets.main([*words, "--seed", str(seed), "--seconds", str(SKIP + SECONDS)])
    pygame.display.flip = flip
    assert recorder.still is not None, "nothing was drawn"
    pygame.image.save(recorder.still, folder / "comets.png")
    first, *rest = recorder.frames
    first.save(
        folder / "comets.webp",
        save_all=True,
        append_images=rest,
        duration=1000 // RATE,
        loop=0,
        quality=62,
        method=4,
    )


def show_menu(folder: Path) -> None:
    """Saves the menu."""
    args = _game.parse(_game.command_line("", bots=4), ["--headless", "--name", "Ada"])
    screen = _game.open_window(args, "comets", _comets_picture.SIZE)
    menu = comets.make_menu()
    menu.name.text = args.name
    screen.fill(_game.NIGHT)
    _comets_picture.draw_backdrop(screen, 100.0)
    menu.draw(screen)
    pygame.image.save(screen, folder / "comets-menu.png")


def main() -> None:
    """Makes all of them."""
    parser = argparse.ArgumentParser(description="Makes the pictures of comets anew.")
    parser.add_argument("--folder", type=Path, default=Path(__file__).parent, help="where they go")
    parser.add_argument("--seed", type=int, default=3, help="of the game")
    args = parser.parse_args()
    show_menu(args.folder)
    play(args.folder, args.seed)


if __name__ == "__main__":
    main()
