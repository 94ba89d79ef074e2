"""Begins a game of comets: reads the command line, asks in the menu, and runs the loop."""

import time
from argparse import Namespace

import pygame

import netplay as net
from netplay.examples import comets
from netplay.examples._game import Menu, command_line, open_window, parse
from netplay.examples.comets.client import Client
from netplay.examples.comets.picture import SIZE, Picture, draw_backdrop
from netplay.examples.comets.rules import FIRE, LEFT, RIGHT, THRUST, steer
from netplay.examples.comets.server import MAX_PLAYERS, Server

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
        self.server = Server(args.seed, args.bots, time.monotonic())
        self.url = args.url if args.mode == "alone" else "local://comets"  # how the one in front gets in
        self.network.listen(self.url, name="Comets")
        if args.mode == "host":
            listener = self.network.listen(args.url, name=f"{args.name}'s comets", max_peers=MAX_PLAYERS)
            self.address = listener.addresses[0]  # what to give to friends
            print(f"serving {self.address}", flush=True)

    def update(self, timeout: float = 0.0) -> None:
        """Hears what has come, and plays what is due."""
        for e in self.network.get(timeout):
            self.server.handle(e, time.monotonic())
        self.server.update(time.monotonic())


def play(screen: pygame.Surface, args: Namespace) -> str:
    """Plays until somebody leaves. Returns why it is over: empty if the player wanted it so."""
    hosted = Hosted(args) if args.mode != "join" else None
    client = Client(net.connect(hosted.url if hosted else args.url, name=args.name), time.monotonic())
    picture, graph = Picture(screen, client), net.NetGraph(buffer=client.states)
    clock, end = pygame.time.Clock(), time.monotonic() + args.seconds
    problem = None
    while problem is None and time.monotonic() < end and not (args.ticks and client.truth_tick >= args.ticks):
        if hosted:
            hosted.update()
        net.poll()  # the one extra line: what came from the network stands now in pygame's queue
        for e in pygame.event.get():
            if e.type == net.NETWORK:
                client.handle(e, time.monotonic())
                if e.what == net.NETWORK_DISCONNECTED:
                    problem = e.detail or e.reason
            elif e.type == pygame.QUIT:
                args.is_over, problem = True, ""
            elif e.type == pygame.KEYDOWN and e.key == pygame.K_ESCAPE:
                problem = ""
            elif e.type == pygame.KEYDOWN:
                picture.handle(e.key)
        pressed = pygame.key.get_pressed()
        keys = sum(bit for bit, *names in KEYS if any(pressed[name] for name in names))
        if args.autoplay and client.me:
            keys = steer(client.me, list(client.truth.values()), client.comets, client.tick)
        client.update(time.monotonic(), keys)
        picture.draw(hosted.address if args.mode == "host" and hosted else "")
        graph.draw(screen)
        pygame.display.flip()
        clock.tick(60)
    net.close()  # says goodbye, so that the others need not wonder where we went
    if hosted:
        hosted.network.close()
    return problem or ""


def serve(args: Namespace) -> None:
    """Serves others, without a window and without a player."""
    hosted, end = Hosted(args), time.monotonic() + args.seconds
    while time.monotonic() < end and not (args.ticks and hosted.server.tick >= args.ticks):
        hosted.update(timeout=0.005)
    hosted.network.close()


def main() -> None:
    """Reads the command line and runs the game until its window is closed."""
    args = parse(command_line(comets.__doc__, bots=4))
    if args.serve and args.headless and not args.autoplay:
        serve(args)
        return
    screen = open_window(args, "comets", SIZE)
    menu = Menu("Comets", "fly, dodge, shoot", "arrows or WASD fly, space shoots, F3 shows the network")
    while args.mode or menu.run(screen, args, draw_backdrop):
        menu.notice = play(screen, args)
        if not menu.was_used or args.is_over:
            break
        args.mode = ""
    if args.picture:
        pygame.image.save(screen, args.picture)
    pygame.quit()


if __name__ == "__main__":
    main()
