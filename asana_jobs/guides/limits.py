"""Limits and the schedule: what Asana allows a token, who goes first, and when a job is looked at.

Asana allows 150 requests a minute on free domains and 1500 on paid ones, tells nobody which, and answers 429 beyond.
Beside that, a token may have 50 reads and 15 writes in flight, and five unfinished jobs.

| you say | and the client |
| --- | --- |
| `RateLimits()`, the default | finds the quota out, with a few 429s |
| `RateLimits.free()`, `RateLimits.paid()` | keeps to 150 or 1500 requests a minute, and gets no 429 |
| `RateLimits(expected=...)` | begins at what an earlier client found out: `client.budget.expected` |
| `RateLimits(share=1/4)` | uses a quarter of all limits: one of four processes with the same token |
| `RateLimits(poll_share=0.5)` | spends at most half of the quota on looking at jobs |
| `RateLimits(jobs_running=3)` | has at most three unfinished jobs |

All calls of a client share one budget: its pace, its requests in flight, and the pause after a 429. Looks at jobs use
what nobody else does. Your own calls go first, and a handful of them goes at once. `client.budget` shows it:

```python
import asyncio

from asana_jobs import AsanaClient, RateLimits


async def main() -> None:
    async with AsanaClient(limits=RateLimits.paid()) as asana:
        print((await asana.wait_for_job("1205")).status)
        print(f"{asana.budget.used:.1%} of the quota was used, {asana.budget.rejected} requests were rejected")


asyncio.run(main())
```

## One token in several processes

Where nothing is shared, each process takes its share of the limits. Four processes that take a quarter each stay within
them without talking to each other:

```python
import asyncio

from asana_jobs import AsanaClient, RateLimits


async def main() -> None:
    async with AsanaClient(limits=RateLimits(share=1 / 4)) as asana:
        print((await asana.wait_for_job("1205")).status)


asyncio.run(main())
```

With Redis, `asana_jobs.worker.RedisGate` keeps one budget for all of them, whoever is busy and whoever is not.

## One process with many tokens

`client.with_token(token)` is a client for another user: a budget of its own, the same connections, and what was learned
of how long jobs take. An OAuth app can have ten thousand of them.

```python
import asyncio

from asana_jobs import AsanaClient


async def main() -> None:
    async with AsanaClient() as asana:
        async with asana.with_token("token-of-another-user") as theirs:
            job = await theirs.wait_for_job("1205")
            print(job.status)


asyncio.run(main())
```

## What is repeated

`RetryPolicy` says how one request is repeated that fails in a way that may pass: five tries, from 0.5 s to 30 s apart. A
`Retry-After` that asks for longer wins, up to `RetryPolicy.max_retry_after` (120 s); beyond, it is a `RateLimitError`.
Calls of one token have 35 such repetitions in a row, and a part of one more for each answer, so that a hundred calls to a
server in trouble make some 135 requests and not five hundred. Waits are not bound by these numbers but by
`PollPolicy.give_up_after`. Requests that start jobs are repeated only when it is certain that nothing was started.

After a 429 all requests of the token pause, and one of them probes whether the pause is over.

## When a job is looked at

A look is worth the lag that it saves: the longer ago the last one, and the likelier the job has finished since, the more.
A job alone is looked at once a look is expected to save `PollPolicy.lag_price` seconds (0.1 unless you say otherwise),
soon after its start and ever more rarely. When thousands of jobs want more looks than the budget has, those worth most
come first.

How long jobs of a kind take is learned as they finish. `client.durations` keeps it for the next process:

```python
import asyncio
import json
from pathlib import Path

from asana_jobs import AsanaClient


LEARNED = Path("durations.json")


async def main() -> None:
    async with AsanaClient() as asana:
        if LEARNED.exists():
            asana.durations.merge(type(asana.durations).from_dict(json.loads(LEARNED.read_text())))
        print((await asana.wait_for_job("1205")).status)
        LEARNED.write_text(json.dumps(asana.durations.to_dict()))


asyncio.run(main())
```

The command line does that by itself, in the user's cache folder, as counts without gids; `ASANA_JOBS_CACHE=off` keeps
nothing.

| you want | say |
| --- | --- |
| to see ends sooner | `PollPolicy(lag_price=0.02)` |
| fewer requests | `PollPolicy(lag_price=1)` |
| a gap of at most 10 s | `PollPolicy(maximum=10)` |
| a look every 2 s | `wait_for_job(job, poll=wait_fixed(2))`, from tenacity |

With the defaults, fleets of jobs are seen to finish after 1.0 to 1.2 times the least lag that their quota allows to
anybody who knows how long such jobs take, but not when one ends. Where every job takes about equally long and requests
cost nothing, a plain loop does as well. The measurements are in
[benchmarks/README.md](https://github.com/asana-jobs/asana-jobs/blob/main/benchmarks/README.md).

## What an answer may do

Whoever answers is held to limits too. An answer has at most 16 MiB, unpacked. A `Retry-After` keeps the client away for
an hour at most; then it asks again. No redirect is followed with the token.

In the reference: `asana_jobs.RateLimits`, `asana_jobs.RetryPolicy`, `asana_jobs.PollPolicy`,
`asana_jobs.AsanaClient.budget`, `asana_jobs.AsanaClient.durations`, `asana_jobs.AsanaClient.with_token`.
"""
