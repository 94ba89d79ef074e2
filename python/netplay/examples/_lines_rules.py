"""The rules of dots and boxes, and how the computer plays it. They know no network, no clock and no window.

Whoever draws the fourth side of a box owns it and draws again. The server plays by these rules, and tells the others.
"""

import random
from dataclasses import dataclass, field

SIZE = 5  # boxes in a row, and rows
MAX_SEATS = 4
FREE = -1  # drawn by nobody, owned by nobody
HALF = SIZE * (SIZE + 1)  # lines are numbered: so many lie from left to right, row by row, and as many stand
SIDES = [  # of each box, the lines above, below, left and right
    (y * SIZE + x, (y + 1) * SIZE + x, HALF + y * (SIZE + 1) + x, HALF + y * (SIZE + 1) + x + 1)
    for y in range(SIZE)
    for x in range(SIZE)
]


class Illegal(ValueError):  # noqa: N818 (it is raised and caught by this one word)
    """A move against the rules; its text is the reason, in words for the one who made it."""


@dataclass
class Table:
    """One game as it stands. All fields are plain values: `vars(table)` is sent, `Table(**sent)` is the same again."""

    phase: str = "gathering"  # then "playing", then "over"
    names: list[str] = field(default_factory=list)  # who sits, in the order of their turns; a seat is a number here
    left: list[int] = field(default_factory=list)  # the seats of those who will not come back
    turn: int = 0
    lines: list[int] = field(default_factory=lambda: [FREE] * 2 * HALF)  # the seat that drew each
    boxes: list[int] = field(default_factory=lambda: [FREE] * SIZE * SIZE)  # the seat that owns each
    last: int = FREE  # the line drawn last

    def begin(self, seat: int) -> None:
        """Ends the gathering."""
        if seat == FREE:
            raise Illegal("you are watching: those who sit at the table begin")
        if self.phase == "playing":
            raise Illegal("the game has begun already")
        if len(self.names) < 2:
            raise Illegal("it takes two: wait for somebody to come")
        self.phase = "playing"

    def draw(self, seat: int, line: object) -> None:
        """Draws a line, if the rules allow it."""
        if seat == FREE:
            raise Illegal("you are watching: you may play in the next game")
        if self.phase != "playing":
            raise Illegal("the game has not begun" if self.phase == "gathering" else "the game is over")
        if seat != self.turn:
            raise Illegal(f"not yet: it is {self.names[self.turn]}'s turn")
        if type(line) is not int or not 0 <= line < 2 * HALF:  # from somebody else's computer anything may come
            raise Illegal("there is no such line")
        if self.lines[line] != FREE:
            raise Illegal("this line is drawn already")
        self.lines[line] = seat
        self.last = line
        closed = [box for box, sides in enumerate(SIDES) if line in sides and self.missing(box) == 0]
        for box in closed:
            self.boxes[box] = seat
        if FREE not in self.boxes:
            self.phase = "over"
        elif not closed:
            self.pass_on()

    def leave(self, seat: int) -> None:
        """Takes a player out of the running game; what they own stays theirs."""
        self.left.append(seat)
        if len(self.names) - len(self.left) < 2:
            self.phase = "over"
        elif seat == self.turn:
            self.pass_on()

    def pass_on(self) -> None:
        """Makes it the next one's turn."""
        self.turn = (self.turn + 1) % len(self.names)
        while self.turn in self.left:
            self.turn = (self.turn + 1) % len(self.names)

    def missing(self, box: int) -> int:
        """Returns how many sides of a box are not drawn yet."""
        return sum(self.lines[side] == FREE for side in SIDES[box])

    def score(self, seat: int) -> int:
        """Returns how many boxes a seat owns."""
        return self.boxes.count(seat)

    def winners(self) -> list[int]:
        """Returns the seats with the most boxes, of those who stayed."""
        stayed = [seat for seat in range(len(self.names)) if seat not in self.left]
        best = max(map(self.score, stayed), default=0)
        return [seat for seat in stayed if self.score(seat) == best]


def choose_line(table: Table, dice: random.Random) -> int:
    """Returns what the computer would draw: a fourth side if there is one, else no third one if it can be helped."""

    def worth(line: int) -> int:
        missing = [table.missing(box) for box, sides in enumerate(SIDES) if line in sides]
        return 2 if 1 in missing else 0 if 2 in missing else 1

    free = [line for line, seat in enumerate(table.lines) if seat == FREE]
    best = max(map(worth, free))
    return dice.choice([line for line in free if worth(line) == best])
