"""Draws how the connection is doing over any game. It reads what peers count, and knows nothing of how they do it.

pygame is imported when a graph is made, as in `_pygame.py`.
"""

from __future__ import annotations

import itertools
import time
from collections import deque
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from ._pygame import import_pygame

if TYPE_CHECKING:
    from pygame import Rect, Surface

    from ._core import Peer
    from ._network import Network
    from .sync import InterpolationBuffer

__all__ = ["NetGraph"]

_WIDTH: Final = 252
_HEIGHT: Final = 234
_COLUMNS: Final = 228
"""How many samples are shown, a pixel each."""

_INTERVAL: Final = 1 / 30
"""Seconds from one sample to the next: the graph shows the last 7.6 seconds."""

_RATE_SECONDS: Final = 1.0
"""Over how long the bytes, copies and resends a second are counted."""

_PANEL, _BOX, _EDGE, _BRIGHT, _DIM = "#0b0e1a", "#05070f", "#39415f", "#f3f5ff", "#a4abc8"
_UNDER_PING, _PING, _IN, _OUT, _BUFFER, _LOST = "#1f4a57", "#59d0e8", "#7bd88f", "#c792ea", "#ffc857", "#ff6b6b"
_STATES: Final = {"connected": "#4fd18b", "connecting": "#f5b942", "lost": "#f5b942", "closed": "#ff6b6b"}


class _Sample(NamedTuple):
    """What was counted at one moment, over all peers."""

    time: float
    ping: float
    jitter: float
    loss: float
    buffer: float
    packets_lost: int
    bytes_in: int
    bytes_out: int
    copied: int
    resent: int


_NOTHING: Final = _Sample(0.0, 0.0, 0.0, 0.0, 0.0, 0, 0, 0, 0, 0)


class NetGraph:
    """A small picture of the connection: ping, jitter, losses, bytes, copies and resends, link and transport.

    It lies over the game, in a corner, while it is visible; F3 shows and hides it. Red marks under the ping are lost
    packets. With several peers the numbers of bytes are sums, and the ping is the worst one's.

    One line in the game loop, after everything else is drawn, is enough: `net.NetGraph.over(screen)`. Or make one, to
    choose the network, to show how far an interpolation buffer is behind, or for screenshots.

    Args:
        network: Whose peers; None for the one behind the functions of the package.
        buffer: A `netplay.sync.InterpolationBuffer` whose delay to show, if it is one that is given the times of
            `time.monotonic()`; None for none.
        is_visible: Whether it is shown before F3 was pressed.

    Raises:
        PygameMissing: pygame cannot be imported.

    Example:
        >>> import netplay, pygame
        >>> screen = pygame.Surface((640, 480))
        >>> graph = netplay.NetGraph(is_visible=True)
        >>> graph.draw(screen)
        >>> graph.render().get_size()
        (252, 234)
    """

    def __init__(
        self,
        network: Network | None = None,
        *,
        buffer: InterpolationBuffer[Any] | None = None,
        is_visible: bool = False,
    ) -> None:
        self._pygame = import_pygame("NetGraph needs pygame, which cannot be imported: pip install pygame-ce")
        if network is None:
            from . import _default

            network = _default
        self._network = network
        self.buffer = buffer
        self.is_visible = is_visible
        self._was_down = False
        self._samples: deque[_Sample] = deque(maxlen=_COLUMNS + 1)
        self._peer: Peer | None = None
        self._words: dict[tuple[str, int, str], Surface] = {}

    @classmethod
    def over(cls, surface: Surface, network: Network | None = None) -> NetGraph:
        """Draws the graph of a network over a game, if F3 has made it visible; makes it at the first call.

        Args:
            surface: The game's screen.
            network: Whose peers; None for the one behind the functions of the package.

        Returns:
            The graph, the same one for each call with this network.

        Raises:
            PygameMissing: pygame cannot be imported.

        Example:
            >>> import netplay, pygame
            >>> screen = pygame.Surface((640, 480))
            >>> netplay.NetGraph.over(screen) is netplay.NetGraph.over(screen)
            True
        """
        if network is None:
            from . import _default

            network = _default
        if network._graph is None:
            network._graph = cls(network)
        network._graph.draw(surface)
        return network._graph

    def draw(self, surface: Surface) -> None:
        """Draws the graph over a game, in the upper left corner, if it is visible. Call it once a frame.

        It looks whether F3 is down by itself, and takes its samples at each call, also while it is not visible.

        Raises:
            Nothing.

        Example:
            >>> import netplay, pygame
            >>> netplay.NetGraph().draw(pygame.Surface((640, 480)))
        """
        pygame = self._pygame
        is_down = bool(pygame.display.get_init() and pygame.key.get_pressed()[pygame.K_F3])
        if is_down and not self._was_down:
            self.is_visible = not self.is_visible
        self._was_down = is_down
        self._take_sample(time.monotonic())
        if self.is_visible:
            surface.blit(self.render(), (8, 8))

    def render(self) -> Surface:
        """Returns the graph as a picture of its own, visible or not: for screenshots, or to put it elsewhere.

        Raises:
            Nothing.

        Example:
            >>> import netplay
            >>> picture = netplay.NetGraph().render()
        """
        pygame = self._pygame
        if not pygame.font.get_init():
            pygame.font.init()
        panel: Surface = pygame.Surface((_WIDTH, _HEIGHT), pygame.SRCALPHA)
        pygame.draw.rect(panel, (*pygame.Color(_PANEL)[:3], 232), panel.get_rect(), border_radius=8)
        pygame.draw.rect(panel, _EDGE, panel.get_rect(), 1, border_radius=8)
        self._draw_head(panel)
        last = self._samples[-1] if self._samples else _NOTHING
        rates = self._rates()
        loss = f"loss {last.loss * 100:.1f} %"
        self._row(panel, 34, f"ping {last.ping * 1000:.0f} ms", _PING, f"jitter {last.jitter * 1000:.0f} ms   {loss}")
        self._draw_ping(panel, pygame.Rect(12, 52, _COLUMNS, 46))
        self._row(panel, 108, f"in {_size(rates[0])}/s", _IN, "")
        self._row(panel, 108, "", _DIM, f"out {_size(rates[1])}/s", _OUT)
        self._draw_bytes(panel, pygame.Rect(12, 126, _COLUMNS, 46))
        self._row(panel, 182, f"copies {rates[2]:.0f}/s", _DIM, f"resends {rates[3]:.0f}/s")
        if self.buffer is None:
            self._row(panel, 206, "interpolation: none", _DIM, "F3 hides this")
        else:
            recent = [sample.buffer for sample in self._recent()] or [0.0]
            behind = sum(recent) / len(recent)
            self._row(panel, 206, f"interpolation {behind * 1000:.0f} ms behind", _BUFFER, "F3")
        return panel

    def _take_sample(self, now: float) -> None:
        if self._samples and now - self._samples[-1].time < _INTERVAL * 0.95:
            return
        peers = [peer for peer in self._network.peers if peer.state != "closed"]
        self._peer = max(peers, key=lambda peer: peer.rtt, default=self._peer)
        counted = [peer.stats() for peer in peers]
        worst = max(counted, key=lambda stats: stats["rtt"], default=None)
        self._samples.append(
            _Sample(
                now,
                worst["rtt"] if worst else 0.0,
                worst["jitter"] if worst else 0.0,
                max((stats["loss"] for stats in counted), default=0.0),
                self.buffer.delay(now) if self.buffer else 0.0,
                sum(stats["packets_lost"] for stats in counted),
                sum(stats["bytes_received"] for stats in counted),
                sum(stats["bytes_sent"] for stats in counted),
                sum(stats["copied"] for stats in counted),
                sum(stats["resent"] for stats in counted),
            )
        )

    def _recent(self) -> list[_Sample]:
        return [sample for sample in self._samples if self._samples[-1].time - sample.time <= _RATE_SECONDS]

    def _rates(self) -> list[float]:
        """Returns bytes in, bytes out, copies and resends a second. A peer that left takes its counts along: then 0."""
        if len(self._samples) < 2:
            return [0.0] * 4
        first, last = self._recent()[0], self._samples[-1]
        seconds = max(last.time - first.time, _INTERVAL)
        names = ("bytes_in", "bytes_out", "copied", "resent")
        return [max(0.0, (getattr(last, name) - getattr(first, name)) / seconds) for name in names]

    def _draw_head(self, panel: Surface) -> None:
        """Draws the state of the link, the transport and the other side."""
        peer, count = self._peer, len(self._network.peers)
        state = peer.state if peer else "closed"
        self._pygame.draw.circle(panel, _STATES[state], (18, 18), 5)
        self._row(panel, 11, f"    {state}" if peer else "    no connection", _BRIGHT, "")
        if peer:
            more = f"{count} peers, " if count > 1 else ""
            self._row(panel, 11, "", _DIM, f"{more}{peer.stats()['transport'] or peer.url.partition(':')[0]}")

    def _draw_ping(self, panel: Surface, box: Rect) -> None:
        """Draws the ping of the last seconds, with a red mark for each packet that was lost."""
        samples = list(self._samples)[-_COLUMNS:]
        top = _round_up(max((sample.ping for sample in samples), default=0.0) * 1000, 50)
        panel.fill(_BOX, box)
        before: _Sample | None = None
        for x, sample in enumerate(samples, start=box.right - len(samples)):
            height = min(box.height, round(sample.ping * 1000 / top * box.height))
            panel.fill(_UNDER_PING, (x, box.bottom - height, 1, height))
            panel.fill(_PING, (x, box.bottom - height, 1, 2))
            if before and sample.packets_lost > before.packets_lost:
                panel.fill(_LOST, (x - 1, box.bottom - 9, 2, 9))
            before = sample
        panel.blit(self._write(f"{top} ms", 15, _BRIGHT), (box.x + 3, box.y + 3))

    def _draw_bytes(self, panel: Surface, box: Rect) -> None:
        """Draws the bytes that came in upwards from the middle, and those that went out downwards."""
        samples = list(self._samples)[-_COLUMNS - 1 :]
        pairs = list(itertools.pairwise(samples))
        flows = [(max(0, b.bytes_in - a.bytes_in), max(0, b.bytes_out - a.bytes_out)) for a, b in pairs]
        most = sorted(max(flow) for flow in flows) or [0]
        top = _round_up(most[len(most) * 97 // 100], 100)  # one burst, such as a beginning, does not flatten the rest
        panel.fill(_BOX, box)
        half = box.height // 2
        for x, (came, went) in enumerate(flows, start=box.right - len(flows)):
            up, down = (min(half, round(count / top * half)) for count in (came, went))
            panel.fill(_IN, (x, box.centery - up, 1, up))
            panel.fill(_OUT, (x, box.centery, 1, down))
        panel.blit(self._write(_size(top), 15, _BRIGHT), (box.x + 3, box.y + 3))

    def _row(self, panel: Surface, y: int, left: str, color: str, right: str, right_color: str = _DIM) -> None:
        panel.blit(self._write(left, 18, color), (12, y))
        words = self._write(right, 18, right_color)
        panel.blit(words, (_WIDTH - 12 - words.get_width(), y))

    def _write(self, text: str, size: int, color: str) -> Surface:
        """Returns words, drawn too large and shrunk, so that they are smooth; kept, as most stay for a while."""
        pygame = self._pygame
        key = (text, size, color)
        if key not in self._words:
            if len(self._words) > 300:
                self._words.clear()
            big = pygame.font.Font(None, size * 2).render(text, True, color)
            self._words[key] = pygame.transform.smoothscale(big, (big.get_width() // 2, big.get_height() // 2))
        return self._words[key]


def _round_up(value: float, step: int) -> int:
    """Returns the first of step, 2, 4, 8 steps and so on that is not below a value."""
    while step < value:
        step *= 2
    return step


def _size(count: float) -> str:
    return f"{count:.0f} B" if count < 1000 else f"{count / 1000:.1f} kB" if count < 1e6 else f"{count / 1e6:.1f} MB"


NetGraph.__module__ = "netplay"
