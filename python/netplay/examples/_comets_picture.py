"""Draws comets, all of it with shapes. It asks the client what there is to see, and knows nothing of the network."""

import math
import random
import time
from collections import deque
from functools import lru_cache

import pygame

from netplay.examples import _comets_rules as rules
from netplay.examples._comets_client import Bang, Client, Pose
from netplay.examples._comets_rules import DIRECTIONS, HEIGHT, TICK_RATE, TURNS, WIDTH, Comet
from netplay.examples._game import BAD, BRIGHT, DIM, GOOD, NIGHT, PANEL, PLAYER_COLORS, WARN, rounded, write

SIZE = SCREEN_WIDTH, SCREEN_HEIGHT = 960, 540  # four such windows fill a usual screen
ADD = pygame.BLEND_RGB_ADD  # light upon light gets brighter
HULL = [(20, 0), (-13, 13), (-8, 0), (-13, -13)]  # a ship that points to the right
SKY = [(1500, 900, 0.25), (1400, 1000, 0.45), (1300, 800, 0.7)]  # layers of stars: repeat after, move how fast
BANG_TIME = 0.9  # seconds

Place = tuple[float, float]


class Picture:
    """The window, as one player sees the world: around their own ship, which is always in the middle."""

    def __init__(self, screen: pygame.Surface, client: Client) -> None:
        self.screen, self.client = screen, client
        self.has_ghosts = False
        self.camera: Place = (WIDTH / 2, HEIGHT / 2)
        self.flown: Place = (0.0, 0.0)  # how far the camera has come, over all edges: the stars move with it
        self.smoke: deque[tuple[float, float, float, str]] = deque(maxlen=260)  # what ships leave behind

    def handle(self, key: int) -> None:
        """Takes in a key that changes what is seen."""
        if key == pygame.K_p:
            self.client.is_predicting = not self.client.is_predicting
        elif key == pygame.K_i:
            self.client.is_interpolating = not self.client.is_interpolating
        elif key == pygame.K_g:
            self.has_ghosts = not self.has_ghosts

    def draw(self, address: str = "") -> None:
        """Draws everything anew, from the sky to the words."""
        client, now = self.client, time.monotonic()
        poses = client.poses()
        self.look_at(next(((pose.x, pose.y) for pose in poses if pose.ship.id == client.number), self.camera))
        draw_sky(self.screen, self.flown)
        for comet in client.comets:
            self.draw_comet(comet, client.shown_time)
        self.draw_smoke(poses, now)
        for shot in client.shots.values():
            if client.shown_time >= shot.tick:
                color, end = color_of(shot.owner), self.on_screen(shot.place(client.shown_time))
                for back in range(6):
                    self.shine(self.on_screen(shot.place(client.shown_time - back * 0.2)), 13 - back, color, 0.7)
                pygame.draw.circle(self.screen, BRIGHT, end, 3)
        for pose in poses:
            if not pose.ship.dead:
                self.draw_ship(pose)
        if self.has_ghosts:
            self.draw_ghosts()
        for bang in client.bangs:
            if now - bang.time < BANG_TIME:
                self.draw_bang(bang, (now - bang.time) / BANG_TIME)
        self.draw_words(poses, address)

    def look_at(self, place: Place) -> None:
        """Moves the camera to a place; over a long way it glides."""
        dx, dy = rules.way(self.camera, place)
        speed = 1.0 if math.hypot(dx, dy) < 50 else 0.12
        self.camera = rules.between(self.camera, place, speed)
        self.flown = (self.flown[0] + dx * speed, self.flown[1] + dy * speed)

    def on_screen(self, place: Place) -> Place:
        """Returns where in the window a place of the world is: the shortest way from the middle."""
        dx, dy = rules.way(self.camera, place)
        return (SCREEN_WIDTH / 2 + dx, SCREEN_HEIGHT / 2 + dy)

    def shine(self, place: Place, radius: int, color: str, strength: float) -> None:
        """Puts a soft light somewhere in the window."""
        light = glow(radius, color, round(max(0.0, min(1.0, strength)) * 12))
        self.screen.blit(light, (place[0] - radius, place[1] - radius), special_flags=ADD)

    def draw_ship(self, pose: Pose) -> None:
        """Draws a ship, its flame, its shield and its name."""
        color, place = color_of(pose.ship.id), self.on_screen((pose.x, pose.y))
        self.shine(place, 44, color, 0.3)
        if pose.ship.is_thrusting:
            dx, dy = direction(pose.angle)
            flicker = 14 + 4 * math.sin(time.monotonic() * 50 + pose.ship.id)
            self.shine((place[0] - dx * 17, place[1] - dy * 17), round(flicker), "#ffb35c", 1.0)
        hull = ship_shape(color, round(pose.angle * 2) % (2 * TURNS))
        self.screen.blit(hull, hull.get_rect(center=place))
        if pose.ship.shield and (pose.ship.shield > 20 or pose.ship.shield % 6 < 3):
            ring = bubble(28, color)
            self.screen.blit(ring, ring.get_rect(center=place))
        if pose.ship.id != self.client.number:
            name = write(self.client.names.get(pose.ship.id, ""), 17, color)
            self.screen.blit(name, name.get_rect(center=(place[0], place[1] - 36)))

    def draw_ghosts(self) -> None:
        """Draws the outline of every ship where the server saw it last: old news, but true."""
        for ship in self.client.truth.values():
            if not ship.dead:
                dx, dy = DIRECTIONS[ship.angle]
                x, y = self.on_screen((ship.x, ship.y))
                outline = [(x + dx * a - dy * b, y + dy * a + dx * b) for a, b in HULL]
                pygame.draw.aalines(self.screen, BRIGHT, True, outline)

    def draw_smoke(self, poses: list[Pose], now: float) -> None:
        """Draws what the ships have left behind."""
        for pose in poses:
            if pose.ship.is_thrusting:
                dx, dy = direction(pose.angle)
                self.smoke.append((pose.x - dx * 16, pose.y - dy * 16, now, color_of(pose.ship.id)))
        for x, y, born, color in self.smoke:
            age = (now - born) / 0.7
            if age < 1:
                self.shine(self.on_screen((x, y)), round(5 + 8 * age), color, 0.5 * (1 - age))

    def draw_comet(self, comet: Comet, tick: float) -> None:
        """Draws a comet with its tail."""
        place = self.on_screen(comet.place(tick))
        if not (-260 < place[0] < SCREEN_WIDTH + 260 and -260 < place[1] < SCREEN_HEIGHT + 260):
            return
        tail = comet_tail(comet.vx, comet.vy)
        self.screen.blit(tail, tail.get_rect(center=place), special_flags=ADD)
        ice = comet_ice(comet.number, round(tick * comet.spin) % 180)
        self.screen.blit(ice, ice.get_rect(center=place))

    def draw_bang(self, bang: Bang, age: float) -> None:
        """Draws something that bursts: a spark, or a whole ship."""
        place, is_spark = self.on_screen((bang.x, bang.y)), bang.owner < 0
        if is_spark:
            self.shine(place, 20, "#ffffff", 1 - age * 4)
            return
        color, chance = color_of(bang.owner), random.Random(f"{bang.x} {bang.y}")
        self.shine(place, 100, color, 1 - age * 1.5)
        self.shine(place, 50, "#ffffff", 1 - age * 3)
        for _ in range(32):
            angle, speed = chance.uniform(0, math.tau), chance.uniform(20, 150)
            far = speed * (1 - (1 - age) ** 3)
            spot = (place[0] + math.cos(angle) * far, place[1] + math.sin(angle) * far)
            self.shine(spot, chance.randrange(5, 10), chance.choice([color, color, "#ffd9a0"]), 1.2 - age * 1.2)

    def draw_words(self, poses: list[Pose], address: str) -> None:
        """Draws the score, the map, which keys do what, and what there is to say."""
        client = self.client
        ships = sorted(client.truth.values(), key=lambda ship: (ship.deaths - 2 * ship.hits, ship.id))[:10]
        self.screen.blit(see_through((176, 16 + 20 * len(ships))), (SCREEN_WIDTH - 188, 12))
        for i, ship in enumerate(ships):
            y, is_me = 21 + 20 * i, ship.id == client.number
            self.screen.blit(rounded((8, 8), color_of(ship.id), 4), (SCREEN_WIDTH - 178, y + 2))
            name = write(client.names.get(ship.id, "")[:14], 18, BRIGHT if is_me else DIM)
            self.screen.blit(name, (SCREEN_WIDTH - 162, y))
            score = write(f"{ship.hits} : {ship.deaths}", 18, BRIGHT if is_me else DIM)
            self.screen.blit(score, score.get_rect(topright=(SCREEN_WIDTH - 24, y)))
        self.draw_map(poses)
        correction = max(list(client.corrections)[-20:], default=0.0)
        keys = [
            ("P", "prediction", client.is_predicting),
            ("I", "interpolation", client.is_interpolating),
            ("G", "ghosts", self.has_ghosts),
        ]
        self.screen.blit(see_through((462, 26)), (152, SCREEN_HEIGHT - 38))
        x = 164
        for key, what, is_on in keys:
            words = write(f"{key}  {what} {'on' if is_on else 'off'}", 17, GOOD if is_on else DIM)
            self.screen.blit(words, (x, SCREEN_HEIGHT - 31))
            x += words.get_width() + 22
        words = write(f"corrected by {correction:.1f} px", 17, DIM if correction < 4 else WARN)
        self.screen.blit(words, (x, SCREEN_HEIGHT - 31))
        if address:
            self.screen.blit(write(f"friends join at {address}", 17, DIM), (164, SCREEN_HEIGHT - 56))
        text, color = self.news()
        if text:
            words = write(text, 30, color)
            self.screen.blit(words, words.get_rect(center=(SCREEN_WIDTH // 2, 130)))

    def news(self) -> tuple[str, str]:
        """Returns what to say in large letters, and in which colour."""
        client = self.client
        if client.server.state == "lost":
            return "the line went dead, reconnecting…", WARN
        if client.me is None:
            return "calling the server…", WARN
        if client.me.dead:
            return f"back in {client.me.dead / TICK_RATE:.1f} s", BAD
        return "", BRIGHT

    def draw_map(self, poses: list[Pose]) -> None:
        """Draws the whole world, small, in a corner."""
        width, height = 132, 99
        corner = (12, SCREEN_HEIGHT - height - 12)
        self.screen.blit(see_through((width, height)), corner)
        things = [(comet.place(self.client.shown_time), 3.0, "#4a5f80") for comet in self.client.comets]
        things += [((p.x, p.y), 2.0, color_of(p.ship.id)) for p in poses if not p.ship.dead]
        for (x, y), radius, color in things:
            spot = (corner[0] + x / WIDTH * width, corner[1] + y / HEIGHT * height)
            pygame.draw.circle(self.screen, color, spot, radius)
            if radius == 2.0 and color == color_of(self.client.number):
                pygame.draw.circle(self.screen, BRIGHT, spot, 4.5, 1)


def color_of(number: int) -> str:
    """Returns the colour of a ship."""
    return PLAYER_COLORS[number % len(PLAYER_COLORS)]


def direction(angle: float) -> Place:
    """Returns the direction of an angle, also between two of those that the rules know."""
    return math.cos(angle * math.tau / TURNS), math.sin(angle * math.tau / TURNS)


def draw_sky(screen: pygame.Surface, flown: Place) -> None:
    """Draws fog and stars; the nearer they are, the faster they pass by."""
    fog = fog_tile()
    x, y = -flown[0] * 0.12 % fog.get_width(), -flown[1] * 0.12 % fog.get_height()
    for left in (x - fog.get_width(), x):
        for top in (y - fog.get_height(), y):
            screen.blit(fog, (left, top))
    for layer, (width, height, speed) in enumerate(SKY):
        for star_x, star_y, color in stars(layer):
            spot = ((star_x - flown[0] * speed) % width - 20, (star_y - flown[1] * speed) % height - 20)
            if layer < 2:
                screen.fill(color, (*spot, layer + 1, layer + 1))
            else:
                pygame.draw.circle(screen, color, spot, 1.6)


def draw_backdrop(screen: pygame.Surface, seconds: float | None = None) -> None:
    """Draws a sky to drift through behind the menu, as it is at this moment or another."""
    now = (time.monotonic() if seconds is None else seconds) * 30
    draw_sky(screen, (now, now / 4))
    for i in (0, 2, 3):
        comet = Comet(i, 3)
        x, y = comet.place(now)
        spot = (x % 1480 - 260, y % 1060 - 260)
        for shape, flags in ((comet_tail(comet.vx, comet.vy), ADD), (comet_ice(i, round(now * comet.spin) % 180), 0)):
            screen.blit(shape, shape.get_rect(center=spot), special_flags=flags)


# What is drawn anew in each frame, but always the same, is made once and kept.
@lru_cache
def stars(layer: int) -> list[tuple[int, int, str]]:
    """Returns the stars of one layer of the sky."""
    chance = random.Random(layer)
    width, height, _ = SKY[layer]
    colors = ["#5c6690", "#8089b3", "#a7b0d6", "#d7def7"][layer : layer + 2]
    count = (170, 90, 30)[layer]
    return [(chance.randrange(width), chance.randrange(height), chance.choice(colors)) for _ in range(count)]


@lru_cache
def fog_tile() -> pygame.Surface:
    """Returns a piece of coloured fog that fits to itself on all sides."""
    chance, small = random.Random(5), pygame.Surface((160, 120))
    small.fill(NIGHT)
    for _ in range(26):
        light = glow(chance.randrange(24, 52), chance.choice(["#3a2a6a", "#143a5e", "#4a1f4e", "#123f4a"]), 5)
        x, y = chance.randrange(160), chance.randrange(120)
        for left in (x - 160, x, x + 160):
            for top in (y - 120, y, y + 120):
                small.blit(light, light.get_rect(center=(left, top)), special_flags=ADD)
    return pygame.transform.smoothscale(small, (1600, 1200)).convert()


@lru_cache(maxsize=4000)
def glow(radius: int, color: str, strength: int) -> pygame.Surface:
    """Returns a soft light, bright in the middle, for drawing with ADD. The strength is 0 to 12."""
    light = pygame.Surface((2 * radius, 2 * radius))
    base = pygame.Color(color)
    for r in range(radius, 0, -1):
        share = (1 - r / radius) ** 2 * strength / 12
        pygame.draw.circle(light, [round(part * share) for part in base[:3]], (radius, radius), r)
    return light


@lru_cache(maxsize=3000)
def ship_shape(color: str, angle: int) -> pygame.Surface:
    """Returns a ship that points in one of 256 directions."""
    big = pygame.Surface((4 * 56, 4 * 56), pygame.SRCALPHA)
    big.fill((*pygame.Color(color)[:3], 0))
    dx, dy = direction(angle / 2)
    for size, shade in ((4.0, color), (2.8, mix(color, NIGHT, 0.45))):
        points = [(112 + (a * dx - b * dy) * size, 112 + (a * dy + b * dx) * size) for a, b in HULL]
        pygame.draw.polygon(big, shade, points)
    pygame.draw.circle(big, BRIGHT, (112 + dx * 10, 112 + dy * 10), 12)
    return pygame.transform.smoothscale(big, (56, 56))


@lru_cache
def bubble(radius: int, color: str) -> pygame.Surface:
    """Returns a shield."""
    big = pygame.Surface((8 * radius, 8 * radius), pygame.SRCALPHA)
    pygame.draw.circle(big, (*pygame.Color(color)[:3], 40), big.get_rect().center, 4 * radius - 4)
    pygame.draw.circle(big, (*pygame.Color(color)[:3], 200), big.get_rect().center, 4 * radius - 4, 6)
    return pygame.transform.smoothscale(big, (2 * radius, 2 * radius))


@lru_cache
def comet_tail(vx: float, vy: float) -> pygame.Surface:
    """Returns the light and the tail of a comet that flies this way."""
    tail = pygame.Surface((520, 520))
    speed = math.hypot(vx, vy)
    for i in range(46, -1, -1):
        radius = round(46 - i * 0.7)
        far = i * 4.6
        light = glow(radius, "#3f7fc4", max(1, round(2.4 - i / 26)))
        tail.blit(light, light.get_rect(center=(260 - vx / speed * far, 260 - vy / speed * far)), special_flags=ADD)
    return tail


@lru_cache(maxsize=1200)
def comet_ice(number: int, angle: int) -> pygame.Surface:
    """Returns the stone of ice in a comet, turned by an angle of two degrees each."""
    chance, radius = random.Random(number), rules.COMET_RADIUS
    big = pygame.Surface((8 * radius, 8 * radius), pygame.SRCALPHA)
    big.fill((160, 200, 230, 0))
    middle = 4 * radius
    turn = angle * math.tau / 180
    rim = [(i * math.tau / 11, chance.uniform(0.82, 1.06) * radius) for i in range(11)]
    for size, shade in ((3.7, "#d9ecf8"), (3.3, "#7fa3c2")):
        points = [(middle + math.cos(a + turn) * r * size, middle + math.sin(a + turn) * r * size) for a, r in rim]
        pygame.draw.polygon(big, shade, points)
    for _ in range(6):
        a, r, hole = chance.uniform(0, math.tau) + turn, chance.uniform(0.1, 0.62) * radius, chance.randrange(9, 24)
        spot = (middle + math.cos(a) * r * 3.3, middle + math.sin(a) * r * 3.3)
        pygame.draw.circle(big, "#668aa9", spot, hole)
    return pygame.transform.smoothscale(big, (2 * radius, 2 * radius))


@lru_cache
def see_through(size: tuple[int, int]) -> pygame.Surface:
    """Returns a dark pane to write on."""
    pane = rounded(size, PANEL, 10).copy()
    pane.set_alpha(170)
    return pane


def mix(a: str, b: str, share: float) -> str:
    """Returns a colour between two."""
    color = pygame.Color(a).lerp(pygame.Color(b), share)
    return f"#{color.r:02x}{color.g:02x}{color.b:02x}"
