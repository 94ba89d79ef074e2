"""Gamepad: the keyboards of your friends' computers drive ships on one screen, and yours does too.

What it shows about networking:

* Events travel. A pad posts the very KEYDOWN and KEYUP events that pygame gave it, and on the screen they come out of
  pygame's queue like the keys of its own keyboard, with `e.peer` to tell whose they are.
* Nobody is let in unasked: the screen says which events it takes from others, and a QUIT is never among them.
* An event of our own, STAR, goes the other way: the screen posts one to the pad that has caught a star.
* A question has an answer: a pad asks which colour its ship has, and on the screen a function returns it.

Keys: the arrows, or W A S D, fly. Escape leaves, on your own keyboard only.

Try it in two terminals, and then a third:

    python -m netplay.examples.gamepad                                         the screen; fly there with its own keys
    python -m netplay.examples.gamepad play://localhost:5000 --name Ada        a pad
    python -m netplay.examples.gamepad "play://localhost:5000?lag_ms=80&loss_pct=5" --name Bob
"""

import argparse
import os
import random
import time
from functools import lru_cache

import pygame

import netplay as net
from netplay.examples._game import BRIGHT, DIM, NAMES, few_words, no_traceback, printable, rounded, write

STAR = net.event_type("star", score=int)  # the screen tells a pad: you caught one, you have so many
CHANNEL_COLOR = 1  # a pad asks, with None: which colour has my ship? The screen answers with a str

SCREEN_SIZE = WIDTH, HEIGHT = 640, 480
PAD_SIZE = (420, 300)
TOP = 34  # how tall the bar at the top of the screen is
POWER, DRAG = 900.0, 1.8  # how a ship speeds up, in pixels/s², and slows down, a second
REACH = 30  # how near to a star is near enough, in pixels
STARS = 6  # on the screen at a time

NIGHT, BAR, GOLD = "#12141f", "#202436", "#ffd75e"
COLORS = ["#ff8f6b", "#59d0e8", "#7bd88f", "#c792ea", "#ff7eb6", "#7aa2ff", "#b8d866", "#e0b089"]
DIRECTIONS = {
    pygame.K_LEFT: (-1, 0),
    pygame.K_RIGHT: (1, 0),
    pygame.K_UP: (0, -1),
    pygame.K_DOWN: (0, 1),
    pygame.K_a: (-1, 0),
    pygame.K_d: (1, 0),
    pygame.K_w: (0, -1),
    pygame.K_s: (0, 1),
}


class Ship:
    """One player's ship, and the keys that are held down for it."""

    def __init__(self, name: str, color: str, chance: random.Random) -> None:
        self.name, self.color = name, color
        self.position = pygame.Vector2(chance.uniform(80, WIDTH - 80), chance.uniform(80, HEIGHT - 80))
        self.speed = pygame.Vector2()
        self.held: set[int] = set()
        self.score = 0
        self.sprite = draw_ship(color)

    def handle(self, e: pygame.event.Event) -> None:
        """Takes in one key. It need not know how far away the keyboard is."""
        if e.type == pygame.KEYDOWN and e.key in DIRECTIONS:
            self.held.add(e.key)
        elif e.type == pygame.KEYUP:
            self.held.discard(e.key)

    def move(self, seconds: float) -> None:
        """Flies on; who leaves at one side comes in at the other."""
        for key in self.held:
            self.speed += pygame.Vector2(DIRECTIONS[key]) * POWER * seconds
        self.speed -= self.speed * min(1.0, DRAG * seconds)
        self.position += self.speed * seconds
        self.position.update(self.position.x % WIDTH, TOP + (self.position.y - TOP) % (HEIGHT - TOP))

    def draw(self, screen: pygame.Surface) -> None:
        """Draws it with its nose ahead, and its name beside it."""
        angle = -self.speed.angle_to((0, -1)) if self.speed.length() > 5 else 0.0
        if self.held:
            flame = self.position - self.speed.normalize() * 26 if self.speed.length() > 5 else self.position
            pygame.draw.circle(screen, GOLD, flame, random.uniform(4, 8))
        ship = pygame.transform.rotozoom(self.sprite, -angle, 0.25)
        screen.blit(ship, ship.get_rect(center=self.position))
        words = write(f"{self.name}  {self.score}", 19, self.color)
        beside = 34 if self.position.y < HEIGHT - 50 else -34
        screen.blit(words, words.get_rect(center=self.position + pygame.Vector2(0, beside)))


class Screen:
    """The window that all look at. It serves, and every pad that calls gets a ship."""

    size = SCREEN_SIZE

    def __init__(self, name: str, url: str, seed: int) -> None:
        self.name = name
        self.random = random.Random(seed)
        self.ships: dict[net.Peer | None, Ship] = {}  # by whose it is; None is our own keyboard
        self.stars = [self.new_star() for _ in range(STARS)]
        self.news = "press an arrow key here, or start a pad"
        listener = net.listen(url, name=name)
        net.allow_events(pygame.KEYDOWN, pygame.KEYUP)  # from now on, the keys of others come in
        net.on(CHANNEL_COLOR)(lambda question: color_of(question.peer))  # what it returns is the answer
        self.address = listener.addresses[0]
        print(f"serving {self.address}", flush=True)

    def handle(self, e: pygame.event.Event) -> None:
        """Takes in keys, whoever pressed them, and pads that come and go."""
        peer = getattr(e, "peer", None)  # an event of our own keyboard has none
        if e.type == net.NETWORK and e.what == net.NETWORK_CONNECTED:
            self.add(peer, printable(e.peer), color_of(e.peer))
        elif e.type == net.NETWORK and e.what == net.NETWORK_DISCONNECTED and peer in self.ships:
            self.tell(f"{self.ships.pop(peer).name} left")
        elif e.type in (pygame.KEYDOWN, pygame.KEYUP):
            if peer is None and peer not in self.ships and e.key in DIRECTIONS:
                self.add(None, self.name, BRIGHT)
            if peer in self.ships:
                self.ships[peer].handle(e)

    def add(self, peer: net.Peer | None, name: str, color: str) -> None:
        """Gives a newcomer a ship."""
        self.ships[peer] = Ship(name, color, self.random)
        self.tell(f"{name} flies")

    def tell(self, news: str) -> None:
        """Says something, in the window and on paper."""
        self.news = news
        print(news, flush=True)

    def update(self, seconds: float) -> None:
        """Moves everything, and lets ships catch stars."""
        for peer, ship in self.ships.items():
            ship.move(seconds)
            for i, star in enumerate(self.stars):
                if ship.position.distance_to(star) < REACH:
                    self.stars[i] = self.new_star()
                    ship.score += 1
                    self.tell(f"{ship.name} has caught {ship.score}")
                    if peer is not None:  # tell the pad, with an event of our own, in its pygame queue
                        net.post(pygame.event.Event(STAR, score=ship.score), to=peer)

    def new_star(self) -> pygame.Vector2:
        """Returns a place for a star."""
        return pygame.Vector2(self.random.uniform(30, WIDTH - 30), self.random.uniform(60, HEIGHT - 30))

    def draw(self, screen: pygame.Surface) -> None:
        """Draws everything anew."""
        screen.fill(NIGHT)
        dust = random.Random(1)
        for _ in range(70):
            screen.set_at((dust.randrange(WIDTH), dust.randrange(HEIGHT)), DIM)
        for i, star in enumerate(self.stars):
            draw_star(screen, star, 11 + 2 * abs((time.monotonic() + i / STARS) % 1 - 0.5))
        for ship in self.ships.values():
            ship.draw(screen)
        pygame.draw.rect(screen, BAR, (0, 0, WIDTH, TOP))
        screen.blit(write(self.news, 21, BRIGHT), (12, 10))
        words = write(f"pads call {self.address}", 19, DIM)
        screen.blit(words, words.get_rect(right=WIDTH - 12, top=11))


class Pad:
    """The window of one who plays: it shows what it sends."""

    size = PAD_SIZE

    def __init__(self, name: str, url: str) -> None:
        self.name = name
        self.color, self.score, self.flash = DIM, 0, 0.0
        self.held: set[int] = set()
        self.status = f"calling {url.partition('?')[0]}…"
        self.screen = net.connect(url, name=name)
        self.token = self.screen.ask(None, CHANNEL_COLOR, timeout=30)  # waits for the connection by itself

    def handle(self, e: pygame.event.Event) -> None:
        """Sends every key on its way, and notices what comes back."""
        if e.type in (pygame.KEYDOWN, pygame.KEYUP):
            if self.screen.state != "closed":
                net.post(e)  # this is all: it comes out of pygame's queue over there
            if e.type == pygame.KEYDOWN:
                self.held.add(e.key)
            else:
                self.held.discard(e.key)
        elif e.type == STAR:
            self.score, self.flash = e.score, 1.0
            print(f"star {e.score}", flush=True)
        elif e.type == net.NETWORK and e.what == net.NETWORK_ANSWER and e.token == self.token and not e.reason:
            self.color = e.data
        elif e.type == net.NETWORK and e.what in (net.NETWORK_CONNECTED, net.NETWORK_RESUMED):
            self.status = f"you fly on {printable(e.peer)}'s screen"
        elif e.type == net.NETWORK and e.what == net.NETWORK_LOST:
            self.status = "the line went dead, reconnecting…"
        elif e.type == net.NETWORK and e.what == net.NETWORK_DISCONNECTED:
            self.status = f"not connected: {e.reason}"
            print(self.status, flush=True)

    def update(self, seconds: float) -> None:
        """Lets the flash of a star fade."""
        self.flash = max(0.0, self.flash - 2 * seconds)

    def draw(self, screen: pygame.Surface) -> None:
        """Draws four keys, bright while they are held, and the score."""
        screen.fill(pygame.Color(NIGHT).lerp(GOLD, self.flash / 2))
        screen.blit(rounded((372, 200), BAR, 90), (24, 24))
        middle = pygame.Vector2(134, 124)
        for key in (pygame.K_LEFT, pygame.K_RIGHT, pygame.K_UP, pygame.K_DOWN):
            is_held = any(DIRECTIONS.get(held) == DIRECTIONS[key] for held in self.held)
            at = middle + pygame.Vector2(DIRECTIONS[key]) * 46
            screen.blit(rounded((42, 42), self.color if is_held else NIGHT, 10), at - (21, 21))
        draw_star(screen, pygame.Vector2(296, 104), 30 + 8 * self.flash)
        for text, size, color, center in [
            (str(self.score), 40, BRIGHT, (296, 164)),
            (self.name, 26, self.color, (210, 246)),
            (self.status, 19, DIM, (210, 274)),
        ]:
            words = write(text, size, color)
            screen.blit(words, words.get_rect(center=center))


class Thumbs:
    """Who presses keys when nobody does, for --autoplay: one arrow after the other."""

    def __init__(self, name: str, seed: int) -> None:
        self.random = random.Random(f"{seed} {name}")
        self.key, self.until = pygame.K_UP, 0.0

    def press(self) -> None:
        """Lets go of one key and presses another, now and then."""
        if time.monotonic() > self.until:
            pygame.event.post(pygame.event.Event(pygame.KEYUP, key=self.key))
            self.key = self.random.choice(list(DIRECTIONS)[:4])
            self.until = time.monotonic() + self.random.uniform(0.2, 0.7)
            pygame.event.post(pygame.event.Event(pygame.KEYDOWN, key=self.key))


# What is drawn too large and then shrunk has smooth edges; it is kept for the next frame.
@lru_cache
def draw_ship(color: str) -> pygame.Surface:
    """Returns a ship with its nose up, four times too large."""
    ship = pygame.Surface((160, 200), pygame.SRCALPHA)
    ship.fill((*pygame.Color(color)[:3], 0))
    pygame.draw.polygon(ship, color, [(80, 4), (150, 190), (80, 154), (10, 190)])
    pygame.draw.circle(ship, NIGHT, (80, 104), 20)
    return ship


def draw_star(screen: pygame.Surface, at: pygame.Vector2, radius: float) -> None:
    """Draws a star of five points."""
    tip = pygame.Vector2(0, -radius)
    points = [at + (tip if i % 2 == 0 else tip * 0.45).rotate(36 * i) for i in range(10)]
    pygame.draw.polygon(screen, GOLD, points)
    pygame.draw.aalines(screen, GOLD, True, points)


def color_of(peer: net.Peer) -> str:
    """Returns the colour of a pad's ship."""
    return COLORS[peer.id % len(COLORS)]


def main() -> None:
    """Reads the command line, and runs a screen or a pad."""
    args = few_words(__doc__).parse_args()
    with no_traceback():
        run(args)


def run(args: argparse.Namespace) -> None:
    """Runs a screen or a pad until its window is closed."""
    if args.headless:
        os.environ["SDL_VIDEODRIVER"] = os.environ["SDL_AUDIODRIVER"] = "dummy"
    pygame.init()
    is_screen = args.serve or args.url is None
    name = printable(args.name or ("Host" if is_screen else random.Random(args.seed or None).choice(NAMES)))
    game = Screen(name, args.url or "play://*:5000", args.seed) if is_screen else Pad(name, args.url)
    window = pygame.display.set_mode(game.size)
    pygame.display.set_caption(f"{name} · netplay gamepad")
    thumbs = Thumbs(name, args.seed) if args.autoplay else None
    clock = pygame.time.Clock()
    end = time.monotonic() + args.seconds
    running = True
    while running and time.monotonic() < end:
        net.poll()  # what others posted stands now in pygame's queue
        for e in pygame.event.get():
            is_escape = e.type == pygame.KEYDOWN and e.key == pygame.K_ESCAPE and not hasattr(e, "peer")
            if e.type == pygame.QUIT or is_escape:
                running = False
            else:
                game.handle(e)
        if thumbs:
            thumbs.press()
        game.update(clock.tick(60) / 1000)
        game.draw(window)
        pygame.display.flip()
    if args.picture:
        pygame.image.save(window, args.picture)
    net.close()


if __name__ == "__main__":
    main()
