"""The bridge to pygame's event queue: the one file that imports pygame, and only when poll() or NetGraph wants it.

The inbox of `_core` is the truth, and pygame's queue is filled from it once a frame, so that nothing is lost when the
queue cannot take it:

| pygame | what happens |
|---|---|
| the queue is full | it holds 65,535 events and then raises; ours stop at 16,384, so the game's own QUIT always fits |
| video not initialised | events wait; one warning |
| NETWORK is blocked (`set_blocked(None)`) | events wait; counted; one warning that says how to let them in |
| `quit()` and `init()` | the queue is new and empty; our type numbers are constants (see `_events.py`) |
| the type of a remote event is blocked | the game does not want it: left out, as one of its own; counted; one warning |

pygame cannot say how many of our events are left in its queue, but it can say that there are none: then the count
begins anew. A game that never empties its queue of them is given no more than the 16,384.

`pygame.event.wait()` sleeps until something is in the queue, and nobody calls poll() meanwhile.
So a thread waits until events have been waiting for 30 ms, and posts one of type NETWORK_WAKE: `wait()` returns, and
the game's loop comes round to poll(). In a game that calls poll() each frame it never does anything.
A timer does the same when an answer is overdue.
"""

from __future__ import annotations

import logging
import math
import threading
import time
import weakref
from typing import TYPE_CHECKING, Any, Final

from ._errors import PygameMissing
from ._events import NETWORK, NETWORK_EVENT, NETWORK_WAKE

if TYPE_CHECKING:
    from ._core import Event, _Watcher
    from ._network import Network

__all__ = ["Bridge"]

_MAX_OUTSTANDING: Final = 16_384
"""How many of our events may be in the pygame queue, which has room for 65,535."""

_STALL: Final = 0.03
"""How many seconds events wait for poll() before `pygame.event.wait()` is made to return."""

_STOP_WITHIN: Final = 0.2
"""How many seconds to wait until the thread has ended; it needs far less."""

_log = logging.getLogger("netplay")
_warned: set[str] = set()
_outstanding = 0  # ours that may be in the queue; the queue is one for all networks
_remote_outstanding: dict[int, int] = {}  # the same for those that others posted, by their type


class Bridge:
    """Fills the pygame queue from one network."""

    def __init__(self, network: Network) -> None:
        self._network = weakref.ref(network)
        self._pygame = import_pygame(
            "poll() needs pygame, which cannot be imported: pip install pygame-ce, or call get() instead"
        )
        self._thread: threading.Thread | None = None
        self._timer = _Timer(self._pygame)
        self.polls_blocked = 0
        self.events_blocked = 0
        network._questions.on_ask = self._timer.start

    def poll(self, timeout: float) -> int:
        """Posts what has arrived and fits; returns how many. Waits up to `timeout` seconds for the first."""
        global _outstanding
        network = self._network()
        if network is None:
            return 0
        if self._thread is None or not self._thread.is_alive():
            self._start_watching(network)
        room = self._room()
        if room == 0:
            if timeout > 0:
                time.sleep(timeout)
            return 0
        events = network._collect(room, timeout)
        self._timer.handle_poll(network._questions.seconds_left())
        make, post = self._pygame.event.Event, self._pygame.event.post
        left_out = 0
        for index, event in enumerate(events):
            try:
                if event.what is NETWORK_EVENT:
                    if self._is_blocked(event):
                        left_out += 1
                        continue
                    is_posted = post(make(event.type, {**event.data, "peer": event.peer}))
                    _remote_outstanding[event.type] = _remote_outstanding.get(event.type, 0) + is_posted
                    _outstanding -= is_posted  # it was counted in the other place
                else:
                    is_posted = post(make(NETWORK, event._attributes()))
            except self._pygame.error:  # the queue is full, or a callback has called pygame.quit()
                is_posted = False
            if not is_posted:
                network._put_back(events[index:])
                return index - left_out
            _outstanding += 1
        return len(events) - left_out

    def stop(self) -> None:
        """Waits until the thread has ended, after the network was closed."""
        self._timer.stop()
        thread, self._thread = self._thread, None
        if thread is not None and thread is not threading.current_thread():
            thread.join(_STOP_WITHIN)

    def _room(self) -> int:
        """Returns how many events may be posted now."""
        global _outstanding
        pygame = self._pygame
        if not pygame.display.get_init():
            _outstanding = 0
            _remote_outstanding.clear()
            _warn_once("video", "network events wait until pygame's video system is initialised: call pygame.init()")
            return 0
        if pygame.event.get_blocked(NETWORK):
            self.polls_blocked += 1
            _warn_once(
                "blocked",
                "network events wait while pygame.event blocks their type: "
                "call pygame.event.set_allowed(netplay.NETWORK) after set_blocked()",
            )
            return 0
        if pygame.event.get_blocked(
            NETWORK_WAKE
        ):  # set_blocked(None) has met it too; who lets ours in wants to be woken
            pygame.event.set_allowed(NETWORK_WAKE)
        if _outstanding and not pygame.event.peek(NETWORK, pump=False):
            _outstanding = 0
        for kind in list(_remote_outstanding):
            if not pygame.event.peek(kind, pump=False):
                del _remote_outstanding[kind]
        return max(0, _MAX_OUTSTANDING - _outstanding - sum(_remote_outstanding.values()))

    def _is_blocked(self, event: Event) -> bool:
        """Says whether the game wants no events of this one's type."""
        if not self._pygame.event.get_blocked(event.type):
            return False
        self.events_blocked += 1
        _warn_once(
            event.name,
            f"{event.name!r} events from other players are left out, because pygame.event blocks their type: "
            "call pygame.event.set_allowed() with it to have them",
        )
        return True

    def _start_watching(self, network: Network) -> None:
        watcher = network._watcher()
        if watcher is not None:
            self._thread = threading.Thread(
                target=_wake, args=(watcher, self._pygame), name="netplay-wake", daemon=True
            )
            self._thread.start()


class _Timer:
    """Makes `pygame.event.wait()` return when an answer is overdue and poll() has not been called since."""

    def __init__(self, pygame: Any) -> None:
        self._pygame = pygame
        self._thread: threading.Timer | None = None
        self._until = math.inf
        self._polled = 0.0  # when poll() was called last

    def start(self, seconds: float) -> None:
        """Takes note that an answer is overdue in so many seconds."""
        until = time.monotonic() + seconds
        if self._thread is not None and self._thread.is_alive() and self._until <= until:
            return  # it fires before; the poll() that follows starts it anew
        self.stop()
        self._until = until
        self._thread = threading.Timer(min(seconds + _STALL, threading.TIMEOUT_MAX), self._fire)
        self._thread.daemon = True
        self._thread.start()

    def handle_poll(self, seconds: float) -> None:
        """Takes note that poll() was called, and that the next answer is overdue in so many seconds, or never."""
        self._polled = time.monotonic()
        if not math.isinf(seconds):
            self.start(seconds)
        elif self._thread is not None:
            self.stop()

    def stop(self) -> None:
        """Does nothing any more."""
        if self._thread is not None:
            self._thread.cancel()
            self._thread = None

    def _fire(self) -> None:
        if self._polled < self._until:
            _post_wake(self._pygame)


def _wake(watcher: _Watcher, pygame: Any) -> None:
    """Makes `pygame.event.wait()` return whenever events are left waiting. Ends when the network is closed."""
    while watcher.wait(_STALL):
        _post_wake(pygame)


def _post_wake(pygame: Any) -> None:
    try:
        if pygame.display.get_init() and not pygame.event.peek(NETWORK_WAKE, pump=False):
            pygame.event.post(pygame.event.Event(NETWORK_WAKE))
    except pygame.error:  # the queue is full, so wait() does not sleep; or video was shut down just now
        pass


def import_pygame(problem: str) -> Any:
    """Returns pygame, or raises PygameMissing with these words."""
    try:
        import pygame
    except ImportError as error:
        raise PygameMissing(problem, name="pygame") from error
    return pygame


def _warn_once(topic: str, message: str) -> None:
    if topic not in _warned:
        _warned.add(topic)
        _log.warning(message)
