"""netplay in the three measurements: reliable and ordered for echo and flood, lossy for the crowd."""

from __future__ import annotations

from time import perf_counter_ns, sleep

import netplay
from clocks import Beat, Stopwatch, delay_of, stamped, turns
from netplay import NETWORK_CONNECTED, NETWORK_DATA_IN, Network
from plans import BATCH, END, GO, SECOND, Crowd, Echo, Flood, Line, Outcome

URL = "play://127.0.0.1:0"
"""Where everything listens; what speaks another protocol measures with another one."""

HELLO: bytes | None = None
"""What a client of a crowd says first, where the server does not know of it otherwise."""

MAX_QUEUED = 1 << 20  # bytes that are not acknowledged yet; with more than that a source waits


def echo_server(plan: Echo, line: Line) -> Outcome:
    """Sends everything back."""
    timeout = 1.0 if plan.is_waiting else 0.0
    with Network() as network:
        line.tell(network.listen(URL).url)
        while True:
            for event in network.get(timeout):
                if event.what is NETWORK_DATA_IN:
                    if event.data == END:
                        return {}
                    event.peer.send(event.data)


def echo_client(plan: Echo, line: Line) -> Outcome:
    """Times each way there and back."""
    timeout = 1.0 if plan.is_waiting else 0.0
    data, times = bytes(plan.size), []
    with Network() as network:
        peer = network.connect(line.hear())
        wait_for_connections(network, 1)
        for _ in range(plan.warm_up + plan.count):
            sent = perf_counter_ns()
            peer.send(data)
            while not network.get(timeout):
                pass
            times.append(perf_counter_ns() - sent)
        peer.send(END)
    return {"times": times[plan.warm_up :]}


def flood_sink(plan: Flood, line: Line) -> Outcome:
    """Counts the messages between the marks."""
    if plan.with_pygame:
        return _flood_sink_with_pygame(plan, line)
    watch, count = Stopwatch(), 0
    with Network() as network:
        line.tell(network.listen(URL).url)
        while True:
            for event in network.get(1.0):
                if event.what is NETWORK_DATA_IN:
                    data = event.data
                    if len(data) == plan.size:
                        count += 1
                    elif watch.is_end(data):
                        return {"received": count, "seconds": watch.seconds}
                    else:
                        count = 0


def _flood_sink_with_pygame(plan: Flood, line: Line) -> Outcome:
    import pygame

    pygame.display.init()
    watch, count = Stopwatch(), 0
    with Network() as network:
        line.tell(network.listen(URL).url)
        while True:
            network.poll(1.0)
            for event in pygame.event.get():
                if event.type == netplay.NETWORK and event.what is NETWORK_DATA_IN:
                    data = event.data
                    if len(data) == plan.size:
                        count += 1
                    elif watch.is_end(data):
                        return {"received": count, "seconds": watch.seconds}
                    else:
                        count = 0


def flood_source(plan: Flood, line: Line) -> Outcome:
    """Sends as fast as the other side takes it."""
    data, sent = bytes(plan.size), 0
    with Network() as network:
        peer = network.connect(line.hear())
        wait_for_connections(network, 1)
        for seconds, mark in ((plan.warm_up, GO), (plan.seconds, END)):
            sent, until = 0, perf_counter_ns() + round(seconds * SECOND)
            while perf_counter_ns() < until:
                if peer.queued < MAX_QUEUED:
                    for _ in range(BATCH):
                        peer.send(data)
                    sent += BATCH
                    network.get()
                else:
                    network.get(0.001)
            peer.send(mark)
        while peer.queued and peer.state == "connected":
            network.get(0.001)
    return {"sent": sent}


def crowd_server(plan: Crowd, line: Line) -> Outcome:
    """Sends to all at a steady rate, and hears them."""
    received = 0
    with Network() as network:
        line.tell(network.listen(URL, max_peers=plan.clients).url)
        wait_for_connections(network, plan.clients)
        line.tell("ready")
        beat = Beat(plan, line.hear())
        while not beat.is_over():
            if beat.is_tick():
                network.send(stamped(plan.down), lossy=True)
            if plan.is_waiting:
                events = network.get(beat.left())
            else:
                sleep(beat.left())
                events = network.get()
            for event in events:
                if event.what is NETWORK_DATA_IN:
                    received += 1
    return beat.outcome(received)


def crowd_clients(plan: Crowd, line: Line) -> Outcome:
    """All clients: they hear the server, and each sends at a steady rate."""
    networks = [Network() for _ in range(plan.sockets)]
    url, data, delays, sent = line.hear(), bytes(plan.up), [], 0
    try:
        peers = []
        for number in range(plan.clients):
            # One after the other: so no two neighbours in the server's order share a socket, and nothing can go to two
            # of them in one call, as it never could to real players.
            network = networks[number % plan.sockets]
            peers.append(network.connect(url))
            wait_for_connections(network, 1)
            if HELLO is not None:
                peers[-1].send(HELLO)
                network.get()
        line.tell("ready")
        for turn in turns(plan, line.hear()):
            for number in turn:
                peers[number % plan.clients].send(data, lossy=True)
                sent += 1
            for network in networks:
                for event in network.get():
                    if event.what is NETWORK_DATA_IN:
                        delays.append(delay_of(event.data))
    finally:
        for network in networks:
            network.close()
    return {"sent": sent, "delays": delays}


def wait_for_connections(network: Network, count: int) -> None:
    """Waits until so many more are connected."""
    while count:
        count -= sum(event.what is NETWORK_CONNECTED for event in network.get(1.0))
