"""``client.start(operation, ledger=..., key=...)``: the same call again is given the same job."""

import asyncio
from pathlib import Path

import pytest

from asana_jobs import AsanaClient, DuplicateProject, Ledger, Outcome, OutcomeUnknownError, RateLimits
from asana_jobs._client.bulk.ledger_rows import LedgerState
from asana_jobs.errors import LedgerBusyError, LedgerError, PermissionDeniedError, TokenError
from asana_jobs.testing import AsanaSimulator, Reset
from asana_jobs.testing._scripted_transport import ScriptedTransport


COPY = DuplicateProject("1203", name="Q3", include=["members", "task_notes"])


def opened(simulator: AsanaSimulator) -> AsanaClient:
    """A client of the simulator."""
    return AsanaClient("t", base_url=simulator.base_url, limits=RateLimits.paid())


def states(path: Path) -> dict[str, str]:
    """What stands in a ledger."""
    with Ledger.open(path) as ledger:
        return {row.key: row.state.value for row in ledger.rows()}


async def test_the_same_call_is_given_the_same_job(tmp_path: Path) -> None:
    """Two clients, one after the other, start one job under one key, and ``run_all`` waits for its end."""
    path = tmp_path / "ledger"
    gids: list[str] = []
    async with AsanaSimulator(durations=5) as simulator:
        for _ in range(2):
            async with opened(simulator) as client, Ledger.open(path) as ledger:
                job = await client.start(COPY, ledger=ledger, key="launch")
                assert not job.done
                assert job.result is not None
                gids.append(job.gid)
        assert states(path) == {"launch": "started"}
        async with opened(simulator) as client, Ledger.open(path) as ledger:
            outcomes: list[Outcome] = [one async for one in client.run_all([("launch", COPY)], ledger=ledger)]
            again = await client.start(COPY, ledger=ledger, key="launch")

    assert gids == [simulator.started[0].gid] * 2
    assert [outcome.succeeded for outcome in outcomes] == [True]
    assert again.succeeded
    assert len(simulator.started) == 1
    assert states(path) == {"launch": "succeeded"}


async def test_without_a_key_the_content_names_it(tmp_path: Path) -> None:
    """The order of ``include`` makes no other operation, another name does; ``run_all`` knows both as its own."""
    path = tmp_path / "ledger"
    async with (
        AsanaSimulator(durations=1) as simulator,
        opened(simulator) as client,
        Ledger.open(path) as ledger,
    ):
        first = await client.start(COPY, ledger=ledger)
        turned = DuplicateProject("1203", name="Q3", include=["task_notes", "members"])
        assert (await client.start(turned, ledger=ledger)).gid == first.gid
        other = await client.start(DuplicateProject("1203", name="Q4"), ledger=ledger)
        outcomes = [outcome async for outcome in client.run_all([COPY], ledger=ledger)]

    assert [outcome.job and outcome.job.gid for outcome in outcomes] == [first.gid]
    assert {job.gid for job in simulator.started} == {first.gid, other.gid}


async def test_many_callers_at_once_start_one_job(tmp_path: Path) -> None:
    """Of callers with one key at the same moment one starts the job; the others get it, or are told who does."""
    path = tmp_path / "ledger"
    async with (
        AsanaSimulator(durations=1, latency=0.2) as simulator,
        opened(simulator) as client,
        Ledger.open(path) as ledger,
    ):
        calls = [client.start(COPY, ledger=ledger, key="k") for _ in range(10)]
        answers = await asyncio.gather(*calls, return_exceptions=True)
        last = await client.start(COPY, ledger=ledger, key="k")

    assert len(simulator.started) == 1
    assert all(isinstance(one, LedgerBusyError) or getattr(one, "gid", "") == last.gid for one in answers)
    assert client._budget.running_jobs.taken == 0  # pyright: ignore[reportPrivateUsage]


async def test_a_lost_answer_stays_unknown(tmp_path: Path) -> None:
    """What may have been started is not started by the next call either, which says so."""
    async with AsanaSimulator() as simulator, opened(simulator) as client:
        simulator.fail_next(Reset(effect=True), method="POST")
        for _ in range(2):
            async with Ledger.open(tmp_path / "ledger") as ledger:
                with pytest.raises(OutcomeUnknownError, match="1203"):
                    await client.start(COPY, ledger=ledger, key="k")
        async with Ledger.open(tmp_path / "ledger") as ledger:
            await ledger.accept_unknown()
            with pytest.raises(LedgerError, match="settled by a person"):
                await client.start(COPY, ledger=ledger, key="k")

    assert len(simulator.started) == 1


async def test_a_refusal_is_raised_and_may_be_tried_again(
    tmp_path: Path, transport: ScriptedTransport, client: AsanaClient
) -> None:
    """After a refusal nothing was started, and the same call starts it."""
    transport.play(403, {"gid": "71", "resource_type": "job", "status": "in_progress"})
    async with Ledger.open(tmp_path / "ledger") as ledger:
        with pytest.raises(PermissionDeniedError):
            await client.start(COPY, ledger=ledger, key="k")
        assert [row.state for row in ledger.rows()] == [LedgerState.REFUSED]

        assert (await client.start(COPY, ledger=ledger, key="k")).gid == "71"


@pytest.mark.parametrize(
    ("method", "answer", "told"),
    [
        ("started", "in_progress", "{broken}"),
        ("refused", 403, "{raised}; not recorded: {broken}"),
        ("unknown", 503, "{raised}; not recorded: {broken}"),
        ("withdraw", None, "'k' was not started, but is not recorded as that: {broken}"),
        ("release", "in_progress", "'k' stays leased for up to 60 s: {broken}"),
    ],
)
async def test_what_cannot_be_recorded_is_told(
    tmp_path: Path,
    transport: ScriptedTransport,
    client: AsanaClient,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    *,
    method: str,
    answer: str | int | None,
    told: str,
) -> None:
    """One warning names the row and the trouble with the file, and hides nothing of what became of the start."""
    broken = LedgerError("no space is left for the ledger")

    async def fail(*_: object, **__: object) -> None:
        raise broken

    async def no_token() -> str:
        raise TokenError("log in again")

    monkeypatch.setattr(Ledger, method, fail)
    transport.play(answer or 500)
    starting = client.with_token(no_token) if answer is None else client
    raised: Exception | None = None
    async with Ledger.open(tmp_path / "ledger") as ledger:
        try:
            job = await starting.start(COPY, ledger=ledger, key="k")
            assert job.gid == "1203"
        except (PermissionDeniedError, OutcomeUnknownError, TokenError) as error:
            raised = error

    assert (raised is None) == (answer == "in_progress")
    assert [record.getMessage() for record in caplog.records] == [told.format(broken=broken, raised=raised)]
    for record in caplog.records:
        assert vars(record).items() >= {"asana_key": "k", "asana_error": "LedgerError"}.items()


async def test_a_start_that_was_not_sent_leaves_no_row_and_no_word(
    tmp_path: Path, transport: ScriptedTransport, client: AsanaClient, caplog: pytest.LogCaptureFixture
) -> None:
    """Its intent is taken back once, and nobody tries to record anything else of it."""

    async def no_token() -> str:
        raise TokenError("log in again")

    async with Ledger.open(tmp_path / "ledger") as ledger:
        with pytest.raises(TokenError):
            await client.with_token(no_token).start(COPY, ledger=ledger, key="k")
        assert list(ledger.rows()) == []

    assert (caplog.records, transport.requests) == ([], [])


@pytest.mark.parametrize("answer", [403, 503])
async def test_what_came_of_a_start_is_recorded_once(
    tmp_path: Path,
    transport: ScriptedTransport,
    client: AsanaClient,
    caplog: pytest.LogCaptureFixture,
    answer: int,
) -> None:
    """A refusal or a doubt: a second record would be of an intent that is none any more."""
    transport.play(answer)
    async with Ledger.open(tmp_path / "ledger") as ledger:
        with pytest.raises((PermissionDeniedError, OutcomeUnknownError)):
            await client.start(COPY, ledger=ledger, key="k")
        assert [row.state.value for row in ledger.rows()] == ["refused" if answer == 403 else "unknown"]

    assert caplog.records == []


async def test_wrong_arguments_send_nothing(tmp_path: Path) -> None:
    """A key without a ledger, one that cannot be one, and one that stands for another operation are refused."""
    async with AsanaSimulator() as simulator, opened(simulator) as client:
        with pytest.raises(ValueError, match="ledger"):
            await client.start(COPY, key="k")
        async with Ledger.open(tmp_path / "ledger") as ledger:
            with pytest.raises(ValueError, match="key"):
                await client.start(COPY, ledger=ledger, key="a\nb")
            with pytest.raises(ValueError, match="run_all"):
                await client.start([COPY], ledger=ledger)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
            await client.start(COPY, ledger=ledger, key="k")
            with pytest.raises(LedgerError, match="another operation"):
                await client.start(DuplicateProject("1203", name="Q4"), ledger=ledger, key="k")

    assert len(simulator.started) == 1


async def test_cancelled_anywhere_the_next_call_starts_it_once(tmp_path: Path) -> None:
    """Cancelled after any delay, a call has started nothing or its job is what the next one gets."""
    async with AsanaSimulator(latency=0.2) as simulator:
        for number in range(30):
            copy = DuplicateProject("1203", name=f"{number}")
            async with opened(simulator) as client, Ledger.open(tmp_path / "ledger") as ledger:
                call = asyncio.create_task(client.start(copy, ledger=ledger))
                await asyncio.sleep(number * 0.01)
                call.cancel()
                await asyncio.wait([call])
                await client.start(copy, ledger=ledger)

    assert len(simulator.started) == 30
