"""A relay that lies, as a program: between players and a true relay, it does to what passes as it is told.

    python lying_relay.py PORT_OF_THE_TRUE_RELAY [HOST]

Its first line is its port. Each line that it is given names what to do from now on, "truth" or one of `LIES`, and is
answered by how many have connected so far. It knows WebSocket and iroh's frames, and cannot read what is in them.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import os
import random
import struct
import sys
from collections import deque

LIES = {
    "delivers to others": "One datagram in three goes to somebody else, and one in three to somebody else as well.",
    "names other senders": "One datagram in three is said to come from somebody else.",
    "changes": "One datagram in four has a bit changed.",
    "repeats": "Each datagram comes one to four times.",
    "reorders": "Half of them wait until one to ten others have passed.",
    "replays": "With each datagram come two of the last thousand, for whomever they were.",
    "drops": "Three in ten are dropped, and in every other fifth of a second all.",
    "calls players gone": "Everybody is said to be gone, to be twice, and that it restarts, twenty times a second.",
    "makes up": "Two thousand datagrams a second that nobody sent.",
    "holds back": "Nothing passes, and the connections stay.",
    "hangs up": "Who is connected is cut off, and whoever comes, at once.",
    "says nothing": "Who is connected is cut off, and whoever comes gets a WebSocket and never a word.",
    "speaks another version": "The same, and the WebSocket is of a protocol that nobody knows.",
    "sends giants": "The same, and frames of a terabyte, then of 16 MiB, as fast as they are taken.",
    "greets and hangs up": "The same, and whoever comes is cut off once it is let in and was answered once.",
}

CUTS = ("hangs up", "says nothing", "speaks another version", "sends giants", "greets and hangs up")
"""Those before which all are cut off."""

OPCODE_BINARY, FROM_RELAY, FROM_RELAY_BATCH, GONE, PONG, RESTARTING, STATUS = 2, 6, 7, 8, 10, 12, 13
UPGRADE = b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n"


def frame(payload: bytes) -> bytes:
    """A frame of a WebSocket as a server sends it."""
    size = len(payload)
    if size < 126:
        head = struct.pack("!BB", 0x80 | OPCODE_BINARY, size)
    else:
        head = struct.pack("!BBH", 0x80 | OPCODE_BINARY, 126, size)
    return head + payload


async def read_frame(reader: asyncio.StreamReader) -> tuple[int, bytes, bytes]:
    """Reads a frame that no mask is on; returns its opcode, what is in it, and all of it."""
    head = await reader.readexactly(2)
    size = head[1] & 0x7F
    if size >= 126:
        more = await reader.readexactly(2 if size == 126 else 8)
        size = int.from_bytes(more, "big")
        head += more
    payload = await reader.readexactly(size)
    return head[0] & 0x0F, payload, head + payload


class LyingRelay:
    def __init__(self, true_port: int, host: str) -> None:
        self.true_port, self.host = true_port, host
        self.lie = "truth"
        self.count = 0
        self.players: dict[int, asyncio.StreamWriter] = {}
        self.ids: set[bytes] = set()
        self.old: deque[bytes] = deque(maxlen=1000)
        self.waiting: list[tuple[int, int, bytes]] = []
        """Until which datagram one waits, for whom, and what it is."""
        self.datagrams = 0
        self.random = random.Random(1)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.count += 1
        number, others = self.count, []
        with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            if self.lie == "hangs up":
                return writer.transport.abort()
            request = await reader.readuntil(b"\r\n\r\n")
            if self.lie in ("says nothing", "speaks another version", "sends giants"):
                await self.pretend(request, reader, writer)
                return None
            true_reader, true_writer = await asyncio.open_connection(self.host, self.true_port)
            true_writer.write(request)
            writer.write(await true_reader.readuntil(b"\r\n\r\n"))
            self.players[number] = writer
            others.append(asyncio.create_task(pass_on(reader, true_writer)))
            while True:
                opcode, payload, whole = await read_frame(true_reader)
                if opcode == OPCODE_BINARY and payload[0] in (FROM_RELAY, FROM_RELAY_BATCH):
                    self.ids.add(payload[1:33])
                    self.pass_datagram(number, payload)
                else:
                    writer.write(whole)
                await writer.drain()
                if self.lie == "greets and hangs up" and payload[:1] == bytes([PONG]):
                    # Said, and then hung up: cut off at once, it would not be heard.
                    writer.close()
                    break
        self.players.pop(number, None)
        for task in others:
            task.cancel()
        writer.close()
        return None

    async def pretend(self, request: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        lines = request.decode("latin-1").split("\r\n")
        keys = [line.split(": ", 1)[1] for line in lines if line.lower().startswith("sec-websocket-key")]
        proof = hashlib.sha1([*keys, ""][0].encode() + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest()
        version = b"iroh-relay-v99" if self.lie == "speaks another version" else b"iroh-relay-v2"
        writer.write(UPGRADE + b"sec-websocket-accept: " + base64.b64encode(proof) + b"\r\n")
        writer.write(b"sec-websocket-protocol: " + version + b"\r\n\r\n")
        while self.lie == "sends giants":
            # One that says it is of a terabyte, or one of 16 MiB that is there.
            size = self.random.choice([1 << 40, 1 << 24])
            writer.write(struct.pack("!BBQ", 0x80 | OPCODE_BINARY, 127, size))
            for _ in range(256):
                writer.write(os.urandom(1 << 16))
                await writer.drain()
        await reader.read()

    def pass_datagram(self, number: int, payload: bytes) -> None:
        chance = self.random.random()
        everybody = [other for other in self.players if other != number] or [number]
        to, times = [number], 1
        self.old.append(payload)
        match self.lie:
            case "delivers to others" if chance < 0.67:
                other = self.random.choice(everybody)
                to = [other] if chance < 0.33 else [number, other]
            case "names other senders" if chance < 0.33:
                payload = payload[:1] + self.random.choice(sorted(self.ids)) + payload[33:]
            case "changes" if chance < 0.25:
                changed = bytearray(payload)
                changed[self.random.randrange(36, len(payload))] ^= 1 << self.random.randrange(8)
                payload = bytes(changed)
            case "repeats":
                times = self.random.randint(1, 4)
            case "reorders" if chance < 0.5:
                self.waiting.append((self.datagrams + self.random.randint(1, 10), number, payload))
                to = []
            case "replays":
                for old in self.random.choices(self.old, k=2):
                    self.send(self.random.choice([number, *everybody]), old)
            case "drops" if chance < 0.3 or int(asyncio.get_running_loop().time() * 5) % 2:
                to = []
            case "holds back":
                to = []
        for one in to * times:
            self.send(one, payload)
        self.datagrams += 1
        due = [held for held in self.waiting if held[0] <= self.datagrams or self.lie != "reorders"]
        self.waiting = [held for held in self.waiting if held not in due]
        for _, one, held in due:
            self.send(one, held)

    def send(self, number: int, payload: bytes) -> None:
        writer = self.players.get(number)
        if writer is not None and not writer.transport.is_closing():
            writer.write(frame(payload))

    async def molest(self) -> None:
        """Says what nobody asked for."""
        while True:
            await asyncio.sleep(0.05)
            for number in list(self.players):
                if self.lie == "calls players gone":
                    for one in self.ids:
                        self.send(number, bytes([GONE]) + one)
                    for status in (0, 1, 2, 77):
                        self.send(number, bytes([STATUS, status]))
                    self.send(number, bytes([RESTARTING]) + b"\xff" * 8)
                elif self.lie == "makes up":
                    for _ in range(100 // len(self.players)):
                        sender = self.random.choice(sorted(self.ids))
                        body = os.urandom(self.random.randint(1, 1200))
                        # Half of them look like a QUIC packet of a connection.
                        body = bytes([0x40 | body[0] & 0x3F]) + body[1:] if self.random.random() < 0.5 else body
                        self.send(number, bytes([FROM_RELAY]) + sender + b"\0" + body)

    async def take_orders(self) -> None:
        while line := (await asyncio.to_thread(sys.stdin.readline)).strip():
            self.lie = line
            if line in CUTS:
                for writer in self.players.values():
                    writer.transport.abort()
                self.players.clear()
            print(self.count, flush=True)


async def pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    writer.close()


async def main() -> None:
    host = sys.argv[2] if len(sys.argv) > 2 else "127.0.0.1"
    relay = LyingRelay(int(sys.argv[1]), host)
    server = await asyncio.start_server(relay.serve, host, 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    molesting = asyncio.create_task(relay.molest())
    await relay.take_orders()
    molesting.cancel()
    os._exit(0)


if __name__ == "__main__":
    asyncio.run(main())
