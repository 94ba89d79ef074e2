"""What is public: listed, documented, and its examples run."""

from __future__ import annotations

import doctest
import importlib
import inspect
import types

import pytest

import netplay
from conftest import Pair, only, wait_for
from netplay import Event, Listener, NetGraph, Network, Peer, _core

MODULES = [
    "_ask",
    "_bans",
    "_checks",
    "_codec",
    "_errors",
    "_events",
    "_kinds",
    "_netgraph",
    "_network",
    "_play",
    "_pygame",
    "_remote",
    "_rooms",
    "_strikes",
    "_tickets",
    "_trust",
    "sync",
]


def public(thing: object) -> list[str]:
    return sorted(name for name in dir(thing) if not name.startswith("_"))


def test_all_lists_exactly_what_is_public() -> None:
    names = [name for name in public(netplay) if not isinstance(getattr(netplay, name), types.ModuleType)]
    assert sorted(netplay.__all__) == sorted(set(netplay.__all__))
    assert sorted([*names, "__version__"]) == sorted(netplay.__all__)


@pytest.mark.parametrize("name", MODULES)
def test_all_of_each_module_exists(name: str) -> None:
    module = importlib.import_module(f"netplay.{name}")
    for item in module.__all__:
        assert hasattr(module, item)


def test_public_things_say_they_are_of_netplay() -> None:
    for kind in (Event, Listener, NetGraph, Network, Peer):
        assert kind.__module__ == "netplay"
    for kind in (Event, Listener, Peer):
        with pytest.raises(TypeError):
            kind()


def test_the_functions_of_the_package_are_the_methods_of_one_network() -> None:
    names = ["listen", "connect", "send", "post", "allow_events", "poll", "get", "on", "ban", "unban", "bans", "stats"]
    for name in [*names, "close"]:
        assert getattr(netplay, name).__self__ is netplay._default
        assert inspect.signature(getattr(netplay, name)) == inspect.signature(getattr(netplay._default, name))
    assert str(inspect.signature(netplay.send)) == (
        "(data, channel=0, lossy=False, *, to=None, ordered=True, exclude=None)"
    )


def documented() -> list[object]:
    methods = [
        getattr(kind, name)
        for kind in (Network, Peer, Listener, Event, NetGraph)
        for name in public(kind)
        if name != "mro"
    ]
    return [Network, Peer, Listener, Event, NetGraph, netplay.forget, netplay.event_type, *methods]


@pytest.mark.parametrize("thing", documented(), ids=lambda thing: getattr(thing, "__qualname__", repr(thing)))
def test_everything_public_has_a_docstring(thing: object) -> None:
    text = inspect.getdoc(thing)
    assert text, thing
    assert text[0].isupper() or text[0] in "\"'0123456789", text


def methods() -> list[object]:
    kinds = (Network, Peer, Listener, Event, NetGraph)
    found = [getattr(kind, name) for kind in kinds for name in public(kind)]
    return [netplay.forget, netplay.event_type, *(thing for thing in found if callable(thing))]


@pytest.mark.parametrize("method", methods(), ids=lambda method: str(method.__qualname__))
def test_every_method_says_what_it_raises_and_has_an_example(method: object) -> None:
    text = inspect.getdoc(method) or ""
    assert "Raises:" in text
    assert "Example:" in text


@pytest.mark.parametrize("name", ["", *MODULES])
def test_the_examples_in_the_docstrings_run(name: str) -> None:
    if name in ("_netgraph", "_network"):
        pytest.importorskip("pygame")
    module = importlib.import_module(f"netplay.{name}".rstrip("."))
    result = doctest.testmod(module, raise_on_error=False)
    assert result.failed == 0


def test_the_examples_of_the_core_run() -> None:
    runner = doctest.DocTestRunner()
    for thing in (_core.Network.send, Peer.send, Peer.ask, Peer.close, Peer.stats, Listener.close, Listener.stats):
        text = inspect.getdoc(thing) or ""
        runner.run(doctest.DocTestParser().get_doctest(text, {"netplay": netplay}, thing.__qualname__, None, None))
    assert runner.failures == 0


def test_events_peers_and_listeners_are_frozen(pair: Pair) -> None:
    pair.client.send("x")
    event = only(wait_for(pair.server, netplay.NETWORK_DATA_IN))
    for thing in (event, pair.to_client, pair.listener):
        for name in [*public(type(thing)), "anything"]:
            if name == "title":  # of a listener: it may change
                continue
            with pytest.raises(AttributeError):
                setattr(thing, name, None)
