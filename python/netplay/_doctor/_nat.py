"""What kind of router is between, from what several relays have seen of one and the same port. It asks nobody."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, Literal, NamedTuple, TypeAlias

__all__ = ["WORDS", "Kind", "Sight", "kind"]

Kind: TypeAlias = Literal["open", "easy", "symmetric", "one relay only", "unseen"]

WORDS: Final[dict[Kind, str]] = {
    "open": "open: nothing on the way to the relay gives this machine another address",
    "easy": "behind a router that keeps one port for everybody (easy): there is a direct way to most players",
    "symmetric": "behind a router with another port for every destination (symmetric): most players are reached through"
    " the relay only",
    "one relay only": "behind a router, of a kind unknown: one relay only has answered; name a second --relay to tell",
    "unseen": "behind what kind of router is unknown: no relay has answered by UDP",
}


class Sight(NamedTuple):
    """What one relay says by UDP; addresses are texts with a port."""

    relay: str
    remote: str
    """Where it was asked."""
    local: str | None
    """From where it was asked; None if this machine knows no way there."""
    seen: tuple[str, float] | None
    """From where that came to the relay, and after how many seconds its answer was here; None without one."""

    @property
    def is_ipv6(self) -> bool:
        return self.remote.startswith("[")


def kind(sights: Iterable[Sight]) -> Kind:
    """Tells the kind from sights of one family of addresses, all asked from one port.

    A router that has another port for every host, but one for all ports of a host, is seen only by relays on two hosts.
    """
    answered = {sight.remote: (sight.local, sight.seen[0]) for sight in sights if sight.seen is not None}
    if not answered:
        return "unseen"
    if len({seen for _, seen in answered.values()}) > 1:
        return "symmetric"
    if all(local == seen for local, seen in answered.values()):
        return "open"
    return "easy" if len(answered) > 1 else "one relay only"
