"""Lines: draw the fourth side of a box, and it is yours. Two to four take turns, everybody else may watch.

What it shows about networking:

* The server owns the rules. A click is only a wish; what is so, the server says, and it says why when something is not.
* A table is small, so the server sends all of it whenever it changes. Who comes late or comes back needs nothing more.
* A seat outlives a bad line. NETWORK_LOST starts a countdown that all can see, NETWORK_RESUMED ends it; with `resume`
  even a program that was killed gets its seat back when it is started again.
* The computer's players, and you when you host, are clients like any other, only over local:// inside this process.

Keys: the mouse draws, Space begins and plays again, F3 shows the network, Escape leaves.

Try it, and pull a cable, or kill a window and start it again with the same name:

    python -m netplay.examples.lines --serve --name Ada
    python -m netplay.examples.lines "play://localhost:5000?lag_ms=80&loss_pct=5" --name Bob
"""

import argparse
import random
import time
import zlib

import pygame

import netplay as net
from netplay.examples._friends import CAME, WENT, Invitation, call, in_words, is_about, is_about_room
from netplay.examples._game import NAMES, WARN, Menu, announced, command_line, no_traceback, parse, printable, run
from netplay.examples._lines_rules import FREE, MAX_SEATS, Illegal, Table, choose_line
from netplay.examples._lines_window import HEIGHT, WIDTH, Window, draw_backdrop

VERSION = "lines 1"  # those of another game or of another version are told so, and not let in
CHANNEL_WISH = 1  # to the server: the number of a line that I want to draw, or "begin"
CHANNEL_TABLE = (
    2  # from the server: {"table": all of it, "you": my seat, "away": seconds left of each seat, "watching": n}
)
CHANNEL_NO = 3  # from the server: why my wish was not granted, a str

INSIDE = "local://lines"  # where players of this very process find the server
MAX_PEERS = 30  # players and those who watch
THINKING = 0.7  # seconds that the computer waits before it draws, so that one can follow


class Server:
    """Sits players down, plays by the rules, and tells everybody how the table stands."""

    def __init__(self, name: str, *urls: str) -> None:
        self.network = net.Network()
        listeners = [
            self.network.listen(url, name=name, version=VERSION, max_peers=MAX_PEERS, advertise=announced("lines", url))
            for url in urls
        ]
        self.address = listeners[0].addresses[0]  # what to give to friends
        self.peers: list[net.Peer] = []  # everybody
        self.seats: list[net.Peer] = []  # those who play, in the order of their turns
        self.away: dict[net.Peer, float] = {}  # whose line is dead, and until when we keep the seat for them
        self.table = Table()

    def update(self) -> None:
        """Hears everybody, once a frame."""
        for e in self.network.get():
            self.handle(e)

    def handle(self, e: net.Event) -> None:
        """Takes in one event of the network."""
        if is_about_room(e):
            return
        seat = self.seats.index(e.peer) if e.peer in self.seats else FREE
        if e.what in CAME:
            self.peers.append(e.peer)
            self.sit(e.peer)
        elif e.what == net.NETWORK_DATA_IN:
            try:
                self.grant(seat, e.data)
            except Illegal as no:
                e.peer.send(str(no), CHANNEL_NO)
                return  # nothing has changed
        elif e.what == net.NETWORK_LOST:
            self.away[e.peer] = time.monotonic() + e.seconds_left
        elif e.what == net.NETWORK_RESUMED:
            self.away.pop(e.peer, None)  # the same Peer, so the same seat; below it is told how the table stands
        elif e.what in WENT:
            self.peers.remove(e.peer)
            self.away.pop(e.peer, None)
            if seat != FREE and self.table.phase == "gathering":
                del self.seats[seat], self.table.names[seat]
            elif seat != FREE:
                self.table.leave(seat)
        self.tell()

    def grant(self, seat: int, wish: object) -> None:
        """Does what somebody would like, if the rules allow it."""
        if wish != "begin":
            self.table.draw(seat, wish)
        elif self.table.phase == "over":
            self.gather()
        else:
            self.table.begin(seat)

    def sit(self, peer: net.Peer) -> None:
        """Gives somebody a seat, if there is one."""
        if self.table.phase == "gathering" and len(self.seats) < MAX_SEATS:
            self.seats.append(peer)
            self.table.names.append(printable(peer))

    def gather(self) -> None:
        """Clears the table for the next game: who sat second begins, and who watched may play."""
        stayed = [peer for peer in self.seats if peer in self.peers]
        self.table, self.seats = Table(), []
        for peer in [*stayed[1:], *stayed[:1], *(peer for peer in self.peers if peer not in stayed)]:
            self.sit(peer)
        if len(self.seats) > 1:
            self.table.begin(0)

    def tell(self) -> None:
        """Tells everybody everything."""
        away = [max(0.0, self.away[peer] - time.monotonic()) if peer in self.away else 0.0 for peer in self.seats]
        news = {"table": vars(self.table), "away": away, "watching": len(set(self.peers) - set(self.seats))}
        for peer in self.peers:
            you = self.seats.index(peer) if peer in self.seats else FREE
            peer.send({**news, "you": you}, CHANNEL_TABLE)


class Guest:
    """One who plays or watches: knows the table as the server last told it, and how the line is doing."""

    def __init__(self, server: net.Peer, name: str, seed: object = None) -> None:
        self.server, self.name = server, name
        self.dice = random.Random(f"{seed} {name}")  # with which the computer plays
        self.table, self.you, self.watching = Table(), FREE, 0
        self.away: list[float] = []  # until when each seat is kept; 0 for those who are here
        self.state, self.trouble, self.no = "calling", "", ""
        self.ready_at, self.is_waiting = 0.0, False

    def handle(self, e: net.Event | pygame.event.Event) -> None:
        """Takes in one event of the network."""
        if e.what == net.NETWORK_DATA_IN and e.channel == CHANNEL_TABLE:
            self.table = Table(**e.data["table"])  # we trust the server that we called
            self.you, self.watching = e.data["you"], e.data["watching"]
            self.no, self.is_waiting = "", False
            self.away = [time.monotonic() + seconds if seconds else 0.0 for seconds in e.data["away"]]
        elif e.what == net.NETWORK_DATA_IN and e.channel == CHANNEL_NO:
            self.no, self.is_waiting = e.data, False
        elif e.what in (*CAME, net.NETWORK_RESUMED):
            self.state = "here"
        elif e.what == net.NETWORK_LOST:
            self.state, self.gives_up = "lost", time.monotonic() + e.seconds_left
        elif e.what in WENT:
            self.state, self.trouble = "gone", in_words(e)

    def wish(self, what: int | str) -> None:
        """Tells the server what we would like."""
        self.server.send(what, CHANNEL_WISH)
        self.is_waiting = True  # for the answer, which is a table or a no

    def autoplay(self, thinking: float = 0.0, begins_with: int = 0) -> None:
        """Lets the computer play in our place, and begin when so many sit at the table; 0 leaves that to others."""
        if self.table.phase == "playing":
            is_my_turn = self.you == self.table.turn
        else:
            is_my_turn = 0 < begins_with <= len(self.table.names)
        if not is_my_turn or self.is_waiting:
            self.ready_at = time.monotonic() + thinking
        elif time.monotonic() >= self.ready_at:
            self.wish(choose_line(self.table, self.dice) if self.table.phase == "playing" else "begin")

    @property
    def words(self) -> tuple[str, str]:
        """How the line is doing, and in which colour to say so; no words when all is well."""
        if self.state == "calling":
            return f"calling {self.server.url.partition('?')[0]}…", WARN
        if self.state == "lost":
            return f"the line went dead, calling again… {max(0.0, self.gives_up - time.monotonic()):.0f} s", WARN
        return "", ""


def play(screen: pygame.Surface, args: argparse.Namespace) -> str:
    """Plays until somebody leaves. Returns what went wrong, in words."""
    server, invitation = None, Invitation()
    bots: list[tuple[net.Network, Guest]] = []
    if args.mode == "join":
        # With `resume`, whoever is killed and starts again with the same name is the same player, on the same seat.
        peer = call(screen, args, args.url, "lines", VERSION, resume=f"lines {args.name}")
        if not peer:
            return ""
    else:
        inside = args.url if args.mode == "alone" else INSIDE
        server = Server(args.name, *([args.url] if args.mode == "host" else []), inside)
        invitation.open(server.network, args, "lines", VERSION, MAX_PEERS)
        peer = net.connect(inside, name=args.name, version=VERSION)
        for name in [name for name in NAMES if name != args.name][: bots_of(args)]:
            network = net.Network()
            bots.append((network, Guest(network.connect(inside, name=name, version=VERSION), name, args.seed)))
    guest = Guest(peer, args.name, args.seed)
    window = Window(screen, guest, server.address if server and args.mode == "host" else "")
    graph = net.NetGraph()  # F3 shows and hides it
    clock, end = pygame.time.Clock(), time.monotonic() + args.seconds
    while guest.state != "gone" and time.monotonic() < end:
        if server:
            server.update()
        for network, bot in bots:
            for event in network.get():
                bot.handle(event)
            bot.autoplay(THINKING)
        net.poll()  # the one extra line: what came from the network stands now in pygame's queue
        for e in pygame.event.get():
            if e.type == net.NETWORK and is_about(e, peer):
                guest.handle(e)
            elif e.type == pygame.QUIT or (e.type == pygame.KEYDOWN and e.key == pygame.K_ESCAPE):
                args.is_over, end = e.type == pygame.QUIT, 0.0
            else:
                window.handle(e)
                invitation.handle(e)
        if args.autoplay:
            guest.autoplay(THINKING, begins_with=max(2, 1 + len(bots)))
        window.draw()
        invitation.draw(screen, (WIDTH - 195, HEIGHT - 190))
        graph.draw(screen)
        pygame.display.flip()
        clock.tick(60)
    net.close()  # says goodbye, so that the others need not wonder where we went
    for network in [*(network for network, _ in bots), *([server.network] if server else [])]:
        network.close()
    return guest.trouble


def serve(args: argparse.Namespace) -> None:
    """Is the server and nothing else, for a machine without a screen."""
    server, end = Server(args.name, args.url), time.monotonic() + args.seconds
    print(f"serving {server.address}", flush=True)
    Invitation().open(server.network, args, "lines", VERSION, MAX_PEERS)
    while time.monotonic() < end:
        for event in server.network.get(timeout=0.1):
            server.handle(event)


def rehearse(screen: pygame.Surface, args: argparse.Namespace) -> str:
    """Plays without a clock, and makes sure after each tick that all know the same. Returns what is always the same."""
    server = Server("Server", args.url)
    guests: list[tuple[net.Network, Guest]] = []
    digest, games, ticks = 0, 0, args.ticks or 600

    def settle() -> None:
        """Lets all that was said arrive everywhere."""
        deadline = time.monotonic() + 10
        while any(guest.is_waiting or vars(guest.table) != vars(server.table) for _, guest in guests):
            if time.monotonic() > deadline:
                raise SystemExit(f"{server.table} on the server, but {[guest.table for _, guest in guests]}")
            for network, guest in guests:
                for event in network.get():
                    guest.handle(event)
            server.update()

    for name in [args.name, *(name for name in NAMES if name != args.name)][: 1 + bots_of(args)]:
        network = net.Network()
        guests.append((network, Guest(network.connect(args.url, name=name, version=VERSION), name, args.seed)))
        guests[-1][1].is_waiting = True  # for the first table
        settle()
    for _ in range(ticks):
        for number, (_, guest) in enumerate(guests):
            guest.autoplay(begins_with=0 if number else len(guests))
        settle()
        digest = zlib.crc32(repr(server.table).encode(), digest)
        games += server.table.phase == "over"
    Window(screen, guests[0][1]).draw()
    return f"{ticks} ticks, {games} games, {digest:08x}: the same on the server and {len(guests)} clients"


def bots_of(args: argparse.Namespace) -> int:
    """Returns how many players the computer makes up: who hosts would rather play with friends."""
    return (1 if args.mode == "alone" else 0) if args.bots is None else int(args.bots)


def main(words: list[str] | None = None) -> None:
    """Reads the command line, or these words, asks in a menu what they do not say, and plays."""
    parser = command_line(__doc__)
    parser.set_defaults(bots=None)
    args = parse(parser, words)
    menu = Menu("Lines", "four lines make a box, and who draws the fourth owns it", "the mouse draws, Space begins")
    if args.serve and args.headless:
        with no_traceback():
            serve(args)
    else:
        run(args, menu, (WIDTH, HEIGHT), play, draw_backdrop, rehearse)


if __name__ == "__main__":
    main()
