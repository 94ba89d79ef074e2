"""Keeping a game in step over a network that is late, uneven and loses things: three small tools for action games.

| tool | what it answers |
|---|---|
| `Clock` | What time is it at the other side, and when does what I send now arrive there? |
| `InterpolationBuffer` | Where were the others a moment ago, exactly between the two snapshots around that moment? |
| `InputBuffer` | What did the player press at tick 812, on the client that sends it and on the server that wants it? |

They know neither the network nor pygame: times come in as arguments, so they work over anything and are easy to test.
All times are seconds as floats, on whatever clock the game uses; `time.monotonic()` is a good one.

How an action game uses them (`python -m netplay.examples.comets` is one):

* The server counts ticks. It sends a snapshot of its world each tick, and in it, to each client, when it got that
  client's last message: a sample for the client's `Clock`.
* The client runs ahead of the server, at `clock.arrival_time(now)`, so that its inputs arrive just in time. It moves
  its own ship at once, without waiting, and keeps the inputs in an `InputBuffer`. When a snapshot tells where the ship
  really was, it puts it there and plays the inputs since then again.
* It draws the others a little in the past, out of an `InterpolationBuffer`, where it knows what came before and what
  after.

After Gaffer on Games ("Snapshot Interpolation"), the Source engine's networking and RFC 5905 (NTP). Other than there,
what inputs and snapshots need is measured in their own direction and not halved, so an uneven path costs nothing.
"""

from __future__ import annotations

import bisect
import math
from collections import deque
from collections.abc import Sequence
from typing import Final, Generic, NamedTuple, TypeVar

__all__ = ["Clock", "InputBuffer", "InterpolationBuffer", "Sample"]

T = TypeVar("T")

_ROUNDING: Final = 0.001
"""By how many seconds the four times of a sample may contradict each other: they may have been sent in milliseconds."""


class Clock:
    """Knows what the clock at the other side shows, from messages that went there and back.

    Each sample is four times, two of either clock: sent here, received there, sent there, received here. The other
    side can send the two in the middle along with anything it sends anyway.

    None of its times ever goes back, and none runs more than `slew` faster or slower than `now`. Where one is off by
    more than `jump`, it goes forwards at once, and backwards by standing still. A new connection needs a new one.

    Args:
        slew: How much faster or slower than the local clock it may run while it corrects itself; 0.1 is a tenth.
        jump: From how many seconds on an error is not corrected slowly.
        samples: How many of the last samples count.

    Example:
        >>> from netplay.sync import Clock
        >>> clock = Clock()
        >>> clock.add_sample(sent_at=10.0, remote_received=3.05, remote_sent=3.06, received_at=10.11)
        True
        >>> round(clock.time(10.2), 3), round(clock.arrival_time(10.2), 3), round(clock.rtt, 3)
        (3.2, 3.25, 0.1)
    """

    def __init__(self, *, slew: float = 0.1, jump: float = 0.5, samples: int = 60) -> None:
        self._up: deque[float] = deque(maxlen=samples)  # what the other clock showed on arrival, less what ours showed
        self._down: deque[float] = deque(maxlen=samples)  # the same of what came back: the least it can be off
        self._jump = jump
        self._time = _Follower(slew, jump)
        self._arrival = _Follower(slew, jump)

    def add_sample(self, sent_at: float, remote_received: float, remote_sent: float, received_at: float) -> bool:
        """Takes in one message that went there and back.

        Args:
            sent_at: When it was sent, on our clock.
            remote_received: When it arrived there, on the other clock.
            remote_sent: When the answer was sent, on the other clock.
            received_at: When the answer arrived, on our clock.

        Returns:
            False if the four cannot be true, and then nothing changes: a time is no number, the answer came before
            the question, or the other side had it longer than it was away.

        Raises:
            Nothing.

        Example:
            >>> from netplay.sync import Clock
            >>> Clock().add_sample(2.0, 7.0, 7.0, 1.0)
            False
        """
        rtt = (received_at - sent_at) - (remote_sent - remote_received)
        if not math.isfinite(rtt) or rtt < -_ROUNDING or remote_sent < remote_received or abs(remote_sent) > 1e12:
            return False
        self._up.append(remote_received - sent_at)
        self._down.append(remote_sent - received_at)
        quickest = min(range(len(self._up)), key=lambda i: self._up[i] - self._down[i])
        self._time.target = (self._up[quickest] + self._down[quickest]) / 2
        self._arrival.target = _all_but_the_worst(self._up, self._jump)
        self._time.follow(received_at)
        self._arrival.follow(received_at)
        return True

    @property
    def is_synced(self) -> bool:
        """True once there was a sample; before that, the times below are those of the local clock."""
        return len(self._up) > 0

    @property
    def rtt(self) -> float:
        """The median of the round trips, in seconds, without what the other side took; 0.0 before the first sample."""
        if not self._up:
            return 0.0
        trips = sorted(up - down for up, down in zip(self._up, self._down, strict=True))
        return max(0.0, trips[len(trips) // 2])

    def time(self, now: float) -> float:
        """Returns what the other clock shows now, judged by the quickest of the last round trips.

        Half of what the two directions differ by is its error; no clock can know better.

        Raises:
            Nothing.

        Example:
            >>> from netplay.sync import Clock
            >>> Clock().time(12.5)
            12.5
        """
        return self._time.follow(now)

    def arrival_time(self, now: float) -> float:
        """Returns what the other clock will show when a message sent now arrives there, if not among the slowest 2 %.

        It is measured in that direction alone. Who labels inputs with it (and a tick more, against loss) sees them
        arrive just in time.

        Raises:
            Nothing.

        Example:
            >>> from netplay.sync import Clock
            >>> clock = Clock()
            >>> clock.add_sample(0.0, 100.25, 100.25, 0.3)
            True
            >>> clock.arrival_time(1.0)
            101.25
        """
        return self._arrival.follow(now)


class Sample(NamedTuple, Generic[T]):
    """What an `InterpolationBuffer` plays at one moment: two values, and how far it is from one to the other."""

    before: T
    """The value of the last snapshot that is not later than the moment."""
    after: T
    """The value of the one after it; the same one at the end of what has come."""
    fraction: float
    """How far it is on the way from `before` to `after`: 0.0 to 1.0."""
    time: float
    """The moment itself, on the other side's clock."""


class InterpolationBuffer(Generic[T]):
    """Plays what arrived unevenly at an even pace, a little late.

    How late, it finds out by itself: so late that the next snapshot has come when the last one is played to its end,
    for all but the worst 2 % of the last snapshots. A lost one counts as one that came too late. So it is one interval
    behind on a perfect network, and more on a bad one.

    What is played never goes back and never runs more than `slew` faster than it happened. When nothing has come, it
    stands still at the last snapshot, and goes on from there. So whatever is moved by it never jumps, with one
    exception: after a gap of more than `jump` seconds it goes on with the present.

    Args:
        slew: How much faster or slower than real it may play while it changes its delay; 0.1 is a tenth.
        jump: How many seconds it may be behind where it should be before it skips.
        capacity: How many snapshots it holds; the oldest goes when another comes.
        samples: From how many of the last snapshots it learns the delay.

    Example:
        >>> from netplay.sync import InterpolationBuffer
        >>> buffer = InterpolationBuffer()
        >>> for i in range(5):
        ...     _ = buffer.push(7.0 + i * 0.1, 10.0 * i, now=i * 0.1)     # time there, what was sent, time here
        >>> before, after, fraction, time = buffer.sample(now=0.45)
        >>> before, after, round(fraction, 2), round(time, 2)
        (30.0, 40.0, 0.5, 7.35)
    """

    def __init__(self, *, slew: float = 0.1, jump: float = 0.5, capacity: int = 64, samples: int = 90) -> None:
        self._times: list[float] = []
        self._values: list[T] = []
        self._capacity = max(2, capacity)
        self._needed: deque[float] = deque(maxlen=samples)
        self._slew, self._jump = slew, jump
        self._playback = _Follower(slew, jump)

    def clear(self) -> None:
        """Forgets everything, for when the other side begins anew: a server that was started again, or another match.

        Raises:
            Nothing.

        Example:
            >>> from netplay.sync import InterpolationBuffer
            >>> buffer = InterpolationBuffer()
            >>> _ = buffer.push(900.0, "the old match", now=0.0)
            >>> buffer.push(1.0, "too old for that", now=0.1)
            False
            >>> buffer.clear()
            >>> buffer.push(1.0, "the new match", now=0.2)
            True
        """
        self._times.clear()
        self._values.clear()
        self._needed.clear()
        self._playback = _Follower(self._slew, self._jump)

    def push(self, time: float, value: T, now: float) -> bool:
        """Takes in one snapshot.

        Args:
            time: When it was so, on the other side's clock.
            value: What was so.
            now: When it arrived, on our clock.

        Returns:
            False if it was no use: there already, older than everything held, or its time is no number.

        Raises:
            Nothing.

        Example:
            >>> from netplay.sync import InterpolationBuffer
            >>> buffer = InterpolationBuffer()
            >>> buffer.push(1.0, "a", now=0.0), buffer.push(1.0, "again", now=0.1)
            (True, False)
        """
        if not math.isfinite(time):
            return False
        place = bisect.bisect_left(self._times, time)
        if place < len(self._times) and (place == 0 or self._times[place] == time):
            return False
        if place == len(self._times):
            # Until now, nothing beyond the one before it could be played: this is how late we must be at least.
            previous = self._times[-1] if self._times else time
            self._needed.append(previous - now)
            self._playback.target = -_all_but_the_worst([-needed for needed in self._needed], self._jump)
        self._times.insert(place, time)
        self._values.insert(place, value)
        if len(self._times) > self._capacity:
            del self._times[0], self._values[0]
        return True

    def sample(self, now: float) -> Sample[T] | None:
        """Returns what to draw now; None before the first snapshot.

        Raises:
            Nothing.

        Example:
            >>> from netplay.sync import InterpolationBuffer
            >>> buffer = InterpolationBuffer()
            >>> buffer.sample(now=0.0)
            >>> _ = buffer.push(1.0, "first", now=0.0)
            >>> buffer.sample(now=5.0)
            Sample(before='first', after='first', fraction=0.0, time=1.0)
        """
        if not self._times:
            return None
        times = self._times
        playing = self._playback.follow(now)
        if not times[0] <= playing <= times[-1]:
            playing = min(max(playing, times[0]), times[-1])
            self._playback.go_on_from(playing)
        place = min(bisect.bisect_right(times, playing), len(times) - 1)
        start, end = times[max(0, place - 1)], times[place]
        before, after = self._values[max(0, place - 1)], self._values[place]
        return Sample(before, after, (playing - start) / (end - start) if end > start else 0.0, playing)

    def delay(self, now: float) -> float:
        """Returns how many seconds what is played is behind the newest snapshot; 0.0 before the first.

        Raises:
            Nothing.

        Example:
            >>> from netplay.sync import InterpolationBuffer
            >>> InterpolationBuffer().delay(now=3.0)
            0.0
        """
        sample = self.sample(now)
        return self._times[-1] - sample.time if sample else 0.0

    def __len__(self) -> int:
        return len(self._times)


class InputBuffer(Generic[T]):
    """Inputs by the tick they are for, on both sides of the network.

    The client puts in what is pressed at each tick, sends the `latest` few each time, so that a lost message costs
    nothing, and plays those `since` the last known tick again when it hears from the server. The server puts in all
    that arrives, however often, and takes out one for each tick. Where one has not come, the last one holds on: who was
    flying straight mostly still is.

    Args:
        neutral: What counts as pressed before the first input.
        capacity: How many ticks it holds. On the client the oldest go. On the server what is further ahead than that is
            refused, so nobody can fill the memory.

    Example:
        >>> from netplay.sync import InputBuffer
        >>> client, server = InputBuffer("nothing"), InputBuffer("nothing")
        >>> for tick, pressed in enumerate(["left", "left", "fire"], start=100):
        ...     _ = client.put(tick, pressed)
        >>> for tick, pressed in client.latest(2):      # the message with tick 100 was lost, and this one came
        ...     _ = server.put(tick, pressed)
        >>> server.take(100), server.take(101), server.take(102), server.take(103)
        ('nothing', 'left', 'fire', 'fire')
        >>> client.since(100), server.missed
        ([(101, 'left'), (102, 'fire')], 2)
    """

    def __init__(self, neutral: T, *, capacity: int = 128) -> None:
        self._inputs: dict[int, T] = {}
        self._capacity = capacity
        self._held = neutral
        self._taken: int | None = None
        self._newest: int | None = None
        self.missed = 0
        """How many ticks were taken for which nothing had come."""
        self.late = 0
        """How many inputs came after their tick had been taken, and not before in another message."""

    def put(self, tick: int, value: T) -> bool:
        """Keeps an input for its tick.

        Returns:
            False if it was no use: there already, too late, or too far ahead.

        Raises:
            Nothing.

        Example:
            >>> from netplay.sync import InputBuffer
            >>> inputs = InputBuffer(0)
            >>> inputs.put(7, 1), inputs.put(7, 2), inputs.take(7), inputs.put(7, 3)
            (True, False, 1, False)
        """
        if self._taken is not None and tick <= self._taken:
            if self._newest is None or tick > self._newest:
                self.late += 1
                self._newest = tick
            return False
        if tick in self._inputs or (self._taken is not None and tick > self._taken + self._capacity):
            return False
        self._inputs[tick] = value
        self._newest = tick if self._newest is None else max(tick, self._newest)
        while len(self._inputs) > self._capacity:
            del self._inputs[min(self._inputs)]
        return True

    def take(self, tick: int) -> T:
        """Takes out the input for a tick, and forgets all before it. Ticks must be taken in rising order.

        Returns:
            The input, or the one taken last if none has come for this tick.

        Raises:
            ValueError: The tick, or a later one, was taken already.

        Example:
            >>> from netplay.sync import InputBuffer
            >>> InputBuffer("nothing").take(1)
            'nothing'
        """
        if self._taken is not None and tick <= self._taken:
            raise ValueError(f"tick {tick} is not after tick {self._taken}, which was taken already")
        self._taken = tick
        for old in [old for old in self._inputs if old < tick]:
            del self._inputs[old]
        if tick in self._inputs:
            self._held = self._inputs.pop(tick)
        else:
            self.missed += 1
        return self._held

    def latest(self, count: int) -> list[tuple[int, T]]:
        """Returns the newest inputs that were not taken, at most `count`, with their ticks, oldest first.

        Raises:
            Nothing.

        Example:
            >>> from netplay.sync import InputBuffer
            >>> InputBuffer(0).latest(3)
            []
        """
        return sorted(self._inputs.items())[-count:] if count > 0 else []

    def since(self, tick: int) -> list[tuple[int, T]]:
        """Returns the inputs for ticks after this one, with their ticks, oldest first, and forgets those before it.

        Raises:
            Nothing.

        Example:
            >>> from netplay.sync import InputBuffer
            >>> inputs = InputBuffer(0)
            >>> _ = inputs.put(1, 11), inputs.put(2, 22)
            >>> inputs.since(1)
            [(2, 22)]
        """
        for old in [old for old in self._inputs if old < tick]:
            del self._inputs[old]
        return sorted((at, value) for at, value in self._inputs.items() if at > tick)

    @property
    def ahead(self) -> int:
        """How many ticks the newest input is ahead of the last one taken; negative when they come late."""
        return 0 if self._newest is None or self._taken is None else self._newest - self._taken

    def __len__(self) -> int:
        return len(self._inputs)


class _Follower:
    """The difference of two clocks: follows its target so slowly that time neither jumps nor runs backwards."""

    def __init__(self, slew: float, jump: float) -> None:
        if not 0 < slew < 1 or not jump > 0:
            raise ValueError(f"slew is {slew} and jump {jump}; slew must be above 0 and below 1, jump above 0")
        self._slew, self._jump = slew, jump
        self._offset: float | None = None
        self._at = 0.0
        self.target: float | None = None

    def follow(self, now: float) -> float:
        """Returns the followed time at `now`, which never goes back."""
        if self.target is None:
            return now
        if self._offset is None:
            self._offset, self._at = self.target, now
        passed = max(0.0, now - self._at)
        off = self.target - self._offset
        if off > self._jump:
            self._offset = self.target
        else:
            rate = 1.0 if off < -self._jump else self._slew
            self._offset += min(max(off, -rate * passed), rate * passed)
        self._at = max(now, self._at)
        return self._at + self._offset

    def go_on_from(self, time: float) -> None:
        """Says what was made of the time returned last; it goes on from there."""
        self._offset = time - self._at


def _all_but_the_worst(values: Sequence[float], jump: float) -> float:
    """Returns the greatest of some values, without the greatest 2 %, and without those that stand out by a jump."""
    ordered = sorted(values)
    return min(ordered[-1 - len(ordered) // 50], ordered[0] + jump)
