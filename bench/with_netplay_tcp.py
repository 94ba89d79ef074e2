"""netplay's `tcp://` in the three measurements, each message behind two bytes that say how long it is, as asyncio's."""

from __future__ import annotations

from collections.abc import Iterator
from time import perf_counter_ns, sleep

from clocks import Beat, Stopwatch, delay_of, stamped, turns
from netplay import NETWORK_DATA_IN, Event, Network
from plans import BATCH, END, GO, SECOND, Crowd, Echo, Flood, Line, Outcome
from with_netplay import MAX_QUEUED, wait_for_connections

URL = "tcp://127.0.0.1:0"


def echo_server(plan: Echo, line: Line) -> Outcome:
    """Sends everything back."""
    timeout = 1.0 if plan.is_waiting else 0.0
    with Network() as network:
        line.tell(network.listen(URL).url)
        while True:
            for event in network.get(timeout):
                for data in _messages(event):
                    if data == END:
                        return {}
                    event.peer.send(_framed(data))


def echo_client(plan: Echo, line: Line) -> Outcome:
    """Times each way there and back."""
    timeout = 1.0 if plan.is_waiting else 0.0
    data, times = bytes(plan.size), []
    with Network() as network:
        peer = network.connect(line.hear())
        wait_for_connections(network, 1)
        for _ in range(plan.warm_up + plan.count):
            sent = perf_counter_ns()
            peer.send(_framed(data))
            while not [data for event in network.get(timeout) for data in _messages(event)]:
                pass
            times.append(perf_counter_ns() - sent)
        peer.send(_framed(END))
    return {"times": times[plan.warm_up :]}


def flood_sink(plan: Flood, line: Line) -> Outcome:
    """Counts the messages between the marks."""
    watch, count = Stopwatch(), 0
    with Network() as network:
        line.tell(network.listen(URL).url)
        while True:
            for event in network.get(1.0):
                for data in _messages(event):
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
                        peer.send(_framed(data))
                    sent += BATCH
                    network.get()
                else:
                    network.get(0.001)
            peer.send(_framed(mark))
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
                network.send(_framed(stamped(plan.down)))
            if plan.is_waiting:
                events = network.get(beat.left())
            else:
                sleep(beat.left())
                events = network.get()
            for event in events:
                received += len(list(_messages(event)))
    return beat.outcome(received)


def crowd_clients(plan: Crowd, line: Line) -> Outcome:
    """All clients: they hear the server, and each sends at a steady rate."""
    networks = [Network() for _ in range(plan.sockets)]
    url, data, delays, sent = line.hear(), bytes(plan.up), [], 0
    try:
        peers = []
        for number in range(plan.clients):
            network = networks[number % plan.sockets]
            peers.append(network.connect(url))
            wait_for_connections(network, 1)
        line.tell("ready")
        for turn in turns(plan, line.hear()):
            for number in turn:
                peers[number % plan.clients].send(_framed(data))
                sent += 1
            for network in networks:
                for event in network.get():
                    delays += [delay_of(message) for message in _messages(event)]
    finally:
        for network in networks:
            network.close()
    return {"sent": sent, "delays": delays}


def _framed(data: bytes) -> bytes:
    return len(data).to_bytes(2, "big") + data


def _messages(event: Event) -> Iterator[bytes]:
    """Yields the messages that have come whole; what is left waits with the peer."""
    if event.what is not NETWORK_DATA_IN:
        return
    data = event.data
    left = event.peer.data.get("left")
    if left:
        data = left + data
    at = 0
    while len(data) >= at + 2:
        end = at + 2 + (data[at] << 8 | data[at + 1])
        if len(data) < end:
            break
        yield data[at + 2 : end]
        at = end
    event.peer.data["left"] = data[at:]
