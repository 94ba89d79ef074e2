"""What `python -m netplay` does: each of its commands is a module of its own."""

import sys

from . import _doctor, _play, _relay

_COMMANDS = {
    "play": (_play.main, "a server and several players of one game, each with a bad network"),
    "relay": (_relay.main, "a relay of one's own, for play+p2p://"),
    "doctor": (_doctor.main, "what this network can do, and how far the way to a game goes"),
}


def main(words: list[str]) -> int:
    """Runs the command that the first word names, with the other words. Returns the exit code."""
    if words and words[0] in _COMMANDS:
        run, _ = _COMMANDS[words[0]]
        return run(words[1:])
    print("usage: python -m netplay COMMAND ...\n")
    for name, (_, purpose) in _COMMANDS.items():
        print(f"  {name:8} {purpose}")
    print("\nEach tells more with --help.")
    return 0 if words and words[0] in ("-h", "--help") else 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
