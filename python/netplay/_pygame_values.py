"""pygame's own value types: Vector2, Vector3, Rect, FRect, Color. Imports no pygame: there are none where no game has.

pygame and pygame-ce are told apart by nobody: each is what `sys.modules` has by that name.
What arrives where pygame is not imported, or has no FRect, is a tuple of the same numbers.
"""

from __future__ import annotations

import dataclasses
import struct
import sys
from collections.abc import Callable
from typing import Any, Final

__all__ = ["BY_EXTENSION", "BY_NAME", "Numbers", "numbers_of"]


@dataclasses.dataclass(frozen=True)
class Numbers:
    """What a type of pygame's consists of."""

    name: str
    extension: int
    """The number of the MessagePack extension."""
    layout: struct.Struct
    """Its payload."""
    kind: type[int] | type[float]
    count: int

    def pack(self, value: Any) -> tuple[int, bytes]:
        """Makes (extension, payload) of a value of this type."""
        return self.extension, self.layout.pack(*value)

    def make(self, payload: bytes) -> Any:
        """Makes the value, or a tuple if there is no such type here; struct.error for a payload of another size."""
        numbers = self.layout.unpack(payload)
        kind = getattr(sys.modules.get("pygame"), self.name, None)
        return numbers if kind is None else kind(*numbers)

    def checked(self, value: Any) -> tuple[Any, ...]:
        """Returns the numbers of a decoded array; TypeError if they are others."""
        is_fine = isinstance(value, (list, tuple)) and len(value) == self.count
        allowed: Callable[[Any], bool] = (
            (lambda number: type(number) is int)
            if self.kind is int
            else lambda number: type(number) is float or type(number) is int
        )
        if not is_fine or not all(map(allowed, value)):
            raise TypeError(f"Expected {self.count} `{self.kind.__name__}`")
        return tuple(value)


_ALL: Final = (
    Numbers("Vector2", 6, struct.Struct("<2d"), float, 2),
    Numbers("Vector3", 7, struct.Struct("<3d"), float, 3),
    Numbers("Rect", 8, struct.Struct("<4i"), int, 4),
    Numbers("FRect", 9, struct.Struct("<4f"), float, 4),
    Numbers("Color", 10, struct.Struct("<4B"), int, 4),
)
BY_NAME: Final = {numbers.name: numbers for numbers in _ALL}
BY_EXTENSION: Final = {numbers.extension: numbers for numbers in _ALL}


def numbers_of(kind: type) -> Numbers | None:
    """Returns what a type consists of; None if it is none of pygame's, or a subclass of one.

    Raises:
        Nothing.

    Example:
        >>> import pygame
        >>> numbers_of(pygame.Vector2).count, numbers_of(pygame.Surface), numbers_of(tuple)
        (2, None, None)
    """
    numbers = BY_NAME.get(kind.__name__)
    if numbers is None or getattr(sys.modules.get("pygame"), numbers.name, None) is not kind:
        return None
    return numbers
