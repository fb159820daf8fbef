"""Many starts, each once: runs, the ledger, and what to do when nobody knows whether a job was started.

Asana lets a token have five unfinished jobs. `run_all` keeps that many running, starts the next one the moment one is
seen to finish, and yields an `Outcome` for each operation. With a ledger, a run can be killed at any instant and started
again: what was started is watched, what was not is started, and nothing is started twice.

```python
import asyncio

from asana_jobs import AsanaClient, DuplicateProject, Ledger


async def main() -> None:
    copies = (DuplicateProject("1203", name=f"Copy {n}") for n in range(10))
    with Ledger.open("copies.ledger") as ledger:
        async with AsanaClient() as asana:
            async for outcome in asana.run_all(copies, ledger=ledger):
                print(outcome.error or outcome.raise_for_error().expect_result())
        print(ledger.summary())


asyncio.run(main())
```

Run that script, kill it in the middle, and run it again: that is all there is to it.

Ctrl-C once waits for the answers that are on their way. Ctrl-C again does not: what was sent and not answered is unknown.
Python raises that one in whatever is running, now and then in asyncio itself, which then forgets whom it was about to
wake: if the script still sits there, press it once more. The ledger is as good as after any other end.

## From a terminal

```console
$ asana-jobs run copies.csv --ledger copies.ledger
$ asana-jobs resume copies.ledger
```

`copies.csv` holds one operation a line (JSON lines do as well), under the names of their arguments:

```csv
kind,gid,name
duplicate_project,1203,Q3 launch in Berlin
duplicate_project,1203,Q3 launch in Lima
```

The command line needs `pip install 'asana-jobs[cli]'`.

## From a template

A project template may ask for dates and for people. `asana-jobs template 1204` lists them, in Python
`await asana.project_template("1204")` does. They are given by their names or by their gids:

```python
import asyncio
from datetime import date

from asana_jobs import AsanaClient, InstantiateProject


async def main() -> None:
    launches = [
        InstantiateProject(
            "1204",
            name=f"Launch in {town}",
            requested_dates={"Start Date": date(2027, 1, 4)},
            requested_roles={"Designer": "me"},
        )
        for town in ("Berlin", "Lima")
    ]
    async with AsanaClient() as asana:
        async for outcome in asana.run_all(launches):
            print(outcome.raise_for_error().expect_result())


asyncio.run(main())
```

The template is read once in a run, before anything is started; a name that it does not have is refused with those that it
has. A ledger remembers what a name stood for, so that a run goes on with the same dates whatever is renamed meanwhile. In a
file such a value has a column of its own, `requested_dates.Start Date` or `requested_roles.Designer`.

## What comes out

| `Outcome` | is |
| --- | --- |
| `.job` | the job as last seen; `None` if none was started, or if that is not known |
| `.error` | why there is no succeeded job: `JobFailedError`, `OutcomeUnknownError`, an `APIError`, `LedgerError`, ... |
| `.raise_for_error()` | the succeeded job, or raises that error |
| `.operation`, `.key` | what it was about |
| `.from_ledger` | whether an earlier run had ended it, so that no request was made |
| `.continuation_token` | for `wait_for_job`, if the job goes on |

Outcomes come in the order in which they end. One bad operation does not end a run. Operations are taken lazily, from a
list, a generator or an async one, so there may be a million of them.

Leaving the loop ends the run: nothing more is started, and requests that are under way are answered first, so that no
job runs without its gid being known. To ask afterwards what goes on at Asana, open the run by hand:

```python
import asyncio

from asana_jobs import AsanaClient, DuplicateProject


async def main() -> None:
    copies = (DuplicateProject("1203", name=f"Copy {n}") for n in range(10))
    async with AsanaClient() as asana:
        async with asana.run_all(copies) as outcomes:
            async for outcome in outcomes:
                print(outcome.key, outcome.job and outcome.job.status)
                break
        for outcome in outcomes.unfinished:
            print(outcome.key, "goes on:", outcome.continuation_token)


asyncio.run(main())
```

For one operation there is `await asana.run(operation)`, which starts it, waits, and returns the succeeded job or raises.

## Keys

A row of the ledger stands for one operation. Its name is your key, or else the operation's content and its position
among equal ones. With keys of your own, operations can be in another order in the next run, and a typing error in a name
is found: a key that stands for another operation is a `LedgerError`.

```python
import asyncio

from asana_jobs import AsanaClient, DuplicateProject, Ledger


ORDERS = {"order-17": "Q3 launch in Berlin", "order-18": "Q3 launch in Lima"}


async def main() -> None:
    copies = ((key, DuplicateProject("1203", name=name)) for key, name in ORDERS.items())
    with Ledger.open("orders.ledger") as ledger:
        async with AsanaClient() as asana:
            async for outcome in asana.run_all(copies, ledger=ledger):
                print(outcome.key, outcome.error or outcome.job)

            # One at a time, in a web application, say: the same key again is the same job.
            operation = DuplicateProject("1203", name="Q3 launch in Berlin")
            job = await asana.start(operation, ledger=ledger, key="order-17")
            print(job.gid)


asyncio.run(main())
```

## When nobody knows

Requests that start jobs have no idempotency key, and jobs cannot be listed. When the answer to such a request is lost,
its job runs or not, and Asana cannot be asked. So it is never sent a second time by itself: it ends as an
`OutcomeUnknownError` whose `.check` says what to look for, and its row is `unknown`, in this run and in the next. What is
certain not to have started anything (no connection, a 429, a 4xx with Asana's own message) is repeated, or said to be
refused.

Look in Asana, then decide:

| you found | do |
| --- | --- |
| no copy | `asana-jobs resume copies.ledger --retry-unknown`, or `run_all(..., retry_unknown=True)` |
| the copy | `asana-jobs resume copies.ledger --accept-unknown`, or `await ledger.accept_unknown("order-17")` |

Jobs that failed are started again only if you say so: `--retry-failed`, or `retry_failed=True`. The gid of the failed job
stays in the row, and what it has half made stays in Asana.

## What the ledger is

An SQLite file. The intent is written before the request is sent, and the gid after it was answered, both to disk and not
only to memory. It holds names and gids, no secrets; who may read it is decided by your
umask, and it follows no link out of its folder. Any number of processes of one machine may share it: each row is
taken by one of them. It is checked as a whole when it is opened (0.3 s for 100,000 rows).

- Keep it on a local disk: on a network file system, locks of two machines do not see each other, and it is refused.
- Do not use a copy of it beside the original: neither knows what the other one has started.
- When a run is over and you have read its outcomes, the file may be deleted. Then all is forgotten, so the same
  operations would be started anew.

`ledger.summary()` counts the rows by state, and `ledger.rows()` goes through them.

| state | means |
| --- | --- |
| `intent` | a process is about to send its request, or was killed doing so |
| `started` | its job runs, as far as is known |
| `succeeded`, `failed` | its job has ended |
| `refused` | Asana refused; nothing was started, and the next run tries again |
| `unknown` | its job may run, see above |
| `accepted` | a person has looked; it is never started |

More than one machine: `asana_jobs.worker`.

In the reference: `asana_jobs.AsanaClient.run_all`, `asana_jobs.AsanaClient.run`, `asana_jobs.AsanaClient.start`,
`asana_jobs.Outcome`, `asana_jobs.Ledger`, `asana_jobs.operations`, `asana_jobs.errors.OutcomeUnknownError`.
"""
