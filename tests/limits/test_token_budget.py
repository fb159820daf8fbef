"""What the clients of one token share, above all the repetitions of calls that fail."""

import asyncio
import gc
import logging
from collections.abc import Awaitable, Callable

import attrs
import pytest

from asana_jobs import AsanaClient, DuplicateTask, RateLimits, Response, RetryPolicy
from asana_jobs._client.http.protocol import Request
from asana_jobs._client.limits.gate import Gate, LocalGate
from asana_jobs._client.limits.running_jobs import RunningJobPermits
from asana_jobs._client.limits.token_budget import RepetitionBucket, TokenBudget, TokenBudgets
from asana_jobs.errors import ConnectError, RateLimitError, ServerError
from asana_jobs.testing import FakeClock


AMPLE = RateLimits(requests_per_minute=1e6, reads_in_flight=1000, writes_in_flight=1000)
JSON = {"content-type": "application/json"}
FINE = Response(200, JSON, b'{"data": {"gid": "1203", "status": "succeeded"}}')
DOWN = Response(503, JSON, b"{}")
BUSY = Response(429, {**JSON, "retry-after": "1"}, b"{}")


@attrs.define
class Server:
    """A far end that counts what it is asked, and answers each request as it is told at the time."""

    answer: Callable[[int], Response | Exception]
    asked: int = 0

    async def send(self, request: Request) -> Response:
        """Count one request."""
        self.asked += 1
        answer = self.answer(self.asked)
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def close(self) -> None:
        """There is nothing to close."""


class SlowServer(Server):
    """A far end that starts jobs, and never answers a look at one."""

    async def send(self, request: Request) -> Response:
        """Count and answer what starts a job."""
        if request.method == "GET":
            await asyncio.Event().wait()
        return await super().send(request)


def client_of(server: Server, clock: FakeClock, gate: Gate | None = None) -> AsanaClient:
    """A client that keeps nobody waiting for the budget."""
    return AsanaClient(
        "test-token", gate=gate, transport=server, clock=clock, limits=AMPLE, retry=RetryPolicy(jitter=0)
    )


async def outcomes(calls: list[Awaitable[object]]) -> list[object]:
    """Return what each of *calls* came to, all of them made at once."""
    return await asyncio.gather(*calls, return_exceptions=True)


async def use_up(client: AsanaClient) -> None:
    """Have calls fail until no repetition is left."""
    await outcomes([client.get_job("1203") for _ in range(100)])


def test_a_full_bucket_has_thirty_five_repetitions() -> None:
    """Repetitions are there until less than one is left, and none comes of asking for another."""
    bucket = RepetitionBucket()
    assert [bucket.draw() for _ in range(37)] == [True] * 35 + [False] * 2
    assert bucket.level == 500 - 35 * 14


def test_a_bucket_is_refilled_by_ones_and_by_what_worked() -> None:
    """An answer gives back one part of a repetition, a repetition that worked all of it, and neither more than there was."""
    bucket = RepetitionBucket(level=13)
    assert not bucket.draw()
    bucket.answered()
    assert bucket.draw()
    assert bucket.level == 0
    bucket.worked()
    assert bucket.level == 14
    bucket.level = 499
    bucket.answered()
    bucket.answered()
    assert bucket.level == 500
    bucket.level = 490
    bucket.worked()
    assert bucket.level == 500


@pytest.mark.parametrize(
    "failure", [DOWN, ConnectError("refused", method="GET", path="/jobs/1203")], ids=["503", "refused"]
)
async def test_a_hundred_calls_do_not_become_five_hundred_requests(
    clock: FakeClock, failure: Response | Exception
) -> None:
    """Against a server in trouble, calls are repeated 35 times in all, and then end with the error that they have."""
    server = Server(lambda _: failure)
    async with client_of(server, clock) as client:
        found = await outcomes([client.get_job("1203") for _ in range(100)])

    assert server.asked == 135
    assert {type(error) for error in found} == {ConnectError if failure is not DOWN else ServerError}


async def test_it_is_the_same_for_requests_of_the_user(clock: FakeClock) -> None:
    """A request of the user's own draws on the same repetitions."""
    server = Server(lambda _: DOWN)
    async with client_of(server, clock) as client:
        await outcomes([client.request("GET", "/users/me") for _ in range(50)])
        await outcomes([client.get_job("1203") for _ in range(50)])

    assert server.asked == 135


async def test_a_call_alone_is_repeated_as_its_policy_says(clock: FakeClock) -> None:
    """Few calls notice nothing: each of seven has all of its five tries."""
    server = Server(lambda _: DOWN)
    async with client_of(server, clock) as client:
        await outcomes([client.get_job("1203") for _ in range(7)])

    assert server.asked == 7 * 5


async def test_trouble_now_and_then_is_repeated_for_ever(clock: FakeClock) -> None:
    """A repetition that works costs nothing, so that any number of calls get over a first try that failed."""
    server = Server(lambda number: DOWN if number % 2 else FINE)
    async with client_of(server, clock) as client:
        for _ in range(200):
            await client.get_job("1203")

    assert server.asked == 400


async def test_answers_bring_repetitions_back(clock: FakeClock) -> None:
    """After an outage each answer, even one about something that is not there, pays for a part of a repetition."""
    server = Server(lambda _: DOWN)
    async with client_of(server, clock) as client:
        await use_up(client)  # 500 - 35 * 14 = 10 are left of it
        server.answer = lambda number: FINE if number % 2 else Response(404, JSON, b"{}")
        await outcomes([client.get_job("1203") for _ in range(3)])
        server.answer, server.asked = lambda _: DOWN, 0
        await outcomes([client.get_job("1203")])
        assert server.asked == 1
        server.answer = lambda _: FINE
        await client.get_job("1203")
        server.answer, server.asked = lambda _: DOWN, 0
        await outcomes([client.get_job("1203")])
        assert server.asked == 2


async def test_no_more_are_put_by_than_for_one_outage(clock: FakeClock) -> None:
    """However long everything was well, 35 repetitions are the most that may fail."""
    server = Server(lambda number: FINE if number <= 1000 else DOWN)
    async with client_of(server, clock) as client:
        await outcomes([client.get_job("1203") for _ in range(1000)])
        await use_up(client)

    assert server.asked == 1000 + 135


async def test_a_429_draws_on_nothing(clock: FakeClock) -> None:
    """What was refused is repeated after the pause of the gate, and costs no repetition of another call."""
    server = Server(lambda _: BUSY)
    async with client_of(server, clock) as client:
        for _ in range(20):
            with pytest.raises(RateLimitError):
                await client.get_job("1203")
        assert server.asked == 20 * 5
        server.answer, server.asked = lambda _: DOWN, 0
        await use_up(client)

    assert server.asked == 135


async def test_a_429_gives_nothing_back(clock: FakeClock) -> None:
    """A refusal is no sign that the server is well."""
    server = Server(lambda _: DOWN)
    async with client_of(server, clock) as client:
        await use_up(client)
        server.answer = lambda _: BUSY
        for _ in range(20):
            with pytest.raises(RateLimitError):
                await client.get_job("1203")
        server.answer, server.asked = lambda _: DOWN, 0
        with pytest.raises(ServerError):
            await client.get_job("1203")

    assert server.asked == 1


async def test_starts_are_repeated_all_the_same(clock: FakeClock) -> None:
    """A start that certainly did not go out is repeated though calls have used up their repetitions, and takes none."""
    server = Server(lambda _: DOWN)
    async with client_of(server, clock) as client:
        await use_up(client)
        server.answer, server.asked = lambda _: ConnectError("refused", method="POST", path="/tasks"), 0
        found = await outcomes([client.duplicate_task("1", name="copy") for _ in range(20)])
        assert server.asked == 20 * 5
        assert {type(error) for error in found} == {ConnectError}

        server.answer, server.asked = lambda number: DOWN if number == 1 else FINE, 0
        with pytest.raises(ServerError):
            await client.get_job("1203")


async def test_starts_leave_the_repetitions_to_calls(clock: FakeClock) -> None:
    """However often starts are repeated, calls have the repetitions that they had."""
    server = Server(lambda _: ConnectError("refused", method="POST", path="/tasks"))
    async with client_of(server, clock) as client:
        await outcomes([client.duplicate_task("1", name="copy") for _ in range(50)])
        server.answer, server.asked = lambda _: DOWN, 0
        await use_up(client)

    assert server.asked == 135


async def test_a_wait_outlives_trouble_all_the_same(clock: FakeClock) -> None:
    """Looks are not repetitions: a wait goes on until the server is back, though calls have used up theirs."""
    server = Server(lambda _: DOWN)
    async with client_of(server, clock) as client:
        await use_up(client)
        server.answer = lambda number: DOWN if number < 135 + 30 else FINE
        job = await client.wait_for_job("1203")

    assert job.succeeded
    assert server.asked == 135 + 30


async def test_a_run_outlives_trouble_all_the_same(clock: FakeClock) -> None:
    """What a run starts is tried for as long as nobody can be reached, though calls have used up their repetitions."""
    server = Server(lambda _: DOWN)
    started = Response(201, JSON, b'{"data": {"gid": "1204", "status": "succeeded"}}')
    refused = ConnectError("refused", method="POST", path="/tasks/1/duplicate")
    async with client_of(server, clock) as client:
        await use_up(client)
        server.answer = lambda number: refused if number < 135 + 30 else started
        job = await client.run(DuplicateTask("1", name="copy"))

    assert job.gid == "1204"
    assert server.asked == 135 + 30


async def test_a_call_that_is_not_repeated_says_so_to_the_log(
    clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    """Whoever wonders why a policy of five tries made one finds the reason in the log."""
    server = Server(lambda _: DOWN)
    async with client_of(server, clock) as client:
        await use_up(client)
        caplog.clear()
        with caplog.at_level(logging.INFO, "asana_jobs"), pytest.raises(ServerError) as caught:
            await client.get_job("1203")

    told = [record for record in caplog.records if "is not repeated" in record.message]
    assert len(told) == 1
    assert told[0].message == (
        "GET /jobs/1203 is not repeated, since too many repetitions of other calls have failed: "
        f"{caught.value}"
    )
    fields = {"asana_method": "GET", "asana_path": "/jobs/1203", "asana_gid": "1203"}
    assert vars(told[0]).items() >= {**fields, "asana_error": "ServerError"}.items()


# clients of one token


async def test_siblings_with_the_same_token_share_their_repetitions(clock: FakeClock) -> None:
    """Ten clients of one token ask a server in trouble no more often than one does; another token has its own."""
    server = Server(lambda _: DOWN)
    async with client_of(server, clock) as client:
        same = [client.with_token("test-token") for _ in range(10)]
        await asyncio.gather(*(use_up(sibling) for sibling in same))
        assert server.asked == 1000 + 35
        server.asked = 0
        await use_up(client.with_token("another"))
        assert server.asked == 135


async def test_siblings_with_the_same_token_share_the_pause(clock: FakeClock) -> None:
    """A 429 to one client of a token holds up the other one, whichever of the family made it."""
    server = Server(lambda _: BUSY)
    async with client_of(server, clock) as client:
        other = client.with_token("another")
        one, two = other.with_token("test-token"), client.with_token("another")
        call = asyncio.ensure_future(one.get_job("1203"))
        while server.asked == 0:  # noqa: ASYNC110  # the clock stands still meanwhile
            await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert client.budget.paused_for == one.budget.paused_for == 1
        assert other.budget.paused_for == two.budget.paused_for == 0
        call.cancel()


async def test_siblings_with_the_same_provider_share_a_budget(clock: FakeClock) -> None:
    """A provider of tokens is one user, whether or not it can be hashed."""

    @attrs.define  # compares by value, and has no hash
    class Provider:
        async def __call__(self) -> str:
            return "renewed"

    provider = Provider()
    async with AsanaClient(provider, transport=Server(lambda _: FINE), clock=clock) as client:
        await client.with_token(provider).get_job("1203")
        await client.with_token(Provider()).get_job("1203")
        await client.with_token("a-token").get_job("1203")

        assert client.budget.used == pytest.approx(1 / 150)


async def test_siblings_with_the_same_token_share_the_running_jobs(clock: FakeClock) -> None:
    """Five jobs run at once, though two clients of one token start them."""
    server = SlowServer(lambda number: Response(201, JSON, b'{"data": {"gid": "%d"}}' % number))
    async with client_of(server, clock) as client:
        runs = [
            asyncio.ensure_future(one.run(DuplicateTask("1", name="copy")))
            for one in (client, client.with_token("test-token"))
            for _ in range(4)
        ]
        for _ in range(50):
            await asyncio.sleep(0)
        assert server.asked == 5
        for run in runs:
            run.cancel()
        await asyncio.gather(*runs, return_exceptions=True)


async def test_a_given_gate_is_shared_by_siblings_with_its_token(clock: FakeClock) -> None:
    """A client that was given a gate needs no other one for another client of the same token."""
    gate = LocalGate(AMPLE, clock)
    client = client_of(Server(lambda _: FINE), clock, gate)
    async with client, client.with_token("test-token") as sibling:
        await sibling.get_job("1203")
        assert gate.snapshot().used > 0
        with pytest.raises(ValueError, match="give the other token one of its own"):
            sibling.with_token("third")


async def test_what_is_expected_of_one_token_says_nothing_of_another(clock: FakeClock) -> None:
    """What an earlier client has found out holds for clients of the same token, and for no other one."""
    client = AsanaClient("t", transport=Server(lambda _: FINE), clock=clock, limits=RateLimits(expected=1500))
    async with client:
        assert client.with_token("t").budget.quota == 1500
        assert client.with_token("another").budget.quota == 150


def test_budgets_are_forgotten_with_their_clients(clock: FakeClock) -> None:
    """A thousand users who came and went leave nothing behind, and those who stay are found."""
    gate = LocalGate(AMPLE, clock)
    budgets = TokenBudgets()
    mine = TokenBudget("mine", gate, RunningJobPermits(5), RepetitionBucket())
    budgets.add(mine)
    for number in range(1000):
        budgets.add(TokenBudget(f"user-{number}", gate, RunningJobPermits(5), RepetitionBucket()))
    gc.collect()

    assert [number for number in range(1000) if budgets.find(f"user-{number}")] == []
    assert budgets.find("mine") is mine
    assert "mine" not in repr(mine)
