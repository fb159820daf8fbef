"""The tools, as functions of what an assistant gives them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterable, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Annotated, Any, Final, Literal, cast

import attrs
from mcp.server.mcpserver import Context
from mcp.server.mcpserver.exceptions import ToolError
from pydantic import Field

from asana_jobs import AsanaClient, AsanaJobsError, Check, Job, JobTimeoutError, JobWaiter, Ledger, PollPolicy
from asana_jobs.mcp._answers import Answer, about_job, about_result, plain, where_it_stands
from asana_jobs.mcp._argument_types import GID
from asana_jobs.mcp._connection import Connection
from asana_jobs.operations import Operation
from asana_jobs.parameters import LONGEST_KEY, check_gid, check_key
from asana_jobs.subjects import read_subject


Key = Annotated[
    str,
    Field(
        description="Your own name for this one start, such as 'q3-launch-copy'. The same key with the same arguments gives "
        "the same job, however often and by whomever it is called; another key starts another one."
    ),
]
JobName = Annotated[
    str,
    Field(
        description="The gid of the job (not of what it makes), or the continuation_token of an earlier answer."
    ),
]

#: Seconds between two messages of a call that waits.
_BEAT: Final = 5.0
#: A wait that has met a server is not ended by trouble: its time is short, and what was the matter is told at its end.
_PATIENT: Final = PollPolicy()
#: Rows that `list_runs` shows at most.
MOST_RUNS: Final = 200


@attrs.define(eq=False)
class Tools:
    """The tools of one server.

    Attributes:
        connection: The client and the ledger.
        longest_call: Seconds after which a call answers, whatever it waits for.
    """

    connection: Connection
    longest_call: float
    _starts: dict[str, asyncio.Task[Job]] = attrs.field(factory=dict[str, asyncio.Task[Job]], init=False)

    async def start(self, context: Context[Any, Any], operation: Operation, key: str) -> Answer:
        """Start *operation* under *key*, or find the job that was started under it."""
        check_key(key)
        client, ledger = await self.connection.open()
        what = f"{operation.kind} of {operation.gid}"
        async with (
            self._limited(f"{what} was not known to be started after {{}} s", client),
            _telling(context, lambda: f"starting {what}", limit=self.longest_call),
        ):
            # One after the other: this one finds what that one has started.
            while (before := self._starts.get(key)) is not None:
                await asyncio.wait([before])
            job = await self._start(key, client.start(operation, ledger=ledger, key=key))
        return {"key": key, **about_job(job)}

    async def _start(self, key: str, starting: Coroutine[Any, Any, Job]) -> Job:
        """Do *starting* in a task that outlives its call: what has left is answered and written down in its own time."""

        def ended(task: asyncio.Task[Job]) -> None:
            del self._starts[key]
            if not task.cancelled():
                task.exception()  # if nobody waits for it any more, the ledger holds what came of it

        task = self._starts[key] = asyncio.create_task(starting, name="asana-jobs-mcp-start")
        task.add_done_callback(ended)
        try:
            await asyncio.wait([task])
        finally:
            task.cancel()  # what has not left is withdrawn
        return task.result()

    async def close(self) -> None:
        """Wait for what has left, withdraw what has not, and close the client and the ledger."""
        if starts := [*self._starts.values()]:
            for task in starts:
                task.cancel()
            await asyncio.wait(starts)
        await self.connection.close()

    async def wait_for_job(self, context: Context[Any, Any], job: JobName) -> Answer:
        """Wait until a job has succeeded or failed, for at most {longest_call} s.

        Answers with done true, or with done false, when to call again (retry_in seconds; 0 is at once) and, once enough
        was learned, the expected end. Costs few requests, however long it waits: call it instead of looking again and
        again. It never starts anything; a job that failed is an answer, not an error.
        """
        client, ledger = await self.connection.open()
        waiter = client.wait_for_job(_subject(ledger, job), timeout=self.longest_call, poll=_PATIENT)
        seen: Job | None = None
        try:
            async with _telling(context, lambda: where_it_stands(seen), limit=self.longest_call):
                async for job_now in waiter:
                    seen = job_now
        except JobTimeoutError as error:
            return _unfinished(error, waiter)
        assert seen is not None  # noqa: S101  # a wait ends with a job
        await _record(ledger, seen)
        return about_job(seen)

    async def get_job(self, job: JobName) -> Answer:
        """Look at a job once, without waiting: one request. To wait for its end, call wait_for_job. It never starts anything."""
        check = await self.check(job)
        if check.error is not None:
            raise check.error
        if check.job is None:
            raise ToolError(
                f"Asana has asked to be left alone for a while: call again in {check.retry_in:.0f} s."
            )
        return about_job(check.job)

    async def check(self, job: str) -> Check[Any]:
        """Look at a job once, and write down its end if that is seen."""
        client, ledger = await self.connection.open()
        async with self._limited("job was not answered within {} s", client):
            check = await client.check_job(_subject(ledger, job))
        if check.job is not None:
            await _record(ledger, check.job)
        return check

    async def project_template(
        self,
        gid: Annotated[str, Field(description="The gid of the project template.", json_schema_extra=GID)],
    ) -> Answer:
        """Read which dates and roles a project template asks for, with their names: give a value for each of them to instantiate_project.

        Costs one request, and starts nothing.
        """
        client, _ = await self.connection.open()
        async with self._limited(f"project template {gid:.20} was not answered within {{}} s", client):
            template = await client.project_template(gid)
        return {
            "gid": template.gid,
            "name": plain(template.name or ""),
            "requested_dates": [_asked_for(one) for one in template.requested_dates],
            "requested_roles": [_asked_for(one) for one in template.requested_roles],
            "next": "Call instantiate_project with a value for each, under its name or gid.",
        }

    async def list_runs(
        self,
        state: Annotated[
            Literal["unknown", "started", "intent", "succeeded", "failed", "refused", "accepted"] | None,
            Field(
                description="Only those in this state. unknown: may or may not have been started, a person must look; "
                "started: not known to have finished; refused: certainly not started; accepted: was unknown and is settled."
            ),
        ] = None,
        limit: Annotated[int, Field(description="How many at most, the last ones.", ge=1, le=MOST_RUNS)] = 20,
    ) -> Answer:
        """List what was started with these tools, also in earlier conversations, the last ones at the end: the keys, the jobs and how they ended as far as it was seen.

        Costs no request, and asks Asana nothing.
        """
        _, ledger = await self.connection.open()
        shown = [*islice(_newest_runs(ledger, state), limit)]
        counts = attrs.asdict(ledger.summary())
        count = sum(counts.values()) if state is None else counts[state]
        return {
            "runs": shown[::-1],
            "left_out": max(0, count - len(shown)),
            "counts": counts,
            "ledger": str(ledger.path),
        }

    async def resolve_unknown(
        self,
        context: Context[Any, Any],
        key: Annotated[str, Field(description="The key under which it was started; list_runs shows it.")],
        decision: Annotated[
            Literal["it_started", "it_did_not_start"],
            Field(
                description="What a person has seen in Asana. it_started: it is never started again. it_did_not_start: it is "
                "started now."
            ),
        ],
        job: Annotated[
            str | None,
            Field(
                description="The gid of its job, if the person knows it and it_started; the job is waited for then. The gid "
                "of the copy is not that of the job: leave this out.",
            ),
        ] = None,
    ) -> Answer:
        """Settle a start whose answer was lost, so that nobody knows whether Asana has it.

        Only a person who has looked in Asana can tell: ask, and never decide it yourself, since it_did_not_start starts it
        again, and makes a second copy if there was one. Costs one request at most.
        """
        client, ledger = await self.connection.open()
        row = ledger.find(key=key)
        if row is None or row.state != "unknown":
            state = "is no key of this ledger" if row is None else f"is {row.state}, not unknown"
            raise ToolError(
                f"{key!r:.200} {state}: list_runs with state unknown shows what has to be settled."
            )
        if decision == "it_did_not_start":
            if job is not None:
                raise ToolError("give job with it_started only: what did not start has none.")
            claim = await ledger.claim(key, row.operation, retry_unknown=True)
            if claim.verdict != "start":
                raise ToolError(f"{key!r:.200} was settled by somebody else just now: see list_runs.")
            await ledger.refused(key, AsanaJobsError("a person has looked: it was not started"))
            return await self.start(context, row.operation, key)
        if job is None:
            await ledger.accept_unknown(key)
            return {
                "key": key,
                "state": "accepted",
                "next": "Nothing: it is never started under this key again.",
            }
        found = await self._adopt(client, row.operation, job)
        await ledger.started(key, found)
        await ledger.release(key)
        await _record(ledger, found)
        return {"key": key, **about_job(found)}

    async def _adopt(self, client: AsanaClient, operation: Operation, gid: str) -> Job:
        """Return the job *gid* if it can be the one of *operation*."""
        job = await client.get_job(check_gid(gid, "job"))
        if job.resource_subtype not in {None, operation.kind}:
            raise ToolError(
                f"job {gid} is a {plain(job.resource_subtype or '')}, and cannot be that of {operation.kind}. Nothing was changed."
            )
        return job

    async def download_export(
        self,
        context: Context[Any, Any],
        job: JobName,
        file: Annotated[
            str,
            Field(
                description="Where to write it: an absolute path that ends in .gz, in a folder that is there. A file that is "
                "there is not replaced.",
            ),
        ],
    ) -> Answer:
        """Write the file of an export that has succeeded.

        Costs two requests; if it is not done in time, the next call goes on where it stopped. It never replaces a file, and
        never shows what is in it.
        """
        path = await asyncio.to_thread(_new_file, file)
        client, ledger = await self.connection.open()
        subject = _subject(ledger, job)
        so_far = "0 bytes"

        def note(done: int, total: int | None) -> None:
            nonlocal so_far
            so_far = f"{done} bytes" if total is None else f"{done} of {total} bytes"

        async with (
            self._limited("the download is not complete after {} s; what has come is kept", client),
            _telling(context, lambda: so_far, limit=self.longest_call),
        ):
            written = await client.download_export(subject, path, progress=note)
        size = (await asyncio.to_thread(written.stat)).st_size
        return {"file": str(written), "bytes": size, "format": "gzip of JSON lines"}

    @asynccontextmanager
    async def _limited(self, what: str, client: AsanaClient) -> AsyncGenerator[None, None]:
        """Answer in time, and say that the same call goes on."""
        limit = asyncio.timeout(self.longest_call)
        try:
            async with limit:
                yield
        except TimeoutError:
            if not limit.expired():
                raise
            paused = client.budget.paused_for
            why = f": Asana has asked to wait for {paused:.0f} s more" if paused > 0 else ""
            said = what.format(f"{self.longest_call:g}")
            raise ToolError(
                f"{said}{why}. Call again with the same arguments: nothing is done twice."
            ) from None


@asynccontextmanager
async def _telling(
    context: Context[Any, Any], words: Callable[[], str], *, limit: float
) -> AsyncGenerator[None, None]:
    """Tell the client where a call of *limit* seconds stands, while it lasts: some give up on a call that says nothing."""
    telling = asyncio.create_task(_tell(context, words, limit), name="asana-jobs-mcp-progress")
    try:
        yield
    finally:
        telling.cancel()
        await asyncio.wait([telling])
        if not telling.cancelled():
            telling.exception()  # the client has gone: whoever reads from it ends this call


async def _tell(context: Context[Any, Any], words: Callable[[], str], limit: float) -> None:
    clock = asyncio.get_running_loop().time
    began = clock()
    while True:
        await asyncio.sleep(min(_BEAT, limit / 5))
        passed = clock() - began
        await context.report_progress(round(min(passed, limit), 3), limit, f"{words()}, {passed:.0f} s")


def _asked_for(variable: Any) -> Answer:
    """Return a date or a role that a template asks for."""
    texts = {"name": variable.name, "description": getattr(variable, "description", None)}
    return {"gid": variable.gid, **{name: plain(text) for name, text in texts.items() if text}}


def _new_file(file: str) -> Path:
    """Return where a download may go: nowhere where it would replace something, or be taken for something else."""
    path = Path(file)
    if not path.is_absolute() or path.suffix != ".gz":
        raise ToolError(f"file must be an absolute path that ends in .gz, not {file!r:.200}.")
    if path.exists() or path.is_symlink():
        raise ToolError(f"{file!r:.200} is there already, and is not replaced: choose another name.")
    return path


def _subject(ledger: Ledger, job: str) -> str:
    """Return what to wait for: where the ledger left off, if it knows the job."""
    subject = read_subject(job)
    row = ledger.find(gid=subject.gid) if job.strip() == subject.gid else None
    return (row and row.resume_from) or job


async def _record(ledger: Ledger, job: Job) -> None:
    """Write down the end of a job that was started here."""
    row = ledger.find(gid=job.gid) if job.done else None
    if row is not None and row.ended_at is None:
        for other in ledger.rows(row.state):  # exports may share a job
            if other.gid == job.gid:
                await ledger.finished(other.key, job)


def _newest_runs(ledger: Ledger, state: str | None) -> Iterator[Answer]:
    """Go back through what an assistant has to know of the rows of the ledger, all or those in one *state*."""
    states = cast("Iterable[Any]", () if state is None else (state,))  # a state is a word
    for row in ledger.rows(*states, newest_first=True):
        made = row.job and row.job.result
        name = row.content.get("name")
        found = {
            "key": plain(row.key, LONGEST_KEY),
            "state": row.state.value,
            "kind": row.content.get("kind"),
            "gid": row.content.get("gid"),
            "name": plain(name) if isinstance(name, str) else None,
            "job": row.gid,
            "makes": made and about_result(made),
            "held_by": row.holder,
            "started_at": row.created_at.isoformat(timespec="seconds"),
            "ended_at": row.ended_at and row.ended_at.isoformat(timespec="seconds"),
            "trouble": row.error and plain(row.error, 300),
        }
        yield {name: value for name, value in found.items() if value is not None}


def _unfinished(error: JobTimeoutError, waiter: JobWaiter[Any]) -> Answer:
    """Return where a wait stands whose time is over, and when it is worth another call."""
    job = error.job or Job(error.gid)
    eta = waiter.eta()
    left = 0.0 if eta is None else (eta.likely - datetime.now(UTC)).total_seconds() - error.waited
    answer: Answer = {
        **about_job(job),
        "retry_in": max(0, round(left)),
        "continuation_token": error.continuation_token,
    }
    if eta is not None:
        answer["expected_end"] = eta.likely.isoformat(timespec="seconds")
        answer["nine_of_ten_end_by"] = eta.latest.isoformat(timespec="seconds")
    if isinstance(error.__cause__, AsanaJobsError):
        answer["trouble"] = plain(str(error.__cause__), 300)
    return answer
