"""The net graph: drawn over any game, toggled by F3, and honest about what it shows."""

from __future__ import annotations

import subprocess
import sys
import time

import pytest

import netplay
from conftest import Pair, wait_until
from netplay.sync import InterpolationBuffer

pygame = pytest.importorskip("pygame")


def colours(picture: object, area: tuple[int, int, int, int]) -> set[tuple[int, int, int]]:
    surface = pygame.Surface.subsurface(picture, area)
    return {tuple(surface.get_at((x, y))[:3]) for x in range(surface.get_width()) for y in range(surface.get_height())}


def test_f3_shows_it_and_hides_it(monkeypatch: pytest.MonkeyPatch) -> None:
    pygame.display.init()
    screen = pygame.display.set_mode((640, 480))
    graph = netplay.NetGraph()
    pressed = set[int]()

    class Keys:
        def __getitem__(self, key: int) -> bool:
            return key in pressed

    monkeypatch.setattr(pygame.key, "get_pressed", Keys)
    shown = []
    for is_down in (False, True, True, False, True, False):
        pressed.clear()
        if is_down:
            pressed.add(pygame.K_F3)
        screen.fill("black")
        graph.draw(screen)
        shown.append(screen.get_at((20, 200))[:3] != (0, 0, 0))
    assert shown == [False, True, True, True, False, False]


def test_one_line_draws_the_graph_of_the_package_and_of_any_network(default: None) -> None:
    screen = pygame.Surface((640, 480))
    graph = netplay.NetGraph.over(screen)
    assert netplay.NetGraph.over(screen) is graph
    with netplay.Network() as network:
        assert netplay.NetGraph.over(screen, network) is not graph
        assert netplay.NetGraph.over(screen, network) is netplay.NetGraph.over(screen, network)


def test_it_fits_a_screen_of_640_by_480_and_hides_less_than_a_fifth_of_it() -> None:
    width, height = netplay.NetGraph().render().get_size()
    assert width <= 640
    assert height <= 480
    assert width * height < 0.2 * 640 * 480


@pytest.mark.parametrize("bad", ["", "?lag_ms=20&loss_pct=30&seed=7"])
def test_it_shows_pings_bytes_and_losses(bad: str) -> None:
    with netplay.Network() as server, netplay.Network() as client:
        listener = server.listen("play://127.0.0.1:0" + bad)
        peer = client.connect(listener.url.partition("?")[0] + bad)
        buffer = InterpolationBuffer[int]()
        graph = netplay.NetGraph(client, buffer=buffer, is_visible=True)
        picture = graph.render()
        assert pygame.Color("#59d0e8")[:3] not in colours(picture, (12, 52, 228, 46))
        until = time.monotonic() + 3
        i = 0
        while time.monotonic() < until:
            i += 1
            client.send(bytes(200), lossy=True) if peer.state == "connected" else None
            server.get()
            client.get(0.01)
            buffer.push(time.monotonic(), i, time.monotonic())
            graph.draw(pygame.Surface((640, 480)))
        picture = graph.render()
        last = graph._samples[-1]
        pings, flows = colours(picture, (12, 52, 228, 46)), colours(picture, (12, 126, 228, 46))
        assert pygame.Color("#59d0e8")[:3] in pings
        assert pygame.Color("#c792ea")[:3] in flows
        assert last.bytes_out == peer.stats()["bytes_sent"] or last.bytes_out > 10_000
        assert last.buffer > 0
        assert (pygame.Color("#ff6b6b")[:3] in pings) == bool(bad)
        assert last.ping == pytest.approx(peer.rtt, abs=0.05)


def test_a_server_sees_the_sum_of_its_players_and_the_worst_ping(pair: Pair) -> None:
    other = netplay.Network()
    try:
        other.connect(pair.listener.url + ("?lag_ms=60" if pair.listener.url.startswith("play") else ""))
        wait_until(lambda: pair.server.get() is not None and len(pair.server.peers) == 2)
        graph = netplay.NetGraph(pair.server)
        graph.draw(pygame.Surface((640, 480)))
        stats = [peer.stats() for peer in pair.server.peers]
        assert graph._samples[-1].bytes_in == pytest.approx(sum(each["bytes_received"] for each in stats), abs=500)
        assert graph._samples[-1].ping == pytest.approx(max(peer.rtt for peer in pair.server.peers), abs=0.05)
        graph.render()
    finally:
        other.close()


def test_without_pygame_the_package_imports_and_the_graph_says_what_is_missing() -> None:
    code = (
        "import sys; sys.modules['pygame'] = None\n"
        "import netplay, netplay.sync\n"
        "try: netplay.NetGraph()\n"
        "except netplay.PygameMissing as error: print(error)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert result.stdout.strip() == "NetGraph needs pygame, which cannot be imported: pip install pygame-ce"


def test_drawing_it_costs_little() -> None:
    """A tenth of a frame at most, on a machine that does nothing else; ten times that here, which may be busy."""
    screen, graph = pygame.Surface((640, 480)), netplay.NetGraph(is_visible=True)
    graph.draw(screen)
    spent = []
    for _ in range(50):
        start = time.perf_counter()
        graph.draw(screen)
        spent.append(time.perf_counter() - start)
    assert min(spent) < 0.0167
