"""What holds for every test, also where only a part of them is run."""

import os

import pytest

os.environ["NETPLAY_LAN"] = "machine"  # nothing that a test announces or looks for leaves this machine

SAME_GAME = {"test_api", "test_docs", "test_doctor", "test_lan"}
"""Files whose tests announce games of the same name on this machine."""


def pytest_itemcollected(item: pytest.Item) -> None:
    """Keeps the tests of a file together, for they share what it makes once; files run side by side (`pytest -n 3`)."""
    group = "lan" if item.path.stem in SAME_GAME else item.path.stem
    item.add_marker(pytest.mark.xdist_group(group))
