"""Who types when nobody does: one voice of a dialogue, for `--autoplay`. It knows neither network nor window."""

import random
import time

# Each guest in turn says the next line.
DIALOGUE = [
    "hello network.",
    "oh! you are in my window",
    "and you are in mine. is that one line of code?",
    "net.poll(), once a frame. that's all",
    "what if the wifi drops?",
    "then it calls again by itself, and nothing is lost",
    "not even this?",
    "not even that. every line, once, in order",
    "I'm putting this into my space game",
    "I'll bring the asteroids",
]


class Typist:
    """One voice: looks at who is here and what was said, and says the next line when it is its turn."""

    def __init__(self, name: str, seed: int) -> None:
        self.name = name
        self.random = random.Random(f"{seed} {name}")
        self.ready_at = 0.0

    def type(self, people: list[str], said: list[str]) -> str:
        """Returns what to say now, or nothing. The first of the people is the server, who only listens."""
        guests = sorted(people[1:])
        is_my_turn = len(guests) > 1 and len(said) < len(DIALOGUE) and guests[len(said) % len(guests)] == self.name
        if not is_my_turn:
            self.ready_at = time.monotonic() + self.random.uniform(0.5, 0.9)  # nobody types faster than that
        elif time.monotonic() > self.ready_at:
            return DIALOGUE[len(said)]
        return ""
