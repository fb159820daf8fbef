"""Asana is away for ten minutes while a thousand jobs are waited for: few requests meanwhile, all of them seen after.

What is promised for the end is that within five seconds every wait is back in the ordinary schedule: none stays away
by itself, and looks go out as fast as the limits let them. It cannot be that by then every job was looked at again:
at half of 1,500 requests a minute a thousand looks take 83 s, as they do on any other day, and where only the cap of
50 reads in flight counts, at 0.15 s each, they take 3 s, after up to ``PROBE_AFTER_AT_MOST`` until the next probe goes. A look
that hangs on a connection gone dead ends with its own timeout.

``python tests/campaign/test_outage.py`` prints what every way of being away does to many and to few waits.
"""

import asyncio
import logging
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from typing import Final, TypeVar

import attrs
import looptime
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tenacity import wait_fixed

from asana_jobs import AsanaClient, Job, PollPolicy, RateLimits, Response
from asana_jobs._client.http.protocol import Request
from asana_jobs._client.limits.quota import RateLimiter
from asana_jobs._client.waiting.trouble import (
    OUTAGE_STREAK,
    PROBE_AFTER_AT_LEAST,
    PROBE_AFTER_AT_MOST,
    Outage,
)
from asana_jobs.errors import ConnectError, JobTimeoutError, RequestTimeoutError, ServerError, TransportError


T = TypeVar("T")

#: Seconds from a request to its answer. ``BEGIN``, ``END``: of the outage.
ROUND_TRIP: Final = 0.15
BEGIN: Final = 120.0
END: Final = 720.0
#: A quota at which the pace is nothing to wait for, beside the quota of a paid domain.
WIDE: Final = RateLimits(requests_per_minute=60_000, poll_share=1)
PAID: Final = RateLimits.paid()
#: Waits that are as patient before the first answer as after it.
PATIENT: Final = PollPolicy(first_contact=900)
#: Requests a minute that are still sent to a server that is away, once that is known.
HANDFUL: Final = 15
#: Seconds after the end by which it is known that the server is back, the probe's answer included.
SOON: Final = 5.0


async def _refused(request: Request) -> Response:
    raise ConnectError("refused", method=request.method, path=request.path, gid=request.gid)


async def _reset(request: Request) -> Response:
    await asyncio.sleep(ROUND_TRIP)
    raise TransportError("reset", method=request.method, path=request.path, gid=request.gid)


async def _silent(request: Request) -> Response:
    await asyncio.sleep(request.timeout)
    raise RequestTimeoutError("silence", method=request.method, path=request.path, gid=request.gid)


async def _unavailable(request: Request) -> Response:
    await asyncio.sleep(ROUND_TRIP)
    return Response(status=503, headers={"content-type": "text/html"}, body=b"<html></html>")


async def _page(request: Request) -> Response:
    await asyncio.sleep(ROUND_TRIP)
    return Response(status=200, headers={"content-type": "text/html"}, body=b"<html>Maintenance</html>")


#: The ways of being away.
WAYS: Final[dict[str, Callable[[Request], Awaitable[Response]]]] = {
    "refused": _refused,
    "reset": _reset,
    "silent": _silent,
    "503": _unavailable,
    "maintenance page": _page,
}


@attrs.frozen
class Sent:
    """One request, and whether it was answered as it should be."""

    at: float
    gid: str | None
    answered: bool


@attrs.define(eq=False)
class FarEnd:
    """A server that is away for a while, without a socket, on the loop's time.

    Attributes:
        away: How it is away from ``begin`` to ``end``.
        finished_at: When its jobs finish; those it does not know are finished.
    """

    away: Callable[[Request], Awaitable[Response]]
    begin: float = BEGIN
    end: float = END
    finished_at: dict[str, float] = attrs.field(factory=dict[str, float])
    sent: list[Sent] = attrs.field(factory=list[Sent])

    async def send(self, request: Request) -> Response:
        """Answer, or be away."""
        now = asyncio.get_running_loop().time()
        here = not self.begin <= now < self.end
        self.sent.append(Sent(now, request.gid, here))
        if not here:
            return await self.away(request)
        await asyncio.sleep(ROUND_TRIP)
        done = self.finished_at.get(request.gid or "", 0.0) <= asyncio.get_running_loop().time()
        status = "succeeded" if done else "in_progress"
        gid = request.gid or "1"
        body = f'{{"data":{{"gid":"{gid}","resource_type":"job","status":"{status}"}}}}'
        return Response(status=200, headers={"content-type": "application/json"}, body=body.encode())

    async def close(self) -> None:
        """There is nothing to close."""

    def times(self, begin: float, end: float) -> list[float]:
        """When requests were sent between two moments."""
        return [sent.at for sent in self.sent if begin <= sent.at < end]

    def minutes(self, begin: float, end: float) -> list[int]:
        """How many requests were sent in each minute between two moments."""
        counts = Counter(int((at - begin) // 60) for at in self.times(begin, end))
        return [counts[minute] for minute in range(int((end - begin) // 60))]

    def busiest_second(self, begin: float, end: float) -> int:
        """The most requests that were sent within one second between two moments."""
        times = self.times(begin, end)
        first, most = 0, 0
        for last, at in enumerate(times):
            while times[first] <= at - 1:
                first += 1
            most = max(most, last - first + 1)
        return most


@attrs.frozen(kw_only=True)
class Measured:
    """What an outage did to some waits.

    Attributes:
        at_first: Requests in the first minute of it. ``meanwhile``: the most in any later minute.
        back_after: Seconds after its end until a request was sent that is answered.
        all_after: Seconds after its end until every job was seen to have finished.
        peak: Most requests within a second after its end.
    """

    at_first: int
    meanwhile: int
    back_after: float
    all_after: float
    peak: int

    @property
    def round(self) -> float:
        """Seconds from the first answer until every job was seen."""
        return self.all_after - self.back_after - ROUND_TRIP


def ordinary_round(waits: int, limits: RateLimits) -> float:
    """The seconds in which all waits are looked at once, if all are due: what pace and reads in flight allow."""
    paced = RateLimiter.within(limits.requests_per_minute or 0.0).share(limits.poll_share).rate
    return waits / min(paced, limits.reads_in_flight / ROUND_TRIP)


async def measure(
    way: str, waits: int, limits: RateLimits, *, later: float = 0.0, longest: float = 1_000.0
) -> Measured:
    """Wait for jobs that finish while the server is away, which ends some seconds *later*."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    far_end = FarEnd(WAYS[way], begin=began + BEGIN, end=began + END + later)
    gids = [str(gid) for gid in range(1, waits + 1)]
    far_end.finished_at = {gid: far_end.begin + 1 + 590 * n / waits for n, gid in enumerate(gids)}
    async with AsanaClient("token", transport=far_end, limits=limits) as client:
        tasks = [asyncio.ensure_future(client.wait_for_job(gid)) for gid in gids]
        async with asyncio.timeout(END + later + longest):
            jobs = await asyncio.gather(*tasks)
        assert all(job.succeeded for job in jobs)
        budget = client.budget
        assert (budget.reads_in_flight, sum(budget.waiting.values())) == (0, 0)
    begin, end = far_end.begin, far_end.end
    minutes = far_end.minutes(begin, end)
    return Measured(
        at_first=minutes[0],
        meanwhile=max(minutes[1:]),
        back_after=min(far_end.times(end, end + longest)) - end,
        all_after=loop.time() - end,
        peak=far_end.busiest_second(end, end + longest),
    )


# --- A thousand waits


@pytest.mark.parametrize(
    "way", [way if way == "503" else pytest.param(way, marks=pytest.mark.long) for way in WAYS]
)
async def test_a_server_that_is_away_is_asked_a_handful_of_times_a_minute(way: str) -> None:
    """A thousand waits send a dozen requests a minute to a server that is away, and go on right after it is back."""
    measured = await measure(way, 1_000, PAID)

    assert measured.at_first <= 50 + 2 * HANDFUL  # those in flight, and then the probes
    assert measured.meanwhile <= HANDFUL
    assert measured.back_after + ROUND_TRIP <= SOON
    assert (
        measured.peak <= 25 + 25
    )  # a burst of a second's worth of the quota and what goes evenly behind it, not a herd
    assert measured.round <= ordinary_round(1_000, PAID) + 2 * ROUND_TRIP


@pytest.mark.parametrize("limits", [WIDE, PAID], ids=["in flight", "paced"])
@pytest.mark.parametrize(
    "later", [0.0, *(pytest.param(later, marks=pytest.mark.long) for later in (0.8, 1.6, 2.4, 3.2))]
)
async def test_everybody_is_back_in_the_ordinary_schedule_within_five_seconds(
    later: float, limits: RateLimits
) -> None:
    """Wherever between two probes the end falls, all waits are looked at in one ordinary round from the first answer."""
    measured = await measure("503", 300, limits, later=later)

    assert measured.back_after + ROUND_TRIP <= SOON
    assert measured.round <= ordinary_round(300, limits) + 2 * ROUND_TRIP


@pytest.mark.parametrize("waits", [1, 10, 300])
@pytest.mark.parametrize("way", ["refused", "503"])
async def test_where_the_pace_is_no_limit_everybody_is_back_within_seconds(way: str, waits: int) -> None:
    """All jobs that finished while the server was away are seen within five seconds, be they many or one."""
    measured = await measure(way, waits, WIDE)

    assert measured.meanwhile <= HANDFUL
    assert measured.all_after <= SOON + waits / 300


async def test_patience_ends_for_everybody() -> None:
    """Waits that are not answered for ``give_up_after`` seconds raise the last error, those that never tried too."""
    loop = asyncio.get_running_loop()
    far_end = FarEnd(_unavailable, begin=loop.time() + 60, end=float("inf"))
    gids = [str(gid) for gid in range(1, 201)]
    far_end.finished_at = dict.fromkeys(gids, float("inf"))
    async with AsanaClient("token", transport=far_end, limits=WIDE) as client:
        poll = PollPolicy(give_up_after=120)
        waiters = [client.wait_for_job(gid, poll=poll) for gid in gids]
        errors = await asyncio.gather(*waiters, return_exceptions=True)

        assert {type(error) for error in errors} == {ServerError}
        assert 180 <= loop.time() - far_end.begin + 60 <= 60 + 120 + 60 + PROBE_AFTER_AT_MOST + 1
        assert len(far_end.times(far_end.begin, float("inf"))) < 50 + 120
        far_end.end = loop.time()
        far_end.finished_at.clear()
        assert (await waiters[7]).succeeded  # it can be used again


async def test_the_more_patient_stay() -> None:
    """A wait that gives up does not take along those that have more patience."""
    loop = asyncio.get_running_loop()
    far_end = FarEnd(_refused, begin=loop.time(), end=loop.time() + 300)
    async with AsanaClient("token", transport=far_end, limits=WIDE, poll=PATIENT) as client:
        patient = [asyncio.ensure_future(client.wait_for_job(str(gid))) for gid in range(1, 40)]
        hasty = asyncio.ensure_future(
            client.wait_for_job("99", poll=PollPolicy(give_up_after=100, first_contact=100))
        )
        with pytest.raises(ConnectError):
            await hasty

        assert loop.time() < far_end.begin + 120
        assert all(job.succeeded for job in await asyncio.gather(*patient))


async def test_who_looks_as_patience_ends_sees_for_himself() -> None:
    """When patience ends, whoever looks in that moment is not told that nobody answers: he is answered."""
    loop = asyncio.get_running_loop()
    far_end = FarEnd(_refused, begin=loop.time(), end=loop.time() + 100)
    async with AsanaClient("token", transport=far_end, limits=WIDE) as client:
        poll = PollPolicy(give_up_after=100, first_contact=100)
        waits = [client.wait_for_job(str(gid), poll=poll) for gid in range(1, 40)]
        ends = await asyncio.gather(*waits, return_exceptions=True)

    assert [end for end in ends if isinstance(end, Job) and end.succeeded] != []


# --- Others meanwhile


async def _begin_an_outage(client: AsanaClient) -> list[asyncio.Task[Job]]:
    """Have some waits find out that nobody answers."""
    tasks = [asyncio.ensure_future(client.wait_for_job(str(gid))) for gid in range(1, 21)]
    await asyncio.sleep(30)
    return tasks


async def test_calls_of_ones_own_are_sent_all_the_same() -> None:
    """While waits hold back, a call of one's own is sent at once, as often as its policy says, and says what it got."""
    loop = asyncio.get_running_loop()
    far_end = FarEnd(_refused, begin=0.0, end=loop.time() + 100)
    async with AsanaClient("token", transport=far_end, limits=WIDE, poll=PATIENT) as client:
        waits = await _begin_an_outage(client)
        began, before = loop.time(), len(far_end.sent)
        with pytest.raises(ConnectError):
            await client.get_job("5000")
        with pytest.raises(ConnectError):
            await client.duplicate_project("5001", name="Q3")

        ours = [sent.gid for sent in far_end.sent[before:]]
        assert (ours.count("5000"), ours.count("5001")) == (5, 5)
        assert loop.time() - began < 2 * (0.5 + 1 + 2 + 4) + 1
        await asyncio.gather(*waits)


async def test_a_deadline_is_kept_with_a_last_look() -> None:
    """While nobody is answered, a wait still looks at its deadline, and ends there."""
    loop = asyncio.get_running_loop()
    far_end = FarEnd(_refused, begin=0.0, end=loop.time() + 100)
    async with AsanaClient("token", transport=far_end, limits=WIDE, poll=PATIENT) as client:
        waits = await _begin_an_outage(client)
        began, before = loop.time(), len(far_end.sent)
        for timeout in (0.0, 7.0):
            with pytest.raises(JobTimeoutError):
                await client.wait_for_job("5000", timeout=timeout)

        assert loop.time() - began == pytest.approx(7.0, abs=0.01)
        assert [sent.gid for sent in far_end.sent[before:]].count("5000") >= 2
        await asyncio.gather(*waits)


async def test_waits_that_begin_meanwhile_hold_back_too() -> None:
    """A wait that begins while nobody is answered does not look out of turn, and is served once somebody is."""
    loop = asyncio.get_running_loop()
    far_end = FarEnd(_refused, begin=0.0, end=loop.time() + 100)
    async with AsanaClient("token", transport=far_end, limits=WIDE, poll=PATIENT) as client:
        waits = await _begin_an_outage(client)
        before = len(far_end.sent)
        waits += [asyncio.ensure_future(client.wait_for_job(str(gid))) for gid in range(500, 700)]
        waits += [asyncio.ensure_future(client.wait_for_job("701", poll=wait_fixed(3)))]
        await asyncio.sleep(60)

        assert len(far_end.sent) - before <= HANDFUL
        await asyncio.gather(*waits)
        assert loop.time() <= far_end.end + SOON + 1


async def test_it_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    """However many waits there are, one record tells that nobody is answered, and one that somebody is again."""
    loop = asyncio.get_running_loop()
    far_end = FarEnd(_unavailable, begin=0.0, end=loop.time() + 100)
    with caplog.at_level(logging.INFO, "asana_jobs"):
        async with AsanaClient("token", transport=far_end, limits=WIDE) as client:
            await asyncio.gather(*await _begin_an_outage(client))

    told = [
        record for record in caplog.records if record.name == "asana_jobs" and "look" in record.getMessage()
    ]
    told = [record for record in told if "trouble" not in record.getMessage()]
    assert [record.levelname for record in told] == ["WARNING", "INFO"]
    assert vars(told[0])["asana_error"] == "ServerError"


# --- What is no outage


async def test_one_job_that_cannot_be_looked_at_does_not_hold_up_others() -> None:
    """Where Asana stumbles over one job only, the others are seen to finish as if it were not there."""
    loop = asyncio.get_running_loop()
    far_end = FarEnd(_refused, begin=float("inf"))
    gids = [str(gid) for gid in range(1, 31)]
    far_end.finished_at = {gid: loop.time() + 20 * (n + 1) for n, gid in enumerate(gids)}
    lags: list[float] = []

    class Stumbling(FarEnd):
        async def send(self, request: Request) -> Response:
            return await (_unavailable(request) if request.gid == "13" else super().send(request))

    stumbling = Stumbling(_refused, begin=float("inf"), finished_at=far_end.finished_at)
    async with AsanaClient("token", transport=stumbling, limits=WIDE) as client:

        async def watch(gid: str) -> None:
            await client.wait_for_job(gid, poll=wait_fixed(2))
            lags.append(loop.time() - far_end.finished_at[gid])

        bad = asyncio.ensure_future(client.wait_for_job("13", poll=PollPolicy(give_up_after=3_000)))
        await asyncio.gather(*(watch(gid) for gid in gids if gid != "13"))
        bad.cancel()
        await asyncio.gather(bad, return_exceptions=True)

    assert max(lags) <= 2 + PROBE_AFTER_AT_MOST + 2 * ROUND_TRIP


async def test_a_hiccup_costs_a_second() -> None:
    """After all connections broke at once, looks go on within about a second."""
    loop = asyncio.get_running_loop()
    far_end = FarEnd(_reset, begin=loop.time() + 30, end=loop.time() + 30.5)
    far_end.finished_at = {str(gid): loop.time() + 30.2 for gid in range(1, 501)}
    async with AsanaClient("token", transport=far_end, limits=WIDE) as client:
        await asyncio.gather(*(client.wait_for_job(gid, poll=wait_fixed(1)) for gid in far_end.finished_at))

    assert loop.time() - far_end.end < PROBE_AFTER_AT_LEAST + 1.0 + 500 / 300


async def test_failures_at_random_hold_nobody_up_for_long() -> None:
    """While every third request fails, jobs are seen to finish seconds after they did."""
    loop = asyncio.get_running_loop()
    dice = random.Random(7)  # noqa: S311  # repeatable on purpose

    class Shaky(FarEnd):
        async def send(self, request: Request) -> Response:
            return await (_unavailable(request) if dice.random() < 1 / 3 else super().send(request))

    ends = {str(gid): loop.time() + 2 * gid for gid in range(1, 101)}
    shaky = Shaky(_refused, begin=float("inf"), finished_at=ends)
    lags: list[float] = []
    async with AsanaClient("token", transport=shaky, limits=WIDE) as client:

        async def watch(gid: str) -> None:
            await client.wait_for_job(gid, poll=wait_fixed(1))
            lags.append(loop.time() - ends[gid])

        await asyncio.gather(*(watch(gid) for gid in ends))

    assert sorted(lags)[50] < 2
    assert max(lags) < 15


AWAY = TransportError("lost", method="GET", path="/jobs/1", gid="1")


@pytest.mark.parametrize("failures", range(OUTAGE_STREAK))
def test_a_few_failures_are_no_outage(failures: int) -> None:
    """Fewer failures in a row than may be chance hold nobody back."""
    outage = Outage()
    for second in range(failures):
        outage.failed(AWAY, second)

    assert not outage.on
    assert outage.ready_at < 0


@pytest.mark.parametrize(
    ("apart", "pause"), [(0.1, PROBE_AFTER_AT_LEAST), (0.5, 2.0), (9.0, PROBE_AFTER_AT_MOST)]
)
def test_the_first_probe_waits_as_long_as_the_failures_lasted(apart: float, pause: float) -> None:
    """An outage begins with a pause, a short one if all connections broke at once."""
    outage = Outage()
    for number in range(OUTAGE_STREAK):
        outage.failed(AWAY, apart * number)

    assert outage.ready_at == apart * (OUTAGE_STREAK - 1) + pause


@given(st.lists(st.tuples(st.integers(0, 100), st.booleans()), min_size=OUTAGE_STREAK, max_size=40))
def test_probes_are_one_to_four_seconds_apart(steps: list[tuple[int, bool]]) -> None:
    """However failures and probes follow each other, the next probe is due within four seconds of the last one."""
    outage, now = Outage(), 0.0
    for _ in range(OUTAGE_STREAK):
        outage.failed(AWAY, now)
    for seconds, probe in steps:
        now += seconds
        before = outage.ready_at
        if probe:
            outage.probed(now)
            assert PROBE_AFTER_AT_LEAST <= outage.ready_at - now <= PROBE_AFTER_AT_MOST
        else:
            assert not outage.failed(AWAY, now)
            assert outage.ready_at == before
        assert outage.on


def _table() -> Iterator[str]:
    yield "way               waits  quota  1st minute  later minutes  back after  all after  peak/s"
    for limits in (WIDE, PAID):
        for waits in (1, 10, 1_000):
            for way in WAYS:
                m = _virtually(partial(measure, way, waits, limits))
                yield (
                    f"{way:<17} {waits:>5} {limits.requests_per_minute or 0:>6.0f} {m.at_first:>11}"
                    f" {m.meanwhile:>14} {m.back_after:>9.1f} s {m.all_after:>8.1f} s {m.peak:>7}"
                )


def _virtually(work: Callable[[], Awaitable[T]]) -> T:
    async def main() -> T:
        return await work()

    with asyncio.Runner(loop_factory=lambda: looptime.new_event_loop(start=0, noop_cycles=0)) as runner:
        return runner.run(main())


if __name__ == "__main__":
    for line in _table():
        print(line, flush=True)  # noqa: T201  # a command prints
