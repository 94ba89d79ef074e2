"""netplay by `play+wss://` in the three measurements: the same functions as over UDP, at another URL."""

import with_netplay
from with_netplay import crowd_clients, crowd_server, echo_client, echo_server, flood_sink, flood_source

__all__ = ["crowd_clients", "crowd_server", "echo_client", "echo_server", "flood_sink", "flood_source"]

with_netplay.URL = "play+wss://127.0.0.1:0"
