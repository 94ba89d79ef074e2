"""What `python -m netplay` does: `play` opens a game several times over, each time behind a bad network of its own."""

import sys

from ._play import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
