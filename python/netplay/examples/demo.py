"""The demo: two programs find each other, and then comets against bots on a bad network, with the net graph over it.

First it starts a second program and a relay on this computer, meets it by a name and by a code, and prints how long
that took (see `meet.py`). Then comes the game, where the network between the window and the server is bad on purpose:
100 ms late each way, and every twentieth packet lost. Press P and I to see what prediction and interpolation do about
it, G for where the server last saw each ship, and F3 to hide the graph.

    python -m netplay.examples.demo                play
    python -m netplay.examples.demo --autoplay     the computer plays in your place
    python -m netplay.examples.demo --headless     so for ten seconds and without a screen: printed, with a picture
"""

import argparse
import os
import sys
from pathlib import Path

from netplay.examples import comets, meet

BAD_NETWORK = "local://demo?lag_ms=100&jitter_ms=10&loss_pct=5&seed=7"


def main() -> None:
    """Runs comets with the words that make a demo of it."""
    parser = argparse.ArgumentParser(description="Comets against bots on a bad network, with the net graph over it.")
    parser.add_argument("--headless", action="store_true", help="show no window; implied where there is no display")
    parser.add_argument("--autoplay", action="store_true", help="let the computer play; implied by --headless")
    parser.add_argument("--seed", type=int, default=7, help="makes the same choices every time")
    parser.add_argument("--picture", type=Path, default=Path("out/demo.png"), help="where the picture goes")
    args = parser.parse_args()

    has_display = sys.platform in ("win32", "darwin") or bool(
        os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    )
    args.picture.parent.mkdir(parents=True, exist_ok=True)
    words = [BAD_NETWORK, "--graph", "--bots", "7", "--seed", str(args.seed), "--picture", str(args.picture)]
    if args.headless or not has_display:
        words += ["--headless", "--autoplay", "--seconds", "10"]
    elif args.autoplay:
        words += ["--autoplay"]
    meet.main([])
    comets.main(words)
    print(f"\nThe window is in {args.picture}")


if __name__ == "__main__":
    main()
