"""netplay, pyenet, TCP by asyncio and by hand, and a plain UDP socket, side by side on this machine: `make bench`.

Every round runs every measurement of every contender, one after the other and in another order each time, so that what
else the machine does meets them all alike. Then the Rust layer is measured without Python, and all is held against what
was to be reached. The tables are printed, and written to `docs/benchmarks.md`.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import os
import platform
import shlex
import sys
import tempfile
import time
from datetime import date
from fnmatch import fnmatch
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Final

from codec import section
from layer import COMMANDS, is_there, layer_figures
from pairs import MeasurementError, run_pair
from plans import Crowd, Echo, Flood, Plan
from raw import section_of as raw_section
from table import CONTENDERS, MEADOW, Results, aligned, markdown, section_of
from targets import targets

PAGE: Final = Path(__file__).parents[1] / "docs" / "benchmarks.md"
PACKAGES: Final = ("netplay", "pyenet", "pygame-ce", "pygame")
NEEDED: Final = {"pyenet": "enet"}
"""What must be importable for a contender."""

TEXT: Final = """\
# Benchmarks

Made by `{command}` on {day}, in {seconds:.0f} s; nothing on this page was written by hand.
{rounds} rounds, each with every measurement of every contender, in another order each time.
The numbers are medians over the rounds; losses are over all rounds together.
A ratio is the median of the ratios of each round: compare these, for the rest says as much about the machine.

{table}

## What was to be reached

{targets}

The simulated ones are those of `crates/proto/tests/tables/golden.md` (`make golden`).
Other libraries on the same simulated network are in [rivals.md](rivals.md) (`make rivals`).

## The Rust layer, without Python

{layer}

Made by {commands}.
The bare loops send and receive the same payloads without any protocol.
A share is of one core, by the server's process, all its threads; 0.1 is a tenth.
What a connection costs is counted in the allocator, in simulated time, without sockets.

{meadow}## The machine

{facts}

## What is measured

Two processes over loopback, written in Python the way each library's users would: `bench/with_*.py`.
netplay encrypts and authenticates every packet; the others send plain text.

- **echo**: 64 B there and back, reliable where there is such a thing.
  *asking* means that both sides poll without a timeout, again and again.
  *waiting* means that both block until something arrives.
  netplay stays awake meanwhile, for 100 µs at most, because the last answers came that soon.
  What that costs is in the client's processor time, which is that of all its threads.
- **one way**: reliable messages as fast as they go through, as the receiver counts them.
  The sender looks at how much is under way, and waits when it is a lot:
  `peer.queued` with netplay, `reliableDataInTransit` with pyenet, `drain()` with asyncio, a full socket by hand.
  A plain UDP socket cannot know, so it sends what the receiver has no time for, and that is lost.
  *with pygame* takes netplay's messages by `poll()` and from `pygame.event.get()`, under SDL's dummy driver.
  Otherwise they are taken by `get()`.
- **{clients} and 500 clients**: a server sends {down} B to each of its clients {hz} times a second.
  Each of them sends {up} B to it {hz} times a second, evenly spread; lossy with netplay, unreliable with pyenet.
  All clients are in one other process, on {sockets} sockets (with TCP on one each), and poll without a timeout.
  The delay is from the moment the server made the message, before it sent it to the first, until a client has it.
  The server's CPU is that of all its threads, in the program and in the kernel.
  *waiting* means a server that blocks until something arrives or is to be sent.
  *at {frames} frames* means one that looks {frames} times a second, as a game does; over TCP they serve as they go.

{codec}"""


def main() -> int:
    """Runs everything; returns the exit code."""
    options = _options()
    rounds = 1 if options.quick else options.rounds
    contenders = [name for name in CONTENDERS if _is_there(name)]
    _set_environment()
    results = [result for result in _measurements(options.quick) if fnmatch(result.name, options.only)]
    began, load = time.monotonic(), os.getloadavg()[0] if hasattr(os, "getloadavg") else None
    with tempfile.TemporaryDirectory(prefix="netplay-bench-") as folder:
        os.environ["NETPLAY_DATA_DIR"] = folder
        try:
            for number in range(rounds):
                for result in results:
                    _run(result, _turned(contenders, number))
                _say(f"round {number + 1} of {rounds} after {time.monotonic() - began:.0f} s")
        except MeasurementError as error:
            _say(str(error))
            return 1
    numbers, layer = _layer(options, rounds)
    table = f"{markdown(results)}\n\n{targets(results, numbers)}\n\n{layer}"
    crowd = Crowd(0, is_waiting=True)
    page = TEXT.format(
        command=_command(options),
        day=date.today(),
        seconds=time.monotonic() - began,
        rounds=rounds,
        table=markdown(results),
        targets=targets(results, numbers),
        layer=layer,
        commands=" and ".join(f"`cargo run --release -p netplay-io --example {' '.join(words)}`" for words in COMMANDS),
        facts=_facts(load),
        codec=section(1 if options.quick else 30),
        meadow=section_of(PAGE.read_text(encoding="utf-8"), MEADOW) if PAGE.exists() else "",
        **{name: getattr(crowd, name) for name in ("down", "up", "clients", "hz", "sockets", "frames")},
    )
    print(table)
    if options.out:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        old = options.out.read_text(encoding="utf-8") if options.out.exists() else ""
        options.out.write_text(page + (f"\n{raw_section(old)}" if raw_section(old) else ""), encoding="utf-8")
        _say(f"written to {options.out}")
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5, help="how often everything is measured (%(default)s)")
    parser.add_argument("--quick", action="store_true", help="one short round, to see that it works; writes no page")
    parser.add_argument(
        "--only", default="*", metavar="PATTERN", help="measures only these, as in '64 B*'; writes no page"
    )
    parser.add_argument("--out", type=Path, help="where the page goes (docs/benchmarks.md)")
    options = parser.parse_args()
    if options.rounds < 1:
        parser.error("--rounds must be at least 1")
    if not options.quick and options.only == "*":
        options.out = options.out or PAGE
    return options


def _measurements(is_quick: bool) -> list[Results]:
    if is_quick:
        count, warm_up, seconds, warm_seconds, crowd_seconds = 50, 10, 0.1, 0.05, 0.2
    else:
        count, warm_up, seconds, warm_seconds, crowd_seconds = 6000, 500, 0.8, 0.2, 1.5
    plans: dict[str, Plan] = {
        "echo, asking": Echo(count, warm_up, is_waiting=False),
        "echo, waiting": Echo(count, warm_up, is_waiting=True),
        "64 B one way": Flood(64, seconds, warm_seconds),
        "64 B one way, with pygame": Flood(64, seconds, warm_seconds, with_pygame=True),
        "1 KiB one way": Flood(1024, seconds, warm_seconds),
        "1 KiB one way, with pygame": Flood(1024, seconds, warm_seconds, with_pygame=True),
        "100 clients, waiting": Crowd(crowd_seconds, is_waiting=True),
        "100 clients, at 60 frames": Crowd(crowd_seconds, is_waiting=False),
        "500 clients, waiting": Crowd(crowd_seconds, is_waiting=True, clients=500),
        "500 clients, at 60 frames": Crowd(crowd_seconds, is_waiting=False, clients=500),
    }
    return [Results(name, plan) for name, plan in plans.items()]


def _layer(options: argparse.Namespace, rounds: int) -> tuple[dict[str, float], str]:
    """Measures the Rust layer, unless the run is a quick one; returns its numbers, and their table."""
    if options.quick or not fnmatch("Rust layer", options.only) or not is_there():
        return {}, "Not measured in this run."
    numbers = layer_figures(rounds)
    return numbers, aligned([["", "1,000 clients"], *([name, f"{number:,.2f}"] for name, number in numbers.items())])


def _run(result: Results, contenders: list[str]) -> None:
    for contender in contenders:
        if _takes_part(contender, result.plan):
            result.add(contender, run_pair(f"with_{contender}", result.plan))


def _takes_part(contender: str, plan: Plan) -> bool:
    if isinstance(plan, Flood) and plan.with_pygame:
        return contender == "netplay" and importlib.util.find_spec("pygame") is not None
    if contender == "joined":
        return isinstance(plan, Flood)
    return not (isinstance(plan, Crowd) and not plan.is_waiting and contender in {"tcp", "select"})


def _turned(contenders: list[str], number: int) -> list[str]:
    first = number % len(contenders)
    return contenders[first:] + contenders[:first]


def _is_there(contender: str) -> bool:
    needed = NEEDED.get(contender)
    if needed is None or importlib.util.find_spec(needed) is not None:
        return True
    _say(f"{contender} is not installed: its columns stay empty")
    return False


def _set_environment() -> None:
    """For the processes: no window, no greeting, and nothing that a developer has set to look closer."""
    os.environ.update(SDL_VIDEODRIVER="dummy", SDL_AUDIODRIVER="dummy", PYGAME_HIDE_SUPPORT_PROMPT="1")
    os.environ.pop("PYTHONASYNCIODEBUG", None)


def _facts(load: float | None) -> str:
    facts = {
        "cores": str(os.cpu_count()),
        "processor": _processor(),
        "system": f"{platform.system()} {platform.release()}",
        "Python": f"{platform.python_implementation()} {platform.python_version()}",
        "packages": ", ".join(_versions()),
        "load before the first round": "unknown" if load is None else f"{load:.1f} (1 means one busy core)",
    }
    return "\n".join(f"- {name}: {fact}" for name, fact in facts.items())


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def _versions() -> list[str]:
    found = []
    for package in PACKAGES:
        with contextlib.suppress(PackageNotFoundError):
            found.append(f"{package} {version(package)}")
    return found


def _command(options: argparse.Namespace) -> str:
    arguments = ["--quick"] if options.quick else []
    arguments += [] if options.quick or options.rounds == 5 else ["--rounds", str(options.rounds)]
    return "make bench" + (f" BENCH_ARGS={shlex.quote(' '.join(arguments))}" if arguments else "")


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
