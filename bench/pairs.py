"""Runs one measurement of one contender: two processes that know each other, and what they found out."""

from __future__ import annotations

import importlib
import multiprocessing
import sys
import traceback
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from time import monotonic, perf_counter_ns, process_time_ns
from typing import Final

from plans import SECOND, Crowd, Echo, Flood, Line, Outcome, Plan

__all__ = ["MeasurementError", "run_pair"]

DEADLINE: Final = 30.0
"""Seconds after which a measurement that is not done has failed."""

LEAD: Final = SECOND // 10
"""How long before the start everybody knows of it."""

_CONTEXT: Final = multiprocessing.get_context("spawn")
_ROLES: Final = {
    Echo: ("echo_server", "echo_client"),
    Flood: ("flood_sink", "flood_source"),
    Crowd: ("crowd_server", "crowd_clients"),
}


class MeasurementError(Exception):
    """A process of a measurement failed, or was not done in time."""


def run_pair(contender: str, plan: Plan) -> tuple[Outcome, Outcome]:
    """Runs a measurement and returns what the side that listens and the side that calls found out.

    Args:
        contender: The name of a module with the six functions.
        plan: What to measure.

    Raises:
        MeasurementError: One of them failed, or was not done in time.
    """
    until = monotonic() + DEADLINE
    listening, calling = (_Process(contender, role, plan) for role in _ROLES[type(plan)])
    try:
        calling.tell(listening.hear(until))
        if isinstance(plan, Crowd):
            for process in (calling, listening):
                process.hear(until)
            start = perf_counter_ns() + LEAD
            for process in (calling, listening):
                process.tell(start)
        return listening.outcome(until), calling.outcome(until)
    finally:
        listening.stop()
        calling.stop()


class _Process:
    def __init__(self, contender: str, role: str, plan: Plan) -> None:
        self._name = f"{contender}.{role}"
        self._near, far = _CONTEXT.Pipe()
        self._process: BaseProcess = _CONTEXT.Process(target=_work, args=(contender, role, plan, far), daemon=True)
        self._process.start()
        far.close()

    def tell(self, value: object) -> None:
        self._near.send(value)

    def hear(self, until: float) -> object:
        if not self._near.poll(max(0.0, until - monotonic())):
            raise MeasurementError(f"{self._name} was not done in {DEADLINE:.0f} s")
        try:
            value = self._near.recv()
        except EOFError as error:
            raise MeasurementError(f"{self._name} has ended before it was done") from error
        if isinstance(value, MeasurementError):
            raise MeasurementError(f"{self._name} failed:\n{value}")
        return value

    def outcome(self, until: float) -> Outcome:
        value = self.hear(until)
        if not isinstance(value, dict):
            raise MeasurementError(f"{self._name} said {value!r} instead of its numbers")
        return value

    def stop(self) -> None:
        self._process.join(2)
        if self._process.is_alive():
            self._process.terminate()
            self._process.join()
        self._near.close()


def _work(contender: str, role: str, plan: Plan, connection: Connection) -> None:
    """What runs in the process."""
    line = Line(connection)
    try:
        play = getattr(importlib.import_module(contender), role)
        began = process_time_ns()
        outcome = play(plan, line)
        line.tell({**outcome, "processor": process_time_ns() - began})
    except BaseException:
        line.tell(MeasurementError(traceback.format_exc()))
        sys.exit(1)
