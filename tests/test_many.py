"""One thing where many are meant: refused at once, by every call that takes many, with the list to write."""

import re
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, cast

import pytest

from asana_jobs import AsanaClient, DuplicateProject, DuplicateTask, ExportResource, Job, Ledger
from asana_jobs._client.waiting.job_reference import JobReference
from asana_jobs.operations import InstantiateProject
from asana_jobs.parameters import ExportFilters, ExportParameters, RequestedDate
from asana_jobs.testing import AsanaSimulator, FakeClock, Looks, ScriptedTransport, Timeline


COPY = DuplicateTask("12")
TOKEN = JobReference(gid="1205").to_token()
ANSWER = {"gid": "1205", "status": "in_progress"}


async def _stream() -> AsyncIterator[Any]:
    yield "1205"


def _label(value: object) -> str:
    """A name of a case that is the same in every process."""
    return type(value).__name__ if " at 0x" in repr(value) else f"{value!r:.30}"


JOBS: list[tuple[object, str]] = [
    ("1205", "not '1205': write monitor_jobs(['1205'])"),
    ("", "not '': write monitor_jobs([''])"),
    ("1205,1206", "not '1205,1206': write monitor_jobs(['1205', '1206'])"),
    ("1205 1206", "not '1205 1206': write monitor_jobs(['1205', '1206'])"),
    (TOKEN, "write monitor_jobs([job])"),
    (b"1205", "not b'1205': write monitor_jobs(['1205'])"),
    (1205, "not 1205: write monitor_jobs(['1205'])"),
    (True, "not True: write monitor_jobs([...])"),
    (None, "not None: write monitor_jobs([...])"),
    (ANSWER, "not {'gid': '1205', 'status': 'in_progress'}: write monitor_jobs([job])"),
    ({"1205": None}, "not {'1205': None}: write monitor_jobs([job])"),
    (Job("1205"), "not Job(gid='1205'): write monitor_jobs([job])"),
    (COPY, "not an operation: run_all([operation]) starts its job and watches it"),
    (object(), "write monitor_jobs([job])"),
]


@pytest.mark.parametrize(("jobs", "advice"), JOBS, ids=_label)
async def test_one_job_is_not_many(
    jobs: Any, advice: str, client: AsanaClient, transport: ScriptedTransport
) -> None:
    """A monitor of one job, however it is named, is refused before it watches the letters of a gid."""
    with pytest.raises(ValueError, match=f"^monitor_jobs takes a list of jobs, .*{re.escape(advice)}$"):
        client.monitor_jobs(jobs)

    assert transport.requests == []


async def test_what_is_to_be_awaited_first_is_not_many(client: AsanaClient) -> None:
    """A coroutine, a waiter and an asynchronous generator are refused with what to do with them."""
    starting = client.duplicate_task("12")
    with pytest.raises(
        ValueError, match=r"not a coroutine: await it first, and write monitor_jobs\(\[job\]\)$"
    ):
        client.monitor_jobs(starting)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    starting.close()
    waiter = client.wait_for_job("1205")
    with pytest.raises(ValueError, match="not a JobWaiter: await it first"):
        client.monitor_jobs(waiter)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    waiter.close()
    with pytest.raises(ValueError, match=r"write monitor_jobs\(\[job async for job in \.\.\.\]\)$"):
        client.monitor_jobs(_stream())  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize(
    ("job", "complaint"),
    [
        (b"1205", "not b'1205': a gid is text, '1205'$"),
        (1205, "not 1205: a gid is text, '1205'$"),
        (["1205"], "which is several: monitor_jobs takes them all$"),
        ("1205,1206", "job gid must be a string of digits"),
        (None, "not None$"),
    ],
)
async def test_an_item_that_is_no_job_is_refused(job: Any, complaint: str, client: AsanaClient) -> None:
    """A list of numbers, bytes or lists says what is wrong with the item, as adding one by one does."""
    with pytest.raises(ValueError, match=complaint):
        client.monitor_jobs(["1204", job])
    with pytest.raises(ValueError, match=complaint):
        client.monitor_jobs().add(job)


@pytest.mark.parametrize(
    ("operations", "advice"),
    [
        (COPY, "not one operation: write run_all([operation]), or run(operation), which returns its job"),
        ("duplicate_task", "not 'duplicate_task': write run_all(['duplicate_task'])"),
        (b"x", "write run_all(['x'])"),
        (None, "not None: write run_all([...])"),
        (("order-17", COPY), "not one pair of a key and an operation: write run_all([(key, operation)])"),
        ((17, COPY), "not one pair of a key and an operation: write run_all([(key, operation)])"),
        ({"order-17": COPY}, "not a mapping: write run_all(operations.items())"),
        (COPY.to_dict(), "not a mapping: write run_all([operation_from_dict(data)])"),
        (Job("1205"), "not Job(gid='1205'): write run_all([operation])"),
    ],
    ids=_label,
)
async def test_one_operation_is_not_many(operations: Any, advice: str, client: AsanaClient) -> None:
    """A bulk run of one operation, of one pair or of a mapping is refused before anything is started."""
    with pytest.raises(ValueError, match=f"^run_all takes an iterable of operations.*{re.escape(advice)}$"):
        client.run_all(operations)


async def test_a_pair_of_operations_is_two_of_them(client: AsanaClient, transport: ScriptedTransport) -> None:
    """A tuple of two operations is a list of two."""
    transport.play("succeeded")

    outcomes = [outcome async for outcome in client.run_all((COPY, DuplicateTask("13")))]

    assert {outcome.operation.gid for outcome in outcomes} == {"12", "13"}


@pytest.mark.parametrize(
    ("operation", "complaint"),
    [
        ([COPY], r"not \[DuplicateTask\(.*\)\], which is several: run_all takes them all$"),
        (DuplicateTask, r"not the class DuplicateTask itself: write DuplicateTask\(gid, \.\.\.\)$"),
        (COPY.to_dict(), r"not \{'kind': .*\}: write operation_from_dict\(data\)$"),
        ("duplicate_task", "not 'duplicate_task'$"),
        (Job("1205"), "not a Job, which has been started: wait_for_job waits for it$"),
        (_stream, "not <function _stream"),
    ],
    ids=_label,
)
async def test_many_operations_are_not_one(operation: Any, complaint: str, client: AsanaClient) -> None:
    """Where one operation is meant, a list of them says what takes many."""
    for call in (client.run, client.start):
        with pytest.raises(ValueError, match=f"^operation must be one of asana_jobs.operations, {complaint}"):
            await call(operation)


async def test_a_start_is_not_an_operation(client: AsanaClient, transport: ScriptedTransport) -> None:
    """A call that starts a job by itself is told apart from the value that says what to start."""
    starting: Any = client.duplicate_task("12")
    advice = r"not a coroutine: hand in the operation itself, such as DuplicateProject\(gid, \.\.\.\)"
    for call in (client.run, client.start):
        with pytest.raises(ValueError, match=f"{advice}$"):
            await call(starting)
    with pytest.raises(ValueError, match=f"{advice}, and write run_all\\(\\[operation\\]\\)$"):
        client.run_all(starting)

    (outcome,) = [outcome async for outcome in client.run_all([starting])]
    starting.close()
    (finished,) = [outcome async for outcome in client.run_all(cast("Any", [Job("1205")]))]

    assert re.search(f"^item 0 must be an operation.*, {advice}$", str(outcome.error))
    assert str(finished.error).endswith("not a Job, which has been started: wait_for_job waits for it")
    assert transport.requests == []


ARGUMENTS: dict[str, tuple[Callable[[Any], object], object, str]] = {
    "include of bytes": (lambda value: DuplicateTask("12", include=value), b"notes", "write include=['notes']"),
    "include of a mapping": (lambda value: DuplicateTask("12", include=value), {"notes": 1}, "write include=['members']"),
    "include of a number": (lambda value: DuplicateTask("12", include=value), 5, "include must be words or one"),
    "parameters of one": (
        lambda value: ExportResource("12", parameters=value),
        ExportParameters("task"),
        'write parameters=[ExportParameters("task")]',
    ),
    "parameters of a mapping": (
        lambda value: ExportResource("12", parameters=value),
        {"resource_type": "task"},
        'write parameters=[ExportParameters("task")]',
    ),
    "parameters of text": (lambda value: ExportResource("12", parameters=value), "task", 'write parameters=[ExportParameters("task")]'),
    "parameters of bytes": (lambda value: ExportResource("12", parameters=value), b"task", "write parameters=["),
    "fields of text": (lambda value: ExportParameters("task", fields=value), "name", "write fields=['name']"),
    "fields of bytes": (lambda value: ExportParameters("task", fields=value), b"name", "write fields=['name']"),
    "fields of a mapping": (lambda value: ExportParameters("task", fields=value), {"name": 1}, "write fields=[path]"),
    "users of text": (lambda value: ExportFilters(assignee_any=value), "12", "write ['12']"),
    "users of a number": (lambda value: ExportFilters(assignee_any=value), 12, "write ['12']"),
    "users of a mapping": (lambda value: ExportFilters(followers_any=value), {"gid": "12"}, "write [gid]"),
    "one date": (
        lambda value: InstantiateProject("12", name="x", requested_dates=value),
        RequestedDate("1", "2026-01-01"),
        "write requested_dates=[RequestedDate]",
    ),
    "one date of JSON": (
        lambda value: InstantiateProject("12", name="x", requested_dates=value),
        {"gid": "1", "value": "2026-01-01"},
        "write requested_dates=[{'gid': '1', 'value': '2026-01-01'}]",
    ),
    "one role of text": (
        lambda value: InstantiateProject("12", name="x", requested_roles=value),
        "me",
        'write requested_roles={"Designer": "me"}',
    ),
    "a script that is a list": (
        ScriptedTransport,
        ["in_progress", "succeeded"],
        "write play(*answers), not ['in_progress', 'succeeded']",
    ),
    "looks of text": (Looks, "succeeded", "write Looks(['succeeded'])"),
    "a timeline of text": (Timeline, "succeeded", "write Timeline([(0, "),
    "a timeline of a mapping": (Timeline, {0: "succeeded"}, "write Timeline([(0, "),
    "states of bytes": (lambda value: AsanaSimulator().add_job("12", value), b"succeeded", "durations take a list of states"),
    "states of a mapping": (lambda value: AsanaSimulator().add_job("12", value), {0: "failed"}, "durations take a list of states"),
    "a token of the simulator": (lambda value: AsanaSimulator(tokens=value), "secret", "write tokens=[token]"),
    "a gid of the simulator": (lambda value: AsanaSimulator().add_job(value), ["12"], "A gid is a string of digits"),
    "an object of the simulator": (
        lambda value: AsanaSimulator().add_object("project", value),
        12,
        "A gid is a string of digits, not 12",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("make", "value", "advice"), ARGUMENTS.values(), ids=ARGUMENTS)
def test_one_value_is_not_a_list_of_values(make: Callable[[Any], object], value: object, advice: str) -> None:
    """Operations, their parameters and the test kit refuse one value where they take many."""
    with pytest.raises(ValueError, match=re.escape(advice)) as caught:
        make(value)

    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("fields", "advice"), [(b"name", "['name']"), ({"name": 1}, "['new_project.name']"), (5, "opt_fields=[")]
)
async def test_fields_are_paths_or_one_text(
    fields: Any, advice: str, client: AsanaClient, transport: ScriptedTransport
) -> None:
    """Fields to ask for are not bytes, nor the keys of a mapping, in any call that takes them."""
    calls = (client.get_job, client.wait_for_job, client.check_job)
    for call in calls:
        with pytest.raises(ValueError, match=re.escape(advice)):
            outcome: Any = call("1205", opt_fields=fields)
            await outcome

    assert transport.requests == []


@pytest.mark.parametrize("params", [[("limit", 5)], "limit=5", 5])
async def test_params_of_a_request_are_a_mapping(params: Any, client: AsanaClient) -> None:
    """The query of a raw request is not one text, nor pairs."""
    with pytest.raises(ValueError, match=r"^params must be a mapping such as {'limit': 5}, not "):
        await client.request("GET", "/users/me", params=params)


async def test_a_ledger_takes_keys_and_states_one_by_one(tmp_path: Path) -> None:
    """A list of keys is not a key, and a state that is none is not an empty answer."""
    with Ledger.open(tmp_path / "x.ledger") as ledger:
        keys: Any = ["a", "b"]
        with pytest.raises(ValueError, match=r"not \['a', 'b'\]: write accept_unknown\(\*keys\)$"):
            await ledger.accept_unknown(keys)
        for state in ("unknwon", ["unknown"]):
            with pytest.raises(ValueError, match=r"^rows takes states, such as rows\(LedgerState.UNKNOWN, "):
                ledger.rows(state)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
        assert await ledger.accept_unknown("a", "b") == 0
        assert list(ledger.rows()) == []


async def test_many_in_any_form_are_many() -> None:
    """A list, a tuple, a set, a generator and the values of a mapping are watched, each job once."""
    gids = {"1205": 1, "1206": 2}
    for jobs in (list(gids), tuple(gids), set(gids), (gid for gid in gids), gids.keys()):
        transport = ScriptedTransport("succeeded")
        async with (
            AsanaClient("t", transport=transport, clock=FakeClock()) as client,
            client.monitor_jobs(jobs) as monitor,
        ):
            assert {job.gid async for job in monitor} == set(gids)
    assert DuplicateProject("1", name="x", include={"notes": 1}.keys()).include == ("notes",)
