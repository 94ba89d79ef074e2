"""Every transport but UDP beside its like: pyenet, asyncio streams, a plain socket, `websockets`.

Every round runs every measurement of every pair, one after the other. The table is printed, and with `--write` put into
its section of `docs/benchmarks.md`, which `make bench` leaves as it is.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path
from typing import Final

from pairs import MeasurementError, run_pair
from plans import Crowd, Echo, Flood, Plan
from table import Results, compared

PAGE: Final = Path(__file__).parents[1] / "docs" / "benchmarks.md"
BEGIN: Final = "<!-- made by bench/raw.py -->"
END: Final = "<!-- end of what bench/raw.py made -->"

PAIRS: Final = {
    "netplay_enet": ("pyenet", "`enet://`", "pyenet"),
    "netplay_tcp": ("tcp", "`tcp://`", "asyncio TCP"),
    "netplay_udp": ("udp", "`udp://`", "UDP socket"),
    "netplay_play_tcp": ("tcp", "`play+tcp://`", "asyncio TCP"),
    "netplay_play_ws": ("websockets", "`play+ws://`", "websockets"),
    "netplay_play_wss": ("websockets", "`play+wss://`", "websockets"),
}
"""Our module, the module of what speaks the same, and their names."""

TEXT: Final = """\
## Transports, each beside its like

Made by `make bench-raw`: the same measurements as above, medians over so many rounds: {rounds}.
`play+tcp://`, `play+ws://` and `play+wss://` are netplay's own protocol, encrypted and authenticated.
Everything else here is sent in the clear.
Over `tcp://` and asyncio's TCP each message goes behind two bytes that say how long it is.
Both sides take them apart in Python.

{table}
"""


def main() -> int:
    """Runs everything; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3, help="how often everything is measured (%(default)s)")
    parser.add_argument("--quick", action="store_true", help="short measurements, to see that it works")
    parser.add_argument("--write", action="store_true", help="puts the table into docs/benchmarks.md")
    options = parser.parse_args()
    os.environ.update(SDL_VIDEODRIVER="dummy", PYGAME_HIDE_SUPPORT_PROMPT="1")
    plans = _plans(options.quick)
    tables = []
    with tempfile.TemporaryDirectory(prefix="netplay-bench-") as folder:
        os.environ["NETPLAY_DATA_DIR"] = folder
        results = {(ours, name): Results(name, plan) for ours in PAIRS for name, plan in plans.items()}
        try:
            for _ in range(options.rounds):
                for (ours, _), result in results.items():
                    for contender in (ours, PAIRS[ours][0]):
                        result.add(contender, run_pair(f"with_{contender}", result.plan))
        except MeasurementError as error:
            print(error, file=sys.stderr)
            return 1
    for ours, (theirs, our_name, their_name) in PAIRS.items():
        found = [result for (module, _), result in results.items() if module == ours]
        tables.append(compared(found, {ours: our_name, theirs: their_name}))
    text = TEXT.format(rounds=options.rounds, table="\n\n".join(tables))
    print(text)
    if options.write:
        page = PAGE.read_text(encoding="utf-8")
        PAGE.write_text(with_section(page, f"{BEGIN}\n{text}{END}\n"), encoding="utf-8")
    return 0


def section_of(page: str) -> str:
    """Returns what this command has put into a page, or nothing."""
    if BEGIN not in page or END not in page:
        return ""
    return page[page.index(BEGIN) : page.index(END) + len(END)] + "\n"


def with_section(page: str, section: str) -> str:
    """Returns the page with this section in place of the one that is there, or at its end."""
    old = section_of(page)
    return page.replace(old, section) if old else f"{page.rstrip()}\n\n{section}"


def _plans(is_quick: bool) -> dict[str, Plan]:
    count, warm_up, seconds, warm_seconds, crowd = (50, 10, 0.1, 0.05, 0.2) if is_quick else (1500, 200, 0.8, 0.2, 1.5)
    return {
        "echo, asking": Echo(count, warm_up, is_waiting=False),
        "echo, waiting": Echo(count, warm_up, is_waiting=True),
        "64 B one way": Flood(64, seconds, warm_seconds),
        "1 KiB one way": Flood(1024, seconds, warm_seconds),
        "100 clients, waiting": Crowd(crowd, is_waiting=True),
    }


if __name__ == "__main__":
    sys.exit(main())
