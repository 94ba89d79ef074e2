"""What holds for every test, also where only a part of them is run."""

import os

os.environ["NETPLAY_LAN"] = "machine"  # nothing that a test announces or looks for leaves this machine
