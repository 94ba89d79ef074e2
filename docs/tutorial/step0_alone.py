"""Catch the star, alone: a game before there is any network in it. The arrow keys move."""

import random

import pygame

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

running = True
while running:
    seconds = clock.tick(60) / 1000
    for e in pygame.event.get():
        if e.type == pygame.QUIT:
            running = False

    keys = pygame.key.get_pressed()
    x = min(max(x + (keys[pygame.K_RIGHT] - keys[pygame.K_LEFT]) * SPEED * seconds, 0), WIDTH)
    y = min(max(y + (keys[pygame.K_DOWN] - keys[pygame.K_UP]) * SPEED * seconds, 0), HEIGHT)
    if abs(x - star[0]) < REACH and abs(y - star[1]) < REACH:
        score += 1
        star = (random.randrange(40, WIDTH - 40), random.randrange(40, HEIGHT - 40))

    screen.fill("midnightblue")
    pygame.draw.circle(screen, "gold", star, 12)
    pygame.draw.circle(screen, "deepskyblue", (x, y), 20)
    screen.blit(font.render(f"you {score}", True, "white"), (20, 16))
    pygame.display.flip()

pygame.quit()
