"""`websockets` from PyPI in the three measurements, one binary message for each, without compression.

To be busy, as against waiting, a task runs that never sleeps: then the event loop asks the sockets again and again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from time import perf_counter_ns

from websockets.asyncio.client import ClientConnection, connect
from websockets.asyncio.server import Server, ServerConnection, broadcast, serve

from clocks import Beat, Stopwatch, delay_of, stamped, turns
from plans import BATCH, END, GO, SECOND, Crowd, Echo, Flood, Line, Outcome
from with_tcp import _restless


def echo_server(plan: Echo, line: Line) -> Outcome:
    """Sends everything back."""

    async def run() -> None:
        async def handle(connection: ServerConnection) -> None:
            while (data := await connection.recv(decode=False)) != END:
                await connection.send(data)
            done.set()

        done = asyncio.Event()
        async with await _listen(handle, line):
            with _restless(plan):
                await done.wait()

    asyncio.run(run())
    return {}


def echo_client(plan: Echo, line: Line) -> Outcome:
    """Times each way there and back."""

    async def run() -> None:
        async with await _connect(line.hear()) as connection:
            with _restless(plan):
                for _ in range(plan.warm_up + plan.count):
                    sent = perf_counter_ns()
                    await connection.send(data)
                    await connection.recv(decode=False)
                    times.append(perf_counter_ns() - sent)
            await connection.send(END)

    data, times = bytes(plan.size), list[int]()
    asyncio.run(run())
    return {"times": times[plan.warm_up :]}


def flood_sink(plan: Flood, line: Line) -> Outcome:
    """Counts the messages between the marks."""

    async def run() -> Outcome:
        async def handle(connection: ServerConnection) -> None:
            watch, count = Stopwatch(), 0
            while True:
                data = await connection.recv(decode=False)
                if len(data) == plan.size:
                    count += 1
                elif watch.is_end(data):
                    break
                else:
                    count = 0
            done.set_result({"received": count, "seconds": watch.seconds})

        done: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        async with await _listen(handle, line):
            return await done

    return asyncio.run(run())


def flood_source(plan: Flood, line: Line) -> Outcome:
    """Sends as fast as the other side takes it."""

    async def run() -> int:
        data, sent = bytes(plan.size), 0
        async with await _connect(line.hear()) as connection:
            for seconds, mark in ((plan.warm_up, GO), (plan.seconds, END)):
                sent, until = 0, perf_counter_ns() + round(seconds * SECOND)
                while perf_counter_ns() < until:
                    for _ in range(BATCH):
                        await connection.send(data)
                    sent += BATCH
                await connection.send(mark)
        return sent

    return {"sent": asyncio.run(run())}


def crowd_server(plan: Crowd, line: Line) -> Outcome:
    """Sends to all at a steady rate, and hears them."""

    async def run() -> Outcome:
        received, connections = 0, set[ServerConnection]()

        async def handle(connection: ServerConnection) -> None:
            nonlocal received
            connections.add(connection)
            async for _ in connection:
                received += 1
            connections.remove(connection)

        async with await _listen(handle, line):
            while len(connections) < plan.clients:
                await asyncio.sleep(0.01)
            line.tell("ready")
            beat = Beat(plan, line.hear())
            while not beat.is_over():
                if beat.is_tick():
                    broadcast(connections, stamped(plan.down))
                await asyncio.sleep(beat.left())
            await asyncio.gather(*(connection.close() for connection in connections))
        return beat.outcome(received)

    return asyncio.run(run())


def crowd_clients(plan: Crowd, line: Line) -> Outcome:
    """All clients: they hear the server, and each sends at a steady rate."""

    async def run() -> Outcome:
        async def hear(connection: ClientConnection) -> None:
            async for data in connection:
                if isinstance(data, bytes):
                    delays.append(delay_of(data))

        data, delays, sent = bytes(plan.up), list[int](), 0
        port = line.hear()
        connections = [await _connect(port) for _ in range(plan.clients)]
        hearing = [asyncio.create_task(hear(connection)) for connection in connections]
        line.tell("ready")
        for turn in turns(plan, line.hear()):
            for number in turn:
                await connections[number % plan.clients].send(data)
                sent += 1
            await asyncio.sleep(0)
        await asyncio.gather(*(connection.close() for connection in connections), *hearing)
        return {"sent": sent, "delays": delays}

    return asyncio.run(run())


async def _connect(port: object) -> ClientConnection:
    return await connect(f"ws://127.0.0.1:{port}", compression=None, max_size=None)


async def _listen(handle: Callable[[ServerConnection], Awaitable[None]], line: Line) -> Server:
    server: Server = await serve(handle, "127.0.0.1", 0, compression=None, max_size=None)
    line.tell(next(iter(server.sockets)).getsockname()[1])
    return server
