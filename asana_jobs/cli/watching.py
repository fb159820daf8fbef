"""Watching many jobs at once: the one place that knows how. Everything above it sees a stream of news."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from typing import TYPE_CHECKING, TypeAlias

import attrs

from asana_jobs.errors import AsanaJobsError


if TYPE_CHECKING:
    from asana_jobs import AsanaClient, Job
    from asana_jobs.cli.subjects import Subject


@attrs.frozen
class News:
    """One thing learned about one job: a state, or that no more will be learned."""

    gid: str
    job: Job | None = None
    error: AsanaJobsError | None = None


_Told: TypeAlias = "News | BaseException | None"


async def watch_jobs(
    client: AsanaClient, subjects: Sequence[Subject], *, seconds: float | None
) -> AsyncGenerator[News, None]:
    """Yield every change of every job, until all have finished, *seconds* have passed, or watching is impossible.

    Close it (`contextlib.aclosing`) when you leave it early.
    """
    told: asyncio.Queue[_Told] = asyncio.Queue()

    async def follow(subject: Subject) -> None:
        try:
            async for job in client.wait_for_job(subject.handle, timeout=seconds):
                told.put_nowait(News(subject.gid, job=job))
        except AsanaJobsError as error:
            told.put_nowait(News(subject.gid, error=error))

    async def follow_all() -> None:
        try:
            async with asyncio.TaskGroup() as group:
                for subject in subjects:
                    group.create_task(follow(subject))
        except* Exception as group_of_bugs:  # noqa: BLE001  # handed over, and raised where the news is read
            told.put_nowait(group_of_bugs.exceptions[0])
        finally:
            told.put_nowait(None)

    following = asyncio.create_task(follow_all())
    try:
        while (news := await told.get()) is not None:
            if isinstance(news, BaseException):
                raise news
            yield news
    finally:
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)
