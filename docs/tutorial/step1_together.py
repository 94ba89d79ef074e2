"""Catch the star, step 1: start it twice, and each sees the other move. What is new is marked with NEW."""

import random
import sys  # NEW

import pygame

import netplay as net  # NEW

CHANNEL_PLACE = 1  # NEW: from each to the other: where I am, (x, y)

WIDTH, HEIGHT = 640, 480
SPEED = 240  # pixels a second
REACH = 32  # pixels: so near is caught

pygame.init()
screen = pygame.display.set_mode((WIDTH, HEIGHT))
pygame.display.set_caption("catch the star")
font = pygame.font.Font(None, 40)
clock = pygame.time.Clock()

x, y = WIDTH / 2, HEIGHT / 2
star = (100, 100)
score = 0
others = {}  # NEW: where the others are: a place for each peer

url = sys.argv[1] if len(sys.argv) > 1 else "play://localhost:5000"  # NEW
try:  # NEW
    net.listen(url.replace("localhost", "*"))  # NEW: the first one waits for the other,
except OSError:  # NEW: and if somebody waits there already, we are the second,
    net.connect(url)  # NEW: and call the first

running = True
while running:
    seconds = clock.tick(60) / 1000
    net.poll()  # NEW: what came from the network stands now in pygame's queue
    for e in pygame.event.get():
        if e.type == pygame.QUIT:
            running = False
        elif e.type == net.NETWORK and e.what == net.NETWORK_DATA_IN:  # NEW
            others[e.peer] = e.data  # NEW
        elif e.type == net.NETWORK and e.what == net.NETWORK_DISCONNECTED:  # NEW
            others.pop(e.peer, None)  # NEW

    keys = pygame.key.get_pressed()
    x = min(max(x + (keys[pygame.K_RIGHT] - keys[pygame.K_LEFT]) * SPEED * seconds, 0), WIDTH)
    y = min(max(y + (keys[pygame.K_DOWN] - keys[pygame.K_UP]) * SPEED * seconds, 0), HEIGHT)
    net.send((x, y), CHANNEL_PLACE, lossy=True)  # NEW: if it gets lost, the next one is on its way already
    if abs(x - star[0]) < REACH and abs(y - star[1]) < REACH:
        score += 1
        star = (random.randrange(40, WIDTH - 40), random.randrange(40, HEIGHT - 40))

    screen.fill("midnightblue")
    pygame.draw.circle(screen, "gold", star, 12)
    for place in others.values():  # NEW
        pygame.draw.circle(screen, "hotpink", place, 20)  # NEW
    pygame.draw.circle(screen, "deepskyblue", (x, y), 20)
    screen.blit(font.render(f"you {score}", True, "white"), (20, 16))
    pygame.display.flip()

net.close()  # NEW: says goodbye, so that the other need not wonder where we went
pygame.quit()
