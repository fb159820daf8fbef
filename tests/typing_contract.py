"""Never run: what type checkers must infer for whoever uses this library. Checked by mypy and pyright, strict."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any, Never, TypeVar, assert_type

from tenacity import wait_exponential, wait_fixed

import asana_jobs
from asana_jobs import (
    AsanaClient,
    Check,
    DuplicatePortfolio,
    DuplicateProject,
    DuplicateTask,
    ExportGraph,
    ExportResource,
    InstantiateProject,
    InstantiateTask,
    Job,
    JobMonitor,
    JobStatus,
    JobWaiter,
    Ledger,
    OAuthRefresh,
    Outcome,
    PollPolicy,
    RateLimits,
    Response,
    RetryPolicy,
    RollupProject,
    RollupTask,
    SaveProjectAsTemplate,
)
from asana_jobs.errors import (
    APIError,
    AsanaJobsError,
    DecodeError,
    JobFailedError,
    JobTimeoutError,
    NoResultError,
    OutcomeUnknownError,
    RateLimitError,
    RequestError,
)
from asana_jobs.events import Event, JobChanged, JobFinished, StartDoubted, WaitEnded, WaitOutcome
from asana_jobs.models import (
    GraphExportCompact,
    JobResult,
    OrganizationExport,
    PortfolioCompact,
    ProjectCompact,
    ProjectTemplateCompact,
    ResourceExportCompact,
    TaskCompact,
)
from asana_jobs.operations import Operation, operation_from_dict
from asana_jobs.parameters import ExportParameters, RequestedDate, RequestedRole, ScheduleDates, TaskWord
from asana_jobs.progress import Tracked, track, track_download


Made = TypeVar("Made", bound=JobResult)


async def ways_to_wait(client: AsanaClient) -> None:
    """However a wait is used, it gives a job."""
    waiter = client.wait_for_job("1203")
    assert_type(waiter, JobWaiter)
    assert_type(await waiter, Job)
    async for job in client.wait_for_job("1203", every_poll=True):
        assert_type(job, Job)
    assert_type([job async for job in client.wait_for_job("1203")], list[Job])
    assert_type(await anext(client.wait_for_job("1203")), Job)
    assert_type(await asyncio.wait_for(client.wait_for_job("1203"), 5), Job)
    assert_type(await asyncio.create_task(client.wait_for_job("1203")), Job)
    assert_type(await asyncio.shield(client.wait_for_job("1203")), Job)
    async with asyncio.TaskGroup() as group:
        task = group.create_task(client.wait_for_job("1203"))
    assert_type(task, asyncio.Task[Job])
    assert_type(task.result(), Job)
    async with asyncio.timeout(5):
        assert_type(await client.wait_for_job("1203"), Job)


async def many_waits(client: AsanaClient) -> None:
    """Waits are gathered like coroutines."""
    first, second = client.wait_for_job("1"), client.wait_for_job("2")
    assert_type(await asyncio.gather(first, second), tuple[Job, Job])
    assert_type(await asyncio.gather(*[client.wait_for_job(gid) for gid in ("1", "2")]), list[Job])
    for finished in asyncio.as_completed([client.wait_for_job("1"), client.wait_for_job("2")]):
        assert_type(await finished, Job)


def without_a_client() -> None:
    """A script waits with one line."""
    assert_type(asyncio.run(asana_jobs.wait_for_job("1203", token="t", timeout=300)), Job)
    assert_type(asana_jobs.wait_for_job("1203"), JobWaiter)


async def what_can_be_waited_for(client: AsanaClient, job: Job, answer: Mapping[str, Any]) -> None:
    """A job, a gid, an answer of the official SDK, or a token; with seconds, timedeltas and any strategy."""
    client.wait_for_job(job, timeout=300)
    client.wait_for_job(answer, timeout=2.5)
    client.wait_for_job({"gid": "1203"}, timeout=timedelta(minutes=5))
    client.wait_for_job(client.wait_for_job("1").continuation_token(), timeout=None)
    client.wait_for_job(job, poll=PollPolicy(maximum=timedelta(seconds=30)))
    client.wait_for_job(job, poll=wait_exponential(max=30))
    client.wait_for_job(job, poll=wait_fixed(2) + wait_fixed(1))
    client.wait_for_job(job, poll=lambda state: state.attempt_number * 2.0)
    client.wait_for_job(job, opt_fields="status,new_project.name")
    client.wait_for_job(job, opt_fields=["status"])
    assert_type(client.wait_for_job(job).continuation_token(), str)
    assert_type(client.wait_for_job(job).statistics.looks, int)
    assert_type(client.wait_for_job(job).statistics.lag_bound, float | None)
    check = await client.check_job(job)
    assert_type(check, Check)
    assert_type(check.retry_in, float | None)
    assert_type(check.continuation_token, str)


async def the_ten_calls(client: AsanaClient) -> None:
    """Each call takes what people have at hand, and gives a job."""
    schedule = ScheduleDates(should_skip_weekends=True, start_on=date(2026, 2, 3))
    assert_type(await client.duplicate_task("1", name="x", include={"notes", "tags"}), Job[TaskCompact])
    assert_type(
        await client.duplicate_project("1", name="x", include=["task_dates"], schedule_dates=schedule),
        Job[ProjectCompact],
    )
    await client.duplicate_project("1", name="x", include="members,task_dates")
    await client.duplicate_project(
        "1",
        name="x",
        include=("task_dates",),
        schedule_dates={"should_skip_weekends": True, "due_on": "2026-02-03"},
    )
    assert_type(
        await client.duplicate_portfolio("1", name="x", include=(word for word in ("rules",))),
        Job[PortfolioCompact],
    )
    assert_type(
        await client.save_project_as_template("1", name="x", public=False, team="2"),
        Job[ProjectTemplateCompact],
    )
    assert_type(
        await client.instantiate_project(
            "1", name="x", requested_dates={"1": date(2026, 2, 3), "2": None}, requested_roles={"3": "me"}
        ),
        Job[ProjectCompact],
    )
    await client.instantiate_project(
        "1",
        name="x",
        requested_dates=[RequestedDate("1", "2026-02-03")],
        requested_roles=[RequestedRole("3", "me")],
    )
    await client.instantiate_project("1", name="x", requested_dates=[{"gid": "1", "value": date(2026, 2, 3)}])
    await client.instantiate_project(
        "1",
        name="x",
        requested_dates=[
            RequestedDate(name="Launch", value=date(2026, 2, 3)),
            {"name": "End", "value": None},
        ],
        requested_roles=[RequestedRole(name="Designer", value="me")],
        opt_fields=["new_project.name"],
    )
    template = await client.project_template("1", opt_fields="requested_dates.name")
    assert_type([date.name for date in template.requested_dates], list[str | None])
    assert_type([role.gid for role in template.requested_roles], list[str])
    assert_type(
        InstantiateProject("1", name="x", requested_dates={"Launch": "2026-02-03"}).by_gid(template),
        InstantiateProject,
    )
    assert_type((await client.task_template("1")).project, ProjectCompact | None)
    assert_type(await client.instantiate_task("1"), Job[TaskCompact])
    assert_type(await client.rollup_task("1"), Job[Never])
    assert_type(await client.rollup_project("1"), Job[Never])
    assert_type(await client.export_graph("1"), Job[GraphExportCompact])
    assert_type(
        await client.export_resource("1", parameters=[{"resource_type": "task"}]), Job[ResourceExportCompact]
    )
    assert_type(await client.export_organization("1"), Job[OrganizationExport])
    await client.export_resource(
        "1",
        parameters=[
            ExportParameters(
                "task", filters={"created_at.after": datetime(2026, 1, 1, tzinfo=UTC)}, fields=["name"]
            )
        ],
    )


async def what_a_start_makes(client: AsanaClient) -> None:
    """What an operation makes is known from its start to its end, however it is waited for."""
    job = await client.duplicate_project("1", name="x")
    assert_type(job.result, ProjectCompact | None)
    assert_type(job.expect_result(), ProjectCompact)
    assert_type(job.expect_result().name, str | None)
    assert_type(job.raise_for_status(), Job[ProjectCompact])
    assert_type(client.wait_for_job(job), JobWaiter[ProjectCompact])
    job = await client.wait_for_job(job, timeout=300)
    assert_type(job, Job[ProjectCompact])
    async for state in client.wait_for_job(job):
        assert_type(state, Job[ProjectCompact])
    assert_type(await asyncio.create_task(client.wait_for_job(job)), Job[ProjectCompact])
    assert_type(await asana_jobs.wait_for_job(job), Job[ProjectCompact])
    assert_type((await client.check_job(job)).job, Job[ProjectCompact] | None)
    assert_type(await client.get_job(job), Job[ProjectCompact])
    assert_type(await client.start(DuplicateTask("1")), Job[TaskCompact])
    finished = await client.run(SaveProjectAsTemplate("1", name="x", public=True))
    assert_type(finished, Job[ProjectTemplateCompact])
    assert_type(finished.expect_result().gid, str)
    assert_type((await client.run(RollupTask("1"))).result, None)


async def many_of_one_kind(client: AsanaClient, operations: AsyncIterator[DuplicateTask]) -> None:
    """A run knows what all of its operations make, with keys or without, from any iterable."""
    run = client.run_all([DuplicateProject("1", name="x")])
    async for outcome in run:
        assert_type(outcome, Outcome[ProjectCompact])
    assert_type(run.unfinished, list[Outcome[ProjectCompact]])
    async with client.run_all({"key": DuplicateTask("1")}.items()) as outcomes:
        assert_type([outcome async for outcome in outcomes], list[Outcome[TaskCompact]])
    async for outcome_of_task in client.run_all(operations):
        assert_type(outcome_of_task.job, Job[TaskCompact] | None)


async def many_of_several_kinds(client: AsanaClient) -> None:
    """Of a mixture, each is one of what a job makes: it has a gid, and the rest once it was told apart."""
    mixed = [DuplicateProject("1", name="x"), DuplicateTask("2"), RollupTask("3")]
    async for outcome in client.run_all(mixed):
        made = outcome.raise_for_error().expect_result()
        assert_type(made.gid, str)
        if isinstance(made, ProjectCompact):
            assert_type(made.name, str | None)
    for operation in mixed:
        assert_type((await client.start(operation)).gid, str)
    jobs = [await client.duplicate_project("1", name="x"), await client.duplicate_task("2")]
    for job in await asyncio.gather(*[client.wait_for_job(job) for job in jobs]):
        assert_type(job.expect_result().gid, str)
    async with client.monitor_jobs([*jobs, "1205"]) as monitor:
        async for change in monitor:
            assert_type(change, Job)


def plain_annotations(
    job: Job, waiter: JobWaiter, outcome: Outcome, check: Check, operation: Operation
) -> tuple[list[Job], dict[str, JobWaiter], JobResult | None]:
    """Whoever does not care what is made writes no brackets."""
    assert_type(job, Job[JobResult])
    assert_type(waiter, JobWaiter[JobResult])
    assert_type(outcome, Outcome[JobResult])
    assert_type(check, Check[JobResult])
    assert_type(operation, Operation[JobResult])
    return [job], {"1": waiter}, job.result


async def what_is_known_fits_what_is_plain(
    client: AsanaClient, started: Job[ProjectCompact], known: Operation[ProjectCompact]
) -> None:
    """What says what it makes may be handed to whoever does not ask; and people's own functions keep it."""
    waiter, check = client.wait_for_job(started), await client.check_job(started)
    async for outcome in client.run_all([known]):
        plain_annotations(started, waiter, outcome, check, known)

    async def started_and_waited_for(operation: Operation[Made]) -> Made:
        return (await client.wait_for_job(await client.start(operation))).expect_result()

    assert_type(await started_and_waited_for(DuplicatePortfolio("1", name="x")), PortfolioCompact)


async def operations_as_values(client: AsanaClient) -> None:
    """Operations are made from lists, dictionaries and dates, and run one by one or many at once."""
    operations: list[Operation] = [
        DuplicateTask("1", include=["notes"]),
        DuplicateProject("1", name="x", include="members"),
        DuplicateProject(
            "1", name="x", include=["task_dates"], schedule_dates={"should_skip_weekends": True}
        ),
        DuplicatePortfolio("1", name="x", include={"rules"}),
        SaveProjectAsTemplate("1", name="x", public=True, workspace="2"),
        InstantiateProject(
            "1", name="x", requested_dates={"1": "2026-02-03"}, requested_roles=[{"gid": "3"}]
        ),
        InstantiateTask("1", name="x"),
        RollupTask("1"),
        RollupProject("1"),
        ExportGraph("1"),
        ExportResource("1", parameters=[{"resource_type": "task"}]),
    ]
    assert_type(operation_from_dict(operations[0].to_dict()), Operation)
    assert_type(await client.start(operations[0]), Job)
    assert_type(await client.run(operations[0], timeout=timedelta(minutes=5)), Job)
    async for outcome in client.run_all(operations, timeout=60):
        assert_type(outcome, Outcome)
    async for outcome in client.run_all(DuplicateProject("1", name=f"Copy {n}") for n in range(5)):
        assert_type(outcome, Outcome[ProjectCompact])
        assert_type(outcome.operation, Operation[ProjectCompact])
        assert_type(outcome.job, Job[ProjectCompact] | None)
        assert_type(outcome.raise_for_error().expect_result(), ProjectCompact)
    async for outcome in client.run_all(lazily()):
        assert_type(outcome, Outcome)


async def lazily() -> AsyncIterator[Operation]:
    """Operations that come as they are needed."""
    yield DuplicateTask("1")


async def a_ledger(client: AsanaClient, path: Path) -> None:
    """A run may be written down."""
    async with Ledger.open(path) as ledger:
        assert_type(ledger, Ledger)
        async for outcome in client.run_all([DuplicateTask("1")], ledger=ledger):
            assert_type(outcome, Outcome[TaskCompact])


async def what_is_shown(client: AsanaClient) -> None:
    """Who tracks a stream iterates what it yields."""
    async for job in track(client.wait_for_job(await client.duplicate_project("1", name="x"))):
        assert_type(job, Job[ProjectCompact])
    async for outcome in track(client.run_all([DuplicateProject("1", name="x")]), total=1):
        assert_type(outcome, Outcome[ProjectCompact])
    async with track(client.monitor_jobs([]).events()) as events:
        assert_type(events, Tracked[JobChanged | WaitEnded])
    track(client.iter_export("1"))  # type: ignore[type-var]  # pyright: ignore[reportArgumentType]
    await client.download_export("1", "x", progress=track_download("x"))


async def a_monitor(client: AsanaClient, job: Job) -> None:
    """Many jobs are one stream."""
    monitor = client.monitor_jobs(["1", job], timeout=timedelta(hours=1))
    assert_type(monitor, JobMonitor)
    assert_type(monitor.events(), AsyncIterator[JobChanged | WaitEnded])
    async with monitor as entered:
        assert_type(entered, JobMonitor)
        async for change in entered:
            assert_type(change, Job)


async def other_calls(client: AsanaClient) -> None:
    """Reading a job, and anything else."""
    assert_type(await client.get_job("1", opt_fields=["status"], opt_pretty=True), Job)
    response = await client.request("GET", "/users/me", params={"opt_fields": "name", "opt_pretty": True})
    assert_type(response, Response)
    assert_type(response.status, int)
    assert_type(response.body, bytes)
    assert_type(client.with_token("t"), AsanaClient)


def what_a_job_is(job: Job) -> None:
    """A job's attributes are typed."""
    assert_type(job.gid, str)
    assert_type(job.status, JobStatus | str | None)
    assert_type(job.done, bool)
    assert_type(job.result, JobResult | None)
    assert_type(job.expect_result(), JobResult)
    assert_type(job.new_project, ProjectCompact | None)
    assert_type(job.raise_for_status(), Job)
    assert_type(Job.from_dict({"gid": "1"}), Job)
    assert_type(job.to_dict(), dict[str, object])
    if job.new_graph_export:
        assert_type(job.new_graph_export.created_at, datetime | None)
        assert_type(job.new_graph_export.download_url, str | None)


def how_to_make_a_client() -> None:
    """Tokens, providers, policies with seconds and timedeltas."""

    async def provider() -> str:
        return "token"

    refresh = OAuthRefresh("app", "secret", "refresh", on_refresh=print, timeout=timedelta(seconds=5))
    AsanaClient()
    AsanaClient("token", timeout=timedelta(seconds=30))
    AsanaClient(provider, limits=RateLimits.paid(), retry=RetryPolicy(maximum=timedelta(minutes=1)))
    AsanaClient(refresh, limits=RateLimits(requests_per_minute=150, share=1 / 4), poll=PollPolicy(initial=1))
    RetryPolicy(
        initial=timedelta(milliseconds=500), factor=2, jitter=0.1, max_retry_after=timedelta(minutes=2)
    )
    PollPolicy(
        lag_price=timedelta(milliseconds=100),
        initial=0.5,
        maximum=timedelta(minutes=1),
        give_up_after=timedelta(minutes=15),
        first_contact=timedelta(seconds=4),
        not_found_grace=3,
    )
    assert_type(RetryPolicy().initial, float)
    assert_type(PollPolicy().maximum, float)


async def as_a_context_manager() -> None:
    """Entering a client gives that client."""
    async with AsanaClient("token") as client:
        assert_type(client, AsanaClient)


def what_listeners_get(event: Event) -> None:
    """Every event has its moment; an event that was told apart has what it is about."""
    assert_type(event.at, datetime)
    match event:
        case WaitEnded():
            assert_type(event.outcome, WaitOutcome)
            assert_type(event.error, Exception | None)
        case JobFinished():
            assert_type(event.job, Job)
            assert_type(event.lag_bound, float | None)
        case StartDoubted():
            assert_type(event.error, OutcomeUnknownError)
        case _:
            pass
    AsanaClient("token", on_event=what_listeners_get)


def what_errors_carry(error: AsanaJobsError) -> None:
    """Each error's attributes are typed."""
    assert_type(error.advice, str)
    if isinstance(error, RequestError):
        assert_type(error.gid, str | None)
        assert_type(error.request, str)
    if isinstance(error, APIError):
        assert_type(error.status, int)
        assert_type(error.messages, tuple[str, ...])
        assert_type(error.phrase, str | None)
    if isinstance(error, RateLimitError):
        assert_type(error.retry_after, float | None)
    if isinstance(error, OutcomeUnknownError):
        assert_type(error.operation, Operation | None)
        assert_type(error.sent_at, datetime | None)
    if isinstance(error, DecodeError):
        assert_type(error.problems, tuple[str, ...])
    if isinstance(error, JobFailedError):
        assert_type(error.job, Job)
        assert_type(error.job.result, JobResult | None)
    if isinstance(error, NoResultError):
        assert_type(error.job, Job)
    if isinstance(error, JobTimeoutError):
        assert_type(error.job, Job | None)
        assert_type(error.waited, float)
        assert_type(error.continuation_token, str)


def modules_after_a_plain_import(job: Job) -> str | None:
    """``import asana_jobs`` brings its modules for type checkers too."""
    assert_type(asana_jobs.models.ProjectCompact(gid="1203").name, str | None)
    assert_type(asana_jobs.policies.RateLimits.free(), RateLimits)
    try:
        return job.raise_for_status().gid
    except (asana_jobs.errors.ServerError, asana_jobs.NotFoundError) as error:
        assert_type(error.status, int)
        return error.gid


async def what_cannot_work_is_an_error(client: AsanaClient, waiter: JobWaiter) -> None:
    """What is an error with advice at run time is one for type checkers too: an ignore that is not needed is an error."""
    with client:  # type: ignore[attr-defined]  # pyright: ignore[reportGeneralTypeIssues]
        pass
    with client.monitor_jobs([]):  # type: ignore[attr-defined]  # pyright: ignore[reportGeneralTypeIssues]
        pass
    async with waiter:  # type: ignore[attr-defined]  # pyright: ignore[reportGeneralTypeIssues]
        pass
    for _ in waiter:  # type: ignore[attr-defined]  # pyright: ignore[reportGeneralTypeIssues, reportUnknownVariableType]
        pass
    for _ in client.run_all([]):  # type: ignore[attr-defined]  # pyright: ignore[reportGeneralTypeIssues, reportUnknownVariableType]
        pass
    await client.run_all([])  # type: ignore[misc]  # pyright: ignore[reportGeneralTypeIssues]
    await client.monitor_jobs([])  # type: ignore[misc]  # pyright: ignore[reportGeneralTypeIssues]
    str(waiter.status)  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType, reportUnknownArgumentType]
    str(waiter[0])  # type: ignore[index]  # pyright: ignore[reportIndexIssue, reportUnknownArgumentType]
    Ledger("x.ledger")  # type: ignore[call-arg, arg-type]  # pyright: ignore[reportCallIssue]
    JobWaiter("1203")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    JobMonitor(["1203"])  # type: ignore[call-arg, arg-type]  # pyright: ignore[reportCallIssue]
    client.wait_for_job("1203", poll=5)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    client.wait_for_job("1203", poll="fast")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


def the_words_are_offered_and_others_are_taken() -> None:
    """Words are literals for editors; any other text is a word too, since Asana adds some."""
    assert_type(DuplicateTask("1", include=["notes", "holograms"]).include, tuple[str, ...])
    DuplicateProject("1", name="x", include={"task_notes", "holograms"})
    DuplicatePortfolio("1", name="x", include="rules,holograms")
    words: list[str] = ["notes"]
    DuplicateTask("1", include=words)
    known: list[TaskWord] = ["notes", "tags"]
    DuplicateTask("1", include=known)
    wrong: TaskWord = "notez"  # type: ignore[assignment]  # pyright: ignore[reportAssignmentType]
    str(wrong)
