"""Every fault of the simulator, met by every public call: alone, beside waits, and beside a bulk run.

Each cell ends as documented, in bounded time, with no job started twice: the simulator's log is the judge.
``python tests/campaign/test_fault_matrix.py`` prints the whole matrix.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from enum import Enum
from pathlib import Path
from typing import Final, TypeAlias, cast, get_args

import attrs
import pytest
from as_command import print_lines
from public_calls import CALLS, Call, Family, Place, briefly, representatives, uncovered, wait_for_all

from asana_jobs import AsanaClient, Check, DuplicateProject, Outcome, PollPolicy, RateLimits, RetryPolicy
from asana_jobs.errors import AsanaJobsError
from asana_jobs.testing import (
    AsanaSimulator,
    Fault,
    HiddenJob,
    HtmlPage,
    Latency,
    NewStatus,
    NotJson,
    Reset,
    SimulatorLimits,
    SlowDrip,
    Status,
    Truncated,
    UnknownFields,
    WrongContentType,
)


class Effect(Enum):
    """What a fault amounts to for whoever meets it once."""

    NONE = "the answer is right, if late or odd"
    ODD = "the job seems not to have finished"
    BROKEN = "the same as lost, but for a GET, which aiohttp itself repeats once"
    LOST = "nobody knows whether the request took effect"
    FAILED = "Asana or something before it failed"
    GARBLED = "a success that cannot be read"
    LIMITED = "nothing happened; later it may"
    NOT_SENT = "no connection could be made for a while"
    PAGE = "some gateway's 404, which says nothing about the job"
    MISSING = "404: gone, or not there yet"
    REFUSED = "Asana says no"
    UNAUTHORIZED = "the token is not good any more"


Event: TypeAlias = Callable[[AsanaSimulator, str], Awaitable[object] | None]

#: The faults by name: a value for `fail_next`, or one of the simulator's own events.
FAULTS: Final[dict[str, tuple[Fault | Event, Effect]]] = {
    **{f"{status}": (Status(status), Effect.REFUSED) for status in (400, 402, 403, 422, 451)},
    "401": (Status(401), Effect.REFUSED),
    "404": (Status(404), Effect.MISSING),
    "429": (Status(429), Effect.LIMITED),
    "429, Retry-After 3": (Status(429, retry_after=3), Effect.LIMITED),
    "500": (Status(500), Effect.FAILED),
    "502": (Status(502), Effect.FAILED),
    "503, Retry-After 3": (Status(503, retry_after=3), Effect.FAILED),
    "504, took effect": (Status(504, effect=True), Effect.FAILED),
    "reset": (Reset(), Effect.BROKEN),
    "reset, took effect": (Reset(effect=True), Effect.BROKEN),
    "3 s late": (Latency(3), Effect.NONE),
    "40 s late": (Latency(40), Effect.LOST),
    "40 s late, took effect": (Latency(after=40), Effect.LOST),
    "HTML 502": (HtmlPage(), Effect.FAILED),
    "HTML 404": (HtmlPage(404), Effect.PAGE),
    "HTML 200": (HtmlPage(200, effect=True), Effect.GARBLED),
    "not JSON": (NotJson(), Effect.GARBLED),
    "not JSON, 500": (NotJson(500), Effect.FAILED),
    "truncated": (Truncated(), Effect.LOST),
    "slow drip": (SlowDrip(0.2, piece=100), Effect.NONE),
    "endless drip": (SlowDrip(20, piece=100), Effect.LOST),
    "wrong content type": (WrongContentType(), Effect.NONE),
    "new status": (NewStatus(), Effect.ODD),
    "unknown fields": (UnknownFields(), Effect.NONE),
    "hidden job": (HiddenJob(1), Effect.NONE),
    "connections refused": (lambda simulator, _: simulator.refuse_connections(5), Effect.NOT_SENT),
    "token expired": (lambda simulator, token: simulator.expire_token(token), Effect.UNAUTHORIZED),
    "links expired": (lambda simulator, _: simulator.expire_links(), Effect.NONE),
}
#: The simulator's ways to go wrong beside `fail_next`, and what it has besides.
EVENTS: Final = {"refuse_connections", "expire_token", "expire_links"}
NO_FAULTS: Final = {
    "add_job",
    "add_object",
    "add_organization_export",
    "add_project_template",
    "fail_next",
    "heal",
}

_REFUSALS: Final = {
    "400": "BadRequestError",
    "401": "AuthenticationError",
    "402": "PaymentRequiredError",
    "403": "PermissionDeniedError",
    "404": "NotFoundError",
    "422": "UnprocessableError",
    "451": "LegalBlockError",
    "token expired": "AuthenticationError",
    "HTML 404": "NotFoundError",
}
_FAIL: Final = {Effect.LOST, Effect.BROKEN, Effect.FAILED, Effect.GARBLED}
_OK: Final = "ok"
_UNKNOWN: Final = "OutcomeUnknownError"
_TOLD: Final = "Check.error"


def documented(family: Family, fault: str) -> str:
    """Return how a call whose first request meets a fault has to end."""
    effect = FAULTS[fault][1]
    refusal = _REFUSALS.get(fault, _OK)
    asked_again = family is Family.SAME_JOB and effect is Effect.PAGE  # the same job comes back
    if family is Family.CLOSE or asked_again:
        return _OK
    if family is Family.FILE and effect is Effect.ODD:
        return "DownloadError"
    if family in {Family.START, Family.RUN}:
        return _UNKNOWN if effect in _FAIL | {Effect.PAGE} else refusal
    if family is Family.CHECK:
        return _TOLD if effect in _FAIL - {Effect.BROKEN} | PASSING else refusal
    if family is Family.WAIT:
        return _OK if effect in {Effect.MISSING, Effect.PAGE} else refusal
    return refusal


#: What a look that is not repeated tells of.
PASSING: Final = {Effect.LIMITED, Effect.NOT_SENT, Effect.MISSING, Effect.PAGE}


def tolerated(family: Family, fault: str) -> set[str]:
    """Return how a call may end beside others: the fault meets it, or them, or both, up to three times."""
    outcomes = {_OK, documented(family, fault)}
    if family in {Family.RUN, Family.WAIT}:
        # What it met may have been a look, or a job that is not found three times running.
        outcomes.add(documented(Family.START if family is Family.RUN else Family.READ, fault))
        outcomes.add(documented(Family.WAIT, fault))
    if FAULTS[fault][1] is Effect.NOT_SENT and family in {Family.START, Family.RUN}:
        outcomes.add(_UNKNOWN)  # the connection broke under it
    if FAULTS[fault][1] is Effect.BROKEN and family is Family.CHECK:
        outcomes.add(_TOLD)
    return outcomes


# --- One cell


def outcome_of(result: object) -> str:
    """Name how a call ended."""
    if isinstance(result, BaseExceptionGroup):
        inner = cast("BaseExceptionGroup[BaseException]", result).exceptions
        return outcome_of(inner[0])
    if isinstance(result, BaseException):
        return type(result).__name__
    if isinstance(result, Check):
        return _OK if result.error is None else _TOLD
    if isinstance(result, list):
        errors = [
            outcome.error
            for outcome in cast("list[object]", result)
            if isinstance(outcome, Outcome) and outcome.error is not None
        ]
        return outcome_of(errors[0]) if errors else _OK
    return _OK


@attrs.define(eq=False)
class World:
    """A simulator, and a new client for every cell."""

    simulator: AsanaSimulator
    folder: Path
    cells: int = 0

    @asynccontextmanager
    async def place(self) -> AsyncGenerator[Place, None]:
        """Open a client under a token of its own, with gids that nobody used before."""
        self.cells += 1
        token, gid = f"token-{self.cells}", str(1_000_000 + 1_000 * self.cells)
        folder = self.folder / gid
        folder.mkdir()
        base_url = self.simulator.base_url
        client = AsanaClient(
            token,
            base_url=base_url,
            limits=RateLimits.paid(),
            retry=RetryPolicy(jitter=0),
            poll=PollPolicy(
                first_contact=60
            ),  # a place is opened for each fault, and was never reached before
        )
        async with client:
            yield Place(client=client, gid=gid, folder=folder, base_url=base_url, token=token)

    async def strike(self, fault: str, place: Place, times: int, path: str | None = None) -> None:
        """Make things go wrong from now on."""
        what = FAULTS[fault][0]
        if callable(what):
            happening = what(self.simulator, place.token)
            if happening is not None:
                await happening
        else:
            self.simulator.fail_next(what, times=times, path=path)

    def met(self, fault: str, call: Call) -> bool:
        """Whether a request has met the fault, where that can be."""
        what = FAULTS[fault][0]
        starts = call.family in {Family.START, Family.SAME_JOB, Family.RUN}
        if callable(what) or (isinstance(what, HiddenJob) and not starts):
            return True
        return any(record.fault == what for record in self.simulator.requests[-20:])

    def finished_export(self, gid: str) -> None:
        """Make a job that has a file."""
        self.simulator.add_job(gid, ["succeeded"], kind="export_graph", lines=2)

    async def heal(self) -> None:
        """Go wrong no more."""
        self.simulator.heal()
        await asyncio.sleep(10)  # connections are accepted again

    def started_twice(self) -> list[str]:
        """Return what was started more than once."""
        # A graph export that is asked for again is the same job as long as it runs.
        what = Counter(
            f"{job.kind} of {job.subject}, {job.result.get('name')}"
            for job in self.simulator.started
            if job.kind != "export_graph"
        )
        return [name for name, count in what.items() if count > 1]


async def _make(call: Call, place: Place) -> object:
    try:
        async with asyncio.timeout(600):
            return await call.make(place)
    except Exception as error:  # noqa: BLE001  # how it ended is the question
        return error


def _prepare(world: World, call: Call, place: Place) -> None:
    if call.family is Family.FILE:
        world.finished_export(place.gid)
    elif call.family in {Family.WAIT, Family.CHECK, Family.READ, Family.RAW}:
        world.simulator.add_job(place.gid, [(0.0, "in_progress"), (3.0, "succeeded")])


async def alone(world: World, call: Call, fault: str) -> str:
    """Let the first request of a call meet the fault."""
    async with world.place() as place:
        _prepare(world, call, place)
        await world.strike(fault, place, times=1)
        outcome = outcome_of(await _make(call, place))
        if call.family is not Family.CLOSE and not world.met(fault, call):
            outcome = "!the fault was not met"
        return await _finish(world, place, outcome, {documented(call.family, fault)})


async def the_file(world: World, call: Call, fault: str) -> str:
    """Let the first request for the file meet the fault."""
    async with world.place() as place:
        _prepare(world, call, place)
        await world.strike(fault, place, times=1, path="*/download/*")
        expected = {_OK, "DownloadError"} if FAULTS[fault][1] in FINAL_FOR_FILES else {_OK}
        if fault == "token expired":
            expected = {"AuthenticationError"}
        return await _finish(world, place, outcome_of(await _make(call, place)), expected)


#: Where a file may be out of reach for good.
FINAL_FOR_FILES: Final = {Effect.REFUSED, Effect.MISSING, Effect.PAGE, Effect.GARBLED}


async def beside_waits(world: World, call: Call, fault: str) -> str:
    """Let three requests meet the fault while jobs are waited for and the call is made."""
    async with world.place() as place:
        _prepare(world, call, place)
        gids = [f"{place.gid}{number}" for number in range(3)]
        for gid in gids:
            world.simulator.add_job(gid, [(0.0, "in_progress"), (2.0, "succeeded")])
        waits = [asyncio.ensure_future(place.client.wait_for_job(gid)) for gid in gids]
        await asyncio.sleep(0.7)
        await world.strike(fault, place, times=3)
        outcome = outcome_of(await _make(call, place))
        others = {outcome_of(result) for result in await wait_for_all(waits)}
        allowed = tolerated(Family.WAIT, fault) | _closed(call)
        if not others <= allowed:
            outcome = f"!waits: {others - allowed}"
        return await _finish(world, place, outcome, tolerated(call.family, fault))


async def beside_a_run(world: World, call: Call, fault: str) -> str:
    """Let three requests meet the fault while jobs are started in bulk and the call is made."""
    async with world.place() as place:
        _prepare(world, call, place)
        copies = [DuplicateProject(f"{place.gid}9", name=f"Other {number}") for number in range(4)]

        async def run() -> list[Outcome]:
            async with place.client.run_all(copies) as outcomes:
                return [outcome async for outcome in outcomes]

        running = asyncio.ensure_future(run())
        await asyncio.sleep(0.3)
        await world.strike(fault, place, times=3)
        outcome = outcome_of(await _make(call, place))
        try:
            others = {outcome_of([one]) for one in await running}
        except AsanaJobsError as error:
            others = {outcome_of(error)}
        allowed = tolerated(Family.RUN, fault) | _closed(call)
        if not others <= allowed:
            outcome = f"!run: {others - allowed}"
        return await _finish(world, place, outcome, tolerated(call.family, fault))


def _closed(call: Call) -> set[str]:
    return {"ClientClosedError"} if call.family is Family.CLOSE else set()


async def _finish(world: World, place: Place, outcome: str, allowed: set[str]) -> str:
    """Return the outcome, marked if it is not as documented or if something was left behind."""
    await world.heal()
    budget = place.client.budget
    if (budget.reads_in_flight, budget.writes_in_flight, sum(budget.waiting.values())) != (0, 0, 0):
        return f"!left in flight: {budget}"
    if place.client._budget.running_jobs.taken:  # pyright: ignore[reportPrivateUsage]
        return "!a slot was kept"
    if world.started_twice():
        return f"!started twice: {world.started_twice()}"
    return outcome if outcome in allowed else f"!{outcome}, not {' or '.join(sorted(allowed))}"


Moment: TypeAlias = Callable[[World, Call, str], Awaitable[str]]
MOMENTS: Final[dict[str, Moment]] = {
    "alone": alone,
    "beside waits": beside_waits,
    "beside a run": beside_a_run,
}


@asynccontextmanager
async def open_world(folder: Path) -> AsyncGenerator[World, None]:
    """Open a simulator without limits."""
    limits = SimulatorLimits.unlimited()
    async with AsanaSimulator(limits=limits, durations=1.5, link_seconds=3000) as simulator:
        yield World(simulator, folder)


async def go_through(world: World, call: Call, moment: Moment, faults: Iterable[str]) -> dict[str, str]:
    """Return the outcome of one call for every fault."""
    return {fault: await moment(world, call, fault) for fault in faults}


# --- In the suite


#: One fault of every kind, for the moments in which much else happens.
KINDS: Final = list(
    {type(fault) if not callable(fault) else name: name for name, (fault, _) in FAULTS.items()}.values()
)

#: One call of every family, for the same; the command goes through all.
REPRESENTATIVES: Final = representatives(CALLS)


def wrong(outcomes: dict[str, str]) -> dict[str, str]:
    """Return the cells that are not as documented."""
    return {fault: outcome for fault, outcome in outcomes.items() if outcome.startswith("!")}


@pytest.mark.parametrize("name", briefly(CALLS))
async def test_a_call_that_meets_a_fault_ends_as_documented(name: str, tmp_path: Path) -> None:
    """Whatever its first request meets, a call ends in the documented way, in time, and starts nothing twice."""
    async with open_world(tmp_path) as world:
        assert wrong(await go_through(world, CALLS[name], alone, FAULTS)) == {}


@pytest.mark.parametrize("name", [name for name, call in CALLS.items() if call.family is Family.FILE])
async def test_a_file_that_meets_a_fault_comes_or_says_why_not(name: str, tmp_path: Path) -> None:
    """Whatever the request for a file meets, the file comes, or a DownloadError says why it cannot."""
    async with open_world(tmp_path) as world:
        assert wrong(await go_through(world, CALLS[name], the_file, FAULTS)) == {}


@pytest.mark.parametrize("name", REPRESENTATIVES)
@pytest.mark.parametrize("moment", ["beside waits", "beside a run"])
async def test_a_fault_meets_a_call_and_others(name: str, moment: str, tmp_path: Path) -> None:
    """Where a fault meets a call or what else goes on, or both, each ends in one of its documented ways."""
    async with open_world(tmp_path) as world:
        assert wrong(await go_through(world, CALLS[name], MOMENTS[moment], KINDS)) == {}


def test_every_fault_has_a_row() -> None:
    """No fault of the simulator is missing from the matrix, and none of its ways to go wrong by itself."""
    assert {type(fault) for fault, _ in FAULTS.values() if not callable(fault)} == set(get_args(Fault))
    methods = {
        name
        for name in dir(AsanaSimulator)
        if not name.startswith("_") and callable(getattr(AsanaSimulator, name))
    }
    assert methods - NO_FAULTS == EVENTS


def test_every_public_call_has_a_column() -> None:
    """No public method is missing from the matrix."""
    assert uncovered() == set()


# --- As a command


_SIGNS: Final = {_OK: ".", _UNKNOWN: "U", _TOLD: "t", "DownloadError": "D"}


def _sign(outcome: str) -> str:
    return "!" if outcome.startswith("!") else _SIGNS.get(outcome, "e")


async def _lines(folder: Path) -> AsyncGenerator[str, None]:
    columns = {name: f"{number:>2}" for number, name in enumerate(CALLS, 1)}
    for name, number in columns.items():
        yield f"{number}  {name:<26} {CALLS[name].family.value}"
    yield "\nThree signs a cell: alone, beside three waits, beside a bulk run. A sign is a call that"
    yield ". succeeds   e raises what Asana said   U raises OutcomeUnknownError   t tells in Check.error"
    yield "D raises DownloadError   ! ends in no documented way\n"
    rows: dict[str, list[str]] = {}
    complaints: list[str] = []
    async with open_world(folder) as world:
        for fault in FAULTS:
            cells: list[str] = []
            for name, call in CALLS.items():
                outcomes = {when: await moment(world, call, fault) for when, moment in MOMENTS.items()}
                cells.append("".join(_sign(outcome) for outcome in outcomes.values()))
                complaints += [f"{fault}, {name}, {when}: {said}" for when, said in wrong(outcomes).items()]
            rows[fault] = cells
        for part in (slice(14), slice(14, None)):
            yield f"{'':<22} {' '.join(f'{number:>3}' for number in list(columns.values())[part])}"
            for fault, cells in rows.items():
                yield f"{fault:<22} {' '.join(cells[part])}"
            yield ""
        yield f"{world.cells} cells, {len(complaints)} wrong; {len(world.simulator.requests)} requests, "
        yield f"{len(world.simulator.started)} jobs started, {len(world.started_twice())} of them twice"
    for complaint in complaints:
        yield complaint


if __name__ == "__main__":
    print_lines(_lines)
