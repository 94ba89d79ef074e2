"""Who is kept out: the words for addresses, ranges and keys. What a ban does is in `_core`."""

from __future__ import annotations

import ipaddress

from . import _core
from ._core import Peer

__all__ = ["Bans"]


class Bans(_core.Network):
    """The part of a Network that keeps somebody out."""

    def ban(self, who: Peer | str, seconds: float | None = None) -> None:
        """Keeps somebody out: closes whoever is connected and meant at once, and refuses them when they come again.

        The other side sees the reason "banned". A peer is banned by its public key and by its address, and with the
        address everybody behind the same router; `ban(peer.key)` bans the key alone, which a player who means harm can
        throw away. Of a peer on this machine itself, where everybody comes from who comes through a tunnel, only the
        key is banned. Bans are kept in memory until the network is closed, at most 65,536; save `bans()` to keep them.

        Args:
            who: A Peer, which may be gone already; an IP address (of an IPv6 address, the whole /64 that one household
                has), a range such as "10.0.0.0/8", or a key as `peer.key` gives it.
            seconds: For how long; None until the network is closed.

        Raises:
            ValueError: `who` is none of these, `seconds` is not above 0, or there are too many bans.
            TypeError: `who` is neither a Peer nor a str.

        Example:
            >>> import netplay
            >>> with netplay.Network() as server:
            ...     server.ban("192.0.2.7", seconds=3600)
            ...     server.ban("2001:db8::7")
            ...     sorted(server.bans())
            ['192.0.2.7', '2001:db8::/64']
        """
        if seconds is not None and not seconds > 0:
            raise ValueError(f"seconds is {seconds}, it must be more than 0; None bans for good")
        for name in _ban_names(who):
            self._ban(name, seconds)
        if isinstance(who, Peer):
            self._end_banned(who)

    def unban(self, who: Peer | str) -> bool:
        """Lets somebody in again.

        Args:
            who: As for `ban()`; of a Peer, both its key and its address.

        Returns:
            True if there was a ban.

        Raises:
            ValueError: `who` is no address, range or key.
            TypeError: `who` is neither a Peer nor a str.

        Example:
            >>> import netplay
            >>> with netplay.Network() as server:
            ...     server.ban("10.0.0.0/8")
            ...     server.unban("10.0.0.0/8"), server.unban("10.0.0.0/8")
            (True, False)
        """
        lifted = [self._unban(name) for name in _ban_names(who)]
        return any(lifted)

    def bans(self) -> dict[str, float | None]:
        """Returns who is banned: addresses, ranges and keys, with the seconds left, or None for good.

        Each key of the dict is what `ban()` and `unban()` take.

        Raises:
            Nothing.

        Example:
            >>> import netplay
            >>> with netplay.Network() as server:
            ...     server.ban("10.1.2.3/8")
            ...     server.bans()
            {'10.0.0.0/8': None}
        """
        return dict(self._bans())


def _ban_names(who: Peer | str) -> list[str]:
    """Returns what to ban for somebody, in the words of the core."""
    if isinstance(who, str):
        return [who]
    if not isinstance(who, Peer):
        raise TypeError(f"who is {who!r}; it must be a Peer, an address, a range or a key")
    names = [] if who.key is None else [who.key]
    host = who._host
    if host is not None and not ipaddress.ip_address(host).is_loopback:
        names.append(host)
    return names
