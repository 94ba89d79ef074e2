"""A program that fills a network with games that are not there, in answers of multicast DNS, some of them spoilt."""

from __future__ import annotations

from hosts import HOME

FLOOD = f"""
import random, socket, time
cable = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
cable.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton("{HOME}"))
cable.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, 255)
cable.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
cable.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
cable.bind(("", 5353))
chance = random.Random(7)

def name(text):
    return b"".join(bytes([len(part)]) + part for part in text.split(b".") if part) + b"\\0"

def record(owner, kind, data, ttl=120):
    head = kind.to_bytes(2, "big") + b"\\x80\\x01" + ttl.to_bytes(4, "big")
    return owner + head + len(data).to_bytes(2, "big") + data

def txt(**pairs):
    strings = [key.encode() + b"=" + value for key, value in pairs.items()]
    return b"".join(bytes([len(s)]) + s for s in strings)

def game(number, **lies):
    service = name(b"_netplay._udp.local")
    own = name(b"fake%d._netplay._udp.local" % number)
    target = name(b"liar%d.local" % number)
    said = txt(**{{**dict(v=b"1", app=b"pong", id=b"%016x" % number, title=b"Fake"), **lies}})
    records = [
        record(service, 12, own).replace(b"\\x80\\x01", b"\\0\\x01", 1),
        record(own, 33, b"\\0\\0\\0\\0" + (5000).to_bytes(2, "big") + target),
        record(own, 16, said),
        record(target, 1, bytes([198, 18, 7, 77])),
    ]
    return b"\\0\\0\\x84\\0\\0\\0" + len(records).to_bytes(2, "big") + b"\\0\\0\\0\\0" + b"".join(records)

print("floods", flush=True)
lies = [dict(title=b"evil\\x1b[2J"), dict(app=b"\\xff"), dict(players=b"-1"), dict(key=b"short")]
lies += [dict(title=b"a" * 200), dict(id=b"")]
for number in range(6000):
    datagram = game(number, **(chance.choice(lies) if number % 3 else {{}}))
    if number % 7 == 0:
        place = chance.randrange(len(datagram))
        datagram = datagram[:place] + bytes([chance.randrange(256)]) + datagram[place + 1:]
    if number % 11 == 0:
        datagram = datagram[: chance.randrange(len(datagram))]
    if number % 13 == 0:
        datagram = chance.randbytes(chance.randrange(1500))
    cable.sendto(datagram, ("224.0.0.251", 5353))
    if number % 20 == 0:
        time.sleep(0.005)
print("over", flush=True)
input()
"""
