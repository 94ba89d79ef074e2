"""How `lines` looks, and what the mouse means. It knows the table as a guest knows it, and nothing of the network."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pygame

from netplay.examples._game import BRIGHT, DIM, GOOD, LINE, NIGHT, PANEL, PLAYER_COLORS, WARN, rounded, write
from netplay.examples._lines_rules import FREE, HALF, SIDES, SIZE, Table

if TYPE_CHECKING:
    from netplay.examples.lines import Guest

WIDTH, HEIGHT = 960, 640
STEP = 92  # pixels from dot to dot
LEFT, TOP = 70, 110  # the first dot


class Window:
    """Draws the table as one of them knows it, and reads the mouse."""

    def __init__(self, screen: pygame.Surface, guest: Guest, address: str = "") -> None:
        self.screen, self.guest = screen, guest
        self.address = address  # what to give to friends
        self.shown: Table | None = None
        self.born = [0.0] * 2 * HALF  # when each line was drawn: new ones grow
        self.button = pygame.Rect(WIDTH - 350, HEIGHT - 150, 310, 62)

    def handle(self, e: pygame.event.Event) -> None:
        """Takes in one event of the keyboard or the mouse."""
        is_click = e.type == pygame.MOUSEBUTTONDOWN and e.button == 1
        is_begin = (e.type == pygame.KEYDOWN and e.key == pygame.K_SPACE) or (
            is_click and self.button.collidepoint(e.pos)
        )
        if is_begin and self.guest.table.phase != "playing":
            self.guest.wish("begin")
        elif is_click and (line := line_at(e.pos)) != FREE:
            self.guest.wish(line)  # even if it is not allowed: only the server knows

    def draw(self) -> None:
        """Draws everything anew."""
        self.screen.fill(NIGHT)
        self.screen.blit(rounded((SIZE * STEP + 80, SIZE * STEP + 80), PANEL, 28), (LEFT - 40, TOP - 40))
        self.draw_table()
        self.draw_words()
        for seat in range(len(self.guest.table.names)):
            self.draw_player(seat, 110 + 88 * seat)

    def draw_table(self) -> None:
        """Draws boxes, lines and dots."""
        now, table = time.monotonic(), self.guest.table
        hovered = line_at(pygame.mouse.get_pos()) if table.turn == self.guest.you else FREE
        for line, seat in enumerate(table.lines):
            if self.shown and self.shown.lines[line] == FREE != seat:
                self.born[line] = now
        self.shown = table
        for box, seat in enumerate(table.boxes):
            if seat == FREE:
                continue
            age = min(1.0, (now - max(self.born[side] for side in SIDES[box])) / 0.25)
            side = round((STEP - 14) * age)
            at = pygame.Rect(0, 0, side, side)
            at.center = (LEFT + box % SIZE * STEP + STEP // 2, TOP + box // SIZE * STEP + STEP // 2)
            self.screen.blit(rounded(at.size, blend(PANEL, PLAYER_COLORS[seat], 0.33), 12), at)
            letter = write(table.names[seat][:1].upper(), 46, PLAYER_COLORS[seat])
            self.screen.blit(letter, letter.get_rect(center=at.center))
        for line, seat in enumerate(table.lines):
            x, y = start_of(line)
            color = PLAYER_COLORS[seat] if seat != FREE else blend(PANEL, BRIGHT, 0.09)
            if line == hovered and seat == FREE and table.phase == "playing":
                color = blend(PANEL, PLAYER_COLORS[self.guest.you], 0.6)
            long = round(STEP * (min(1.0, (now - self.born[line]) / 0.15) if seat != FREE else 1.0))
            thick = 10 if line == table.last else 7 if seat != FREE else 4
            size = (long, thick) if line < HALF else (thick, long)
            at = pygame.Rect((0, 0), size)
            at.center = (x + STEP // 2, y) if line < HALF else (x, y + STEP // 2)
            self.screen.blit(rounded(at.size, color, thick // 2), at)
        for i in range((SIZE + 1) ** 2):
            x, y = LEFT + i % (SIZE + 1) * STEP, TOP + i // (SIZE + 1) * STEP
            self.screen.blit(rounded((18, 18), BRIGHT, 9), (x - 9, y - 9))

    def draw_words(self) -> None:
        """Draws what one should know: whose turn it is, what went wrong, how the line is doing, and the button."""
        guest, table = self.guest, self.guest.table
        words, color = guest.words
        if words:  # the line is not well, and that comes first
            pass
        elif table.phase == "gathering":
            words, color = "Who else wants to play?" if len(table.names) < 2 else "Is everybody here?", BRIGHT
        elif table.phase == "over":
            names = [table.names[seat] for seat in table.winners()]
            words = f"{names[0]} wins!" if len(names) == 1 else f"A draw between {' and '.join(names)}"
            color = PLAYER_COLORS[table.winners()[0]] if len(names) == 1 else BRIGHT
        elif guest.you == table.turn:
            words, color = "Your turn: draw a line", PLAYER_COLORS[guest.you]
        else:
            is_away = table.turn < len(guest.away) and guest.away[table.turn] > 0
            name, color = table.names[table.turn], PLAYER_COLORS[table.turn]
            words = f"Waiting for {name} to come back" if is_away else f"{name} is thinking"
        self.screen.blit(write(words, 40, color), (LEFT - 40, 22))
        if guest.no:
            self.screen.blit(write(guest.no, 24, WARN), (LEFT - 40, HEIGHT - 24))
        elif self.address:
            self.screen.blit(write(f"friends join {self.address}", 20, DIM), (LEFT - 40, HEIGHT - 22))
        if table.phase != "playing" and guest.you != FREE and len(table.names) > 1:
            self.screen.blit(rounded(self.button.size, GOOD, 18), self.button)
            label = write("Space: begin" if table.phase == "gathering" else "Space: play again", 30, NIGHT)
            self.screen.blit(label, label.get_rect(center=self.button.center))
        ping = "" if guest.words[0] else f"ping {guest.server.rtt * 1000:.0f} ms"
        is_watching = guest.you == FREE and len(table.names) > 0
        watching = "you are watching" if is_watching else f"{guest.watching} watching" if guest.watching else ""
        below = write("   ".join(filter(None, (watching, ping))), 20, DIM)
        self.screen.blit(below, below.get_rect(bottomright=(WIDTH - 40, HEIGHT - 26)))

    def draw_player(self, seat: int, y: int) -> None:
        """Draws who sits there, what they own, and for how long their seat is kept if they are away."""
        table, color = self.guest.table, PLAYER_COLORS[seat]
        box = pygame.Rect(WIDTH - 350, y - 40, 310, 76)
        is_turn = table.phase == "playing" and seat == table.turn
        self.screen.blit(rounded(box.size, color if is_turn else LINE, 18), box)
        self.screen.blit(rounded((box.width - 4, box.height - 4), PANEL, 16), box.move(2, 2))
        self.screen.blit(rounded((44, 44), color, 22), (box.x + 16, box.y + 16))
        letter = write(table.names[seat][:1].upper(), 32, NIGHT)
        self.screen.blit(letter, letter.get_rect(center=(box.x + 38, box.y + 39)))
        name = table.names[seat] + (" (you)" if seat == self.guest.you else "")
        left = self.guest.away[seat] - time.monotonic() if seat < len(self.guest.away) else 0.0
        if seat in table.left:
            note, shade = "left the game", DIM
        elif left > 0:
            note, shade = f"away, the seat is kept for {left:.0f} s", WARN
        else:
            note, shade = "to draw" if is_turn else "", color
        self.screen.blit(write(name, 28, BRIGHT), (box.x + 74, box.y + (16 if note else 27)))
        self.screen.blit(write(note, 19, shade), (box.x + 74, box.y + 45))
        score = write(str(table.score(seat)), 44, color)
        self.screen.blit(score, score.get_rect(midright=(box.right - 18, box.centery)))


def draw_backdrop(screen: pygame.Surface) -> None:
    """Draws a faint table behind the menu."""
    dots = [(x, y) for x in (48, 144, 816, 912) for y in range(32, HEIGHT, 96)]  # beside the menu
    for i, (x, y) in enumerate(dots):
        seat = i * 7 % 11
        if seat < 4:
            color = blend(NIGHT, PLAYER_COLORS[seat], 0.3)
            size, at = ((96, 6), (x, y - 3)) if i % 2 and x in (48, 816) else ((6, 96), (x - 3, y))
            screen.blit(rounded(size, color, 3), at)
    for x, y in dots:
        screen.blit(rounded((12, 12), blend(NIGHT, BRIGHT, 0.3), 6), (x - 6, y - 6))


def start_of(line: int) -> tuple[int, int]:
    """Returns where a line begins in the window."""
    row, column = divmod(line, SIZE) if line < HALF else divmod(line - HALF, SIZE + 1)
    return LEFT + column * STEP, TOP + row * STEP


def line_at(pos: tuple[int, int]) -> int:
    """Returns the line at a place in the window, or FREE if there is none."""
    for line in range(2 * HALF):
        x, y = start_of(line)
        across, along = (pos[1] - y, pos[0] - x) if line < HALF else (pos[0] - x, pos[1] - y)
        if abs(across) < 22 and 18 < along < STEP - 18:
            return line
    return FREE


def blend(color: str, other: str, share: float) -> str:
    """Returns a colour between two."""
    mixed = pygame.Color(color).lerp(pygame.Color(other), share)
    return f"#{mixed.r:02x}{mixed.g:02x}{mixed.b:02x}"
