"""A plain UDP socket in the three measurements: no encryption, no order, and what is lost is lost."""

from __future__ import annotations

import contextlib
from socket import AF_INET, SOCK_DGRAM, socket
from time import perf_counter_ns, sleep
from typing import Final

from clocks import Beat, Stopwatch, delay_of, stamped, turns
from plans import BATCH, END, GO, SECOND, Crowd, Echo, Flood, Line, Outcome

Address = tuple[str, int]

LARGEST: Final = 2048  # bytes of any datagram here, and more
NUMBER: Final = 2  # bytes with which a client says which it is
PAUSE: Final = 0.05  # seconds after which a sink has read what was in its buffer
PACE: Final = 0.0003  # seconds between two first messages of a crowd, which the server's buffer could not hold at once
REPEATED: Final = 10  # times a mark is sent, lest it be lost


def echo_server(plan: Echo, line: Line) -> Outcome:
    """Sends everything back."""
    with _open(1.0 if plan.is_waiting else 0.0) as link:
        line.tell(link.getsockname())
        while True:
            with contextlib.suppress(BlockingIOError, TimeoutError):
                data, client = link.recvfrom(LARGEST)
                if data == END:
                    return {}
                link.sendto(data, client)


def echo_client(plan: Echo, line: Line) -> Outcome:
    """Times each way there and back."""
    data, times = bytes(plan.size), []
    with _open(1.0 if plan.is_waiting else 0.0) as link:
        link.connect(line.hear())
        for _ in range(plan.warm_up + plan.count):
            sent = perf_counter_ns()
            link.send(data)
            while True:
                try:
                    link.recv(LARGEST)
                    break
                except BlockingIOError:
                    pass
            times.append(perf_counter_ns() - sent)
        link.send(END)
    return {"times": times[plan.warm_up :]}


def flood_sink(plan: Flood, line: Line) -> Outcome:
    """Counts the messages between the marks."""
    watch, count = Stopwatch(), 0
    with _open(10.0) as link:
        line.tell(link.getsockname())
        while True:
            data = link.recv(LARGEST)
            if len(data) == plan.size:
                count += 1
            elif watch.is_end(data):
                return {"received": count, "seconds": watch.seconds - PAUSE}
            else:
                count = 0


def flood_source(plan: Flood, line: Line) -> Outcome:
    """Sends as fast as it can: nothing says how much the other side takes."""
    data, sent = bytes(plan.size), 0
    with _open(None) as link:
        link.connect(line.hear())
        for seconds, mark in ((plan.warm_up, GO), (plan.seconds, END)):
            sent, until = 0, perf_counter_ns() + round(seconds * SECOND)
            while perf_counter_ns() < until:
                for _ in range(BATCH):
                    link.send(data)
                sent += BATCH
            sleep(PAUSE)
            with contextlib.suppress(ConnectionRefusedError):  # the sink has heard the first and gone
                for _ in range(REPEATED):
                    link.send(mark)
    return {"sent": sent}


def crowd_server(plan: Crowd, line: Line) -> Outcome:
    """Sends to all at a steady rate, and hears them."""
    received, clients = 0, dict[bytes, Address]()
    with _open(10.0) as link:
        line.tell(link.getsockname())
        while len(clients) < plan.clients:
            data, client = link.recvfrom(LARGEST)
            clients[data[:NUMBER]] = client
        line.tell("ready")
        beat = Beat(plan, line.hear())
        while not beat.is_over():
            if beat.is_tick():
                data = stamped(plan.down)
                for client in clients.values():
                    link.sendto(data, client)
            if plan.is_waiting:
                link.settimeout(beat.left())
                with contextlib.suppress(BlockingIOError, TimeoutError):
                    link.recvfrom(LARGEST)
                    received += 1
            else:
                sleep(beat.left())
                link.settimeout(0.0)
                with contextlib.suppress(BlockingIOError):
                    while True:
                        link.recvfrom(LARGEST)
                        received += 1
    return beat.outcome(received)


def crowd_clients(plan: Crowd, line: Line) -> Outcome:
    """All clients: they hear the server, and each sends at a steady rate."""
    delays, sent = list[int](), 0
    with contextlib.ExitStack() as stack:
        links = [stack.enter_context(_open(0.0)) for _ in range(plan.sockets)]
        address = line.hear()
        messages = [number.to_bytes(NUMBER, "big") + bytes(plan.up - NUMBER) for number in range(plan.clients)]
        for number, message in enumerate(messages):
            links[number % plan.sockets].sendto(message, address)
            sleep(PACE)
        line.tell("ready")
        for turn in turns(plan, line.hear()):
            for number in turn:
                links[number % plan.sockets].sendto(messages[number % plan.clients], address)
                sent += 1
            for link in links:
                with contextlib.suppress(BlockingIOError):
                    while True:
                        delays.append(delay_of(link.recv(LARGEST)))
    return {"sent": sent, "delays": delays}


def _open(timeout: float | None) -> socket:
    link = socket(AF_INET, SOCK_DGRAM)
    link.bind(("127.0.0.1", 0))
    link.settimeout(timeout)
    return link
