"""Chat: talk to your friends, from one pygame window to another.

What it shows about networking:

* A server that relays. Everybody is connected to the server only; it passes on what one says to all the others.
* Two channels: what is said goes on one, who is here on the other. Strings, dicts and lists are sent as they are.
* The five things that can happen to a connection, each one an event: connected, data in, lost, resumed, disconnected.
* Nobody waits: the window goes on drawing while a connection is being made, is slow, or is lost and found again.

Keys: type, Enter says it, the mouse wheel scrolls, Escape leaves.

Try it in two terminals, and then a third with a bad network of its own:

    python -m netplay.examples.chat --serve
    python -m netplay.examples.chat play://localhost:5000 --name Ada
    python -m netplay.examples.chat "play://localhost:5000?lag_ms=80&loss_pct=5" --name Bob
"""

import argparse
import os
import random
import time
from dataclasses import dataclass, field
from functools import lru_cache

import pygame

import netplay as net
from netplay.examples._autoplay import Typist
from netplay.examples._game import (
    BAD,
    BRIGHT,
    DIM,
    GOOD,
    NAMES,
    WARN,
    color_of,
    few_words,
    font,
    no_traceback,
    printable,
    rounded,
    write,
)

CHANNEL_CHAT = 1  # to the server: a str, what I say. From the server: {"who": name, "text": what they said}
CHANNEL_PEOPLE = 2  # from the server: the list of the names of all who are here, the server's own first

WIDTH, HEIGHT = 520, 640
HEADER, FOOTER = 88, 64  # how tall the bars at the top and at the bottom are
MARGIN, PAD = 14, 11  # around the bubbles, and inside them
MAX_TEXT = 300  # letters in one line
HISTORY = 200  # lines that a window remembers; the server tells them to those who come late

NIGHT, BAR, BUBBLE, MINE = "#171a26", "#202436", "#2d3350", "#4457d6"


@dataclass
class Line:
    """One line of the conversation, as it stands in the window."""

    who: str  # empty for news, such as "Ada came in"
    text: str
    is_mine: bool = False
    born: float = field(default_factory=time.monotonic)  # when it appeared, in seconds: new lines slide in


class Chat:
    """What the one in front of this window knows: who is here, what was said, and how the connection is doing."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.people: list[str] = []
        self.lines: list[Line] = []
        self.status, self.status_color = "", DIM  # for the bar at the top
        self.banner = ""  # trouble, in words; empty when all is well

    def add(self, who: str, text: str, is_mine: bool = False) -> None:
        """Puts a line into our own window, and on paper."""
        self.lines = [*self.lines[-HISTORY:], Line(who, text, is_mine)]
        print(f"{who}: {text}" if who else f"* {text}", flush=True)

    def say(self, text: str) -> None:
        """Says something to everybody. It need not wait for the network to stand in our own window."""
        self.add(self.name, text, is_mine=True)

    def handle(self, e: pygame.event.Event) -> None:
        """Takes in one network event."""

    def update(self) -> None:
        """Looks after the words in the bar at the top, once a frame."""


class Server(Chat):
    """The one whom everybody calls. What it hears from one guest it passes on to all the others."""

    def __init__(self, name: str, url: str) -> None:
        super().__init__(name)
        self.guests: list[net.Peer] = []
        self.people = [name]
        listener = net.listen(url, name=name)
        self.address = listener.addresses[0]  # what to give to your friends
        print(f"serving {self.address}", flush=True)

    def say(self, text: str) -> None:
        """Says something to every guest."""
        super().say(text)
        net.send({"who": self.name, "text": text}, CHANNEL_CHAT)  # with no `to`, it goes to every guest

    def news(self, text: str) -> None:
        """Tells everybody what nobody said."""
        self.add("", text)
        net.send({"who": "", "text": text}, CHANNEL_CHAT)

    def handle(self, e: pygame.event.Event) -> None:
        """Lets guests in and out, and passes on what they say."""
        who = printable(e.peer)
        if e.what == net.NETWORK_CONNECTED:
            for line in self.lines:  # tell the newcomer alone what was said before
                net.send({"who": line.who, "text": line.text}, CHANNEL_CHAT, to=e.peer)
            self.guests.append(e.peer)
            self.news(f"{who} came in")
        elif e.what == net.NETWORK_DATA_IN and e.channel == CHANNEL_CHAT:
            # Whatever comes from somebody else's computer may be anything: look before you use it.
            if isinstance(e.data, str) and e.data.isprintable() and 0 < len(e.data) <= MAX_TEXT:
                self.add(who, e.data)
                net.send({"who": who, "text": e.data}, CHANNEL_CHAT, exclude=e.peer)  # they know what they said
        elif e.what == net.NETWORK_LOST:
            self.news(f"{who} has a bad line, waiting for them…")
        elif e.what == net.NETWORK_RESUMED:
            self.news(f"{who} is back")
        elif e.what == net.NETWORK_DISCONNECTED and e.peer in self.guests:
            self.guests.remove(e.peer)
            self.news(f"{who} left")
        if e.what in (net.NETWORK_CONNECTED, net.NETWORK_DISCONNECTED):
            self.people = [self.name] + [printable(guest) for guest in self.guests]
            net.send(self.people, CHANNEL_PEOPLE)

    def update(self) -> None:
        """Says where our friends find us."""
        self.status, self.status_color = f"serving {self.address}", GOOD


class Guest(Chat):
    """One who calls the server."""

    def __init__(self, name: str, url: str) -> None:
        super().__init__(name)
        self.url = url
        self.call()

    def call(self) -> None:
        """Calls the server. This returns at once; how it went comes as an event."""
        self.state, self.banner = "calling", ""
        self.lines, self.people = [], []  # the server will tell us again
        self.server = net.connect(self.url, name=self.name)

    def say(self, text: str) -> None:
        """Says something to the server, which passes it on."""
        if self.state == "gone":
            self.call()
        super().say(text)
        net.send(text, CHANNEL_CHAT)  # waits by itself if the connection is still being made, or is lost for a while

    def handle(self, e: pygame.event.Event) -> None:
        """Hears the server, and notices how the connection is doing."""
        if e.what == net.NETWORK_CONNECTED:
            self.state = "here"
        elif e.what == net.NETWORK_DATA_IN and e.channel == CHANNEL_CHAT:
            self.add(e.data["who"], e.data["text"])  # we trust the server we called
        elif e.what == net.NETWORK_DATA_IN and e.channel == CHANNEL_PEOPLE:
            self.people = e.data
        elif e.what == net.NETWORK_LOST:
            self.state, self.gives_up = "lost", time.monotonic() + e.seconds_left
        elif e.what == net.NETWORK_RESUMED:
            self.state = "here"
        elif e.what == net.NETWORK_DISCONNECTED:
            self.state, self.people = "gone", []
            self.banner = f"{e.reason}: {e.detail}" if e.detail else e.reason

    def update(self) -> None:
        """Says how the connection is doing."""
        if self.state == "here":
            self.status, self.status_color, self.banner = f"ping {self.server.rtt * 1000:.0f} ms", GOOD, ""
        elif self.state == "calling":
            self.status, self.status_color = f"calling {self.url.partition('?')[0]}…", WARN
        elif self.state == "lost":
            self.status, self.status_color = "reconnecting…", WARN
            self.banner = f"the line went dead, reconnecting… ({max(0.0, self.gives_up - time.monotonic()):.0f} s left)"
        else:
            self.status, self.status_color = "not connected, what you say next calls again", BAD


class Window:
    """Draws a chat, and reads the keyboard. It knows nothing of the network."""

    def __init__(self, chat: Chat) -> None:
        self.chat = chat
        self.screen = pygame.display.set_mode((WIDTH, HEIGHT))
        pygame.display.set_caption(f"{chat.name} · netplay chat")
        pygame.key.set_repeat(400, 40)
        pygame.key.start_text_input()
        self.typed = ""
        self.scroll = 0.0  # how far back we look, in pixels

    def handle(self, e: pygame.event.Event) -> None:
        """Takes in one event of the keyboard or the mouse."""
        if e.type == pygame.TEXTINPUT:
            self.typed = (self.typed + e.text)[:MAX_TEXT]
        elif e.type == pygame.KEYDOWN and e.key == pygame.K_BACKSPACE:
            self.typed = self.typed[:-1]
        elif e.type == pygame.KEYDOWN and e.key in (pygame.K_RETURN, pygame.K_KP_ENTER) and self.typed.strip():
            self.chat.say(self.typed.strip())
            self.typed, self.scroll = "", 0.0
        elif e.type == pygame.MOUSEWHEEL:
            self.scroll = max(0.0, self.scroll + 40 * e.y)

    def draw(self) -> None:
        """Draws everything anew: the conversation from its end upwards, then the bars over it."""
        self.screen.fill(NIGHT)
        y = HEIGHT - FOOTER - MARGIN + self.scroll
        lines = self.chat.lines
        for i in reversed(range(len(lines))):
            is_first = i == 0 or lines[i - 1].who != lines[i].who  # the first of several that one says in a row
            y = self.draw_line(lines[i], y, is_first)
            if y < HEADER:
                break
        else:
            self.scroll = max(0.0, self.scroll - max(0.0, y - HEADER - MARGIN))  # no further back than the first line
        self.draw_header()
        self.draw_footer()
        pygame.display.flip()

    def draw_line(self, line: Line, bottom: float, is_first: bool) -> float:
        """Draws one line that ends at `bottom`, and returns where it begins."""
        if not line.who:
            news = write(line.text, 18, DIM)
            self.screen.blit(news, ((WIDTH - news.get_width()) // 2, bottom - 24))
            return bottom - 34
        rows = [write(row, 23, BRIGHT) for row in wrap(line.text)]
        if is_first and not line.is_mine:
            rows.insert(0, write(line.who, 19, color_of(line.who)))
        width = max(row.get_width() for row in rows) + 2 * PAD
        height = sum(row.get_height() + 3 for row in rows) + 2 * PAD - 3
        slide = 30 * max(0.0, 1 - (time.monotonic() - line.born) / 0.15)  # a new line comes in from its side
        x = WIDTH - MARGIN - width + slide if line.is_mine else MARGIN + 42 - slide
        y = bottom - height
        self.screen.blit(rounded((width, height), MINE if line.is_mine else BUBBLE, 14), (x, y))
        if is_first and not line.is_mine:
            self.draw_face(line.who, MARGIN + 17 - slide, y + 17, 17)
        at = y + PAD
        for row in rows:
            self.screen.blit(row, (x + PAD, at))
            at += row.get_height() + 3
        return y - (14 if is_first else 5)

    def draw_face(self, name: str, x: float, y: float, radius: int) -> None:
        """Draws a coloured disc with the first letter of a name."""
        self.screen.blit(rounded((2 * radius, 2 * radius), color_of(name), radius), (x - radius, y - radius))
        letter = write(name[:1].upper(), radius + 8, NIGHT)
        self.screen.blit(letter, letter.get_rect(center=(x, y + 1)))

    def draw_header(self) -> None:
        """Draws the bar at the top: who we are, how the connection is doing, and who is here."""
        chat = self.chat
        pygame.draw.rect(self.screen, BAR, (0, 0, WIDTH, HEADER))
        self.draw_face(chat.name, MARGIN + 26, HEADER / 2, 26)
        self.screen.blit(write(chat.name, 34, BRIGHT), (MARGIN + 66, 20))
        self.screen.blit(rounded((10, 10), chat.status_color, 5), (MARGIN + 66, 55))
        self.screen.blit(write(chat.status, 20, DIM), (MARGIN + 82, 53))
        others = [name for name in chat.people if name != chat.name][-6:]
        for i, name in enumerate(others):
            self.draw_face(name, WIDTH - MARGIN - 18 - 40 * (len(others) - 1 - i), HEADER / 2, 18)
        if chat.banner:
            pygame.draw.rect(self.screen, chat.status_color, (0, HEADER, WIDTH, 32))
            words = write(chat.banner, 20, NIGHT)
            self.screen.blit(words, words.get_rect(center=(WIDTH // 2, HEADER + 16)))

    def draw_footer(self) -> None:
        """Draws the box at the bottom, with what is being typed and a blinking caret."""
        pygame.draw.rect(self.screen, BAR, (0, HEIGHT - FOOTER, WIDTH, FOOTER))
        box = pygame.Rect(MARGIN, HEIGHT - FOOTER + 11, WIDTH - 2 * MARGIN, FOOTER - 22)
        self.screen.blit(rounded(box.size, NIGHT, 20), box)
        words = write(self.typed, 23, BRIGHT) if self.typed else write("say something, Enter sends it", 23, DIM)
        hidden = max(0, words.get_width() - box.width + 36)  # of a long line we see the end
        self.screen.blit(words, (box.x + 16, box.y + 14), (hidden, 0, box.width, box.height))
        if time.monotonic() % 1 < 0.5:
            x = box.x + 14 + (words.get_width() - hidden + 4 if self.typed else 0)
            pygame.draw.line(self.screen, BRIGHT, (x, box.y + 11), (x, box.bottom - 12), 2)


@lru_cache(maxsize=500)
def wrap(text: str, width: int = WIDTH * 2 // 3) -> list[str]:
    """Breaks a text into rows that are at most `width` pixels wide."""
    rows = [""]
    for word in text.split():
        if font(46).size(f"{rows[-1]} {word}")[0] // 2 <= width:
            rows[-1] = f"{rows[-1]} {word}".strip()
            continue
        rows += [""] if rows[-1] else []
        for letter in word:  # a word wider than a row is cut where it must be
            if font(46).size(rows[-1] + letter)[0] // 2 > width:
                rows.append("")
            rows[-1] += letter
    return rows


def main() -> None:
    """Reads the command line, and runs the chat."""
    args = few_words(__doc__).parse_args()
    with no_traceback():
        run(args)


def run(args: argparse.Namespace) -> None:
    """Runs the chat until its window is closed."""
    if args.headless:
        os.environ["SDL_VIDEODRIVER"] = os.environ["SDL_AUDIODRIVER"] = "dummy"
    pygame.init()
    name = printable(args.name or ("Host" if args.serve else random.Random(args.seed or None).choice(NAMES)))
    chat = Server(name, args.url or "play://*:5000") if args.serve else Guest(name, args.url or "play://localhost:5000")
    window = Window(chat)
    typist = Typist(name, args.seed) if args.autoplay else None
    clock = pygame.time.Clock()
    end = time.monotonic() + args.seconds
    running = True
    while running and time.monotonic() < end:
        net.poll()  # the one extra line: what came from the network stands now in pygame's queue
        for e in pygame.event.get():
            if e.type == pygame.QUIT or (e.type == pygame.KEYDOWN and e.key == pygame.K_ESCAPE):
                running = False
            elif e.type == net.NETWORK:
                chat.handle(e)
            else:
                window.handle(e)
        if typist and (text := typist.type(chat.people, [line.text for line in chat.lines if line.who])):
            chat.say(text)
        chat.update()
        window.draw()
        clock.tick(60)
    if args.picture:
        pygame.image.save(window.screen, args.picture)
    net.close()  # says goodbye, so that the others need not wonder where we went


if __name__ == "__main__":
    main()
