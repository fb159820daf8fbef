"""Waiting: await a job, watch it change, watch many at once, and stop waiting without losing it.

Asana answers slow work with a *job*, which has to be polled at `/jobs/<gid>` until it has succeeded or failed.
`wait_for_job` does the polling. It takes a `Job`, a gid, an answer of the official package or a continuation token.

```python
import asyncio

from asana_jobs import AsanaClient


async def main() -> None:
    async with AsanaClient() as asana:
        job = await asana.duplicate_project("1203", name="Q3 launch")

        async for job in asana.wait_for_job(job):  # every change, the finished job last
            print(job.gid, job.status)

        job = await asana.wait_for_job(job, timeout=300)  # or just the finished job
        print(job.expect_result().name)


asyncio.run(main())
```

Without a client at hand, in a script or beside the official package:

```python
import asyncio

from asana_jobs import wait_for_job


job = asyncio.run(wait_for_job("1204", timeout=300))
print(job.gid, job.status)
```

## What a wait is

`wait_for_job` returns a `JobWaiter`: a coroutine that can be iterated as well.

| you write | and get |
| --- | --- |
| `job = await waiter` | the finished job, succeeded or failed |
| `async for job in waiter` | every change, the finished job last; with `every_poll=True` every look |
| `break`, then `await waiter` | the wait goes on where it stopped, with the same schedule and deadline |
| `await waiter` again | the same finished job, without a request |
| `create_task`, `TaskGroup`, `gather`, `as_completed`, `asyncio.run` | they work, typed as `Job` |
| `BackgroundTasks.add_task(asana.wait_for_job, gid)`, `async_to_sync(wait_for_job)` | frameworks know it for a coroutine function, and await it |
| cancellation, `asyncio.timeout()` | passes straight through; the waiter can be awaited again |
| `timeout=300` | `JobTimeoutError` after 300 s; the last look is at the deadline |
| `timeout=0` | one look: the finished job, or `JobTimeoutError` |
| `poll=wait_exponential(max=30)` | any tenacity wait strategy decides when to look |
| `poll=wait_chain(wait_fixed(1), PollPolicy())`, `PollPolicy() + wait_random(0, 2)` | a `PollPolicy` is one too: it adds up and chains |
| `AsyncRetrying(wait=PollPolicy())` | and paces whatever else you retry |

A call without `await` sends nothing, and Python warns that it was never awaited. A client belongs to one event loop, so
to one `asyncio.run`. Open it in `async with`, or call `await asana.close()` when you are done: every wait of it ends
with `ClientClosedError` then.

## How it can end

There are four ends, and they stay apart.

- **The job has finished.** A failed job is a result and no exception: ask `job.succeeded` and `job.failed`, or call
  `job.raise_for_status()`. `job.expect_result()` returns what the job has made, or raises. Type checkers know what that
  is: `duplicate_project` starts a `Job[ProjectCompact]`, and so are a wait for it and `run`. The job of a bare gid is a
  plain `Job`, whose result is any `JobResult`.
- **The time is over.** `JobTimeoutError` has the job as last seen in `.job`, and `.continuation_token`. The job itself
  goes on at Asana: do not start it again.
- **Watching is impossible.** A 403, a 404 that stays, a refused token, a certificate that is not trusted: the error says
  which.
- **You left.** A cancelled wait leaves nothing behind, and can be awaited again.

Trouble that passes (no connection, 429, 5xx, resets, timeouts, a gateway's HTML page) does not end a wait that has time
left, unless it goes on without a break for `PollPolicy.give_up_after` seconds (900). Before anything was answered at
all, no connection for `PollPolicy.first_contact` seconds (4) is enough, since a wrong address does not pass; a
certificate that is not trusted is said at once. While Asana answers nobody, one wait looks for all of them, every four
seconds at most.

## Stop now, go on later

A continuation token is a line of JSON without secrets. Keep it in a database, a message or a file; a wait made from it
goes on with the same schedule, on whatever machine.

```python
import asyncio

from asana_jobs import AsanaClient, JobTimeoutError


async def main() -> None:
    async with AsanaClient() as asana:
        job = await asana.duplicate_project("1203", name="Q3 launch")
        try:
            job = await asana.wait_for_job(job, timeout=0)
        except JobTimeoutError as error:
            print(f"job {error.gid} goes on without us")
            token = error.continuation_token
            job = await asana.wait_for_job(token)  # perhaps tomorrow, perhaps elsewhere
        print(job.status)


asyncio.run(main())
```

Queue workers and cron want no wait at all, but one look and the time of the next: `asana.check_job(token)` answers a
`Check` with `.done`, `.job`, `.retry_in` seconds and `.continuation_token`.

```python
import asyncio

from asana_jobs import AsanaClient


async def main() -> None:
    async with AsanaClient() as asana:
        check = await asana.check_job("1205")
        while check.retry_in is not None:
            await asyncio.sleep(check.retry_in)  # a queue puts its message back for this long instead
            check = await asana.check_job(check.continuation_token)
        print(check.job and check.job.status)


asyncio.run(main())
```

## Many at once

A monitor tells the changes of all its jobs as they come. `add` takes more while it runs.

```python
import asyncio

from asana_jobs import AsanaClient


async def main() -> None:
    async with AsanaClient() as asana, asana.monitor_jobs(["1205", "1206"]) as monitor:
        monitor.add("1207")
        async for job in monitor:
            print(job.gid, job.status)


asyncio.run(main())
```

A job that cannot be watched does not disturb the others. Plain iteration raises all such errors together, when the block
ends; `monitor.events()` tells each as it happens:

```python
import asyncio

from asana_jobs import AsanaClient
from asana_jobs.events import WaitEnded


async def main() -> None:
    async with AsanaClient() as asana, asana.monitor_jobs(["1205", "1206"], timeout=300) as monitor:
        async for event in monitor.events():
            if isinstance(event, WaitEnded):
                print(event.gid, event.error or event.status)


asyncio.run(main())
```

Any number of waits on one gid cost one request, and a job known to be finished costs none. A wait takes about 4 KB, its
task included, and a job of a monitor has no task and no timer. Waits leave nothing to Python's garbage collector, which
goes through every object there is and stands still for that long: 0.2 s among 10,000 waits. A process that only waits
can do without it (`gc.freeze()` once the waits have begun, or `gc.disable()`).

## When will it be over?

`waiter.eta()` and `monitor.eta()` say when a job is expected to have ended, from what this client has learned of its
kind: the median (`likely`) and the moment by which nine of ten have (`latest`); `None` below 20 ends of that kind. A job
that outlives 99 of 100 is told as overdue (`asana_jobs.events.JobOverdue`). `waiter.statistics` has the looks, the
seconds waited, and between which moments the job finished.

When a job is looked at is decided by what a look is worth: `asana_jobs.guides.limits`.

In the reference: `asana_jobs.AsanaClient.wait_for_job`, `asana_jobs.JobWaiter`, `asana_jobs.AsanaClient.check_job`,
`asana_jobs.Check`, `asana_jobs.JobMonitor`, `asana_jobs.PollPolicy`, `asana_jobs.Job`.
"""
