"""Whether friends can join a game that is hosted here, and why so: what follows from the findings. It asks nobody."""

from __future__ import annotations

from collections.abc import Iterator

from ._finding import NO, OK, UNTOLD, Finding

__all__ = ["conclude"]

_BY_ROOM = "yes, by a room (host_room)"


def conclude(findings: list[Finding]) -> Iterator[Finding]:
    """Yields a line for friends on the same network, and one for friends at their homes."""
    about = {topic: [finding for finding in findings if finding.topic == topic] for topic, *_ in findings}
    if not _is_ok(about.get("listen")):
        yield Finding("hosting", NO, "You can host for friends: no, because no game can listen here.")
        return
    if not _is_ok(about.get("interfaces")):
        yield Finding("hosting here", NO, "You can host for friends here: no, because this machine is in no network.")
    else:
        yield Finding("hosting here", OK, f"You can host for friends on the same network: yes, {_by_what(about)}.")
    mark, text = _at_home(about)
    yield Finding("hosting", mark, f"You can host for friends at home: {text}.")


def _is_ok(findings: list[Finding] | None) -> bool:
    return any(finding.mark == OK for finding in findings or [])


def _value(findings: list[Finding] | None) -> str | None:
    return findings[-1].value if findings else None


def _by_what(about: dict[str, list[Finding]]) -> str:
    multicast = about.get("multicast", [])
    if any(finding.value == "others" for finding in multicast):
        return "because they find it by itself (advertise=), or come by an address above"
    if _is_ok(multicast):
        return "by an address above, and by itself (advertise=) if the network carries what is said to everybody"
    if any(finding.mark == NO for finding in multicast):
        return "but by an address above only, because multicast does not work here"
    return "by an address above"


def _at_home(about: dict[str, list[Finding]]) -> tuple[str, str]:
    is_public = _is_ok(about.get("public address"))
    public = "by an address above, because one of them counts on the whole internet, if no firewall is there"
    if not _is_ok(about.get("meeting")):
        if is_public:
            return UNTOLD, f"probably {public}"
        if "meeting" not in about and all(finding.mark == UNTOLD for finding in about.get("relay", [])):
            return UNTOLD, "not known, because nobody beyond the local network was asked; --relay public asks"
        return NO, "no, because no relay is reached: rooms need one, for players to find each other"
    if _value(about.get("udp")) == "blocked":
        return OK, f"{_BY_ROOM}, but all through the relay, because UDP is blocked"
    kind = _value(about.get("nat"))
    is_mapped = _is_ok(about.get("port mapping"))
    if is_mapped and kind != "open":
        return OK, f"{_BY_ROOM}, and directly with most, because the router opens a port when asked"
    if kind == "symmetric":
        return OK, f"{_BY_ROOM}, but with most through the relay, because the router has another port for every player"
    if kind == "one relay only":
        return OK, f"{_BY_ROOM}; whether directly is not known, because one relay cannot tell the kind of router"
    if kind in ("open", "easy"):
        return OK, f"{_BY_ROOM}, and directly with most, because no router hinders it"
    return OK, f"{_BY_ROOM}; whether directly is not known, because no relay has answered by UDP"
