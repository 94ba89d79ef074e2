"""netplay's `udp://` in the three measurements: what is lost is lost, so marks are sent several times."""

from __future__ import annotations

from time import perf_counter_ns, sleep

import with_netplay
from clocks import Stopwatch
from netplay import NETWORK_DATA_IN, Network
from plans import BATCH, END, GO, SECOND, Flood, Line, Outcome
from with_netplay import crowd_clients, crowd_server, echo_client, echo_server, wait_for_connections
from with_udp import PAUSE, REPEATED

__all__ = ["crowd_clients", "crowd_server", "echo_client", "echo_server", "flood_sink", "flood_source"]

with_netplay.URL = "udp://127.0.0.1:0"
with_netplay.HELLO = bytes(32)


def flood_sink(plan: Flood, line: Line) -> Outcome:
    """Counts the messages between the marks."""
    watch, count = Stopwatch(), 0
    with Network() as network:
        line.tell(network.listen(with_netplay.URL).url)
        while True:
            for event in network.get(1.0):
                if event.what is NETWORK_DATA_IN:
                    data = event.data
                    if len(data) == plan.size:
                        count += 1
                    elif watch.is_end(data):
                        return {"received": count, "seconds": watch.seconds - PAUSE}
                    else:
                        count = 0


def flood_source(plan: Flood, line: Line) -> Outcome:
    """Sends as fast as it can: nothing says how much the other side takes."""
    data, sent = bytes(plan.size), 0
    with Network() as network:
        peer = network.connect(line.hear())
        wait_for_connections(network, 1)
        for seconds, mark in ((plan.warm_up, GO), (plan.seconds, END)):
            sent, until = 0, perf_counter_ns() + round(seconds * SECOND)
            while perf_counter_ns() < until:
                for _ in range(BATCH):
                    peer.send(data)
                sent += BATCH
                network.get()
            sleep(PAUSE)
            for _ in range(REPEATED):
                peer.send(mark)
            network.get()
    return {"sent": sent}
