"""Catch the star, step 2: one star for all, which the server owns. What is new since step 1 is marked with NEW.

python step2_one_star.py --serve     the server: it needs no window
python step2_one_star.py             a player, as often as you like
"""

import random
import sys
import time  # NEW

import pygame

import netplay as net

CHANNEL_PLACE = 1  # to the server: where I am, (x, y)
CHANNEL_PLACES = 2  # NEW: from the server: where the others are, {a player's number: (x, y)}
CHANNEL_STAR = 3  # NEW: from the server: the star and the scores, {"star": (x, y), "you": 3, "best": 5}

WIDTH, HEIGHT = 640, 480
SPEED = 240  # pixels a second
REACH = 32  # pixels: so near is caught


def serve(url):  # NEW
    """Knows where everybody is, and decides who has caught the star."""
    places, scores = {}, {}  # of each peer
    star = (100, 100)
    net.listen(url.replace("localhost", "*"))
    print("serving", url, flush=True)
    while True:
        time.sleep(1 / 30)
        is_news = False
        for e in net.get():  # like poll() and pygame.event.get() in one, for programs without pygame
            if e.what == net.NETWORK_CONNECTED:
                scores[e.peer] = 0
                is_news = True
            elif e.what == net.NETWORK_DATA_IN:
                places[e.peer] = e.data
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
            peer.send(seen, CHANNEL_PLACES, lossy=True)
            if is_news:  # must not get lost: no second one follows
                peer.send({"star": star, "you": score, "best": max(scores.values())}, CHANNEL_STAR)


def play(url):  # NEW: what was the whole program is one of two things that it can be
    """Is one player, until the window is closed. Returns what it knew in the end."""
    pygame.init()
    screen = pygame.display.set_mode((WIDTH, HEIGHT))
    pygame.display.set_caption("catch the star")
    font = pygame.font.Font(None, 40)
    clock = pygame.time.Clock()
    x, y = random.randrange(WIDTH), random.randrange(HEIGHT)  # NEW
    others = {}
    game = {"star": (-99, -99), "you": 0, "best": 0}  # NEW: as the server last told us
    net.connect(url)
    running = True
    while running:
        seconds = clock.tick(60) / 1000
        net.poll()
        for e in pygame.event.get():
            if e.type == pygame.QUIT:
                running = False
            elif e.type == net.NETWORK and e.what == net.NETWORK_DATA_IN:
                if e.channel == CHANNEL_PLACES:  # NEW
                    others = e.data  # NEW
                elif e.channel == CHANNEL_STAR:  # NEW
                    game = e.data  # NEW

        keys = pygame.key.get_pressed()
        x = min(max(x + (keys[pygame.K_RIGHT] - keys[pygame.K_LEFT]) * SPEED * seconds, 0), WIDTH)
        y = min(max(y + (keys[pygame.K_DOWN] - keys[pygame.K_UP]) * SPEED * seconds, 0), HEIGHT)
        net.send((x, y), CHANNEL_PLACE, lossy=True)

        screen.fill("midnightblue")
        pygame.draw.circle(screen, "gold", game["star"], 12)  # NEW
        for place in others.values():
            pygame.draw.circle(screen, "hotpink", place, 20)
        pygame.draw.circle(screen, "deepskyblue", (x, y), 20)
        screen.blit(font.render(f"you {game['you']}   best {game['best']}", True, "white"), (20, 16))  # NEW
        pygame.display.flip()
    net.close()
    pygame.quit()
    return others, game  # NEW


if __name__ == "__main__":  # NEW
    words = [word for word in sys.argv[1:] if word != "--serve"]  # NEW
    url = words[0] if words else "play://localhost:5000"  # NEW
    serve(url) if "--serve" in sys.argv else play(url)  # NEW
