"""A select loop over TCP, written by hand: each message behind two bytes that say how long it is.

What somebody who cares for speed would write without a library: sockets that never block and send at once, and whatever
one call has read cut up in one go.
"""

from __future__ import annotations

import contextlib
import socket
import struct
from collections.abc import Iterator
from select import select
from time import perf_counter_ns
from typing import Final

from clocks import Beat, Stopwatch, delay_of, stamped, turns
from plans import BATCH, END, GO, SECOND, Crowd, Echo, Flood, Line, Outcome

CHUNK: Final = 1 << 18  # bytes that one call may read
FULL: Final = 1 << 18  # bytes that wait for the socket; with more than that a source waits

_LENGTH: Final = struct.Struct(">H")


class Link:
    """One connection: bytes on their way out, and those of a message that has not arrived whole."""

    def __init__(self, stream: socket.socket) -> None:
        stream.setblocking(False)
        stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket = stream
        self.is_closed = False
        self._out = bytearray()
        self._part = b""

    def fileno(self) -> int:
        """For select()."""
        return self.socket.fileno()

    @property
    def waiting(self) -> int:
        """How many bytes the socket had no room for."""
        return len(self._out)

    def send(self, framed: bytes) -> None:
        """Sends what is framed already, as far as there is room."""
        if not self._out:
            try:
                sent = self.socket.send(framed)
            except BlockingIOError:
                sent = 0
            framed = framed[sent:]
        self._out += framed

    def flush(self) -> None:
        """Sends what waits, as far as there is room."""
        with contextlib.suppress(BlockingIOError):
            del self._out[: self.socket.send(self._out)]

    def receive(self) -> list[bytes]:
        """Returns the messages that have arrived whole."""
        try:
            data = self.socket.recv(CHUNK)
        except BlockingIOError:
            return []
        except ConnectionError:
            data = b""
        if not data:
            self.is_closed = True
            return []
        if self._part:
            data = self._part + data
        messages, at, end = [], 0, len(data)
        while end - at >= 2:
            begin = at + 2
            after = begin + (data[at] << 8 | data[at + 1])
            if after > end:
                break
            messages.append(data[begin:after])
            at = after
        self._part = data[at:]
        return messages

    def close(self) -> None:
        """Sends what is left, and closes."""
        self.socket.setblocking(True)
        with contextlib.suppress(ConnectionError):
            self.socket.sendall(self._out)
        self.socket.close()


def echo_server(plan: Echo, line: Line) -> Outcome:
    """Sends everything back."""
    timeout = 1.0 if plan.is_waiting else 0.0
    with _listen(line) as listener:
        link = Link(listener.accept()[0])
    while True:
        if select([link], [], [], timeout)[0]:
            for data in link.receive():
                if data == END:
                    link.close()
                    return {}
                link.send(framed(data))


def echo_client(plan: Echo, line: Line) -> Outcome:
    """Times each way there and back."""
    timeout = 1.0 if plan.is_waiting else 0.0
    data, times = bytes(plan.size), []
    link = Link(socket.create_connection(line.hear()))
    for _ in range(plan.warm_up + plan.count):
        sent = perf_counter_ns()
        link.send(framed(data))
        while not select([link], [], [], timeout)[0] or not link.receive():
            pass
        times.append(perf_counter_ns() - sent)
    link.send(framed(END))
    link.close()
    return {"times": times[plan.warm_up :]}


def flood_sink(plan: Flood, line: Line) -> Outcome:
    """Counts the messages between the marks."""
    watch, count = Stopwatch(), 0
    with _listen(line) as listener:
        link = Link(listener.accept()[0])
    while True:
        if select([link], [], [], 1.0)[0]:
            for data in link.receive():
                if len(data) == plan.size:
                    count += 1
                elif watch.is_end(data):
                    link.close()
                    return {"received": count, "seconds": watch.seconds}
                else:
                    count = 0


def flood_source(plan: Flood, line: Line) -> Outcome:
    """Sends as fast as the other side takes it."""
    data, sent = bytes(plan.size), 0
    link = Link(socket.create_connection(line.hear()))
    for seconds, mark in ((plan.warm_up, GO), (plan.seconds, END)):
        sent, until = 0, perf_counter_ns() + round(seconds * SECOND)
        while perf_counter_ns() < until:
            if link.waiting < FULL:
                for _ in range(BATCH):
                    link.send(framed(data))
                sent += BATCH
            elif select([], [link], [], 0.001)[1]:
                link.flush()
        link.send(framed(mark))
    link.close()
    return {"sent": sent}


def crowd_server(plan: Crowd, line: Line) -> Outcome:
    """Sends to all at a steady rate, and hears them."""
    received, links = 0, list[Link]()
    with _listen(line) as listener:
        links.extend(Link(listener.accept()[0]) for _ in range(plan.clients))
    line.tell("ready")
    beat = Beat(plan, line.hear())
    while not beat.is_over():
        if beat.is_tick():
            frame = framed(stamped(plan.down))
            for link in links:
                link.send(frame)
        full = [link for link in links if link.waiting]
        readable, writable, _ = select(links, full, [], beat.left())
        for link in writable:
            link.flush()
        for link in readable:
            received += len(link.receive())
    for link in links:
        link.close()
    return beat.outcome(received)


def crowd_clients(plan: Crowd, line: Line) -> Outcome:
    """All clients: they hear the server, and each sends at a steady rate."""
    data, delays, sent = framed(bytes(plan.up)), list[int](), 0
    address = line.hear()
    links = [Link(socket.create_connection(address)) for _ in range(plan.clients)]
    line.tell("ready")
    for turn in turns(plan, line.hear()):
        for number in turn:
            links[number % plan.clients].send(data)
            sent += 1
        delays.extend(_hear(links))
    for link in links:
        link.close()
    return {"sent": sent, "delays": delays}


def _hear(links: list[Link]) -> Iterator[int]:
    for link in select([link for link in links if not link.is_closed], [], [], 0)[0]:
        yield from map(delay_of, link.receive())


def framed(data: bytes) -> bytes:
    """Returns a message as it travels."""
    return _LENGTH.pack(len(data)) + data


def _listen(line: Line) -> socket.socket:
    listener = socket.create_server(("127.0.0.1", 0), backlog=1000)
    line.tell(listener.getsockname())
    return listener
