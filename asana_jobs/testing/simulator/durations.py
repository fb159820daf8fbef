"""How long jobs take and which states they pass: frozen values a simulator is configured with."""

import math
from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from random import Random
from typing import TypeAlias, cast

from attrs import field, frozen
from attrs.validators import ge, le, min_len


NOT_STARTED = "not_started"
IN_PROGRESS = "in_progress"
SUCCEEDED = "succeeded"
FAILED = "failed"
TERMINAL = frozenset({SUCCEEDED, FAILED})


def _as_steps(steps: Iterable[tuple[float, str]]) -> tuple[tuple[float, str], ...]:
    _check_many(steps, 'Timeline([(0, "in_progress"), (8, "succeeded")])')
    return tuple(sorted(((float(second), state) for second, state in steps), key=lambda step: step[0]))


def _as_states(states: Iterable[str]) -> tuple[str, ...]:
    _check_many(states, f"Looks([{states!r}])" if isinstance(states, str) else 'Looks(["succeeded"])')
    return tuple(states)


def _check_many(value: object, instead: str) -> None:
    # Text, bytes and mappings can be iterated as well, for letters, numbers and keys.
    if isinstance(value, str | bytes | bytearray | Mapping) or not isinstance(value, Iterable):
        raise ValueError(f"durations take a list of states, or seconds, not {value!r:.60}: write {instead}")


@frozen
class Timeline:
    """States by the job's age.

    Args:
        steps: pairs of (seconds since the job exists, state from then on). Before the first
            pair the job is in the first state.
    """

    steps: tuple[tuple[float, str], ...] = field(converter=_as_steps, validator=min_len(1))

    def draw(self, random: Random, speed: float) -> "Timeline":
        """Return the same timeline, `speed` times as fast; nothing of it is `random`."""
        del random
        return Timeline((second / speed, state) for second, state in self.steps)

    def state_at(self, age: float) -> str:
        """Return the state of a job that is `age` seconds old."""
        state = self.steps[0][1]
        for second, later in self.steps:
            if second > age:
                break
            state = later
        return state

    @property
    def end(self) -> float:
        """Age in seconds at which the job reaches its last, terminal state; infinite if never."""
        if self.steps[-1][1] not in TERMINAL:
            return math.inf
        end = self.steps[-1][0]
        for second, state in reversed(self.steps):
            if state not in TERMINAL:
                break
            end = second
        return end


@frozen
class Looks:
    """States by the number of looks: each read of the job shows the next one, the last one stays.

    Args:
        states: the states in order.
    """

    states: tuple[str, ...] = field(converter=_as_states, validator=min_len(1))

    def draw(self, random: Random, speed: float) -> "Looks":
        """Return the same script, whatever `speed` says: looks know no seconds. Nothing of it is `random`."""
        del random, speed
        return self

    def state_at(self, look: int) -> str:
        """Return the state that look number `look` (from 0) shows."""
        return self.states[min(look, len(self.states) - 1)]


@frozen
class Fixed:
    """Every job takes the same time.

    Args:
        seconds: from the job's start to its end.
        outcome: the state it ends in.
        waiting: seconds of ``not_started`` before it is ``in_progress``.
    """

    seconds: float = field(validator=ge(0))
    outcome: str = SUCCEEDED
    waiting: float = field(default=0.0, validator=ge(0))

    def draw(self, random: Random, speed: float) -> Timeline:
        """Return the states of one job, drawn from `random`, `speed` times as fast."""
        del random
        return _run(self.seconds / speed, self.waiting / speed, self.outcome)


@frozen
class Lognormal:
    """Most jobs take about `median` seconds, a few much longer.

    Args:
        median: seconds half of the jobs stay below.
        spread: standard deviation of the logarithm; 0.5 puts 95 % between a third and three times.
        failing: probability (0 to 1) that a job ends as ``failed``.
        waiting: seconds of ``not_started`` before a job is ``in_progress``.
    """

    median: float = field(validator=ge(0))
    spread: float = field(default=0.5, validator=ge(0))
    failing: float = field(default=0.0, validator=[ge(0), le(1)])
    waiting: float = field(default=0.0, validator=ge(0))

    def draw(self, random: Random, speed: float) -> Timeline:
        """Return the states of one job, drawn from `random`, `speed` times as fast."""
        seconds = self.median * math.exp(random.gauss(0.0, self.spread))
        outcome = FAILED if random.random() < self.failing else SUCCEEDED
        return _run((self.waiting + seconds) / speed, self.waiting / speed, outcome)


@frozen
class Stuck:
    """The job never ends.

    Args:
        state: the state it stays in.
    """

    state: str = IN_PROGRESS

    def draw(self, random: Random, speed: float) -> Timeline:
        """Return the one state of one job; `random` and `speed`, in times as fast, change nothing."""
        del random, speed
        return Timeline([(0.0, self.state)])


def _as_parts(parts: Iterable[tuple[float, "DurationLike"]]) -> tuple[tuple[float, "Duration"], ...]:
    return tuple((float(weight), as_duration(part)) for weight, part in parts)


@frozen
class Mixture:
    """Jobs of several sorts.

    Args:
        parts: pairs of (weight, duration); weights need not add up to 1.
    """

    parts: tuple[tuple[float, "Duration"], ...] = field(converter=_as_parts, validator=min_len(1))

    def draw(self, random: Random, speed: float) -> "JobSchedule":
        """Return the states of one job, of one of the sorts, drawn from `random`, `speed` times as fast."""
        weights = [weight for weight, _ in self.parts]
        _, part = random.choices(self.parts, weights)[0]
        return part.draw(random, speed)


JobSchedule: TypeAlias = Timeline | Looks
#: How long jobs take, or which states they pass.
Duration: TypeAlias = Fixed | Lognormal | Mixture | Timeline | Looks | Stuck
#: What the simulator takes for one: such a value, seconds or a `timedelta`, a list of states, or a list of (seconds, state) pairs.
DurationLike: TypeAlias = Duration | float | timedelta | Sequence[str] | Sequence[tuple[float, str]]


def _run(seconds: float, waiting: float, outcome: str) -> Timeline:
    # Without waiting a job is in progress from its first answer on, as the real ones usually are.
    first = [(0.0, NOT_STARTED), (waiting, IN_PROGRESS)] if waiting else [(0.0, IN_PROGRESS)]
    return Timeline([*first, (seconds, outcome)])


def as_duration(value: DurationLike) -> Duration:
    """Understand seconds, a `timedelta`, a list of states or a list of (seconds, state) pairs."""
    if isinstance(value, Fixed | Lognormal | Mixture | Timeline | Looks | Stuck):
        return value
    if isinstance(value, timedelta):
        return Fixed(value.total_seconds())
    if isinstance(value, int | float) and not isinstance(value, bool):
        return Fixed(float(value))
    # States are words; "5ms" would be one that no job ever leaves.
    if isinstance(value, str) and value[:1].isalpha():
        return Looks((value,))
    instead = '["in_progress", "succeeded"], or seconds such as 0.005'
    _check_many(value, instead)
    steps = cast("Sequence[object]", value)
    if all(isinstance(step, str) for step in steps):
        return Looks(cast("Sequence[str]", steps))
    if not all(isinstance(step, tuple | list) and len(cast("Sequence[object]", step)) == 2 for step in steps):
        raise ValueError(
            f"A list of states, or of pairs of seconds and a state, is needed, not {value!r:.60}: write {instead}"
        )
    return Timeline(cast("Sequence[tuple[float, str]]", steps))


def by_kind(
    durations: "Mapping[str, DurationLike] | DurationLike | None", kinds: Sequence[str]
) -> dict[str, Duration]:
    """Return durations by kind; a duration alone is everybody's, under "default"."""
    if durations is None:
        return {}
    if not isinstance(durations, Mapping):
        return {"default": as_duration(durations)}
    for kind in durations:
        if kind not in {*kinds, "default"}:
            raise ValueError(f"Unknown kind of job {kind!r}; kinds are {', '.join(kinds)} and default")
    return {kind: as_duration(value) for kind, value in durations.items()}
