"""What the games share: the words of their command line, their menu, and letters and shapes with smooth edges.

It knows pygame and how games are found, but not the rules of any game. A game uses it so:

    args = parse(command_line(__doc__, bots=4))
    menu = Menu("Comets", "fly, dodge, shoot", "arrows fly, space shoots")  # for those who said nothing on that line
    run(args, menu, (960, 540), play)  # play(screen, args) looks at args.mode: "alone", "host" or "join" an args.url
"""

import argparse
import contextlib
import math
import os
import random
import sys
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache

import pygame

import netplay as net

NIGHT, PANEL, LINE = "#0d1020", "#1b2036", "#343c5e"
BRIGHT, DIM, GOOD, WARN, BAD = "#f3f5ff", "#8c93b0", "#4fd18b", "#f5b942", "#ff6b6b"
PLAYER_COLORS = [
    "#59d0e8",
    "#ffc857",
    "#ff7eb6",
    "#7bd88f",
    "#ff8f6b",
    "#c792ea",
    "#b8d866",
    "#7aa2ff",
    "#ff6f8a",
    "#3fd6b0",
    "#e0a060",
    "#a58bff",
    "#e6e08a",
    "#f29ad8",
    "#6fb0c8",
    "#c0c8dc",
]
ANY_ROOM = "room://"  # with a code behind it
LONGEST_NAME = 16  # letters: as many as fit into the 64 bytes that a name may be, whatever letters they are
NAMES = ["Ada", "Bob", "Cleo", "Dana", "Eli", "Finn", "Gus", "Hana", "Ivo", "June", "Kai", "Lena"]


def command_line(doc: str | None, bots: int = 0, port: int = 5000) -> argparse.ArgumentParser:
    """Returns the parser of the words that every game understands. A game may add its own before it calls `parse`."""
    parser = few_words(doc)
    parser.add_argument("--bots", type=int, default=bots, help=f"how many players the computer makes up ({bots})")
    parser.add_argument("--room", action="store_true", help="with --serve: friends anywhere may join by a code")
    parser.add_argument("--relay", help="the URL of the relay through which rooms are found; else those of iroh")
    parser.add_argument("--ticks", type=int, default=0, help="leave after so many ticks of the game")
    parser.set_defaults(port=port, is_over=False)
    return parser


def few_words(doc: str | None) -> argparse.ArgumentParser:
    """Returns the parser of the words that every example understands, also one without bots and ticks."""
    parser = argparse.ArgumentParser(description=(doc or "").partition("\n")[0])
    parser.add_argument("url", nargs="?", help="where the server is; with --serve, where to serve")
    parser.add_argument("--serve", action="store_true", help="be the server; with --headless, for others only")
    parser.add_argument("--name", help="who you are")
    parser.add_argument("--headless", action="store_true", help="draw, but show no window")
    parser.add_argument("--autoplay", action="store_true", help="let the computer play in your place")
    parser.add_argument("--seed", type=int, default=0, help="makes the same choices every time")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="leave after so many seconds")
    parser.add_argument("--picture", help="save the window to this file when leaving")
    return parser


def parse(parser: argparse.ArgumentParser, words: list[str] | None = None) -> argparse.Namespace:
    """Reads the command line. `mode` is what to do: "alone", "host", "join", or empty when the menu shall ask.

    Alone and hosting, `url` is where the game's own server listens; joining, it is whom to call. A `local://` URL is
    inside this process, so it means alone; its options make the network bad all the same. A word that is no URL is the
    code of a room.
    """
    args = parser.parse_args(words)
    if args.url and "://" not in args.url:
        args.url = ANY_ROOM + args.url
    args.name = printable(args.name or random.Random(args.seed or None).choice(NAMES))
    if args.serve:
        args.mode, args.url = "host", args.url or f"play://*:{args.port}"
    elif args.url and not args.url.startswith("local://"):
        args.mode = "join"
    elif args.url or args.headless or args.autoplay:
        args.mode, args.url = "alone", args.url or "local://game"
    else:
        args.mode = ""
    if args.headless:
        os.environ["SDL_VIDEODRIVER"] = os.environ["SDL_AUDIODRIVER"] = "dummy"
    return args


def run(
    args: argparse.Namespace,
    menu: "Menu",
    size: tuple[int, int],
    play: Callable[[pygame.Surface, argparse.Namespace], str],
    draw_background: Callable[[pygame.Surface], None] | None = None,
    rehearse: Callable[[pygame.Surface, argparse.Namespace], str] | None = None,
) -> None:
    """Opens the window, and plays what the command line says, or else what is chosen in the menu, until it is closed.

    `play` returns why it is over, in words; empty if the player wanted it so. `rehearse` is called in its place where
    the computer plays alone, with nobody to see it and no time to keep to.
    """
    if rehearse and args.mode == "alone" and args.headless and args.autoplay and args.seconds == math.inf:
        play = rehearse
    screen = open_window(args, menu.title, size)
    while not args.is_over and (args.mode or menu.run(screen, args, draw_background)):
        try:
            menu.notice = play(screen, args)
        except net.Error as error:  # the port is taken, or what was typed is no address
            menu.notice = str(error)
            net.close()
        if menu.notice:
            print(menu.notice, flush=True)
        if not menu.was_used:
            break
        args.mode = ""
    if args.picture:
        pygame.image.save(screen, args.picture)
    pygame.quit()


def open_window(args: argparse.Namespace, title: str, size: tuple[int, int]) -> pygame.Surface:
    """Opens the game's window; with --headless it is drawn as any other, and nobody sees it."""
    pygame.init()
    pygame.display.set_caption(f"{args.name} · {title}")
    return pygame.display.set_mode(size)


@contextlib.contextmanager
def no_traceback() -> Iterator[None]:
    """Ends the program with one line where Ctrl-C, a port that is taken or an address that is none stops it."""
    try:
        yield
    except KeyboardInterrupt:
        pass
    except net.Error as error:
        sys.exit(str(error))


@dataclass
class Row:
    """One line of the menu: a button, or a field to type into."""

    label: str
    hint: str = ""  # a button's second line; in a field, what stands there while it is empty
    text: str | None = None  # what is typed; None for a button
    mode: str = ""  # what the game does when it is chosen; empty if it only holds a text
    url: str = ""  # and where


class Menu:
    """Asks what to do: play alone, host a game, or join one. Mouse, or arrow keys and Enter."""

    def __init__(self, title: str, subtitle: str, keys: str, accent: str = PLAYER_COLORS[0]) -> None:
        self.title, self.subtitle, self.keys, self.accent = title, subtitle, keys, accent
        self.notice = ""  # what went wrong last time, in words
        self.was_used = False  # false for those who said everything on the command line
        self.name = Row("Your name", text="")
        self.fixed = [
            self.name,
            Row("Play alone", "against the computer", mode="alone"),
            Row("Host a game", "friends join on your network, or by a code", mode="host"),
            Row("Join by code", "CDFG-2345: the host sees it", text="", mode="join", url=ANY_ROOM),
            Row("Join by address", "localhost, 192.168.1.20, play://…", text="", mode="join"),
        ]
        self.rows = list(self.fixed)  # and beside them the games on the local network
        self.focus = 1

    def show_found(self, games: list[tuple[str, str]]) -> None:
        """Offers games to join, each a name and a URL, beside the rest."""
        focused = self.rows[self.focus]
        self.rows = self.fixed + [
            Row(name, "on your network", mode="join", url=url) for name, url in games[: len(self.fixed)]
        ]
        self.focus = self.rows.index(focused) if focused in self.rows else min(self.focus, len(self.rows) - 1)

    def run(
        self,
        screen: pygame.Surface,
        args: argparse.Namespace,
        draw_background: Callable[[pygame.Surface], None] | None = None,
    ) -> bool:
        """Shows the menu until something is chosen and stands in `args`. Returns false if the window was closed."""
        self.was_used = True
        self.name.text = args.name
        pygame.key.set_repeat(400, 40)
        pygame.key.start_text_input()
        clock = pygame.time.Clock()
        with Search(self.title.lower()) as search:
            while not args.mode:
                for e in pygame.event.get():
                    if e.type == pygame.QUIT or (e.type == pygame.KEYDOWN and e.key == pygame.K_ESCAPE):
                        return False
                    chosen = self.handle(e, screen)
                    if chosen:
                        args.mode, args.url = chosen.mode, self.url_of(chosen, args)
                        args.room = chosen.mode == "host"
                        args.name = printable((self.name.text or "").strip() or args.name)
                self.show_found(search.games())
                screen.fill(NIGHT)
                if draw_background:
                    draw_background(screen)
                self.draw(screen)
                pygame.display.flip()
                clock.tick(60)
        pygame.key.stop_text_input()
        pygame.key.set_repeat()
        self.notice = ""
        return True

    def url_of(self, row: Row, args: argparse.Namespace) -> str:
        """Returns where to go. What was typed may be a URL, or only an address."""
        text = (row.text or "").strip()
        if row.mode != "join":
            return f"play://*:{args.port}" if row.mode == "host" else "local://game"
        if row.url:
            return text if "://" in text else row.url + text
        text = text or "localhost"
        return text if "://" in text else f"play://{text}" if ":" in text else f"play://{text}:{args.port}"

    def handle(self, e: pygame.event.Event, screen: pygame.Surface) -> Row | None:
        """Takes in one event of the keyboard or the mouse; returns the row that was chosen, if one was."""
        row = self.rows[self.focus]
        if e.type == pygame.KEYDOWN and e.key in (pygame.K_DOWN, pygame.K_TAB):
            self.focus = (self.focus + 1) % len(self.rows)
        elif e.type == pygame.KEYDOWN and e.key == pygame.K_UP:
            self.focus = (self.focus - 1) % len(self.rows)
        elif e.type == pygame.KEYDOWN and e.key in (pygame.K_RETURN, pygame.K_KP_ENTER):
            if row.mode and (row.text or row.url != ANY_ROOM):  # no code is no choice
                return row
            self.focus += 1
        elif e.type == pygame.KEYDOWN and e.key == pygame.K_BACKSPACE and row.text:
            row.text = row.text[:-1]
        elif e.type == pygame.TEXTINPUT and row.text is not None:
            row.text = (row.text + e.text)[:300]
        elif e.type == pygame.KEYDOWN and e.key == pygame.K_v and e.mod & pygame.KMOD_CTRL and row.text is not None:
            row.text = (row.text + copied())[:300]
        elif e.type in (pygame.MOUSEMOTION, pygame.MOUSEBUTTONDOWN):
            for i, other in enumerate(self.rows):
                if self.place(i, screen).collidepoint(e.pos):
                    self.focus = i
                    if e.type == pygame.MOUSEBUTTONDOWN and other.text is None:
                        return other
        return None

    def place(self, i: int, screen: pygame.Surface) -> pygame.Rect:
        """Returns where a row stands."""
        left = screen.get_width() // 2 - 430
        down, is_found = i % len(self.fixed), i >= len(self.fixed)
        return pygame.Rect(left + 440 * is_found, 168 + 62 * down, 420, 52)

    def draw(self, screen: pygame.Surface) -> None:
        """Draws the title, the rows and the keys."""
        center = screen.get_width() // 2
        title, subtitle = write(self.title, 84, BRIGHT), write(self.subtitle, 24, self.accent)
        screen.blit(title, title.get_rect(center=(center, 72)))
        screen.blit(subtitle, subtitle.get_rect(center=(center, 124)))
        for i, row in enumerate(self.rows):
            self.draw_row(screen, row, self.place(i, screen), i == self.focus)
        if len(self.rows) == len(self.fixed):
            words = write("looking for games on your network…", 20, DIM)
            screen.blit(words, self.place(len(self.rows), screen).move(18, 18))
        words = write(self.notice or self.keys, 20, WARN if self.notice else DIM)
        screen.blit(words, words.get_rect(center=(center, screen.get_height() - 28)))

    def draw_row(self, screen: pygame.Surface, row: Row, box: pygame.Rect, has_focus: bool) -> None:
        """Draws a button, or a field with what is typed into it."""
        screen.blit(rounded(box.size, self.accent if has_focus else LINE, 14), box)
        screen.blit(rounded((box.width - 4, box.height - 4), PANEL, 12), box.move(2, 2))
        label = write(row.label, 24, BRIGHT if has_focus else DIM)
        if row.text is None:
            screen.blit(label, (box.x + 18, box.centery - 17))
            screen.blit(write(row.hint, 17, DIM), (box.x + 18, box.centery + 5))
            return
        screen.blit(label, (box.x + 18, box.centery - 8))
        field = pygame.Rect(box.x + 158, box.y + 8, box.width - 166, box.height - 16)
        screen.blit(rounded(field.size, NIGHT, 9), field)
        words = write(row.text, 22, BRIGHT) if row.text else write(row.hint, 17, DIM)
        hidden = max(0, words.get_width() - field.width + 24) if row.text else 0  # of a long text we see the end
        screen.blit(words, (field.x + 10, field.centery - words.get_height() // 2), (hidden, 0, field.width - 20, 60))
        if has_focus and pygame.time.get_ticks() % 1000 < 500:
            x = field.x + 11 + (words.get_width() - hidden if row.text else 0)
            pygame.draw.line(screen, BRIGHT, (x, field.y + 8), (x, field.bottom - 9), 2)


def announced(app: str, url: str) -> str | None:
    """Returns what `listen(advertise=)` gets: the app, so that others on the network see the game in their menus."""
    return app if url.startswith(("play://", "play+udp://", "play+tcp://", "play+ws://")) else None


class Search:
    """Looks for games on the local network while the menu is there."""

    def __init__(self, app: str) -> None:
        self.app = app
        self.finder: net.Finder | None = None

    def __enter__(self) -> "Search":
        with contextlib.suppress(net.Error):  # without a network there is nothing to find, and one can play alone
            self.finder = net.find(self.app)
        return self

    def __exit__(self, *_: object) -> None:
        if self.finder:
            self.finder.close()

    def games(self) -> list[tuple[str, str]]:
        """Returns those that are there now, each what to call it and its URL."""
        if not self.finder:
            return []
        net.poll()  # what is found comes in here, as everything does
        return [(printable(game, 40), game.url) for game in self.finder.games]


# The clipboard. pygame and pygame-ce have it in ways of their own, and without a window there is none.
CLIPBOARD = "text/plain;charset=utf-8"


def copy(text: str) -> bool:
    """Puts a text into the clipboard; returns whether that went well."""
    with contextlib.suppress(pygame.error):
        if hasattr(pygame.scrap, "put_text"):
            pygame.scrap.put_text(text)
        else:
            pygame.scrap.init()
            pygame.scrap.put(CLIPBOARD, text.encode())
        return True
    return False


def copied() -> str:
    """Returns the line that is in the clipboard; empty if there is none."""
    text = ""
    with contextlib.suppress(pygame.error):
        if hasattr(pygame.scrap, "get_text"):
            text = pygame.scrap.get_text()
        else:
            pygame.scrap.init()
            text = (pygame.scrap.get(CLIPBOARD) or b"").decode(errors="replace")
    return "".join(letter for letter in text if letter.isprintable())


# Shapes and letters are drawn too large and then shrunk, which makes their edges smooth, and kept for the next frame.
@lru_cache(maxsize=500)
def rounded(size: tuple[int, int], color: str, radius: int) -> pygame.Surface:
    """Returns a rectangle with round corners."""
    big = pygame.Surface((size[0] * 4, size[1] * 4), pygame.SRCALPHA)
    big.fill((*pygame.Color(color)[:3], 0))  # see-through, but of the same colour: no dark edge
    pygame.draw.rect(big, color, big.get_rect(), border_radius=radius * 4)
    return pygame.transform.smoothscale(big, size)


@lru_cache(maxsize=500)
def write(text: str, size: int, color: str) -> pygame.Surface:
    """Returns a text in pygame's own font."""
    big = font(size * 2).render(text, True, color)
    return pygame.transform.smoothscale(big, (big.get_width() // 2, big.get_height() // 2))


_fonts: dict[int, pygame.font.Font] = {}


def font(size: int) -> pygame.font.Font:
    """Returns pygame's own font in one size. To make one takes longer than to use it, so they are kept."""
    if not _fonts:
        pygame.register_quit(_fonts.clear)  # pygame crashes where one is used that is older than its last start
    if size not in _fonts:
        _fonts[size] = pygame.font.Font(None, size)
    return _fonts[size]


def printable(name: object, letters: int = LONGEST_NAME) -> str:
    """Returns the name that a peer gave itself, made fit to be drawn: it may be anything."""
    return "".join(letter for letter in str(name) if letter.isprintable())[:letters].strip() or "somebody"


def color_of(name: str) -> str:
    """Returns the colour of a name: the same in every window, without asking anybody."""
    return PLAYER_COLORS[(zlib.crc32(name.encode()) >> 8) % len(PLAYER_COLORS)]
