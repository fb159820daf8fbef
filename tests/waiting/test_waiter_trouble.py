"""Trouble that may pass never ends a wait that has time; trouble that stays ends it at once."""

import asyncio
import logging
from collections.abc import Callable
from datetime import timedelta
from email.utils import format_datetime

import pytest
from tenacity import wait_fixed

from asana_jobs import AsanaClient, Job, PollPolicy, Request, Response
from asana_jobs.errors import (
    APIError,
    AuthenticationError,
    ConnectError,
    DecodeError,
    JobTimeoutError,
    LegalBlockError,
    NotFoundError,
    PaymentRequiredError,
    PermissionDeniedError,
    RateLimitError,
    RequestTimeoutError,
    ServerError,
    TransportError,
)
from asana_jobs.models import GraphExportCompact
from asana_jobs.testing import AsanaSimulator, HtmlPage, Latency, NotJson, Reset, Truncated
from asana_jobs.testing._fake_clock import FakeClock
from asana_jobs.testing._scripted_transport import ScriptedAnswer, ScriptedTransport


PAGE = b"<html><body>Bad gateway</body></html>"
RESET = TransportError("reset", method="GET", path="/jobs/1203", gid="1203")
SILENCE = RequestTimeoutError("no answer within 30 s", method="GET", path="/jobs/1203", gid="1203")
REFUSED = ConnectError("refused", method="GET", path="/jobs/1203", gid="1203")


def page(status: int) -> Response:
    """Some gateway's HTML page."""
    return Response(status=status, headers={"content-type": "text/html"}, body=PAGE)


def raw(body: bytes, status: int = 200) -> Response:
    """An answer with any body."""
    return Response(status=status, headers={"content-type": "application/json"}, body=body)


@pytest.mark.parametrize(
    "trouble",
    [
        429,
        500,
        502,
        503,
        504,
        599,
        RESET,
        SILENCE,
        REFUSED,
        page(200),
        page(400),
        page(401),
        page(403),
        page(404),
        page(429),
        page(502),
        raw(b""),
        raw(b'{"data": {"gid": "12'),
        raw(b"", 403),
        raw(b"[" * 100_000),
        raw(b"\xff\xfe\x00"),
    ],
    ids=str,
)
@pytest.mark.parametrize("when", ["first", "later"])
async def test_trouble_that_may_pass_is_outlived(
    client: AsanaClient, transport: ScriptedTransport, trouble: ScriptedAnswer, when: str
) -> None:
    """429, 5xx, resets, timeouts and bodies that are not JSON, whatever their status, do not end a wait."""
    before: list[ScriptedAnswer] = []
    if when == "later":
        before += ["in_progress"] * 10
    transport.play(*before, trouble, trouble, trouble, trouble, "succeeded")

    job = await client.wait_for_job("1203")

    assert job.succeeded


async def test_trouble_is_not_yielded(client: AsanaClient, transport: ScriptedTransport) -> None:
    """A loop sees states only, whatever goes wrong between them."""
    transport.play(503, "in_progress", RESET, 429, "in_progress", page(502), "succeeded")

    seen = [job.status async for job in client.wait_for_job("1203", every_poll=True)]

    assert seen == ["in_progress", "in_progress", "succeeded"]


async def test_trouble_is_spaced_out(
    client: AsanaClient, clock: FakeClock, transport: ScriptedTransport
) -> None:
    """While a server fails, the gaps double by the retry policy, and the schedule goes on afterwards."""
    transport.play(503, 503, 503, 503, "succeeded")

    await client.wait_for_job("1203")

    assert clock.sleeps == [0.5, 1, 2, 4]


async def test_a_429_pauses_for_the_seconds_asked(
    client: AsanaClient, clock: FakeClock, transport: ScriptedTransport
) -> None:
    """After a 429 with Retry-After in seconds the next look comes when those are over."""
    transport.play(Response(status=429, headers={"retry-after": "30"}), "succeeded")

    await client.wait_for_job("1203")

    assert clock.monotonic() == pytest.approx(30)


async def test_a_429_pauses_until_the_date_asked(
    client: AsanaClient, clock: FakeClock, transport: ScriptedTransport
) -> None:
    """After a 429 with Retry-After as a date the next look comes then."""
    date = format_datetime(clock.now() + timedelta(seconds=45), usegmt=True)
    transport.play(Response(status=429, headers={"retry-after": date}), "succeeded")

    await client.wait_for_job("1203")

    assert clock.monotonic() == pytest.approx(45)


async def test_a_429_without_a_retry_after(
    client: AsanaClient, clock: FakeClock, transport: ScriptedTransport
) -> None:
    """After a 429 without Retry-After the wait backs off by itself."""
    transport.play(429, 429, "succeeded")

    await client.wait_for_job("1203")

    assert clock.monotonic() >= 2 + 6


async def test_one_429_does_not_restart_the_schedule(
    client: AsanaClient, clock: FakeClock, transport: ScriptedTransport
) -> None:
    """A 429 delays one look only: afterwards the gaps are those of the job's age."""
    transport.play(*["in_progress"] * 30, 429, "in_progress", "succeeded")

    await client.wait_for_job("1203", poll=PollPolicy())

    assert clock.sleeps[-1] >= clock.sleeps[29]


async def test_a_503_with_retry_after_is_obeyed(
    client: AsanaClient, clock: FakeClock, transport: ScriptedTransport
) -> None:
    """A Retry-After on any error puts the next look off for as long."""
    transport.play(Response(status=503, headers={"retry-after": "40"}), "succeeded")

    await client.wait_for_job("1203")

    assert clock.monotonic() == 40


async def test_a_streak_of_trouble_ends_the_wait(
    client: AsanaClient, clock: FakeClock, transport: ScriptedTransport
) -> None:
    """Trouble that lasts longer than give_up_after ends the wait with the last error."""
    transport.play(RESET, 502, 502, 503)

    with pytest.raises(ServerError) as caught:
        await client.wait_for_job("1203", poll=PollPolicy(give_up_after=60))

    assert caught.value.status == 503
    assert 60 <= clock.monotonic() < 60 + 31


async def test_an_answer_ends_a_streak(client: AsanaClient, transport: ScriptedTransport) -> None:
    """Trouble that is interrupted by answers never adds up to a streak."""
    stretch: list[ScriptedAnswer] = [503, 503, 503, "in_progress"]
    transport.play(*stretch * 30, "succeeded")

    job = await client.wait_for_job("1203", poll=PollPolicy(give_up_after=10))

    assert job.succeeded


async def test_a_wait_that_gave_up_can_go_on(client: AsanaClient, transport: ScriptedTransport) -> None:
    """Awaited again after it gave up, a waiter has a whole streak's patience again."""
    transport.play(503)
    waiter = client.wait_for_job("1203", poll=PollPolicy(give_up_after=10))
    with pytest.raises(ServerError):
        await waiter
    transport.play(503, 503, "succeeded")

    assert (await waiter).succeeded


async def test_the_streak_goes_on_from_a_token(
    client: AsanaClient, clock: FakeClock, transport: ScriptedTransport
) -> None:
    """A wait resumed amid trouble does not start its patience afresh."""
    transport.play(503)
    waiter = client.wait_for_job("1203", timeout=50, poll=PollPolicy())
    with pytest.raises(JobTimeoutError) as late:
        await waiter
    began = clock.monotonic()

    with pytest.raises(ServerError):
        await client.wait_for_job(late.value.continuation_token, poll=PollPolicy(give_up_after=60))

    assert clock.monotonic() - began < 41


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (b'{"data": {"gid": 1203, "status": "in_progress"}}', "gid"),
        (b'{"data": {"gid": "1203", "status": 7}}', "status"),
        (b'{"data": []}', "expected a job, not an array"),
        (b"{}", "data"),
        (b"[]", "data"),
        (b'{"data": null}', "expected a job, not null"),
    ],
)
async def test_json_of_the_wrong_shape(
    client: AsanaClient, transport: ScriptedTransport, body: bytes, field: str
) -> None:
    """JSON that is not a job is a DecodeError at once: looking again would not help."""
    transport.play(raw(body))

    with pytest.raises(DecodeError, match=field):
        await client.wait_for_job("1203")

    assert len(transport.requests) == 1


async def test_an_unimportant_field_ends_no_wait(client: AsanaClient, transport: ScriptedTransport) -> None:
    """A result, a date or a type that cannot be read is ``None``; the status is what is waited for."""
    transport.play(
        {"gid": "1203", "status": "in_progress", "new_task": {"gid": 7}, "resource_type": []},
        {
            "gid": "1203",
            "status": "succeeded",
            "new_graph_export": {"gid": "8", "completed_at": "yesterday"},
            "dates_rollup_progress": {"total_tasks": 1.0},
        },
    )

    states = [job async for job in client.wait_for_job("1203")]

    assert [job.status for job in states] == ["in_progress", "succeeded"]
    assert states[0].result is None
    assert states[0].raw["new_task"] == {"gid": 7}
    assert states[1].new_graph_export == GraphExportCompact(gid="8")


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, APIError),
        (401, AuthenticationError),
        (402, PaymentRequiredError),
        (403, PermissionDeniedError),
        (451, LegalBlockError),
    ],
)
@pytest.mark.parametrize("seen", [0, 1, 20])
async def test_refusals_end_a_wait_at_once(
    client: AsanaClient, transport: ScriptedTransport, status: int, kind: type[APIError], seen: int
) -> None:
    """400, 401, 402, 403 and 451 end a wait with their error, young or old."""
    transport.play(*["in_progress"] * seen, status)

    with pytest.raises(kind) as caught:
        await client.wait_for_job("1203")

    assert caught.value.gid == "1203"
    assert len(transport.requests) == seen + 1


# 404


async def test_a_404_right_after_the_start_passes(client: AsanaClient, transport: ScriptedTransport) -> None:
    """A job that is not to be found in its first seconds may appear."""
    transport.play(404, 404, "succeeded")

    assert (await client.wait_for_job("1203")).succeeded


async def test_a_404_that_stays_ends_the_wait(
    client: AsanaClient, clock: FakeClock, transport: ScriptedTransport
) -> None:
    """A job never seen that is not found after the first seconds is an error."""
    transport.play(404)

    with pytest.raises(NotFoundError) as caught:
        await client.wait_for_job("1203")

    assert caught.value.gid == "1203"
    assert 3 <= clock.monotonic() < 6


async def test_404s_are_no_outage(
    client: AsanaClient, transport: ScriptedTransport, caplog: pytest.LogCaptureFixture
) -> None:
    """Somebody is there who says that the jobs are not to be found: each is looked for by itself."""
    transport.play(404)

    waits = [client.wait_for_job(str(1203 + number)) for number in range(10)]
    errors = await asyncio.gather(*waits, return_exceptions=True)

    assert {type(error) for error in errors} == {NotFoundError}
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


@pytest.mark.parametrize("count", [1, 2])
async def test_a_stray_404_is_survived(
    client: AsanaClient, clock: FakeClock, transport: ScriptedTransport, count: int
) -> None:
    """One 404, or two, for a job that was seen before are a replica that lags behind."""
    transport.play(*["in_progress"] * 30, *[404] * count, "in_progress", *[404] * count, "succeeded")

    assert (await client.wait_for_job("1203")).succeeded


async def test_three_404s_in_a_row_end_the_wait(client: AsanaClient, transport: ScriptedTransport) -> None:
    """A job seen before that stays away is gone."""
    transport.play(*["in_progress"] * 30, 404)

    with pytest.raises(NotFoundError):
        await client.wait_for_job("1203")

    assert len(transport.requests) == 33


async def test_a_stray_404_amid_other_trouble_is_survived(
    client: AsanaClient, transport: ScriptedTransport
) -> None:
    """A 404 in the middle of an outage counts as one 404, however long the outage was before it."""
    transport.play(*["in_progress"] * 30, 503, 503, 503, 503, 404, "succeeded")

    assert (await client.wait_for_job("1203")).succeeded


async def test_a_stray_404_of_a_resumed_wait_is_survived(
    client: AsanaClient, clock: FakeClock, transport: ScriptedTransport
) -> None:
    """A continuation token remembers that the job was seen, so that one 404 does not end its wait."""
    transport.play("in_progress")
    waiter = client.wait_for_job("1203", every_poll=True)
    for _ in range(10):
        await anext(waiter)
    token = waiter.continuation_token()
    await clock.sleep(60)
    transport.play(404, "succeeded")

    assert (await client.wait_for_job(token)).succeeded


async def test_a_404_for_what_the_post_answered(client: AsanaClient, transport: ScriptedTransport) -> None:
    """The answer of the POST counts as having been seen, however old the job is."""
    transport.play("in_progress")
    job = await client.duplicate_project("77", name="Q3")
    transport.play(404, 404, "succeeded")

    assert (await client.wait_for_job(job, poll=PollPolicy(not_found_grace=0))).succeeded


# unknown states


async def test_an_unknown_state_keeps_waiting(client: AsanaClient, transport: ScriptedTransport) -> None:
    """A state that Asana added meanwhile is yielded as it is and counts as unfinished."""
    transport.play("in_progress", "paused", "succeeded")

    seen = [job.status async for job in client.wait_for_job("1203")]

    assert seen == ["in_progress", "paused", "succeeded"]


async def test_an_unknown_state_is_logged_once(
    client: AsanaClient, transport: ScriptedTransport, caplog: pytest.LogCaptureFixture
) -> None:
    """An unknown state is logged once, at WARNING, however many looks and jobs show it."""
    transport.play("paused", "paused", "succeeded")
    with caplog.at_level(logging.DEBUG, "asana_jobs"):
        await client.wait_for_job("1203")
        transport.play("paused", "paused", "succeeded")
        await client.wait_for_job("1204")

    warnings = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert warnings == ["job 1203 is in state 'paused', unknown to this version: taken as not finished"]


async def test_a_job_without_a_status_keeps_waiting(
    client: AsanaClient, transport: ScriptedTransport
) -> None:
    """An answer without a status is no end."""
    transport.play({"gid": "1203"}, "succeeded")

    assert (await client.wait_for_job("1203")).succeeded


# over real HTTP


@pytest.mark.parametrize(
    "fault",
    [
        Reset,
        Truncated,
        NotJson,
        lambda: HtmlPage(502),
        lambda: HtmlPage(200),
        lambda: HtmlPage(403),
        lambda: Latency(1000),
        lambda: 429,
        lambda: 500,
    ],
)
async def test_over_http(
    wired: AsanaClient, simulator: AsanaSimulator, fault: Callable[[], Reset | int]
) -> None:
    """Over real HTTP, too, trouble of every kind is outlived."""
    simulator.add_job("1203", ["in_progress", "succeeded"])
    simulator.fail_next(fault(), times=3)

    job = await wired.wait_for_job("1203", poll=wait_fixed(1))

    assert job.succeeded


async def test_a_server_that_is_away(wired: AsanaClient, simulator: AsanaSimulator) -> None:
    """A server that drops all connections and comes back later is waited for."""
    simulator.add_job("1203", [(0, "in_progress"), (30, "succeeded")])
    await wired.get_job("1203")
    await simulator.refuse_connections(20)

    job = await wired.wait_for_job("1203")

    assert job.succeeded


async def test_an_error_of_a_limit_carries_retry_after(
    client: AsanaClient, transport: ScriptedTransport
) -> None:
    """What a wait raises when it gives up amid 429s says what Asana asked for."""
    transport.play(Response(status=429, headers={"retry-after": "7"}))

    with pytest.raises(RateLimitError) as caught:
        await client.wait_for_job(Job("1203", status="in_progress"), poll=PollPolicy(give_up_after=20))

    assert caught.value.retry_after == 7


@pytest.mark.parametrize("others", [0, 1], ids=["alone", "beside another"])
async def test_who_is_about_to_see_is_not_told_that_it_has_lasted_too_long(
    client: AsanaClient, clock: FakeClock, transport: ScriptedTransport, others: int
) -> None:
    """A look that goes out when patience is over, or is still under way then, decides by its answer."""
    slow = 12.0 if others else 0.0  # answered after others were asked for meanwhile

    async def answer(request: Request) -> ScriptedAnswer:
        if clock.monotonic() < 20 - slow / 2:
            return 503
        if request.gid == "1203":
            await clock.sleep(slow)
            return "succeeded"
        return 503 if clock.monotonic() < 60 else "succeeded"

    transport.play(answer)
    patient = [
        asyncio.ensure_future(client.wait_for_job(str(gid), poll=PollPolicy(give_up_after=1000)))
        for gid in range(others)
    ]
    job = await client.wait_for_job("1203", poll=PollPolicy(give_up_after=20))
    await asyncio.gather(*patient)

    assert job.succeeded
    assert clock.monotonic() >= 20
