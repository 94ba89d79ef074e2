"""Comets: ships, thrust and shots, for two to sixteen players, and still good on a bad network.

What it shows about networking:

* The server decides. Clients send which keys are pressed, and never where they are: so nobody can cheat by saying so.
* Prediction: your own ship moves at once, without waiting for the server. When the server's word comes, which is old by
  then, the client goes back to it and plays the keys since then again; mostly that ends where it was. (Key P)
* Interpolation: the others are drawn a moment ago, between two things the server said, so they fly smoothly. (Key I)
* Lag compensation: you aim at what you see, which is the past. So the server judges your shot against where the others
  were on your screen, but no further back than 0.4 seconds: else you would be hit long after you took cover.
* What can be worked out need not be sent: comets fly straight, so the tick alone says where they are.

Keys: arrows or WASD fly, space shoots. P, I: prediction and interpolation on and off. G: a ghost where the server last
saw each ship. F3: the network. Escape leaves. Try the keys on a bad network:

    python -m netplay.examples.comets                                     the menu
    python -m netplay.examples.comets "local://me?lag_ms=150&loss_pct=5"  alone, as if the server were far away
    python -m netplay.examples.comets --serve --room                      play, and let friends join
    python -m netplay.examples.comets "play://localhost:5000?lag_ms=80"   join
    python -m netplay.examples.comets CDFG-2345                           join by the code of a room

| file | what it does |
|---|---|
| `_comets_rules.py` | says what a tick does to a ship; knows no network and no window |
| `_comets_messages.py` | says what travels |
| `_comets_server.py` | decides |
| `_comets_client.py` | predicts, and believes the server |
| `_comets_picture.py` | draws |
| this one | begins: the command line, the menu, the loop |
"""

import random
import time
from argparse import Namespace

import pygame

import netplay as net
from netplay.examples._comets_client import Client
from netplay.examples._comets_messages import VERSION
from netplay.examples._comets_picture import SIZE, Picture, draw_backdrop
from netplay.examples._comets_rules import FIRE, LEFT, RIGHT, THRUST, steer
from netplay.examples._comets_server import MAX_PLAYERS, Server
from netplay.examples._friends import WENT, Invitation, call, in_words, is_about
from netplay.examples._game import Menu, announced, command_line, no_traceback, parse, run

KEYS = [
    (LEFT, pygame.K_LEFT, pygame.K_a),
    (RIGHT, pygame.K_RIGHT, pygame.K_d),
    (THRUST, pygame.K_UP, pygame.K_w),
    (FIRE, pygame.K_SPACE, pygame.K_LCTRL),
]


class Hosted:
    """A server in this process, on a network of its own beside the one of the player in front of the window."""

    def __init__(self, args: Namespace) -> None:
        self.network = net.Network()
        self.server = Server(args.seed or random.randrange(1, 2**31), args.bots, time.monotonic())
        self.url = args.url if args.mode == "alone" else "local://comets"  # how the one in front gets in
        self.address, self.invitation = "", Invitation()
        if args.mode == "host":
            listener = self.network.listen(
                args.url,
                name=args.name,
                version=VERSION,
                max_peers=MAX_PLAYERS,
                advertise=announced("comets", args.url),
            )
            self.address = listener.addresses[0]  # what to give to friends
            print(f"serving {self.address}", flush=True)
            self.invitation.open(self.network, args, "comets", VERSION, MAX_PLAYERS)
        self.network.listen(self.url, name=args.name, version=VERSION)

    def update(self, timeout: float = 0.0) -> None:
        """Hears what has come, and plays what is due."""
        for e in self.network.get(timeout):
            self.server.handle(e, time.monotonic())
        self.server.update(time.monotonic())


def play(screen: pygame.Surface, args: Namespace) -> str:
    """Plays until somebody leaves. Returns why it is over: empty if the player wanted it so."""
    hosted = Hosted(args) if args.mode != "join" else None
    invitation = hosted.invitation if hosted else Invitation()
    peer = call(screen, args, hosted.url if hosted else args.url, "comets", VERSION)
    if not peer:
        return ""
    client = Client(peer, time.monotonic())
    picture = Picture(screen, client)
    graph = net.NetGraph(buffer=client.states, is_visible=args.graph)  # F3 shows and hides it
    clock, end = pygame.time.Clock(), time.monotonic() + args.seconds
    problem = None
    while problem is None and time.monotonic() < end and not (args.ticks and client.truth_tick >= args.ticks):
        if hosted:
            hosted.update()
        net.poll()  # the one extra line: what came from the network stands now in pygame's queue
        for e in pygame.event.get():
            if e.type == net.NETWORK and is_about(e, peer):
                client.handle(e, time.monotonic())
                if e.what in WENT:
                    problem = in_words(e)
            elif e.type == pygame.QUIT:
                args.is_over, problem = True, ""
            elif e.type == pygame.KEYDOWN and e.key == pygame.K_ESCAPE:
                problem = ""
            elif e.type == pygame.KEYDOWN:
                picture.handle(e.key)
                invitation.handle(e)
        pressed = pygame.key.get_pressed()
        keys = sum(bit for bit, *names in KEYS if any(pressed[name] for name in names))
        if args.autoplay and client.me:
            keys = steer(client.me, list(client.truth.values()), client.comets, client.tick)
        client.update(time.monotonic(), keys)
        picture.draw(hosted.address if hosted else "")
        invitation.draw(screen, (SIZE[0] // 2, 52))
        graph.draw(screen)
        pygame.display.flip()
        clock.tick(60)
    if args.headless:
        print_tables(client)
    net.close()  # says goodbye, so that the others need not wonder where we went
    if hosted:
        hosted.network.close()
    return problem or ""


def print_tables(client: Client) -> None:
    """Prints the score and how the network was, for those who have no window to look at."""
    print(f"\n{'':14} hits  deaths")
    for ship in sorted(client.truth.values(), key=lambda ship: (-ship.hits, ship.deaths)):
        print(f"{client.names.get(ship.id, ''):14} {ship.hits:4}  {ship.deaths:6}")
    stats, moved = client.server.stats(), sorted(client.corrections) or [0.0]
    print(f"\nping {stats['rtt'] * 1000:.0f} ms, jitter {stats['jitter'] * 1000:.0f} ms, {stats['loss']:.1%} lost")
    print(f"{stats['bytes_received'] / 1000:.0f} kB in, {stats['bytes_sent'] / 1000:.0f} kB out")
    print(f"the others were seen {client.states.delay(client.now) * 1000:.0f} ms behind what had come")
    print(f"our ship was corrected by at most {moved[len(moved) * 99 // 100]:.1f} px, 99 of 100 times")


def serve(args: Namespace) -> None:
    """Serves others, without a window and without a player."""
    hosted, end = Hosted(args), time.monotonic() + args.seconds
    while time.monotonic() < end and not (args.ticks and hosted.server.tick >= args.ticks):
        hosted.update(timeout=0.005)
    hosted.network.close()


def make_menu() -> Menu:
    """Returns the menu."""
    return Menu("Comets", "fly, dodge, shoot", "arrows or WASD fly, space shoots, F3 shows the network")


def main(words: list[str] | None = None) -> None:
    """Reads the command line, or these words, and runs the game until its window is closed."""
    parser = command_line(__doc__, bots=4)
    parser.add_argument("--graph", action="store_true", help="show the network from the start")
    args = parse(parser, words)
    if args.serve and args.headless and not args.autoplay:
        with no_traceback():
            serve(args)
    else:
        run(args, make_menu(), SIZE, play, draw_backdrop)


if __name__ == "__main__":
    main()
