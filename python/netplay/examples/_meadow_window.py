"""How `meadow` looks, and what keys and mouse mean. It knows what a player knows, and nothing of the network."""

from __future__ import annotations

import math
import random
import time
from functools import lru_cache
from typing import TYPE_CHECKING

import pygame

from netplay.examples._game import BAD, BRIGHT, DIM, GOOD, NIGHT, WARN, rounded, write
from netplay.examples._meadow_server import CELL, FLOWERS

if TYPE_CHECKING:
    from netplay.examples.meadow import Player

WIDTH, HEIGHT = 960, 640
PANEL = pygame.Rect(18, HEIGHT - 310, 262, 292)  # above it there is room for the net graph

GRASS, DARKER, LIGHTER, HEDGE = "#74b65a", "#6cad53", "#8ccb6c", "#3f7a3c"
GRID = "#d5efc7"
FURS = ["#f4ede1", "#d9b48f", "#a9764d", "#8d8d94", "#e8cfae", "#5e4a3e", "#c9c9cf", "#f2d7c9"]
PETALS = ["#ff6f91", "#ffd166", "#ffffff", "#b28dff", "#ff9b54"]


class Window:
    """Draws the meadow around one player."""

    def __init__(self, screen: pygame.Surface, address: str = "") -> None:
        self.screen = screen
        self.address = address  # what to give to friends
        self.has_grid, self.has_panel = False, True
        self.facing: dict[int, bool] = {}  # which rabbits look to the left

    def handle(self, e: pygame.event.Event) -> None:
        """Takes in one event of the keyboard."""
        if e.type == pygame.KEYDOWN and e.key == pygame.K_g:
            self.has_grid = not self.has_grid
        elif e.type == pygame.KEYDOWN and e.key == pygame.K_TAB:
            self.has_panel = not self.has_panel

    def wanted(self, player: Player) -> tuple[float, float]:
        """Returns where the one in front of the window wants to go: at most 1 far."""
        keys = pygame.key.get_pressed()
        dx: float = (keys[pygame.K_RIGHT] or keys[pygame.K_d]) - (keys[pygame.K_LEFT] or keys[pygame.K_a])
        dy: float = (keys[pygame.K_DOWN] or keys[pygame.K_s]) - (keys[pygame.K_UP] or keys[pygame.K_w])
        if pygame.mouse.get_pressed()[0]:
            at, (x, y) = pygame.mouse.get_pos(), self.camera(player)
            dx, dy = at[0] + x - player.me[0], at[1] + y - player.me[1]
            if math.hypot(dx, dy) < 8:
                return 0.0, 0.0
        long = math.hypot(dx, dy)
        return (dx / long, dy / long) if long else (0.0, 0.0)

    def camera(self, player: Player) -> tuple[float, float]:
        """Returns what is at the top left of the window. It stops at the hedge."""
        most = player.size * CELL + 60
        return (
            min(max(player.me[0] - WIDTH / 2, -60), most - WIDTH),
            min(max(player.me[1] - HEIGHT / 2, -60), most - HEIGHT),
        )

    def draw(self, player: Player) -> None:
        """Draws everything anew."""
        if not player.size:
            self.screen.fill(GRASS)
            words = write(player.trouble or "calling…", 40, NIGHT)
            self.screen.blit(words, words.get_rect(center=(WIDTH // 2, HEIGHT // 2)))
            return
        left, top = (int(at) for at in self.camera(player))
        self.draw_ground(left, top, player.size)
        if self.has_grid:
            self.draw_grid(left, top, player)
        scene = player.scene()
        if player.you in scene:
            scene[player.you] = (*player.me, *scene[player.you][2:])
        for thing, (x, y, look, turn) in sorted(scene.items(), key=lambda item: (item[1][1], item[0])):
            at = (int(x) - left, int(y) - top)
            if not (-60 < at[0] < WIDTH + 60 and -60 < at[1] < HEIGHT + 60):
                continue
            if thing >= FLOWERS:
                picture = flower(look)
                self.screen.blit(picture, (at[0] - picture.get_width() // 2, at[1] - picture.get_height() + 6))
            else:
                self.draw_rabbit(thing, at, look, turn, thing == player.you)
        if self.has_panel:
            self.draw_panel(player, sum(thing < FLOWERS for thing in scene))
        self.draw_map(player, scene)
        if self.address:
            words = write(f"friends join {self.address}", 19, NIGHT)
            self.screen.blit(words, words.get_rect(bottomright=(WIDTH - 22, HEIGHT - 14)))
        if player.state != "here":
            words = write(player.trouble or "the line went dead, calling again…", 32, BAD if player.trouble else WARN)
            self.screen.blit(
                rounded((words.get_width() + 40, 60), NIGHT, 16), (WIDTH // 2 - words.get_width() // 2 - 20, 200)
            )
            self.screen.blit(words, words.get_rect(center=(WIDTH // 2, 230)))

    def draw_ground(self, left: int, top: int, size: int) -> None:
        """Draws the grass: a picture that repeats itself, and a hedge around the world."""
        tile = grass()
        for x in range(-(left % 480), WIDTH, 480):
            for y in range(-(top % 480), HEIGHT, 480):
                self.screen.blit(tile, (x, y))
        whole = size * CELL
        for side in (
            (-80, -80, whole + 160, 60),
            (-80, whole + 20, whole + 160, 60),
            (-80, -80, 60, whole + 160),
            (whole + 20, -80, 60, whole + 160),
        ):
            pygame.draw.rect(self.screen, HEDGE, pygame.Rect(side).move(-left, -top), border_radius=24)

    def draw_grid(self, left: int, top: int, player: Player) -> None:
        """Draws the cells, the one that we are in with a thicker line."""
        cell = (int(player.me[0]) // CELL, int(player.me[1]) // CELL)
        for x in range(left // CELL, (left + WIDTH) // CELL + 1):
            for y in range(top // CELL, (top + HEIGHT) // CELL + 1):
                box = pygame.Rect(x * CELL - left, y * CELL - top, CELL, CELL)
                pygame.draw.rect(self.screen, GRID, box, 4 if (x, y) == cell else 2)

    def draw_rabbit(self, number: int, at: tuple[int, int], look: int, turn: float, is_me: bool) -> None:
        """Draws a rabbit; one that walks hops."""
        if turn:
            self.facing[number] = turn < 0
        hop = abs(math.sin(time.monotonic() * 9 + number)) * 9 if turn else 0.0
        self.screen.blit(shadow(round(34 - hop)), shadow(round(34 - hop)).get_rect(center=(at[0], at[1] + 2)))
        picture = rabbit(FURS[number * 7 % len(FURS)], self.facing.get(number, False), min(look // 5, 3))
        self.screen.blit(picture, (at[0] - picture.get_width() // 2, at[1] - picture.get_height() + 6 - hop))
        if is_me:
            bob = math.sin(time.monotonic() * 4) * 3
            tip = (at[0], at[1] - 62 + bob)
            pygame.draw.polygon(self.screen, BRIGHT, [tip, (tip[0] - 8, tip[1] - 12), (tip[0] + 8, tip[1] - 12)])

    def draw_panel(self, player: Player, seen: int) -> None:
        """Draws what the server told of itself, and what the grid and the deltas save."""
        news = player.news
        self.screen.blit(glass(PANEL.size), PANEL)
        x, y = PANEL.x + 18, PANEL.y + 16
        if not news:
            self.screen.blit(write("the first news are on their way", 18, DIM), (x, y))
            return
        self.screen.blit(write(f"{news['players']} players", 34, BRIGHT), (x, y))
        self.screen.blit(write(f"you see {seen} of them, ping {player.server.rtt * 1000:.0f} ms", 17, DIM), (x, y + 32))
        self.screen.blit(write("bytes for each, 20 times a second", 17, DIM), (x, y + 62))
        most = max(news["bytes"])
        bars = zip(
            ("all there is", "what is near", f"and new (at most {news['budget']})"),
            news["bytes"],
            (BAD, WARN, GOOD),
            strict=True,
        )
        for i, (label, count, color) in enumerate(bars):
            row = y + 84 + 28 * i
            long = max(6, round(226 * count / most))
            self.screen.blit(rounded((226, 22), "#2b3350", 8), (x, row))
            self.screen.blit(rounded((long, 22), color, min(8, long // 2)), (x, row))
            ink = NIGHT if long > 150 else BRIGHT
            self.screen.blit(write(label, 17, ink), (x + 10 if long > 150 else x + long + 8, row + 6))
            number = write(f"{count:,.0f}", 17, NIGHT if long > 220 else BRIGHT)
            self.screen.blit(number, number.get_rect(topright=(x + 218, row + 6)))
        row = y + 178
        self.screen.blit(write(f"server {news['load']:.0%} busy", 17, DIM), (x, row))
        color = GOOD if news["load"] < 0.6 else WARN if news["load"] < 0.9 else BAD
        self.screen.blit(rounded((110, 10), "#2b3350", 5), (x + 116, row + 1))
        self.screen.blit(rounded((max(6, round(110 * min(1.0, news["load"]))), 10), color, 5), (x + 116, row + 1))
        for i, (name, flowers, number) in enumerate(news["best"][:3]):
            color = WARN if number == player.you else BRIGHT
            self.screen.blit(write(f"{i + 1}.  {name}", 19, color), (x, row + 24 + 21 * i))
            count = write(f"{flowers} flowers", 19, color)
            self.screen.blit(count, count.get_rect(topright=(x + 226, row + 24 + 21 * i)))

    def draw_map(self, player: Player, scene: dict[int, tuple[float, float, int, float]]) -> None:
        """Draws the whole world, small: the cells of which we are told are lit, the rest we do not know."""
        side = 132
        place = pygame.Rect(WIDTH - side - 26, 18, side + 8, side + 8)
        self.screen.blit(glass(place.size), place)
        cell, (x, y) = side / player.size, place.move(4, 4).topleft
        own = int(player.me[0]) // CELL, int(player.me[1]) // CELL
        for cx in range(max(0, own[0] - 1), min(player.size, own[0] + 2)):
            for cy in range(max(0, own[1] - 1), min(player.size, own[1] + 2)):
                box = pygame.Rect(x + cx * cell, y + cy * cell, math.ceil(cell), math.ceil(cell))
                pygame.draw.rect(self.screen, "#4d7f45", box)
        for thing, (at_x, at_y, _, _) in scene.items():
            if thing < FLOWERS:
                at = (x + at_x / CELL * cell, y + at_y / CELL * cell)
                pygame.draw.circle(
                    self.screen, WARN if thing == player.you else BRIGHT, at, 4 if thing == player.you else 2
                )


def draw_backdrop(screen: pygame.Surface) -> None:
    """Draws a meadow at dusk behind the menu, with rabbits running through it."""
    for x in range(0, WIDTH, 480):
        for y in range(0, HEIGHT, 480):
            screen.blit(grass(), (x, y))
    now = time.monotonic()
    for i in range(14):
        speed = 40 + 17 * (i % 5)
        left = (i * 177 + now * speed) % (WIDTH + 120) - 60
        top = 60 + i * 43 % (HEIGHT - 80)
        hop = abs(math.sin(now * 8 + i)) * 9
        screen.blit(flower(i), ((i * 331) % WIDTH, (i * 211) % HEIGHT))
        screen.blit(rabbit(FURS[i % len(FURS)], False, i % 3), (left, top - hop))
    veil = pygame.Surface((WIDTH, HEIGHT), pygame.SRCALPHA)
    veil.fill((*pygame.Color(NIGHT)[:3], 190))
    screen.blit(veil, (0, 0))


# All shapes are drawn too large and then shrunk, which makes their edges smooth, and kept.
@lru_cache
def rabbit(fur: str, faces_left: bool, wreath: int) -> pygame.Surface:
    """Returns a rabbit; the more flowers it picked, the more it wears."""
    big = pygame.Surface((56 * 4, 60 * 4), pygame.SRCALPHA)
    dark = pygame.Color(fur).lerp(pygame.Color("#2a1f1a"), 0.25)

    def oval(x: float, y: float, w: float, h: float, color: pygame.Color | str) -> None:
        pygame.draw.ellipse(big, color, (round((x - w / 2) * 4), round((y - h / 2) * 4), round(w * 4), round(h * 4)))

    oval(12, 44, 12, 12, "#ffffff")  # tail
    oval(25, 43, 32, 26, dark)  # body, with an edge
    oval(25, 42, 29, 23, fur)
    for x in (33, 41):  # ears
        oval(x, 14, 9, 26, dark)
        oval(x, 14, 7, 23, fur)
        oval(x, 15, 3.5, 16, "#f3a6b0")
    oval(37, 30, 25, 22, dark)  # head
    oval(37, 30, 23, 20, fur)
    oval(43, 28, 5, 6, "#20181a")  # eye
    oval(44, 27, 1.8, 1.8, "#ffffff")
    oval(48.5, 32, 4, 3, "#e5798b")  # nose
    oval(18, 54, 13, 7, dark)  # feet
    oval(34, 54, 11, 7, dark)
    for i in range(wreath):
        for angle in range(5):
            a = angle * math.tau / 5
            oval(31 + 6 * i + 2 * math.cos(a), 20 + 2 * math.sin(a), 3, 3, PETALS[i])
        oval(31 + 6 * i, 20, 2.4, 2.4, "#ffe9a8")
    small = pygame.transform.smoothscale(big, (56, 60))
    return pygame.transform.flip(small, True, False) if faces_left else small


@lru_cache
def flower(kind: int) -> pygame.Surface:
    """Returns a flower."""
    big = pygame.Surface((24 * 4, 34 * 4), pygame.SRCALPHA)
    pygame.draw.line(big, "#3f7a3c", (48, 48), (48, 132), 10)
    pygame.draw.ellipse(big, "#4d8f45", (48, 92, 34, 18))
    for petal in range(5):
        angle = petal * math.tau / 5 - math.pi / 2
        pygame.draw.circle(big, PETALS[kind % 5], (48 + 24 * math.cos(angle), 46 + 24 * math.sin(angle)), 19)
    pygame.draw.circle(big, "#f7b733" if kind != 1 else "#b5651d", (48, 46), 14)
    return pygame.transform.smoothscale(big, (24, 34))


@lru_cache
def grass() -> pygame.Surface:
    """Returns a square of grass, which fits to itself on all sides."""
    dice, tile = random.Random(4), pygame.Surface((480, 480))
    tile.fill(GRASS)
    for x in range(0, 480, 240):
        pygame.draw.rect(tile, DARKER, (x, x, 240, 240))
    for _ in range(90):
        x, y = dice.randrange(12, 468), dice.randrange(16, 470)
        color = dice.choice([LIGHTER, "#5f9f49"])
        for lean in (-4, 0, 4):
            pygame.draw.aaline(tile, color, (x, y), (x + lean, y - 9 + abs(lean) // 2))
    for _ in range(16):  # daisies, too small to be picked
        x, y = dice.randrange(8, 472), dice.randrange(8, 472)
        for dx, dy in ((-2, 0), (2, 0), (0, -2), (0, 2)):
            pygame.draw.circle(tile, "#eaf6dd", (x + dx, y + dy), 1.5)
        pygame.draw.circle(tile, "#f2c230", (x, y), 1)
    return tile.convert()


@lru_cache
def shadow(width: int) -> pygame.Surface:
    """Returns a soft shadow."""
    big = pygame.Surface((width * 4, width * 2), pygame.SRCALPHA)
    pygame.draw.ellipse(big, (20, 40, 15, 70), big.get_rect())
    return pygame.transform.smoothscale(big, (width, width // 2))


@lru_cache
def glass(size: tuple[int, int]) -> pygame.Surface:
    """Returns a dark plate through which the meadow shines."""
    plate = rounded(size, NIGHT, 18).copy()
    plate.fill((255, 255, 255, 215), special_flags=pygame.BLEND_RGBA_MULT)
    return plate
