"""Recipes: a wait inside of Airflow, of Temporal, and of a step in CI.

What all three need is a wait that another process goes on with. A *continuation token* is that: text without secrets, with
the job's gid and what was seen of it. Whatever takes a job takes one.

For FastAPI, taskiq, Procrastinate and a worker of our own see `asana_jobs.worker`.

## Airflow: a trigger

A deferred task holds no worker while its job runs; the triggerer waits for thousands of them in one event loop, so they
share one client with one budget. What Airflow keeps of a trigger is a continuation token (`pip install apache-airflow`).

```python
import asyncio
from collections.abc import AsyncIterator
from functools import cache
from typing import Any

from airflow.triggers.base import BaseTrigger, TriggerEvent

from asana_jobs import AsanaClient


@cache
def asana() -> AsanaClient:
    return AsanaClient()


class AsanaJobTrigger(BaseTrigger):
    def __init__(self, job: str) -> None:  # a gid, or a continuation token
        super().__init__()
        self.job = job

    def serialize(self) -> tuple[str, dict[str, Any]]:
        return f"{type(self).__module__}.AsanaJobTrigger", {"job": self.job}

    async def run(self) -> AsyncIterator[TriggerEvent]:
        while (check := await asana().check_job(self.job)).retry_in is not None:
            self.job = check.continuation_token
            await asyncio.sleep(check.retry_in)
        yield TriggerEvent({"gid": check.job.gid, "status": str(check.job.status)} if check.job else None)
```

The operator starts the job with `client.start(operation, ledger=ledger, key=run_id)`, so that a task that is tried again gets
the job that it had started, and then calls `self.defer(trigger=AsanaJobTrigger(job.gid), method_name="resume")`. What makes a
watch impossible (`PermissionDeniedError`, `NotFoundError`) fails the task.

## Temporal: an activity

Each look is a heartbeat with the continuation token. An activity that is tried again, on whatever worker, finds the last
one and goes on from there, with the same schedule; a cancelled one ends its wait, and the job goes on at Asana
(`pip install temporalio`).

```python
from temporalio import activity

from asana_jobs import AsanaClient


@activity.defn
async def wait_for_asana_job(gid: str) -> str:
    tokens = activity.info().heartbeat_details
    async with AsanaClient() as asana:
        waiter = asana.wait_for_job(tokens[0] if tokens else gid, every_poll=True)
        async for _ in waiter:
            activity.heartbeat(waiter.continuation_token())
        return str((await waiter).status)
```

Two looks are a minute apart at most (`PollPolicy.maximum`), so three minutes are a good `heartbeat_timeout`. Start the job in an
activity of its own, with `client.start(operation, ledger=ledger, key=activity.info().workflow_id)` and
`RetryPolicy(maximum_attempts=1)` for an `OutcomeUnknownError`: what is unknown is for a person to decide.

## CI: a step

```yaml
- name: Wait for the copy of the project
  env:
    ASANA_ACCESS_TOKEN: ${{ secrets.ASANA_ACCESS_TOKEN }}
  run: |
    pip install --quiet 'asana-jobs[cli]'
    asana-jobs wait "$JOB" --timeout 30m
```

The step fails if the job does (1), if the time is over (3), and if the token is refused (4). While it waits it writes a
line a minute, so that no runner takes it for dead.
"""
