"""The tools of `netplay.sync` over networks made of numbers: no sockets, no clock, no chance but hypothesis's own."""

from __future__ import annotations

import doctest
import inspect
import math
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from netplay import sync
from netplay.sync import Clock, InputBuffer, InterpolationBuffer

INTERVAL = 1 / 30
SEEDS = st.integers(0, 2**32)
ONE_WAY = st.floats(0.0, 0.3)
JITTER = st.floats(0.0, 0.08)
LOSS = st.floats(0.0, 0.2)
FLOATS = st.floats(allow_nan=True, allow_infinity=True)


class Path:
    """One direction of a network: late, uneven, and losing some."""

    def __init__(self, seed: int, one_way: float, jitter: float, loss: float) -> None:
        self.random = random.Random(seed)
        self.one_way, self.jitter, self.loss = one_way, jitter, loss

    def arrival(self, sent_at: float) -> float | None:
        if self.random.random() < self.loss:
            return None
        return sent_at + self.one_way + self.random.uniform(0, self.jitter)


def test_the_examples_in_the_docstrings_run() -> None:
    assert doctest.testmod(sync).failed == 0


def test_it_says_what_it_raises_and_needs_no_pygame() -> None:
    for kind in (Clock, InputBuffer, InterpolationBuffer):
        for name, method in inspect.getmembers(kind, inspect.isfunction):
            if not name.startswith("_"):
                assert "Raises:" in (method.__doc__ or ""), name
                assert "Example:" in (method.__doc__ or ""), name
    assert "import pygame" not in inspect.getsource(sync)


@given(SEEDS, ONE_WAY, ONE_WAY, JITTER, st.floats(-1e5, 1e5))
def test_a_clock_is_off_by_no_more_than_what_the_two_directions_differ_by(
    seed: int, there: float, back: float, jitter: float, offset: float
) -> None:
    clock, up, down = Clock(), Path(seed, there, jitter, 0), Path(seed + 1, back, jitter, 0)
    now = 0.0
    for i in range(300):
        sent_at = i * INTERVAL
        arrived = sent_at + there + up.random.uniform(0, jitter)
        now = arrived + 0.01 + back + down.random.uniform(0, jitter)
        assert clock.add_sample(sent_at, arrived + offset, arrived + offset + 0.01, now)
    now += jitter  # the last one sent may not be the last one that arrived
    assert abs(clock.time(now) - (now + offset)) <= abs(there - back) / 2 + jitter / 2 + 1e-6
    assert there + back - 1e-6 <= clock.rtt <= there + back + 2 * jitter + 1e-6


@given(SEEDS, ONE_WAY, ONE_WAY, JITTER)
def test_what_is_labelled_with_the_arrival_time_arrives_in_time(
    seed: int, there: float, back: float, jitter: float
) -> None:
    clock, random_ = Clock(), random.Random(seed)
    in_time = 0
    for i in range(400):
        sent_at = i * INTERVAL
        label = clock.arrival_time(sent_at)
        arrived = sent_at + there + random_.uniform(0, jitter)
        in_time += i >= 300 and arrived <= label + 1e-9
        clock.add_sample(sent_at, arrived, arrived, arrived + back)
    assert in_time >= 90


@given(st.lists(st.tuples(st.floats(0, 0.2), st.floats(0, 3), st.floats(0, 3)), min_size=1, max_size=80))
def test_the_times_of_a_clock_never_go_back_and_never_race(steps: list[tuple[float, float, float]]) -> None:
    clock, now = Clock(slew=0.1, jump=0.5), 0.0
    before = [clock.time(now), clock.arrival_time(now)]
    was_synced = False
    for passed, there, back in steps:
        now += passed
        clock.add_sample(now - there - back, 100 + now - back, 100 + now - back, now)
        after = [clock.time(now), clock.arrival_time(now)]
        if was_synced:
            for earlier, later in zip(before, after, strict=True):
                assert later >= earlier - 1e-9
                assert later - earlier <= 1.1 * passed + 1e-9 or later - earlier > 0.5  # steadily, or in one jump
        before, was_synced = after, True


@given(FLOATS, FLOATS, FLOATS, FLOATS)
def test_a_clock_believes_nothing_that_cannot_be(a: float, b: float, c: float, d: float) -> None:
    clock = Clock()
    clock.add_sample(a, b, c, d)
    if all(map(math.isfinite, (a, d))) and max(abs(a), abs(d)) < 1e9:
        assert math.isfinite(clock.time(d))
        assert math.isfinite(clock.arrival_time(d))
        assert clock.rtt >= 0


@settings(max_examples=60)
@given(SEEDS, ONE_WAY, JITTER, LOSS)
def test_what_is_played_never_jumps_and_never_goes_back(seed: int, one_way: float, jitter: float, loss: float) -> None:
    path, buffer = Path(seed, one_way, jitter, loss), InterpolationBuffer[float]()
    arrivals = sorted((at, i) for i in range(600) if (at := path.arrival(i * INTERVAL)) is not None)
    frame, last = 1 / 60, None
    newest = 0.0
    for number in range(int(20 / frame)):
        now = number * frame
        while arrivals and arrivals[0][0] <= now:
            at, i = arrivals.pop(0)
            buffer.push(i * INTERVAL, 100 * i * INTERVAL, at)  # something that moves at 100 a second
            newest = max(newest, i * INTERVAL)
        sample = buffer.sample(now)
        if sample is None:
            continue
        before, after, fraction, time = sample
        place = before + (after - before) * fraction
        assert 0.0 <= fraction <= 1.0
        assert time <= newest
        assert place == pytest.approx(100 * time)
        if last is not None:
            assert -1e-6 <= place - last <= 100 * 1.1 * frame + 1e-6
        last = place


def test_the_delay_is_one_interval_on_a_perfect_network_and_as_much_as_needed_on_a_bad_one() -> None:
    for loss, jitter, least, most in [(0.0, 0.0, 0.9, 2.1), (0.05, 0.0, 1.0, 3.1), (0.05, 0.04, 1.5, 4.5)]:
        path, buffer = Path(7, 0.15, jitter, loss), InterpolationBuffer[int]()
        arrivals = sorted((at, i) for i in range(900) if (at := path.arrival(i * INTERVAL)) is not None)
        stalls = 0
        delays = []
        for number in range(1800):
            now = number / 60
            while arrivals and arrivals[0][0] <= now:
                at, i = arrivals.pop(0)
                buffer.push(i * INTERVAL, i, at)
            sample = buffer.sample(now)
            if number > 600 and sample is not None and now < 29:
                delays.append(buffer.delay(now) / INTERVAL)
                stalls += sample.fraction == 1.0
        delays.sort()
        assert least <= delays[-1] <= most, (loss, jitter, delays[-1])
        assert stalls < 0.02 * len(delays)


def test_after_an_outage_it_goes_on_with_the_present() -> None:
    buffer = InterpolationBuffer[int]()
    for i in range(60):
        buffer.push(i * INTERVAL, i, i * INTERVAL)
    for i in range(300, 400):  # eight seconds later
        now = i * INTERVAL
        buffer.push(now, i, now)
        sample = buffer.sample(now)
    assert sample is not None
    assert buffer.delay(now) < 0.8
    assert sample.time > 300 * INTERVAL


@given(st.lists(st.tuples(FLOATS, st.floats(0, 100)), max_size=200))
def test_a_buffer_stays_bounded_and_sane_whatever_comes(pushes: list[tuple[float, float]]) -> None:
    buffer = InterpolationBuffer[float](capacity=16)
    for time, now in pushes:
        buffer.push(time, time, now)
        sample = buffer.sample(now)
        assert len(buffer) <= 16
        assert sample is None or 0.0 <= sample.fraction <= 1.0


@given(SEEDS, st.floats(0, 0.4), st.integers(1, 8))
def test_inputs_survive_loss_when_each_is_sent_often_enough(seed: int, loss: float, copies: int) -> None:
    random_ = random.Random(seed)
    client, server = InputBuffer(-1), InputBuffer(-1)
    in_a_row, worst, lead = 0, 0, copies
    for tick in range(300):
        client.put(tick, tick * 7)
        if random_.random() >= loss:
            in_a_row = 0
            for at, value in client.latest(copies):
                server.put(at, value)
        else:
            in_a_row += 1
            worst = max(worst, in_a_row)
        if tick >= lead:
            taken = server.take(tick - lead)
            assert taken == (tick - lead) * 7 or worst >= copies
    assert worst >= copies or server.missed == 0


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 400)), max_size=300))
def test_an_input_buffer_gives_each_tick_once_and_holds_a_bounded_number(steps: list[tuple[bool, int]]) -> None:
    buffer, model, taken, held = InputBuffer(0, capacity=32), dict[int, int](), -1, 0
    for is_put, tick in steps:
        if is_put:
            was_in_reach = taken < 0 or taken < tick <= taken + 32
            if buffer.put(tick, tick + 1):
                assert was_in_reach
                model.setdefault(tick, tick + 1)
        elif tick > taken:
            value = buffer.take(tick)
            held = model[tick] if value != held else held
            assert value == held
            taken = tick
        else:
            with pytest.raises(ValueError, match="not after"):
                buffer.take(tick)
        assert len(buffer) <= 32


def test_what_comes_late_is_counted_once() -> None:
    buffer = InputBuffer("none")
    buffer.put(1, "a")
    assert buffer.take(1) == "a"
    assert buffer.take(2) == "a"
    assert not buffer.put(2, "b")
    assert not buffer.put(2, "b")
    assert (buffer.missed, buffer.late, buffer.ahead) == (1, 1, 0)
    buffer.put(6, "c")
    assert buffer.ahead == 4
    assert buffer.since(5) == [(6, "c")]
