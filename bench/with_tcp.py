"""asyncio's TCP streams in the three measurements, each message behind two bytes that say how long it is.

To be busy, as against waiting, a task runs that never sleeps: then the event loop asks the sockets again and again.
"""

from __future__ import annotations

import asyncio
import contextlib
from asyncio import StreamReader, StreamWriter
from collections.abc import Awaitable, Callable, Iterator
from time import perf_counter_ns

from clocks import Beat, Stopwatch, delay_of, stamped, turns
from plans import BATCH, END, GO, SECOND, Crowd, Echo, Flood, Line, Outcome


def echo_server(plan: Echo, line: Line) -> Outcome:
    """Sends everything back."""

    async def run() -> None:
        async def serve(reader: StreamReader, writer: StreamWriter) -> None:
            while (data := await _receive(reader)) != END:
                writer.write(_framed(data))
            writer.close()
            done.set()

        done = asyncio.Event()
        async with await _listen(serve, line):
            with _restless(plan):
                await done.wait()

    asyncio.run(run())
    return {}


def echo_client(plan: Echo, line: Line) -> Outcome:
    """Times each way there and back."""

    async def run() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", line.hear())
        with _restless(plan):
            for _ in range(plan.warm_up + plan.count):
                sent = perf_counter_ns()
                writer.write(_framed(data))
                await _receive(reader)
                times.append(perf_counter_ns() - sent)
        await _end(writer)

    data, times = bytes(plan.size), list[int]()
    asyncio.run(run())
    return {"times": times[plan.warm_up :]}


def flood_sink(plan: Flood, line: Line) -> Outcome:
    """Counts the messages between the marks."""

    async def run() -> Outcome:
        async def serve(reader: StreamReader, writer: StreamWriter) -> None:
            watch, count = Stopwatch(), 0
            while True:
                data = await _receive(reader)
                if len(data) == plan.size:
                    count += 1
                elif watch.is_end(data):
                    break
                else:
                    count = 0
            writer.close()
            done.set_result({"received": count, "seconds": watch.seconds})

        done: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        async with await _listen(serve, line):
            return await done

    return asyncio.run(run())


def flood_source(plan: Flood, line: Line) -> Outcome:
    """Sends as fast as the other side takes it."""

    async def run() -> int:
        data, sent = bytes(plan.size), 0
        _, writer = await asyncio.open_connection("127.0.0.1", line.hear())
        for seconds, mark in ((plan.warm_up, GO), (plan.seconds, END)):
            sent, until = 0, perf_counter_ns() + round(seconds * SECOND)
            while perf_counter_ns() < until:
                for _ in range(BATCH):
                    writer.write(_framed(data))
                sent += BATCH
                await writer.drain()
            if mark == GO:
                writer.write(_framed(mark))
        await _end(writer)
        return sent

    return {"sent": asyncio.run(run())}


def crowd_server(plan: Crowd, line: Line) -> Outcome:
    """Sends to all at a steady rate, and hears them."""

    async def run() -> Outcome:
        received, writers = 0, set[StreamWriter]()

        async def serve(reader: StreamReader, writer: StreamWriter) -> None:
            nonlocal received
            writers.add(writer)
            with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
                while True:
                    await _receive(reader)
                    received += 1
            writers.remove(writer)

        async with await _listen(serve, line):
            while len(writers) < plan.clients:
                await asyncio.sleep(0.01)
            line.tell("ready")
            beat = Beat(plan, line.hear())
            while not beat.is_over():
                if beat.is_tick():
                    frame = _framed(stamped(plan.down))
                    for writer in writers:
                        writer.write(frame)
                await asyncio.sleep(beat.left())
            for writer in writers:
                writer.close()
            while writers:
                await asyncio.sleep(0.01)
        return beat.outcome(received)

    return asyncio.run(run())


def crowd_clients(plan: Crowd, line: Line) -> Outcome:
    """All clients: they hear the server, and each sends at a steady rate."""

    async def run() -> Outcome:
        async def hear(reader: StreamReader) -> None:
            with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
                while True:
                    delays.append(delay_of(await _receive(reader)))

        data, delays, sent = bytes(plan.up), list[int](), 0
        port = line.hear()
        streams = [await asyncio.open_connection("127.0.0.1", port) for _ in range(plan.clients)]
        hearing = [asyncio.create_task(hear(reader)) for reader, _ in streams]
        line.tell("ready")
        for turn in turns(plan, line.hear()):
            for number in turn:
                streams[number % plan.clients][1].write(_framed(data))
                sent += 1
            await asyncio.sleep(0)
        for _, writer in streams:
            writer.close()
        await asyncio.gather(*hearing)
        return {"sent": sent, "delays": delays}

    return asyncio.run(run())


def _framed(data: bytes) -> bytes:
    return len(data).to_bytes(2, "big") + data


async def _receive(reader: StreamReader) -> bytes:
    return await reader.readexactly(int.from_bytes(await reader.readexactly(2), "big"))


async def _listen(serve: Callable[[StreamReader, StreamWriter], Awaitable[None]], line: Line) -> asyncio.Server:
    server = await asyncio.start_server(serve, "127.0.0.1", 0, backlog=1000)
    line.tell(server.sockets[0].getsockname()[1])
    return server


async def _end(writer: StreamWriter) -> None:
    writer.write(_framed(END))
    await writer.drain()
    writer.close()
    with contextlib.suppress(ConnectionError):
        await writer.wait_closed()


@contextlib.contextmanager
def _restless(plan: Echo) -> Iterator[None]:
    if plan.is_waiting:
        yield
        return
    task = asyncio.get_running_loop().create_task(_never_sleep())
    try:
        yield
    finally:
        task.cancel()


async def _never_sleep() -> None:
    while True:
        await asyncio.sleep(0)
