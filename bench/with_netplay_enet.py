"""netplay's `enet://` in the three measurements: the same functions as netplay's own protocol, at another URL."""

import with_netplay
from with_netplay import crowd_clients, crowd_server, echo_client, echo_server, flood_sink, flood_source

__all__ = ["crowd_clients", "crowd_server", "echo_client", "echo_server", "flood_sink", "flood_source"]

with_netplay.URL = "enet://127.0.0.1:0"
with_netplay.MAX_QUEUED = 60_000 * 16  # ENet sends a window of 64 KiB; what is beyond waits in the queue
