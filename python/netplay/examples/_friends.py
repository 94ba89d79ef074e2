"""Rooms, for games with a server: friends come in by a code, from anywhere, with no address and no open port.

Such a room is a star with the server in its middle, so those who come by the code are peers of the server like those
who call its address. Only the events have other names, CAME and WENT are both:

| by the address | by the code |
|---|---|
| NETWORK_CONNECTED | NETWORK_JOINED |
| NETWORK_DISCONNECTED | NETWORK_LEFT; one without a peer is about the room itself |

Where `--relay` names no relay of one's own, rooms are found through those of iroh; what these see stands in
docs/security.md. It knows pygame, rooms and how to say what went wrong, but not the rules of any game.
"""

import argparse
from typing import Any

import pygame

import netplay as net
from netplay.examples._game import DIM, GOOD, NIGHT, PANEL, WARN, copy, rounded, write

CAME = (net.NETWORK_CONNECTED, net.NETWORK_JOINED)
WENT = (net.NETWORK_DISCONNECTED, net.NETWORK_LEFT)

PATIENCE = 10.0  # seconds that a guest knocks; a room that is there answers in one or two
PLAIN = {
    "no room": "No room answers: is the code right, is the host still there, and does the internet work?",
    "full": "There is no place left.",
    "goodbye": "The host has left.",
    "timeout": "Nothing is heard of the host any more.",
}


class Invitation:
    """What a host shows to friends: the code of a room. In large letters until the first one has come."""

    def __init__(self) -> None:
        self.room: net.Room | None = None
        self.is_copied = False

    def open(self, network: net.Network, args: argparse.Namespace, app: str, version: str, places: int) -> None:
        """Opens a room to the players of a server, if that was asked for."""
        if args.room:
            self.room = network.host_room(
                app, name=args.name, version=version, max_peers=places, topology="star", relay=args.relay
            )
            print(f"friends join by the code {self.room.code}", flush=True)

    def handle(self, e: pygame.event.Event) -> None:
        """Takes in one event of the keyboard: C copies the code."""
        if self.room and e.type == pygame.KEYDOWN and e.key == pygame.K_c:
            self.is_copied = copy(self.room.code)

    def draw(self, screen: pygame.Surface, center: tuple[int, int]) -> None:
        """Draws it, over everything else."""
        if not self.room:
            return
        if self.room.state == "closed" or not self.room.is_host:
            lines = [write("the room is closed, the address is still good", 17, WARN)]
        elif self.room.members:
            lines = [write(f"code {self.room.code}", 17, DIM)]
        else:
            hint = "copied" if self.is_copied else "C copies it" if self.room.state == "open" else "opening…"
            lines = [write(self.room.code, 52, GOOD), write(f"friends join by this code · {hint}", 17, DIM)]
        size = max(line.get_width() for line in lines) + 36, sum(line.get_height() for line in lines) + 14
        box = pygame.Rect((0, 0), size)
        box.center = center
        screen.blit(rounded(box.size, PANEL, 10), box)
        top = box.top + 7
        for line in lines:
            screen.blit(line, line.get_rect(midtop=(box.centerx, top)))
            top += line.get_height()


def call(
    screen: pygame.Surface, args: argparse.Namespace, url: str, app: str, version: str, **options: Any
) -> net.Peer | None:
    """Calls a server, by its address or by the code of its room. Returns None if the player would rather not wait.

    With an address there is a peer at once, and events tell how it goes. Who has a room open is known only when they
    have answered, so here we wait for that, and the window stays alive.
    """
    if not url.startswith("room://"):
        return net.connect(url, name=args.name, version=version, **options)
    try:
        room = net.join_room(url, app, name=args.name, version=version, timeout=PATIENCE, relay=args.relay)
    except ValueError as error:  # what was typed is no code
        raise net.Error(str(error)) from error
    words = write(f"looking for the room {room.code}…", 40, WARN)
    clock = pygame.time.Clock()
    while not room.host:
        for e in pygame.event.get():
            if e.type == pygame.QUIT or (e.type == pygame.KEYDOWN and e.key == pygame.K_ESCAPE):
                args.is_over = e.type == pygame.QUIT
                net.close()
                return None
            if e.type == net.NETWORK and e.what == net.NETWORK_LEFT:
                net.close()
                raise net.Error(in_words(e))
        screen.fill(NIGHT)
        screen.blit(words, words.get_rect(center=screen.get_rect().center))
        pygame.display.flip()
        clock.tick(60)
        net.poll()  # comes last: what the host says first stays in pygame's queue, for the game
    return room.host


def is_about(e: pygame.event.Event, server: net.Peer) -> bool:
    """Whether an event is about the server: in a room the other guests are peers too, and not to be believed."""
    return e.peer in (server, None)


def is_about_room(e: net.Event) -> bool:
    """Returns true if an event is about the room that we have open, and about nobody in it."""
    peer: net.Peer | None = e.peer
    return peer is None


def in_words(e: net.Event | pygame.event.Event) -> str:
    """Returns why somebody went, as a player would say it."""
    if e.detail and e.reason not in ("no room", "timeout"):
        return f"{e.reason}: {e.detail}"
    return PLAIN.get(e.reason, e.reason)
