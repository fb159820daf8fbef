"""A worker whose token is refused, or is another one's: that is no wait's trouble."""

import asyncio
import os
import signal
from collections.abc import Callable

import pytest
from patience import Opening, Working, read

from asana_jobs import PollPolicy, RateLimits
from asana_jobs.errors import AuthenticationError, TokenError
from asana_jobs.events import JobLooked
from asana_jobs.operations import DuplicateProject, DuplicateTask
from asana_jobs.testing import AsanaSimulator
from asana_jobs.testing.simulator.requests import RequestRecord, token_label
from asana_jobs.worker import JobQueue, run_worker


pytestmark = pytest.mark.looptime(False)  # noqa: FBT003  # its way

LIMITS = RateLimits.paid()


def sent_with(token: str) -> Callable[[RequestRecord], bool]:
    """Return what tells the requests that were sent with *token*."""

    def told(record: RequestRecord) -> bool:
        return record.token == token_label(token)

    return told


async def test_a_revoked_token_stops_its_worker_and_ends_no_wait(  # noqa: PLR0917  # fixtures
    queue: JobQueue,
    working: Working,
    redis_url: str,
    budget: str,
    simulator: AsanaSimulator,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The worker ends with the error, soon and with everything given back; all waits are another worker's, and end."""
    simulator.fail_next(401, times=None, when=sent_with("revoked"))
    for number in range(8):
        simulator.add_job(str(7000 + number), [(0.0, "in_progress"), (2.0, "succeeded")])
        await queue.watch(str(7000 + number))
        await queue.enqueue(DuplicateTask("1203"), key=f"order-{number}")
    with pytest.raises(AuthenticationError):
        await asyncio.wait_for(
            run_worker(redis_url, queue=budget, token="revoked", base_url=simulator.base_url, limits=LIMITS),
            20,
        )
    assert await queue.result("order-0") is None
    assert len(simulator.started) == 0
    async with working():
        results = await read(queue, 16, 40)

    assert all(result.succeeded for result in results)
    assert len(simulator.started) == 8
    assert "Asana refuses the token of the budget" in caplog.text
    assert "revoked" not in caplog.text


async def test_a_token_that_cannot_be_renewed_stops_its_worker(
    queue: JobQueue, redis_url: str, budget: str, simulator: AsanaSimulator
) -> None:
    """So does a refresh token that is refused: the wait is left as it was."""
    simulator.add_job("1204", ["succeeded"])
    await queue.watch("1204")

    async def refused() -> str:
        raise TokenError("the refresh token was refused")

    with pytest.raises(TokenError, match="refused"):
        await asyncio.wait_for(
            run_worker(
                redis_url, queue=budget, token=refused, budget=f"b-{budget}", base_url=simulator.base_url
            ),
            20,
        )

    assert await queue.result("1204") is None


async def test_a_job_of_another_token_is_left_to_its_worker(
    queue: JobQueue, working: Working, simulator: AsanaSimulator, caplog: pytest.LogCaptureFixture
) -> None:
    """Two tokens on one queue, neither of which may look at the other's jobs: every job is seen to its end, once."""
    simulator.domain.creator_only = True
    for number in range(6):
        await queue.enqueue(DuplicateProject("1203", name=f"Copy {number}"), key=f"order-{number}")
    async with working(token="one"), working(token="two"):
        results = await read(queue, 6, 40)

    assert all(result.succeeded for result in results), results
    assert len(simulator.started) == 6
    refused = [request for request in simulator.requests if request.status in {403, 404}]
    assert len(refused) <= 6  # once for each wait, and no more
    assert ("is left to a worker with the token of the budget" in caplog.text) == bool(refused)


async def test_one_process_serves_several_tokens(
    queue: JobQueue, working: Working, simulator: AsanaSimulator
) -> None:
    """A worker with two tokens starts jobs with both, five running of each, and looks with the one that started."""
    simulator.domain.creator_only = True
    for number in range(10):
        await queue.enqueue(DuplicateProject("1203", name=f"Copy {number}"), key=f"order-{number}")
    async with working(token={f"{queue.name}-1": "one", f"{queue.name}-2": "two"}):
        results = await read(queue, 10, 40)

    assert all(result.succeeded for result in results), results
    assert not [request for request in simulator.requests if request.status in {403, 404}]
    assert {request.token for request in simulator.requests.where(method="POST")} == {
        token_label("one"),
        token_label("two"),
    }


async def test_two_workers_of_two_tokens_live_in_one_process_and_end_by_one_signal(
    queue: JobQueue, redis_url: str, budget: str, simulator: AsanaSimulator
) -> None:
    """SIGTERM ends all workers of a process."""
    workers = [
        asyncio.create_task(
            run_worker(redis_url, queue=budget, token=token, base_url=simulator.base_url, limits=LIMITS)
        )
        for token in ("one", "two")
    ]
    await queue.enqueue(DuplicateTask("1203"))
    await read(queue, 1)
    os.kill(os.getpid(), signal.SIGTERM)
    await asyncio.wait_for(asyncio.wait(workers), 10)

    assert [worker.exception() for worker in workers] == [None, None]
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


async def test_a_token_may_be_renewed(queue: JobQueue, working: Working, simulator: AsanaSimulator) -> None:
    """A token that an async callable returns is asked for again when it has expired, and no wait notices."""
    given: list[str] = []

    async def provider() -> str:
        given.append(f"token-{len(given)}")
        return given[-1]

    simulator.fail_next(401, times=None, when=sent_with("token-0"))
    seen: list[object] = []
    await queue.enqueue(DuplicateTask("1203"))
    async with working(token=provider, budget=f"b-{queue.name}", on_event=seen.append):
        [result] = await read(queue, 1)

    assert result.succeeded
    assert given == ["token-0", "token-1"]
    assert any(isinstance(event, JobLooked) for event in seen)


async def test_a_token_that_is_renewed_needs_a_name_for_its_budget() -> None:
    """A worker whose budget has no name says what to write, before anything is asked."""

    async def provider() -> str:
        return "token"

    with pytest.raises(ValueError, match=r'^a token that is renewed needs a name for its budget.*budget="'):
        await run_worker("redis://127.0.0.1:1/0", token=provider)
    with pytest.raises(ValueError, match="mapping of names of budgets"):
        await run_worker("redis://127.0.0.1:1/0", token={"a": "t"}, budget="b")
    with pytest.raises(ValueError, match="mapping of names of budgets"):
        await run_worker("redis://127.0.0.1:1/0", token={})


async def test_workers_share_a_named_budget(
    queue: JobQueue, working: Working, simulator: AsanaSimulator
) -> None:
    """Two workers whose tokens are renewed keep to five running jobs together, under one name."""

    async def provider() -> str:
        return "token"

    for number in range(8):
        await queue.enqueue(DuplicateProject("1203", name=f"Copy {number}"), key=f"order-{number}")
    name = f"b-{queue.name}"
    async with working(token=provider, budget=name), working(token=provider, budget=name):
        results = await read(queue, 8, 40)

    assert all(result.succeeded for result in results)
    assert simulator.peak_jobs_running == 5


async def test_a_worker_that_cannot_connect_ends_no_wait(
    queue: JobQueue, opened: Opening, simulator: AsanaSimulator, caplog: pytest.LogCaptureFixture
) -> None:
    """Asana is not who it should be for one worker, for longer than a wait is patient: the wait is for others, and ends."""
    simulator.add_job("1204", ["succeeded"])
    await queue.watch("1204")
    untrusting = await opened(
        base_url=simulator.base_url.replace("http://", "https://"), poll=PollPolicy(give_up_after=0.1)
    )
    for _ in range(3):
        assert await untrusting.step("1204") is not None
        await asyncio.sleep(0.1)
    assert await queue.result("1204") is None
    assert await (await opened()).step("1204") is None
    result = await queue.result("1204")

    assert result is not None
    assert result.succeeded
    assert caplog.text.count("cannot be looked at from this worker") == 1
    assert "does not speak TLS" in caplog.text


async def test_a_worker_goes_through_a_proxy(queue: JobQueue, opened: Opening) -> None:
    """The proxy that a worker is told is asked for the way to Asana."""
    asked: list[bytes] = []

    async def proxy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(await reader.readline())
        writer.close()
        await writer.wait_closed()

    server = await asyncio.start_server(proxy, "127.0.0.1", 0)
    await queue.watch("1204")
    async with server:
        address = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        steps = await opened(base_url=None, proxy=address)
        assert await steps.step("1204") is not None

    assert set(asked) == {b"CONNECT app.asana.com:443 HTTP/1.1\r\n"}
