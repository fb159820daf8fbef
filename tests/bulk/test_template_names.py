"""Dates and roles by name: the template is read once and before anything else, and a ledger remembers what it said."""

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from asana_jobs import AsanaClient, InstantiateProject, Ledger, Outcome, PollPolicy, RetryPolicy
from asana_jobs.errors import (
    ClientClosedError,
    LedgerError,
    NotFoundError,
    OutcomeUnknownError,
    PermissionDeniedError,
    ServerError,
    TransportError,
)
from asana_jobs.testing import AsanaSimulator, Reset
from asana_jobs.testing._fake_clock import FakeClock
from asana_jobs.testing._scripted_transport import ScriptedTransport


TEMPLATE = "/project_templates/1204"
START = "/project_templates/1204/instantiateProject"


@pytest.fixture
async def asked(simulator: AsanaSimulator) -> AsanaSimulator:
    """A simulator with a template that asks for two dates and a role."""
    simulator.add_project_template(
        "1204", requested_dates={"Start Date": "1", "Launch": "5"}, requested_roles={"Designer": "6"}
    )
    return simulator


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where a ledger is kept."""
    return tmp_path / "ledger"


def launch(name: str = "Q3", **given: Any) -> InstantiateProject:
    """Return an instantiation by name."""
    given = given or {"requested_dates": {"Launch": date(2027, 1, 4)}, "requested_roles": {"Designer": "me"}}
    return InstantiateProject("1204", name=name, **given)


def sent(simulator: AsanaSimulator) -> list[tuple[str, str]]:
    """Return what was asked, in order, looks left out."""
    return [
        (request.method, request.path)
        for request in simulator.requests
        if not request.path.startswith("/jobs/")
    ]


async def run(client: AsanaClient, *operations: Any, ledger: Ledger | None = None) -> list[Outcome]:
    """Run operations to their end."""
    return [outcome async for outcome in client.run_all(operations, ledger=ledger)]


@pytest.fixture
def quick(simulator: AsanaSimulator) -> AsanaSimulator:
    """A simulator whose jobs are over at once."""
    simulator.domain.speed = 1000
    return simulator


# --- Every way to start


async def test_a_start_reads_the_template_and_sends_gids(wired: AsanaClient, asked: AsanaSimulator) -> None:
    """The POST has gids alone: Asana knows nothing of names."""
    await wired.start(launch())
    await wired.instantiate_project("1204", name="Q4", requested_dates={"Launch": "2027-02-01"})

    assert sent(asked) == [("GET", TEMPLATE), ("POST", START)] * 2
    assert asked.requests[0].query == {"opt_fields": "requested_dates.name,requested_roles.name"}
    assert [request.body["data"] for request in asked.requests if request.body] == [
        {
            "name": "Q3",
            "requested_dates": [{"gid": "5", "value": "2027-01-04"}],
            "requested_roles": [{"gid": "6", "value": "me"}],
        },
        {"name": "Q4", "requested_dates": [{"gid": "5", "value": "2027-02-01"}]},
    ]


async def test_gids_alone_need_no_template(wired: AsanaClient, asked: AsanaSimulator) -> None:
    """What was written for earlier versions costs no request more."""
    await wired.start(launch(requested_dates={"5": "2027-01-04"}))

    assert sent(asked) == [("POST", START)]


async def test_a_run_of_one_reads_the_template(
    wired: AsanaClient, asked: AsanaSimulator, quick: AsanaSimulator
) -> None:
    """As a start does."""
    job = await wired.run(launch())

    assert job.succeeded
    assert sent(quick) == [("GET", TEMPLATE), ("POST", START)]


async def test_five_hundred_of_one_template_read_it_once(
    wired: AsanaClient, asked: AsanaSimulator, quick: AsanaSimulator
) -> None:
    """The quota is for copies."""
    given = [launch(f"Copy {number}") for number in range(500)]

    outcomes = await run(wired, *given)

    assert all(outcome.succeeded for outcome in outcomes)
    assert sent(quick).count(("GET", TEMPLATE)) == 1
    assert len(quick.started) == 500
    assert {outcome.operation for outcome in outcomes} == set(given)


async def test_each_template_of_a_run_is_read(
    wired: AsanaClient, asked: AsanaSimulator, quick: AsanaSimulator
) -> None:
    """Names are a template's own."""
    quick.add_project_template("1205", requested_dates={"Launch": "77"})

    await run(
        wired, launch(), InstantiateProject("1205", name="Q4", requested_dates={"Launch": "2027-01-04"})
    )

    bodies = [request.body["data"] for request in quick.requests if request.body]
    assert [body["requested_dates"][0]["gid"] for body in bodies] == ["5", "77"]


# --- Names that are none


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (
            {"requested_dates": {"Lunch": "2027-01-04"}},
            r"^template 1204 asks for no date 'Lunch': it asks for 'Start Date' \(1\), 'Launch' \(5\)$",
        ),
        (
            {"requested_roles": {"Launch": "me"}},
            r"^template 1204 asks for no role 'Launch': it asks for 'Designer' \(6\)$",
        ),
    ],
)
async def test_an_unknown_name_is_refused_with_the_known_ones(
    wired: AsanaClient, asked: AsanaSimulator, path: Path, given: dict[str, Any], said: str
) -> None:
    """Nothing was started, by none of the ways to start, and nothing stands in the ledger."""
    with Ledger.open(path) as ledger:
        with pytest.raises(ValueError, match=said):
            await wired.start(launch(**given))
        with pytest.raises(ValueError, match=said):
            await wired.run(launch(**given))
        with pytest.raises(ValueError, match=said):
            await wired.start(launch(**given), ledger=ledger, key="mine")
        (outcome,) = await run(wired, launch(**given))
        with pytest.raises(ValueError, match=said):
            outcome.raise_for_error()
        assert list(ledger.rows()) == []

    assert not asked.started


async def test_one_bad_name_does_not_end_a_run(
    wired: AsanaClient, asked: AsanaSimulator, quick: AsanaSimulator
) -> None:
    """The others are started."""
    wrong = launch("wrong", requested_dates={"Lunch": "2027-01-04"})

    outcomes = await run(wired, launch("one"), wrong, launch("two"))

    assert {outcome.operation.name: outcome.succeeded for outcome in outcomes} == {  # type: ignore[attr-defined]
        "one": True,
        "wrong": False,
        "two": True,
    }
    assert sent(quick).count(("GET", TEMPLATE)) == 1


# --- Trouble before the start


async def test_a_template_that_is_gone_is_asked_for_once(wired: AsanaClient, asked: AsanaSimulator) -> None:
    """Every operation of the run fails with the same error, which says that nothing was started."""
    asked.fail_next(404, path=TEMPLATE, times=None)

    outcomes = await run(wired, *(launch(f"Copy {number}") for number in range(20)))

    assert {type(outcome.error) for outcome in outcomes} == {NotFoundError}
    assert len({id(outcome.error) for outcome in outcomes}) == 20
    assert sent(asked) == [("GET", TEMPLATE)]
    with pytest.raises(NotFoundError):
        await wired.start(launch())


@pytest.mark.parametrize("fault", [403, 500, Reset()], ids=str)
async def test_trouble_with_the_template_is_an_ordinary_error(
    simulator: AsanaSimulator, path: Path, fault: Any
) -> None:
    """It is not the unknown outcome of a start: the ledger holds nothing, and the next call starts it."""
    simulator.fail_next(fault, path=TEMPLATE, times=None)
    async with AsanaClient(
        "test-token", base_url=simulator.base_url, retry=RetryPolicy(attempts=1)
    ) as client:
        with Ledger.open(path) as ledger:
            with pytest.raises((PermissionDeniedError, ServerError, TransportError)) as caught:
                await client.start(launch())
            assert list(ledger.rows()) == []
            simulator.heal()
            simulator.add_project_template("1204", requested_dates={"Launch": "5"})
            await client.start(launch(requested_dates={"Launch": "2027-01-04"}), ledger=ledger)

    assert not isinstance(caught.value, OutcomeUnknownError)
    assert len(simulator.started) == 1


async def test_a_run_outlives_an_outage_before_its_first_start(
    clock: FakeClock, transport: ScriptedTransport, client: AsanaClient
) -> None:
    """A run waits as long for the template as it would for a start."""
    down = 300.0

    def answer(request: Any) -> Any:
        if clock.monotonic() < began + down:
            return 503
        if request.method == "GET" and "project_templates" in request.path:
            return {"gid": "1204", "requested_dates": [{"gid": "5", "name": "Launch"}]}
        return {"gid": "1205", "status": "succeeded"}

    began = clock.monotonic()
    transport.play(answer)

    (outcome,) = await run(client, launch(requested_dates={"Launch": "2027-01-04"}))

    assert outcome.succeeded
    assert clock.monotonic() >= began + down


async def test_a_run_gives_the_template_up_after_the_time_of_its_policy(
    clock: FakeClock, transport: ScriptedTransport, client: AsanaClient
) -> None:
    """An outage without an end is an error, for all operations at once."""
    transport.play("succeeded", 503)
    await client.get_job("1")
    began = clock.monotonic()

    outcomes = await run(client, launch("one"), launch("two"))

    assert {type(outcome.error) for outcome in outcomes} == {ServerError}
    assert 0 <= clock.monotonic() - began - PollPolicy().give_up_after < 60


@pytest.mark.parametrize("way", ["start", "ledger", "run", "run_all"])
async def test_a_start_that_is_cancelled_at_the_template_has_started_nothing(
    client: AsanaClient, transport: ScriptedTransport, path: Path, way: str
) -> None:
    """Nothing was sent but the GET, and no row says otherwise."""
    asking = asyncio.Event()

    async def hang(_: Any) -> Any:
        asking.set()
        await asyncio.Event().wait()

    transport.play(hang)
    with Ledger.open(path) as ledger:
        ways: dict[str, Callable[[], Awaitable[object]]] = {
            "start": lambda: client.start(launch()),
            "ledger": lambda: client.start(launch(), ledger=ledger),
            "run": lambda: client.run(launch()),
            "run_all": lambda: run(client, launch(), ledger=ledger),
        }
        task = asyncio.ensure_future(ways[way]())
        await asking.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert list(ledger.rows()) == []

    assert [request.method for request in transport.requests] == ["GET"]


async def test_a_client_that_is_closed_at_the_template_ends_the_run(
    client: AsanaClient, transport: ScriptedTransport
) -> None:
    """As it does at any other request."""

    async def close(_: Any) -> Any:
        asyncio.get_running_loop().call_soon(lambda: closing.append(asyncio.ensure_future(client.close())))
        await asyncio.Event().wait()

    closing: list[asyncio.Future[None]] = []
    transport.play(close)

    with pytest.raises(ClientClosedError):
        await run(client, launch())
    await closing[0]


# --- With a ledger


async def test_a_resumed_run_starts_nothing_twice_although_a_date_was_renamed(
    wired: AsanaClient, asked: AsanaSimulator, quick: AsanaSimulator, path: Path
) -> None:
    """The name keeps the gid that it had, without another look at the template."""
    given = [launch(f"Copy {number}") for number in range(3)]
    with Ledger.open(path) as ledger:
        await run(wired, *given, ledger=ledger)
    quick.add_project_template("1204", requested_dates={"Go live": "5", "Launch": "9"})

    with Ledger.open(path) as ledger:
        outcomes = await run(wired, *given, launch("Copy 3"), ledger=ledger)

    assert [outcome.from_ledger for outcome in outcomes].count(True) == 3
    assert len(quick.started) == 4
    assert sent(quick).count(("GET", TEMPLATE)) == 1
    bodies = [request.body["data"] for request in quick.requests if request.body]
    assert {body["requested_dates"][0]["gid"] for body in bodies} == {"5"}


async def test_a_resumed_run_needs_no_template_that_is_gone(
    wired: AsanaClient, asked: AsanaSimulator, quick: AsanaSimulator, path: Path
) -> None:
    """What was started is gone on with."""
    with Ledger.open(path) as ledger:
        await run(wired, launch(), ledger=ledger)
    quick.fail_next(404, path=TEMPLATE, times=None)

    with Ledger.open(path) as ledger:
        (outcome,) = await run(wired, launch(), ledger=ledger)

    assert (outcome.succeeded, outcome.from_ledger) == (True, True)


async def test_a_name_and_its_gid_are_the_same_operation(
    wired: AsanaClient, asked: AsanaSimulator, quick: AsanaSimulator, path: Path
) -> None:
    """Rows are what Asana would do, however they are spelled, without a key and with one."""
    by_gid = launch(requested_dates={"5": "2027-01-04"}, requested_roles={"6": "me"})
    with Ledger.open(path) as ledger:
        await run(wired, ("mine", launch()), by_gid, ledger=ledger)
        again = await run(wired, ("mine", by_gid), launch(), ledger=ledger)
        job = await wired.start(launch(), ledger=ledger, key="mine")
        rows = list(ledger.rows())

    assert [outcome.from_ledger for outcome in again] == [True, True]
    assert len(quick.started) == 2
    assert job.gid in {row.gid for row in rows}
    assert {row.operation for row in rows} == {by_gid}


async def test_two_of_the_same_in_one_input_are_two(
    wired: AsanaClient, asked: AsanaSimulator, quick: AsanaSimulator, path: Path
) -> None:
    """One by name and one by gid as well: each has a turn of its own, and the next run knows both."""
    by_gid = launch(requested_dates={"5": "2027-01-04"}, requested_roles={"6": "me"})
    for _ in range(2):
        with Ledger.open(path) as ledger:
            await run(wired, launch(), by_gid, ledger=ledger)

    assert len(quick.started) == 2


async def test_a_name_that_is_new_to_the_ledger_is_asked_for(
    wired: AsanaClient, asked: AsanaSimulator, quick: AsanaSimulator, path: Path
) -> None:
    """Names that are remembered stay as they are."""
    with Ledger.open(path) as ledger:
        await run(wired, launch(requested_dates={"Launch": "2027-01-04"}), ledger=ledger)
        both = {"Launch": "2027-01-05", "Start Date": "2027-01-01"}
        await run(wired, launch(requested_dates=both), ledger=ledger)
        remembered = await ledger.template_names("1204")

    assert {date.name: date.gid for date in remembered.requested_dates} == {"Launch": "5", "Start Date": "1"}
    assert sent(quick).count(("GET", TEMPLATE)) == 2


async def test_of_two_processes_the_first_one_says_what_a_name_stands_for(
    wired: AsanaClient, asked: AsanaSimulator, path: Path
) -> None:
    """Both read the template, which was changed between: they agree all the same."""
    with Ledger.open(path) as one, Ledger.open(path) as other:
        await wired.start(launch(requested_dates={"Launch": "2027-01-04"}), ledger=one)
        asked.add_project_template("1204", requested_dates={"Launch": "9"})
        await wired.start(launch(requested_dates={"Launch": "2027-01-04"}), ledger=other)

    assert len(asked.started) == 1


async def test_a_remembered_gid_that_is_damaged_is_an_error(
    wired: AsanaClient, asked: AsanaSimulator, path: Path
) -> None:
    """Nothing is started by it."""
    with Ledger.open(path) as ledger:
        await wired.start(launch(), ledger=ledger)
    with sqlite3.connect(path) as file:
        file.execute("UPDATE template_names SET gid = 'x' WHERE kind = 'date'")
    file.close()

    with Ledger.open(path) as ledger, pytest.raises(LedgerError, match="a name of template 1204 is damaged"):
        await wired.start(launch("Q4"), ledger=ledger)
