"""The smallest network game: start it twice, then press a key in either window.

It shows the one extra line in a game loop, net.poll(), and a message that arrives as an event beside the key presses.

    python -m netplay.examples.hello                             the first one started waits, the second one calls it
    python -m netplay.examples.hello play://192.168.1.20:5000    calls a friend's computer instead of this one
"""

import sys

import pygame

import netplay as net

CHANNEL_CHAT = 1


def main() -> None:
    """Runs the game until its window is closed."""
    pygame.init()
    screen = pygame.display.set_mode((640, 480))
    font = pygame.font.Font(None, 44)
    url = sys.argv[-1] if "://" in sys.argv[-1] else "play://localhost:5000"
    try:
        net.listen(url.replace("localhost", "*"), name="the first window")  # "*": from this and any other computer
    except OSError:  # the port is taken, so we are the second: call the first
        net.connect(url, name="the second window")
    line = "Start me twice, then press a key."
    while True:
        net.poll()  # the one extra line
        for e in pygame.event.get():
            if e.type == pygame.QUIT:
                return
            if e.type == pygame.KEYDOWN or (e.type == net.NETWORK and e.what == net.NETWORK_CONNECTED):
                net.send("hello network.", CHANNEL_CHAT)
            if e.type == net.NETWORK and e.what == net.NETWORK_DATA_IN and e.channel == CHANNEL_CHAT:
                line = f"{e.peer} says: {e.data}"
                print(line, flush=True)
        screen.fill("midnightblue")
        screen.blit(font.render(line, True, "white"), (40, 220))
        pygame.display.flip()
        pygame.time.wait(10)


if __name__ == "__main__":
    main()
