"""A select loop over TCP as in `with_select`, whose author joins the messages of a flood by hand before he sends them.

What it is worth to know how many messages will follow: no library that takes a message a call can know that.
"""

from __future__ import annotations

import socket
from select import select
from time import perf_counter_ns

from plans import BATCH, END, GO, SECOND, Flood, Line, Outcome
from with_select import FULL, Link, flood_sink, framed

__all__ = ["flood_sink", "flood_source"]


def flood_source(plan: Flood, line: Line) -> Outcome:
    """Sends as fast as the other side takes it."""
    data, sent = bytes(plan.size), 0
    link = Link(socket.create_connection(line.hear()))
    for seconds, mark in ((plan.warm_up, GO), (plan.seconds, END)):
        sent, until = 0, perf_counter_ns() + round(seconds * SECOND)
        while perf_counter_ns() < until:
            if link.waiting < FULL:
                link.send(b"".join([framed(data) for _ in range(BATCH)]))
                sent += BATCH
            elif select([], [link], [], 0.001)[1]:
                link.flush()
        link.send(framed(mark))
    link.close()
    return {"sent": sent}
