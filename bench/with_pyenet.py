"""pyenet in the three measurements: reliable for echo and flood, unreliable and sequenced for the crowd.

What was sent is flushed at once wherever somebody waits for it.
"""

from __future__ import annotations

import importlib
import math
from time import perf_counter_ns, sleep
from typing import Any, Final

from clocks import Beat, Stopwatch, delay_of, stamped, turns
from plans import BATCH, END, GO, SECOND, Crowd, Echo, Flood, Line, Outcome

enet: Any = importlib.import_module("enet")  # it has no stubs

RELIABLE: Final = enet.PACKET_FLAG_RELIABLE
UNRELIABLE: Final = 0
NOTHING: Final = enet.EVENT_TYPE_NONE
CONNECT: Final = enet.EVENT_TYPE_CONNECT
RECEIVE: Final = enet.EVENT_TYPE_RECEIVE
DISCONNECT: Final = enet.EVENT_TYPE_DISCONNECT

MAX_IN_TRANSIT = 60_000  # of a window of 65,536 bytes: below that, ENet has sent everything that it was given


def echo_server(plan: Echo, line: Line) -> Outcome:
    """Sends everything back."""
    timeout = 1000 if plan.is_waiting else 0
    host = _listen(line, 1)
    while True:
        event = host.service(timeout)
        if event.type == RECEIVE:
            data = event.packet.data
            if data == END:
                _hear_goodbye(host)
                return {}
            event.peer.send(0, enet.Packet(data, RELIABLE))
            host.flush()


def echo_client(plan: Echo, line: Line) -> Outcome:
    """Times each way there and back."""
    timeout = 1000 if plan.is_waiting else 0
    data, times = bytes(plan.size), []
    host = enet.Host(None, 1, 1, 0, 0)
    peer = _connect([host], line.hear(), 1)[0]
    for _ in range(plan.warm_up + plan.count):
        sent = perf_counter_ns()
        peer.send(0, enet.Packet(data, RELIABLE))
        host.flush()
        while host.service(timeout).type != RECEIVE:
            pass
        times.append(perf_counter_ns() - sent)
    peer.send(0, enet.Packet(END, RELIABLE))
    peer.disconnect_later()
    _hear_goodbye(host)
    return {"times": times[plan.warm_up :]}


def flood_sink(plan: Flood, line: Line) -> Outcome:
    """Counts the messages between the marks."""
    watch, count = Stopwatch(), 0
    host = _listen(line, 1)
    while True:
        event = host.service(1000)
        if event.type == RECEIVE:
            data = event.packet.data
            if len(data) == plan.size:
                count += 1
            elif watch.is_end(data):
                _hear_goodbye(host)
                return {"received": count, "seconds": watch.seconds}
            else:
                count = 0


def flood_source(plan: Flood, line: Line) -> Outcome:
    """Sends as fast as the other side takes it."""
    data, sent = bytes(plan.size), 0
    host = enet.Host(None, 1, 1, 0, 0)
    peer = _connect([host], line.hear(), 1)[0]
    for seconds, mark in ((plan.warm_up, GO), (plan.seconds, END)):
        sent, until = 0, perf_counter_ns() + round(seconds * SECOND)
        while perf_counter_ns() < until:
            if peer.reliableDataInTransit < MAX_IN_TRANSIT:
                for _ in range(BATCH):
                    peer.send(0, enet.Packet(data, RELIABLE))
                sent += BATCH
                host.service(0)
            else:
                host.service(1)
        peer.send(0, enet.Packet(mark, RELIABLE))
    peer.disconnect_later()
    _hear_goodbye(host)
    return {"sent": sent}


def crowd_server(plan: Crowd, line: Line) -> Outcome:
    """Sends to all at a steady rate, and hears them."""
    received = connected = 0
    host = _listen(line, plan.clients)
    while connected < plan.clients:
        connected += host.service(10).type == CONNECT
    line.tell("ready")
    beat = Beat(plan, line.hear())
    while not beat.is_over():
        if beat.is_tick():
            host.broadcast(0, enet.Packet(stamped(plan.down), UNRELIABLE))
            host.flush()
        if plan.is_waiting:
            event = host.service(math.ceil(beat.left() * 1000))
        else:
            sleep(beat.left())
            event = host.service(0)
        while event.type != NOTHING:
            received += event.type == RECEIVE
            event = host.service(0)
    return beat.outcome(received)


def crowd_clients(plan: Crowd, line: Line) -> Outcome:
    """All clients: they hear the server, and each sends at a steady rate."""
    hosts = [enet.Host(None, plan.clients // plan.sockets, 1, 0, 0) for _ in range(plan.sockets)]
    peers = _connect(hosts, line.hear(), plan.clients)
    line.tell("ready")
    data, delays, sent = bytes(plan.up), [], 0
    for turn in turns(plan, line.hear()):
        for number in turn:
            peers[number % plan.clients].send(0, enet.Packet(data, UNRELIABLE))
            sent += 1
        for host in hosts:
            while (event := host.service(0)).type != NOTHING:
                if event.type == RECEIVE:
                    delays.append(delay_of(event.packet.data))
    return {"sent": sent, "delays": delays}


def _listen(line: Line, peers: int) -> Any:
    host = enet.Host(enet.Address(b"127.0.0.1", 0), peers, 1, 0, 0)
    line.tell(host.address.port)
    return host


def _connect(hosts: list[Any], port: int, count: int) -> list[Any]:
    address = enet.Address(b"127.0.0.1", port)
    peers = [hosts[number % len(hosts)].connect(address, 1) for number in range(count)]
    while count:
        for host in hosts:
            count -= host.service(1).type == CONNECT
    for host in hosts:
        host.flush()  # what the server waits for to know it too
    return peers


def _hear_goodbye(host: Any) -> None:
    """Goes on until the other side has gone, at most a second."""
    until = perf_counter_ns() + SECOND
    while perf_counter_ns() < until and host.service(10).type != DISCONNECT:
        pass
