'''Many machines, one budget, nothing lost: what to use where one process is not enough.

Needs `pip install 'asana-jobs[worker]'`, and Redis 6.2 or later, or Valkey. The Redis of a queue must be trusted: who can
write to it can run code in the workers. It should append to a file. Tried with Redis 7.0 and Valkey 8.1 and 9.1, alone,
as a cluster, and with sentinels that make another one the master.

| you have | use |
| --- | --- |
| work for any number of machines | `JobQueue`, and `asana-jobs worker --redis URL` or `run_worker` |
| programs of your own, that start and wait themselves | `RedisGate`: one budget for all of them |
| a queue of your own, such as Procrastinate, SAQ or taskiq | `Steps`, or `check_job` for waits alone |
| a few processes, and no Redis | `RateLimits(share=1/4)` in each of four |

## A queue

`JobQueue` takes operations and waits; `asana-jobs worker --redis URL`, or `run_worker` with handlers of your own, does them
on any number of machines. A wait holds no place in a worker between its looks, the fleet shares one budget, and what is
enqueued twice under one key is started once, whatever is killed.

```python
import asyncio

from asana_jobs import DuplicateProject
from asana_jobs.worker import JobQueue


async def main() -> None:
    async with JobQueue("redis://localhost/0") as queue:
        await queue.enqueue(DuplicateProject("1203", name="Q3 launch"), key="order-17")
        async for result in queue.results():
            print(result.key, result.error or result.job)
            break


asyncio.run(main())
```

`enqueue_many` puts a backlog in, `watch` a job that was started elsewhere, and `wait(key)` answers the result of one.
`asana-jobs queue status` shows it all; `asana-jobs queue failed`, `retry`, `cancel` and `forget` are for operators.

**FastAPI**, which answers at once and leaves the work to the workers (`pip install fastapi`):

```python
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from fastapi import FastAPI, Request

from asana_jobs import DuplicateProject
from asana_jobs.worker import JobQueue


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncGenerator[dict[str, JobQueue], None]:
    async with JobQueue("redis://localhost/0") as queue:
        yield {"queue": queue}


app = FastAPI(lifespan=lifespan)


@app.post("/projects/{gid}/copies", status_code=202)
async def copy(gid: str, name: str, request: Request) -> dict[str, str]:
    return {"key": await request.state.queue.enqueue(DuplicateProject(gid, name=name))}
```

## A shared budget alone

With a `RedisGate`, the clients of all processes keep to the limits of their token together: pace, requests in flight,
running jobs, and the pause after a 429. Here in an aiohttp application:

```python
from collections.abc import AsyncIterator

from aiohttp import web

from asana_jobs import AsanaClient, DuplicateProject
from asana_jobs.worker import RedisGate


ASANA = web.AppKey("asana", AsanaClient)


async def asana(app: web.Application) -> AsyncIterator[None]:
    async with RedisGate("redis://localhost/0") as gate, AsanaClient(gate=gate) as client:
        app[ASANA] = client
        yield


async def copy(request: web.Request) -> web.Response:
    job = await request.app[ASANA].run(
        DuplicateProject(request.match_info["gid"], name=request.query["name"])
    )
    return web.json_response({"project": job.expect_result().gid})


app = web.Application()
app.cleanup_ctx.append(asana)
app.router.add_post("/projects/{gid}/copies", copy)
```

## No Redis

Processes that share nothing take a share of the limits each, `AsanaClient(limits=RateLimits(share=1 / 4))`: see
`asana_jobs.guides.limits`.

## Your own queue

`Steps` is what a worker does for a wait, one step at a time: your engine makes the steps, when it is told to, and Redis
keeps the intents, the jobs and the budget, so that nothing is started twice whatever the engine repeats. On Procrastinate
(PostgreSQL, `pip install procrastinate`), which reschedules the very task that raised:

```python
import math

import procrastinate
from procrastinate.exceptions import AlreadyEnqueued
from procrastinate.jobs import Job

from asana_jobs import DuplicateProject
from asana_jobs.worker import JobQueue, Steps


app = procrastinate.App(connector=procrastinate.PsycopgConnector(conninfo="postgresql://localhost/jobs"))
here: dict[str, Steps] = {}  # in this worker


class MakeAgain(Exception):
    """The wait has not ended; its argument says in how many seconds its next step is due."""


class WhenDue(procrastinate.BaseRetryStrategy):
    def get_retry_decision(self, *, exception: BaseException, job: Job) -> procrastinate.RetryDecision:
        # Whatever else is raised, such as a refused token, is this worker's trouble, and not the wait's.
        delay = exception.args[0] if isinstance(exception, MakeAgain) else 60
        return procrastinate.RetryDecision(retry_in={"seconds": math.ceil(delay)})


@app.task(name="step", retry=WhenDue(), pass_context=True)
async def step(context: procrastinate.JobContext, key: str) -> None:
    again = await here["steps"].step(key, returning=context.job.attempts > 0)
    if again is not None:
        raise MakeAgain(again.delay)


@app.periodic(cron="* * * * *")
@app.task(name="steps of killed workers")
async def retry_stalled(timestamp: int) -> None:
    for job in await app.job_manager.get_stalled_jobs():
        await app.job_manager.retry_job(job)


class Procrastinating:  # an asana_jobs.worker.Scheduler
    async def schedule(self, key: str, *, delay: float = 0.0, returning: bool = False) -> None:
        try:
            due = step.configure(queueing_lock=key, schedule_in={"seconds": math.ceil(delay)})
            await due.defer_async(key=key)
        except AlreadyEnqueued:
            pass


async def enqueue() -> None:
    async with app.open_async(), JobQueue("redis://localhost/0", scheduler=Procrastinating()) as queue:
        await queue.enqueue(DuplicateProject("1203", name="Q3 launch"), key="order-17")


async def work() -> None:
    async with app.open_async(), Steps("redis://localhost/0") as here["steps"]:
        await app.run_worker_async()
```

Where nothing is started, and a gid is all there is, `asana.check_job(token)` alone looks once and says when to come back.

On taskiq (NATS, RabbitMQ, Redis; `pip install taskiq`), with one client for each worker process:

```python
from typing import Annotated

from taskiq import InMemoryBroker, TaskiqDepends, TaskiqEvents, TaskiqState

from asana_jobs import AsanaClient, DuplicateProject, RateLimits


broker = InMemoryBroker()


@broker.on_event(TaskiqEvents.WORKER_STARTUP)
async def open_client(state: TaskiqState) -> None:
    state.asana = AsanaClient(limits=RateLimits(share=1 / 4))


@broker.on_event(TaskiqEvents.WORKER_SHUTDOWN)
async def close_client(state: TaskiqState) -> None:
    await state.asana.close()


@broker.task
async def copy(gid: str, name: str, state: Annotated[TaskiqState, TaskiqDepends()]) -> str:
    asana: AsanaClient = state.asana
    job = await asana.run(DuplicateProject(gid, name=name))
    return job.expect_result().gid
```

## Running it

**Redis** keeps what must not be lost, so it writes a file, and throws nothing away. The lines of `redis.conf`:

```text
# Written before it is answered: a restart loses nothing. With everysec, which is faster, it may lose its last second.
appendonly yes
appendfsync always
# A queue is no cache: full, it says so.
maxmemory-policy noeviction
# The append-only file is enough.
save ""
```

It needs less than 4 kB of memory for each wait under way, and less than 3 kB for each that has ended within seven days;
a worker opens up to 200 connections.

**Docker Compose**, in an image of your own with `asana-jobs[cli,metrics,worker]`; two workers, so that one may be
restarted:

```yaml
services:
  redis:
    image: redis:7.4
    command: [redis-server, /etc/redis/redis.conf]
    volumes: ["./redis.conf:/etc/redis/redis.conf:ro", "redis:/data"]
    restart: unless-stopped
  worker:
    image: your/asana-worker
    command: [asana-jobs, worker, --redis, "redis://redis:6379/0", --requests-per-minute, "1500",
              --drain, 25s, --health-file, /tmp/health, --metrics-port, "9464"]
    environment:
      ASANA_ACCESS_TOKEN_FILE: /run/secrets/asana_token
    secrets: [asana_token]
    depends_on: [redis]
    deploy:
      replicas: 2
    # Longer than --drain.
    stop_grace_period: 30s
    # Not for ever: with 4 it has ended because the token was refused.
    restart: on-failure:5
    healthcheck:
      test: [CMD-SHELL, 'test -n "$$(find /tmp/health -mmin -0.5)"']
      interval: 15s
secrets:
  asana_token:
    file: ./asana_token
volumes:
  redis: {}
```

**systemd**, without containers:

```ini
[Unit]
Description=Worker of the queue of Asana jobs
Wants=network-online.target
After=network-online.target redis-server.service

[Service]
ExecStart=/usr/bin/env asana-jobs worker --redis redis://localhost:6379/0 --drain 25s
Environment=ASANA_ACCESS_TOKEN_FILE=%d/asana-token
LoadCredential=asana-token:/etc/asana-jobs/token
DynamicUser=yes
TimeoutStopSec=30
Restart=on-failure
RestartSec=5
# Wrong usage, and a refused token, do not go away by themselves.
RestartPreventExitStatus=2 4

[Install]
WantedBy=multi-user.target
```

**Sizing.** A token's budget is the limit, not the machines: one worker spends 1,500 requests a minute with a tenth of a
processor. A second one is for when the first is restarted, and others for handlers that compute. At most five jobs of a
token run at any time (`asana_jobs.RateLimits`), however many workers there are.

What can go wrong, and what is then true:

- A worker that is killed: others take its waits over within 15 seconds; a start whose answer it awaited is `unknown`.
- Redis away: looks go on at `away_share`, nothing is started, and everything goes on when it is back.
- A replica takes over: it lacks what was written in the last second. What was put in then is lost unless it is put in
  again under the same key; what was started then the workers write down again. A replica that is not in step yet (its
  `master_link_status` is not `up`) lacks everything: never promote one.
- Asana cannot be reached from a worker, or its certificate is not trusted there: waits stay, and are tried again.
- A result is delivered at least once, to each group of readers and to the handlers: do twice what comes twice.
'''

try:
    from asana_jobs.worker._engine import Again, Scheduler
    from asana_jobs.worker._leases import ComeBack
    from asana_jobs.worker._metrics import serve_metrics
    from asana_jobs.worker._queue import JobQueue
    from asana_jobs.worker._redis_gate import RedisGate
    from asana_jobs.worker._results import Result
    from asana_jobs.worker._status import (
        BudgetStatus,
        PendingWait,
        QueueStatus,
        ReadersStatus,
        WorkerStatus,
    )
    from asana_jobs.worker._steps import Steps
    from asana_jobs.worker._worker import run_worker
    from asana_jobs.worker.errors import BudgetUnavailableError, KeyInUseError, QueueError, WaitEndedError
except ImportError as _error:
    if (_error.name or "").startswith("asana_jobs"):
        raise  # ours, which no installation brings
    raise ImportError(
        f"asana_jobs.worker needs more packages ({_error}): pip install 'asana-jobs[worker]'",
        name=_error.name,
    ) from _error


__all__ = [
    "Again",
    "BudgetStatus",
    "BudgetUnavailableError",
    "ComeBack",
    "JobQueue",
    "KeyInUseError",
    "PendingWait",
    "QueueError",
    "QueueStatus",
    "ReadersStatus",
    "RedisGate",
    "Result",
    "Scheduler",
    "Steps",
    "WaitEndedError",
    "WorkerStatus",
    "run_worker",
    "serve_metrics",
]
