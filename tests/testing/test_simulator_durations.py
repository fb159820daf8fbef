import math
from datetime import timedelta
from random import Random
from typing import Any

import pytest

from asana_jobs.testing import AsanaSimulator, Fixed, Lognormal, Looks, Mixture, Stuck, Timeline
from asana_jobs.testing.simulator.durations import as_duration


@pytest.fixture
def random() -> Random:
    """A seeded stream."""
    return Random(1)  # noqa: S311 - no secrets


def test_timeline_by_age() -> None:
    """A timeline shows the state that began last."""
    timeline = Timeline([(5, "succeeded"), (0, "not_started"), (1, "in_progress")])

    assert [timeline.state_at(age) for age in (-1, 0, 0.9, 1, 4.9, 5, 100)] == [
        "not_started", "not_started", "not_started", "in_progress", "in_progress", "succeeded", "succeeded",
    ]  # fmt: skip
    assert timeline.end == 5


def test_end_of_timelines() -> None:
    """A timeline ends with the terminal state that stays; a stuck one never."""
    assert Timeline([(0, "in_progress")]).end == math.inf
    assert Timeline([(0, "succeeded")]).end == 0
    assert Timeline([(0, "succeeded"), (1, "in_progress"), (2, "failed"), (3, "failed")]).end == 2


def test_looks_stay_at_the_last() -> None:
    """The last look stays."""
    assert [Looks(["a", "b"]).state_at(look) for look in range(3)] == ["a", "b", "b"]


def test_speed(random: Random) -> None:
    """Speed divides every second."""
    assert Fixed(10, waiting=4).draw(random, 2).steps == (
        (0.0, "not_started"), (2.0, "in_progress"), (5.0, "succeeded"),
    )  # fmt: skip
    assert Timeline([(4, "failed")]).draw(random, 2).end == 2
    assert Stuck().draw(random, 2).end == math.inf


def test_lognormal_median(random: Random) -> None:
    """Half of the jobs stay below the median, the given share fails."""
    runs = [Lognormal(8, failing=0.25).draw(random, 1) for _ in range(2000)]

    assert 0.45 < sum(run.end < 8 for run in runs) / 2000 < 0.55
    assert 0.2 < sum(run.steps[-1][1] == "failed" for run in runs) / 2000 < 0.3


def test_mixture_of_plain_numbers(random: Random) -> None:
    """A mixture takes plain numbers and lists as parts, by weight."""
    mixture = Mixture([(9, 1.0), (1, ["failed"])])
    looks = sum(isinstance(mixture.draw(random, 1), Looks) for _ in range(1000))

    assert 50 < looks < 150


@pytest.mark.parametrize("bad", [lambda: Fixed(-1), lambda: Lognormal(1, failing=2), lambda: Timeline([])])
def test_durations_are_checked(bad: object) -> None:
    """Durations that make no sense are refused."""
    assert callable(bad)
    with pytest.raises(ValueError):
        bad()


@pytest.mark.parametrize(
    "bad",
    [
        "5ms",
        "0.005",
        "30s",
        "",
        " ",
        True,
        [1],
        [0.5, 1.0],
        [(1, 2, 3)],
        b"failed",
        {"default": "5ms"},
        object(),
    ],
)
def test_what_is_no_duration_is_refused_before_a_job_takes_for_ever(bad: Any) -> None:
    """Text that is no state, a number in a list and their like are a ValueError that shows what to write."""
    with pytest.raises(ValueError, match=r'write \["in_progress", "succeeded"\], or seconds such as 0\.005$'):
        AsanaSimulator(durations=bad)


def test_a_duration_is_seconds_or_a_timedelta_and_one_state_is_a_list_of_one() -> None:
    """What says how long, in either form, is understood, as is the one state of every job."""
    assert as_duration(timedelta(milliseconds=5)) == Fixed(0.005)
    assert as_duration(2) == Fixed(2.0)
    assert as_duration("failed") == Looks(["failed"])


@pytest.mark.parametrize("bad", [0, -1, math.nan, "20", None, True])
def test_speed_is_a_number_above_zero(bad: Any) -> None:
    """Anything else is a ValueError that says what it is for."""
    with pytest.raises(
        ValueError, match=r"^speed must be above 0, not .*: it says how much faster jobs run$"
    ):
        AsanaSimulator(speed=bad)
