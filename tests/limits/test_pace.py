"""How fast requests may go: GCRA arithmetic on plain numbers."""

from bisect import bisect_right
from math import inf

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asana_jobs._client.limits.quota import RateLimiter


#: Other processes share the machine: how long an example takes says nothing.
patient = settings(deadline=None)
quotas = st.sampled_from([150.0, 1500.0, 37.5, 375.0, 600.0, 10.0, 2.0, 1.0])


def send_all(pace: RateLimiter, gaps: list[float], ready_at: float = -inf) -> list[float]:
    """Send after each gap as early as the pace lets, and return when each request went."""
    now = 0.0
    sent: list[float] = []
    for gap in gaps:
        now = max(now + gap, ready_at)
        ready_at = pace.take(ready_at, now)
        sent.append(now)
    return sent


def fullest_minute(sent: list[float]) -> int:
    """Return the most requests that any 60 seconds saw."""
    return max(bisect_right(sent, start + 60.0) - number for number, start in enumerate(sent))


@pytest.mark.parametrize("quota", [150, 1500, 37.5, 10, 2, 1])
def test_no_minute_overfilled(quota: float) -> None:
    """Endless demand never puts more requests into a minute than the quota."""
    assert fullest_minute(send_all(RateLimiter.within(quota), [0.0] * 4000)) <= quota


@patient
@given(quota=quotas, gaps=st.lists(st.sampled_from([0.0, 0.0, 0.0, 0.01, 0.3, 2.0, 70.0]), max_size=400))
def test_no_minute_overfilled_by_spurts(quota: float, gaps: list[float]) -> None:
    """Pausing and hurrying in any pattern never puts more requests into a minute than the quota."""
    sent = send_all(RateLimiter.within(quota), gaps)
    assert not sent or fullest_minute(sent) <= quota


@pytest.mark.parametrize(("quota", "burst"), [(150, 5), (1500, 25), (600, 10), (30, 3), (1, 1)])
def test_burst(quota: float, burst: int) -> None:
    """After a quiet time about a second's worth goes at once, but never less than five or a tenth of the quota."""
    sent = send_all(RateLimiter.within(quota), [0.0] * 100)
    assert sum(at == 0.0 for at in sent) == burst


@pytest.mark.parametrize("quota", [150, 1500])
def test_quota_is_used(quota: int) -> None:
    """Endless demand gets at least 95 % of the quota, the rest being kept for the network's jitter."""
    sent = send_all(RateLimiter.within(quota), [0.0] * quota * 10)
    assert len(sent) / (sent[-1] / 60) >= 0.95 * quota


def test_smallest_quota_is_half_used() -> None:
    """Where the burst is the whole quota, one request goes every two minutes rather than none."""
    assert send_all(RateLimiter.within(1), [0.0] * 3) == pytest.approx([0.0, 122.0, 244.0], rel=1e-5)


def test_jitter_is_forgiven() -> None:
    """Requests that bunch up by a second on their way still fit into the server's minute."""
    sent = send_all(RateLimiter.within(1500), [0.0] * 4000)
    assert max(bisect_right(sent, start + 61.0) - number for number, start in enumerate(sent)) <= 1500


def test_share_leaves_the_rest() -> None:
    """A pace for half of the allowance lets half as many through."""
    whole, half = RateLimiter.within(1500), RateLimiter.within(1500).share(0.5)
    assert len(send_all(whole, [0.0] * 500)) == 500
    assert send_all(half, [0.0] * 500)[-1] == pytest.approx(2 * send_all(whole, [0.0] * 500)[-1], rel=0.05)


def test_share_of_a_small_burst_is_one_request() -> None:
    """However small the part, one request may always go after a quiet time, and no more than that."""
    sent = send_all(RateLimiter.within(10).share(0.5), [0.0] * 5)
    assert sum(at == 0.0 for at in sent) == 1


def test_idle_time_saves_up_one_burst() -> None:
    """An hour without requests allows no more at once than a few seconds without."""
    sent = send_all(RateLimiter.within(150), [0.0, 3600.0] + [0.0] * 20)
    assert sum(at == 3600.0 for at in sent) == 5


def test_give_back() -> None:
    """A request that was never sent leaves the pace as it was."""
    pace = RateLimiter.within(150)
    before = pace.take(pace.take(-inf, 0.0), 0.0)
    taken = pace.take(before, 0.0)
    assert pace.give_back(taken, taken, 0.1) == pytest.approx(before)


def test_give_back_too_late() -> None:
    """What idle time has forgiven already is not given back a second time."""
    pace = RateLimiter.within(150)
    taken = pace.take(-inf, 0.0)
    later = pace.take(taken, 100.0)
    assert pace.give_back(later, taken, 100.0) == later


@patient
@given(
    quota=quotas,
    steps=st.lists(st.tuples(st.sampled_from([0.0, 0.02, 1.0, 30.0]), st.booleans()), max_size=300),
)
def test_give_back_never_overfills(quota: float, steps: list[tuple[float, bool]]) -> None:
    """Giving back any of the turns right away never lets more requests into a minute than the quota."""
    pace, ready_at, now = RateLimiter.within(quota), -inf, 0.0
    sent: list[float] = []
    for gap, cancelled in steps:
        now = max(now + gap, ready_at)
        taken = pace.take(ready_at, now)
        ready_at = pace.give_back(taken, taken, now) if cancelled else taken
        if not cancelled:
            sent.append(now)
    assert not sent or fullest_minute(sent) <= quota


def test_retune_keeps_the_place() -> None:
    """Who is ready for three requests stays ready for three, however fast the new pace is."""
    slow, fast = RateLimiter.within(150), RateLimiter.within(1500, burst=5)
    ready_at = fast.retune(slow.take(slow.take(-inf, 10.0), 10.0), slow, 10.0)
    assert sum(at == 10.0 for at in send_all(fast, [10.0] + [0.0] * 9, ready_at)) == 3


def test_retune_untouched() -> None:
    """A pace at which nothing was sent yet starts at the new one with its whole burst."""
    assert RateLimiter.within(1500).retune(-inf, RateLimiter.within(150), 10.0) == -inf
