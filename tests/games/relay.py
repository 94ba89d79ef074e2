"""A cable that can be pulled out: a UDP relay between one client and a server."""

import select
import socket
import threading


class Cable:
    """Passes on what two say to each other, as long as it is not pulled."""

    def __init__(self, server_url: str) -> None:
        host, port = server_url.removeprefix("play://").rsplit(":", 1)
        self.server = (host, int(port))
        self.client: tuple[str, int] | None = None
        self.front = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.back = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.front.bind(("127.0.0.1", 0))
        self.back.bind(("127.0.0.1", 0))
        self.is_pulled = False
        self.is_running = True
        self.thread = threading.Thread(target=self._run)
        self.thread.start()

    @property
    def url(self) -> str:
        """Whom the client calls instead of the server."""
        return f"play://127.0.0.1:{self.front.getsockname()[1]}"

    def _run(self) -> None:
        while self.is_running:
            for end in select.select([self.front, self.back], [], [], 0.05)[0]:
                datagram, sender = end.recvfrom(65536)
                if end is self.front:
                    self.client = sender
                if self.is_pulled or self.client is None:
                    continue
                if end is self.front:
                    self.back.sendto(datagram, self.server)
                else:
                    self.front.sendto(datagram, self.client)

    def close(self) -> None:
        """Takes it away for good."""
        self.is_running = False
        self.thread.join()
        self.front.close()
        self.back.close()
