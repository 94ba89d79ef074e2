"""Catch the star, step 3: good on a bad network, too, and nobody cheats. What is new since step 2 is marked with NEW.

python step3_bad_network.py --serve
python step3_bad_network.py "play://localhost:5000?lag_ms=100&jitter_ms=40&loss_pct=10"     F3 shows the network
"""

import math  # NEW
import random
import sys
import time

import pygame

import netplay as net
from netplay.sync import InterpolationBuffer  # NEW

CHANNEL_PLACE = 1  # to the server: where I am, (x, y)
CHANNEL_PLACES = 2  # from the server: when it was so, and where the others were, (seconds, {a player's number: (x, y)})
CHANNEL_STAR = 3  # from the server: the star and the scores, {"star": (x, y), "you": 3, "best": 5}

WIDTH, HEIGHT = 640, 480
SPEED = 240  # pixels a second
REACH = 32  # pixels: so near is caught


def is_place(data):  # NEW
    """Says whether what somebody sent is a place in our world. From another computer anything may come."""
    if not (isinstance(data, tuple) and len(data) == 2 and all(isinstance(n, (int, float)) for n in data)):
        return False
    return 0 <= data[0] <= WIDTH and 0 <= data[1] <= HEIGHT


def serve(url):
    """Knows where everybody is, and decides who has caught the star."""
    places, scores = {}, {}  # of each peer
    moved = {}  # NEW: when each peer last told where it is
    star = (100, 100)
    net.listen(url.replace("localhost", "*"))
    print("serving", url, flush=True)
    while True:
        time.sleep(1 / 30)
        now = time.monotonic()  # NEW
        is_news = False
        for e in net.get():
            if e.what == net.NETWORK_CONNECTED:
                scores[e.peer] = 0
                is_news = True
            elif e.what == net.NETWORK_DATA_IN and is_place(e.data):  # NEW
                # Nobody flies: one may be as far as one can have run since, and a bit more, for lines are uneven.
                far = SPEED * (now - moved.get(e.peer, now) + 0.2) * 1.5  # NEW
                if e.peer not in places or math.dist(e.data, places[e.peer]) < far:  # NEW
                    places[e.peer], moved[e.peer] = e.data, now  # NEW
            elif e.what == net.NETWORK_RESUMED:  # NEW: back after a bad line, perhaps in a new process: tell it all
                is_news = True  # NEW
            elif e.what == net.NETWORK_DISCONNECTED:
                places.pop(e.peer, None)
                scores.pop(e.peer, None)
        for peer, (x, y) in places.items():
            if abs(x - star[0]) < REACH and abs(y - star[1]) < REACH:
                scores[peer] += 1
                star = (random.randrange(40, WIDTH - 40), random.randrange(40, HEIGHT - 40))
                is_news = True
        for peer, score in scores.items():
            seen = {other.id: place for other, place in places.items() if other is not peer}
            peer.send((now, seen), CHANNEL_PLACES, lossy=True)  # NEW
            if is_news:
                peer.send({"star": star, "you": score, "best": max(scores.values())}, CHANNEL_STAR)


def play(url):
    """Is one player, until the window is closed. Returns what it knew in the end."""
    pygame.init()
    screen = pygame.display.set_mode((WIDTH, HEIGHT))
    pygame.display.set_caption("catch the star")
    font = pygame.font.Font(None, 40)
    clock = pygame.time.Clock()
    x, y = random.randrange(WIDTH), random.randrange(HEIGHT)
    others = {}
    game = {"star": (-99, -99), "you": 0, "best": 0}
    words = "calling…"  # NEW: how the connection is doing
    buffer = InterpolationBuffer()  # NEW: plays what arrives unevenly at an even pace
    graph = net.NetGraph(buffer=buffer)  # NEW: F3 shows it
    net.connect(url, resume="catch the star")  # NEW: whoever crashes and starts again goes on where it was
    running = True
    while running:
        seconds = clock.tick(60) / 1000
        now = time.monotonic()  # NEW
        net.poll()
        for e in pygame.event.get():
            if e.type == pygame.QUIT:
                running = False
            elif e.type == net.NETWORK and e.what == net.NETWORK_DATA_IN:
                if e.channel == CHANNEL_PLACES:
                    buffer.push(e.data[0], e.data[1], now)  # NEW
                elif e.channel == CHANNEL_STAR:
                    game = e.data
            elif e.type == net.NETWORK and e.what in (net.NETWORK_CONNECTED, net.NETWORK_RESUMED):  # NEW
                words = ""  # NEW
            elif e.type == net.NETWORK and e.what == net.NETWORK_LOST:  # NEW
                words = "the line is dead, calling again…"  # NEW
            elif e.type == net.NETWORK and e.what == net.NETWORK_DISCONNECTED:  # NEW
                words = e.reason  # NEW

        keys = pygame.key.get_pressed()
        x = min(max(x + (keys[pygame.K_RIGHT] - keys[pygame.K_LEFT]) * SPEED * seconds, 0), WIDTH)
        y = min(max(y + (keys[pygame.K_DOWN] - keys[pygame.K_UP]) * SPEED * seconds, 0), HEIGHT)
        net.send((x, y), CHANNEL_PLACE, lossy=True)
        if sample := buffer.sample(now):  # NEW: the two pictures around a moment ago, and how far it is between them
            others = {}  # NEW
            for number, (old_x, old_y) in sample.before.items():  # NEW
                new_x, new_y = sample.after.get(number, (old_x, old_y))  # NEW
                share = sample.fraction  # NEW
                others[number] = (old_x + (new_x - old_x) * share, old_y + (new_y - old_y) * share)  # NEW

        screen.fill("midnightblue")
        pygame.draw.circle(screen, "gold", game["star"], 12)
        for place in others.values():
            pygame.draw.circle(screen, "hotpink", place, 20)
        pygame.draw.circle(screen, "deepskyblue", (x, y), 20)
        screen.blit(font.render(f"you {game['you']}   best {game['best']}", True, "white"), (20, 16))
        screen.blit(font.render(words, True, "orange"), (20, HEIGHT - 44))  # NEW
        graph.draw(screen)  # NEW
        pygame.display.flip()
    net.close()
    pygame.quit()
    return others, game


if __name__ == "__main__":
    words = [word for word in sys.argv[1:] if word != "--serve"]
    url = words[0] if words else "play://localhost:5000"
    serve(url) if "--serve" in sys.argv else play(url)
