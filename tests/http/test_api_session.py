"""One request from intent to answer: its place in the budget, its token, and when it is repeated."""

import asyncio
import time
from datetime import timedelta
from email.utils import format_datetime

import attrs
import pytest
from watched_gate import WatchedGate, WatchedLease

from asana_jobs import (
    AsanaClient,
    DuplicateProject,
    DuplicateTask,
    ExportGraph,
    Response,
    RetryPolicy,
)
from asana_jobs._client.assembly import make_session
from asana_jobs._client.http.api_session import MOST_SEEN_GIDS, ApiSession, SeenGids
from asana_jobs._client.http.protocol import Request, Safety, read_data, read_job
from asana_jobs._client.limits.gate import FOREGROUND, Lease, Priority, Traffic
from asana_jobs.errors import (
    APIError,
    ClientClosedError,
    ConnectError,
    OutcomeUnknownError,
    RateLimitError,
    ServerError,
    TransportError,
)
from asana_jobs.testing import FakeClock, ScriptedTransport


COPY = DuplicateTask("1203", name="copy")


class ObjectingGate(WatchedGate):
    """A budget that may change its mind after it has let a request through."""

    objection: Exception | None = None

    async def acquire(self, traffic: Traffic, priority: Priority) -> Lease:  # type: ignore[override]  # a lease around it
        """Give a lease that asks once more."""
        return ObjectingLease(await super().acquire(traffic, priority), [], gate=self)


@attrs.define
class ObjectingLease(WatchedLease):
    """A lease that has the last word."""

    gate: ObjectingGate = attrs.field(kw_only=True)

    def before_write(self) -> None:
        """Raise what there is to object."""
        if self.gate.objection is not None:
            raise self.gate.objection


@pytest.fixture
def gate(clock: FakeClock) -> WatchedGate:
    """A budget to look at."""
    return WatchedGate(clock)


@pytest.fixture
def session(transport: ScriptedTransport, clock: FakeClock, gate: WatchedGate) -> ApiSession:
    """What a client sends its requests through, without the client."""
    return make_session(
        "test-token",
        base_url="https://app.asana.com/api/1.0",
        transport=transport,
        clock=clock,
        gate=gate,
        retry=RetryPolicy(jitter=0),
    )


# Its place in the budget.


@pytest.mark.parametrize(
    ("method", "kind"),
    [
        ("GET", Traffic.READ),
        ("HEAD", Traffic.READ),
        ("POST", Traffic.WRITE),
        ("PUT", Traffic.WRITE),
        ("DELETE", Traffic.WRITE),
    ],
)
async def test_kinds_of_requests(
    session: ApiSession, transport: ScriptedTransport, gate: WatchedGate, method: str, kind: Traffic
) -> None:
    """What only reads is capped as such, and everything else as a write."""
    transport.play("succeeded")

    await session.once(Request(method, "/users/me"), FOREGROUND)

    assert gate.asked == [(kind, FOREGROUND)]
    assert gate.given_back == [True]


async def test_a_place_is_given_back_whatever_happens(
    session: ApiSession, transport: ScriptedTransport, gate: WatchedGate
) -> None:
    """An error is an answer to the budget too: something came back, or nothing ever will."""
    transport.play(ConnectError("no route", method="GET", path="/jobs/1203"))

    with pytest.raises(ConnectError):
        await session.once(read_job("1203"), FOREGROUND)

    assert gate.given_back == [True]


async def test_a_request_that_is_cancelled_was_not_answered(
    session: ApiSession, transport: ScriptedTransport, clock: FakeClock, gate: WatchedGate
) -> None:
    """A probe that nobody waited for says nothing about whether the pause is over."""

    async def hang(_: Request) -> Response:
        await clock.sleep(3600)
        return Response(200)

    transport.play(hang)
    call = asyncio.create_task(session.once(read_job("1203"), FOREGROUND))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call

    assert len(transport.requests) == 1
    assert gate.given_back == [False]


async def test_a_start_leaves_only_if_its_lease_does_not_object(
    transport: ScriptedTransport, clock: FakeClock
) -> None:
    """Whoever has let a POST through has the last word when its connection stands, and nobody counts it as sent."""
    gate = ObjectingGate(clock)
    session = make_session(
        "test-token",
        base_url="https://app.asana.com/api/1.0",
        transport=transport,
        clock=clock,
        gate=gate,
    )
    transport.play("in_progress")
    announced: list[str] = []
    gate.objection = ConnectError("the lease was lost", method="POST", path="/tasks/1203/duplicate")

    with pytest.raises(ConnectError, match="the lease was lost"):
        await session.start_once(COPY, lambda: announced.append("refused"))
    assert (transport.requests, announced) == ([], [])

    gate.objection = None
    await session.start_once(COPY, lambda: announced.append("sent"))
    assert (len(transport.requests), announced) == (1, ["sent"])
    assert gate.given_back == [True, True]


async def test_a_look_uses_the_lease_it_is_given_and_gives_it_back(
    session: ApiSession, transport: ScriptedTransport, gate: WatchedGate
) -> None:
    """Whoever brings the right to send is not queued up a second time."""
    transport.play("succeeded")
    lease = await gate.acquire(Traffic.READ, Priority.ROUTINE)

    response = await session.look(read_job("1203"), lease)

    assert response.status == 200
    assert gate.asked == [(Traffic.READ, Priority.ROUTINE)]
    assert gate.given_back == [True]


async def test_a_cancelled_look_gives_its_lease_back_unanswered(
    session: ApiSession, transport: ScriptedTransport, gate: WatchedGate
) -> None:
    """A look that is cancelled amid its request proves nothing about Asana."""

    async def hang(_: Request) -> str:
        await asyncio.Event().wait()
        return "in_progress"

    transport.play(hang)
    look = asyncio.create_task(
        session.look(read_job("1203"), await gate.acquire(Traffic.READ, Priority.ROUTINE))
    )
    await asyncio.sleep(0)
    look.cancel()
    with pytest.raises(asyncio.CancelledError):
        await look

    assert gate.given_back == [False]


async def test_answers_to_looks_give_repetitions_back(
    session: ApiSession, transport: ScriptedTransport, gate: WatchedGate
) -> None:
    """A server that answers looks is not in trouble: calls may be repeated again."""
    transport.play("in_progress")
    session.repetitions.draw()
    left = session.repetitions.level

    await session.look(read_job("1203"), await gate.acquire(Traffic.READ, Priority.ROUTINE))

    assert session.repetitions.level == left + 1


# Its token.


@pytest.fixture
def renewing(transport: ScriptedTransport, clock: FakeClock) -> ApiSession:
    """A session whose first token is followed by a second one."""
    tokens = iter(["first", "second"])

    async def provide() -> str:
        return next(tokens)

    return make_session(provide, base_url="https://app.asana.com/api/1.0", transport=transport, clock=clock)


async def test_a_renewed_token_leaves_the_refused_request_as_it_was(
    transport: ScriptedTransport, renewing: ApiSession
) -> None:
    """The second request is another one: whoever holds the first sees the token that was refused."""
    transport.play(401, "succeeded")
    request = read_job("1203")

    response = await renewing.once(request, FOREGROUND)

    assert response.status == 200
    assert [str(sent.authorization) for sent in transport.requests] == ["Bearer first", "Bearer second"]
    assert request.authorization == "Bearer first"


async def test_a_start_that_is_sent_again_with_a_new_token_is_announced_again(
    transport: ScriptedTransport, renewing: ApiSession
) -> None:
    """Who must have the last word before a POST leaves has it each time."""
    transport.play(401, "in_progress")
    sent_before: list[int] = []

    await renewing.start_once(
        DuplicateTask("1203", name="copy"), lambda: sent_before.append(len(transport.requests))
    )

    assert sent_before == [0, 1]


@pytest.mark.parametrize("body", [b"<p>test-token</p>", b"test-token", b'{"data": {"gid": "test-token"}}'])
async def test_what_a_proxy_echoes_of_the_token_is_masked_in_good_answers_too(
    session: ApiSession, transport: ScriptedTransport, body: bytes
) -> None:
    """Whatever it is, and wherever the token stands in it: it is read into logs and files."""
    transport.play(Response(200, body=body))

    response = await session.once(read_job("1203"), FOREGROUND)

    assert response.body == body.replace(b"test-token", b"***")


@pytest.mark.parametrize(
    ("status", "body"), [(200, b"<p>"), (200, b""), (400, b"{}"), (404, b"<p>"), (500, b"{}")]
)
async def test_what_a_proxy_echoes_of_the_token_in_a_header_is_masked(
    session: ApiSession, transport: ScriptedTransport, status: int, body: bytes
) -> None:
    """Of an error, and of what is no JSON: their headers are read into messages."""
    transport.play(Response(status, {"Content-Type": "text/test-token"}, body))

    response = await session.once(read_job("1203"), FOREGROUND)

    assert (response.status, response.headers, response.body) == (status, {"content-type": "text/***"}, body)


async def test_nothing_goes_out_in_the_round_of_the_loop_in_which_the_client_is_closed(
    transport: ScriptedTransport, clock: FakeClock, gate: WatchedGate
) -> None:
    """Who is under way is cancelled only in the next round; a start that would go out before that does not."""

    async def provide() -> str:
        closing.lifetime.close()
        return "test-token"

    closing = make_session(
        provide, base_url="https://app.asana.com/api/1.0", transport=transport, clock=clock, gate=gate
    )
    transport.play("in_progress")

    with pytest.raises(ClientClosedError):
        await closing.start(DuplicateTask("1203", name="copy"))

    assert transport.requests == []
    assert len(gate.given_back) == 1


@pytest.mark.parametrize("permanent", [False, True])
async def test_a_request_without_a_token_says_which_it_was_and_why(
    transport: ScriptedTransport, clock: FakeClock, permanent: bool
) -> None:
    """Nothing was sent; whether that may pass depends on what kept the token away."""
    refused = ConnectError("refused", method="POST", path="/-/oauth_token", permanent=permanent)

    async def provide() -> str:
        raise refused

    session = make_session(
        provide, base_url="https://app.asana.com/api/1.0", transport=transport, clock=clock
    )

    with pytest.raises(ConnectError) as caught:
        await session.once(read_job("1203"), FOREGROUND)

    assert str(caught.value) == "GET /jobs/1203 was not sent, for want of a token: refused"
    error = caught.value
    assert (error.method, error.path, error.gid) == ("GET", "/jobs/1203", "1203")
    assert (error.permanent, error.__cause__) == (permanent, refused)
    assert transport.requests == []


# What comes back.


async def test_a_raw_answer_has_its_headers_in_lower_case(
    session: ApiSession, transport: ScriptedTransport
) -> None:
    """Whatever the server, or another transport, writes: people look them up by one name."""
    transport.play(Response(200, {"X-Request-Id": "7"}, b"[]"))

    response = await session.raw(Request("GET", "/users/me"), FOREGROUND)

    assert (response.headers, response.body) == ({"x-request-id": "7"}, b"[]")


async def test_an_error_that_names_a_date_is_read_by_our_clock_if_the_server_tells_no_time(
    session: ApiSession, transport: ScriptedTransport, clock: FakeClock
) -> None:
    """A date alone says how long to wait only beside a clock."""
    until = format_datetime(clock.now().replace(microsecond=0) + timedelta(seconds=40), usegmt=True)
    transport.play(Response(400, {"retry-after": until}, b'{"errors": [{"message": "no"}]}'))

    for request in (session.raw(Request("GET", "/users/me"), FOREGROUND), session.start(COPY)):
        with pytest.raises(APIError) as caught:
            await request
        assert caught.value.retry_after == pytest.approx(40, abs=1)


@pytest.mark.parametrize("closed", [False, True])
async def test_a_start_of_which_nobody_knows_says_when_it_was_sent(
    session: ApiSession, transport: ScriptedTransport, clock: FakeClock, closed: bool
) -> None:
    """Who looks for its job in Asana looks at that time, not at the one at which it was given up."""
    began = clock.now()

    async def lose(request: Request) -> Response:
        await clock.sleep(10)
        if closed:
            session.lifetime.close()
            await asyncio.Event().wait()
        raise TransportError("reset", method=request.method, path=request.path)

    transport.play(lose)
    with pytest.raises(OutcomeUnknownError) as caught:
        await session.start(COPY)

    assert caught.value.sent_at == began
    assert (clock.now() - began).total_seconds() == 10
    assert caught.value.operation is COPY


@pytest.mark.parametrize("status", [302, 400, 404, 408, 500])
async def test_what_may_have_been_started_is_not_said_to_have_failed(
    session: ApiSession, transport: ScriptedTransport, status: int
) -> None:
    """The advice about an answer, such as "nothing was started", holds for refusals and not for a gateway's page."""
    transport.play(Response(status, {"content-type": "text/html"}, b"<html>"))

    with pytest.raises(OutcomeUnknownError) as caught:
        await session.start(COPY)

    cause = caught.value.__cause__
    assert isinstance(cause, APIError)
    assert cause.advice not in str(caught.value)
    assert f" was answered {status} " in str(caught.value)
    assert "(text/html, 6 bytes). It was not repeated; look in Asana for" in str(caught.value)


async def test_a_lost_post_of_the_users_own_is_named_by_its_path(
    session: ApiSession, transport: ScriptedTransport
) -> None:
    """It is about no operation that has a name."""
    transport.play(TransportError("reset.", method="POST", path="/tags"))

    with pytest.raises(
        OutcomeUnknownError,
        match=r"^POST /tags may or may not have been started: reset\. It was not repeated",
    ) as caught:
        await session.raw(Request("POST", "/tags", safety=Safety.ONCE), FOREGROUND)

    assert (caught.value.method, caught.value.path, caught.value.operation) == ("POST", "/tags", None)


@pytest.mark.parametrize(("status", "good"), [(199, False), (200, True), (299, True), (300, False)])
async def test_good_answers_are_those_of_the_two_hundreds(
    session: ApiSession, transport: ScriptedTransport, status: int, good: bool
) -> None:
    """Both ends count; whatever is beside them is an error."""
    transport.play(Response(status, body=b"{}"))

    if good:
        assert (await session.raw(Request("GET", "/users/me"), FOREGROUND)).status == status
        return
    with pytest.raises(APIError) as caught:
        await session.raw(Request("GET", "/users/me"), FOREGROUND)
    assert caught.value.status == status


STRAY = ": the answer belongs to another request. Is there a proxy that mixes answers up?"


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (
            {"gid": 7},
            (
                "POST /tasks/1203/duplicate was answered 201, but the job's gid cannot be read: job 7 is not as Asana "
                "documents it: expected a string, not a number @ $.gid"
            ),
        ),
        (
            {"gid": "7"},
            f"POST /tasks/1203/duplicate was answered with job 7, which was there before it was sent{STRAY}",
        ),
        (
            {"gid": "8", "resource_subtype": "duplicate_project"},
            f"POST /tasks/1203/duplicate was answered with job 8, a duplicate_project{STRAY}",
        ),
    ],
)
async def test_why_the_answer_to_a_start_is_not_believed_is_a_sentence(
    session: ApiSession, transport: ScriptedTransport, answer: dict[str, object], said: str
) -> None:
    """What came, and why it cannot be the job of what was sent; then nobody knows what was started."""
    session.seen.note("7")
    transport.play(answer)

    with pytest.raises(OutcomeUnknownError) as caught:
        await session.start(COPY)

    cause = caught.value.__cause__
    assert isinstance(cause, TransportError)
    assert (str(cause), cause.gid) == (said, "1203")


async def test_a_start_that_the_closing_client_left_unanswered_is_told_in_a_sentence(
    session: ApiSession, transport: ScriptedTransport
) -> None:
    """It is in doubt because of that, and what a person can do is said."""

    async def close(_: Request) -> Response:
        session.lifetime.close()
        await asyncio.Event().wait()
        return Response(200)

    transport.play(close)
    with pytest.raises(OutcomeUnknownError) as caught:
        await session.start(COPY)

    assert str(caught.value) == (
        "duplicate_task of 1203 may or may not have been started: POST /tasks/1203/duplicate: the client was closed "
        "before the answer came. It was not repeated; look in Asana for 'copy', made by this token's user at about this "
        "time."
    )
    assert isinstance(caught.value.__cause__, TransportError)
    assert isinstance(caught.value.__cause__.__cause__, ClientClosedError)


# The gids that were seen.


def test_a_gid_that_was_seen_before_belongs_to_another_start() -> None:
    """Seen after it was sent, or never, it may be its job's; the first sighting counts, whoever sees it again."""
    seen = SeenGids()
    seen.note("1")
    count = seen.count
    seen.note("2")
    seen.note("1")

    assert (count, seen.count) == (1, 2)
    assert [seen.before(gid, count, COPY) for gid in ("1", "2", "3")] == [True, False, False]
    assert [seen.before(gid, 2, COPY) for gid in ("1", "2", "3")] == [True, True, False]


def test_a_graph_export_is_given_the_job_of_one_like_it() -> None:
    """That runs already, started by whomever; but not the job of another subject, or of another operation."""
    seen = SeenGids()
    seen.note("1")
    seen.note("2", ExportGraph("12"))
    seen.note("3", ExportGraph("13"))
    seen.note("4", DuplicateProject("12", name="Q3"))

    found = [seen.before(gid, seen.count, ExportGraph("12")) for gid in ("1", "2", "3", "4")]
    others = [seen.before(gid, seen.count, DuplicateProject("12", name="Q3")) for gid in ("1", "2", "3", "4")]

    assert found == [False, False, True, True]
    assert others == [True, True, True, True]


def test_the_oldest_gids_are_forgotten_first() -> None:
    """As many are remembered as there may be."""
    seen = SeenGids()
    for number in range(MOST_SEEN_GIDS):
        seen.note(str(number))
    assert (len(seen.sightings), "0" in seen.sightings) == (MOST_SEEN_GIDS, True)
    seen.note("one more")

    assert (len(seen.sightings), "0" in seen.sightings, "1" in seen.sightings) == (
        MOST_SEEN_GIDS,
        False,
        True,
    )
    assert seen.count == MOST_SEEN_GIDS + 1


def test_gids_take_as_long_to_note_when_others_are_forgotten() -> None:
    """The next of 100,000 gids takes no longer than the first ones, where each was looked for past all that are gone."""
    seen, took = SeenGids(), list[float]()
    for part in range(25):
        began = time.process_time()
        for number in range(4000):
            seen.note(f"{part} {number}")
        took.append(time.process_time() - began)

    assert sorted(took)[12] < 5 * min(took[:8])


# Repetitions.


async def test_what_says_no_time_is_repeated_whatever_the_longest_may_be(
    session: ApiSession, transport: ScriptedTransport
) -> None:
    """A policy that waits for no ``Retry-After`` still repeats what has none; one that asks for a second is raised."""
    session.retry = RetryPolicy(jitter=0, max_retry_after=0.5)

    def read(request: Request, response: Response) -> object:
        return read_data(request, response, session.clock.now)

    transport.play(503, "succeeded")
    await session.call(read_job("1203"), FOREGROUND, read)
    assert len(transport.requests) == 2
    transport.play(Response(503, {"retry-after": "1"}))
    with pytest.raises(ServerError):
        await session.call(read_job("1203"), FOREGROUND, read)
    assert len(transport.requests) == 3


async def test_what_reads_an_answer_may_have_it_repeated(
    session: ApiSession, transport: ScriptedTransport, clock: FakeClock
) -> None:
    """An answer that cannot be read is lost as one that never came, and the one after it is read."""
    transport.play(Response(200, body=b"<html>"), "succeeded")

    data = await session.call(
        read_job("1203"), FOREGROUND, lambda request, response: read_data(request, response, clock.now)
    )

    assert isinstance(data, dict)
    assert len(transport.requests) == 2
    assert clock.sleeps == [0.5]


async def test_what_may_not_be_sent_twice_is_not(session: ApiSession, transport: ScriptedTransport) -> None:
    """A POST whose answer is lost is not repeated by anybody."""
    transport.play(TransportError("reset", method="POST", path="/tags"))

    with pytest.raises(TransportError, match="reset"):
        await session.call(
            Request("POST", "/tags", safety=Safety.ONCE), FOREGROUND, lambda _, response: response.status
        )

    assert len(transport.requests) == 1


async def test_a_closed_client_repeats_nothing(session: ApiSession, transport: ScriptedTransport) -> None:
    """The error that there is is raised, and no pause begins."""

    def close(_: Request) -> int:
        session.lifetime.close()
        return 503

    transport.play(close)
    with pytest.raises(ServerError):
        await session.call(
            read_job("1203"),
            FOREGROUND,
            lambda request, response: read_data(request, response, session.clock.now),
        )

    assert len(transport.requests) == 1


async def test_tries_are_spaced_out(
    client: AsanaClient, clock: FakeClock, transport: ScriptedTransport
) -> None:
    """The waits between tries double."""
    transport.play(503)

    with pytest.raises(ServerError):
        await client.get_job("1203")

    assert clock.sleeps == [0.5, 1, 2, 4]


async def test_jitter_only_shortens(clock: FakeClock, transport: ScriptedTransport) -> None:
    """With jitter each wait is shorter by at most that share."""
    transport.play(503)
    async with AsanaClient(
        "test-token", transport=transport, clock=clock, retry=RetryPolicy(jitter=0.5)
    ) as client:
        with pytest.raises(ServerError):
            await client.get_job("1203")

    assert all(base / 2 <= sleep <= base for base, sleep in zip([0.5, 1, 2, 4], clock.sleeps, strict=True))
    assert clock.sleeps != [0.5, 1, 2, 4]


async def test_retry_after_of_a_503_wins(
    client: AsanaClient, clock: FakeClock, transport: ScriptedTransport
) -> None:
    """A Retry-After that asks for longer than our own wait is obeyed."""
    transport.play(Response(status=503, headers={"retry-after": "20"}), "succeeded")

    await client.get_job("1203")

    assert clock.monotonic() == 20


async def test_a_429_makes_everybody_wait(
    client: AsanaClient, clock: FakeClock, transport: ScriptedTransport
) -> None:
    """While one call waits out a 429, the others of the same client wait too."""
    transport.play(Response(status=429, headers={"retry-after": "20"}), "succeeded")
    first = asyncio.create_task(client.get_job("1"))
    await clock.sleep(1)

    await client.get_job("2")

    assert clock.monotonic() >= 20
    await first


async def test_a_retry_after_that_is_too_long(
    client: AsanaClient, clock: FakeClock, transport: ScriptedTransport
) -> None:
    """A Retry-After above max_retry_after is raised instead of being waited for."""
    transport.play(Response(status=429, headers={"retry-after": "3600"}), "succeeded")

    with pytest.raises(RateLimitError) as caught:
        await client.get_job("1203")

    assert caught.value.retry_after == 3600
    assert clock.monotonic() == 0


async def test_the_longest_retry_after_that_is_waited_for(
    client: AsanaClient, clock: FakeClock, transport: ScriptedTransport
) -> None:
    """Exactly max_retry_after is not above it."""
    longest = RetryPolicy().max_retry_after
    transport.play(Response(status=503, headers={"retry-after": f"{longest:g}"}), "succeeded")

    await client.get_job("1203")

    assert clock.monotonic() == longest


async def test_one_attempt_is_one_attempt(clock: FakeClock, transport: ScriptedTransport) -> None:
    """With attempts=1 nothing is repeated."""
    transport.play(503)
    async with AsanaClient(
        "test-token", transport=transport, clock=clock, retry=RetryPolicy(attempts=1)
    ) as client:
        with pytest.raises(ServerError):
            await client.get_job("1203")

    assert len(transport.requests) == 1
