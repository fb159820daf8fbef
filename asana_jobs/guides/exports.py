"""Exports: start one, wait for it, and get its file whole, or its records one by one.

An export ends in a signed link that dies within minutes and a file that may be gigabytes. `download_export` writes it
whole or not at all; `iter_export` gives you the records, straight from the stream.

```python
import asyncio

from asana_jobs import AsanaClient


async def main() -> None:
    async with AsanaClient() as asana:
        job = await asana.wait_for_job(await asana.export_graph("1207"))
        print(job.status, await asana.download_export(job, "export.json.gz"))

        async for record in asana.iter_export(job):
            print(record["resource_type"], record["gid"])
            break


asyncio.run(main())
```

`asana-jobs export` does all of it in a terminal:

```console
$ asana-jobs export graph 1207 -o export.json.gz
```

(`pip install 'asana-jobs[cli]'`.) Interrupted, it prints the command that goes on at the same byte.

## Which export

| call | command | exports |
| --- | --- | --- |
| `export_graph(gid)` | `export graph GID` | what hangs below a goal, project, portfolio or team |
| `export_resource(workspace_gid, parameters)` | `export resource GID --parameters JSON` | tasks, teams or messages of a workspace |
| `export_organization(gid)` | `export organization GID` | all of an organization |

- Asking for the graph of one object twice gives the same job while that runs, so a lost answer costs nothing here.
- A workspace has one `export_resource` at a time, whoever started it. A second one is refused with `ExportBusyError`: wait
  for the first to end.
- An organization's export is kept by Asana outside of its jobs. Wait for it and download it like one, with the `Job` or a
  continuation token: its gid alone does not say what it is.

An export can take hours, and an OAuth token lasts one: hand the client an `OAuthRefresh`
(`asana_jobs.guides.proxies`). Stop at any time, and go on with a continuation token (`asana_jobs.guides.waiting`).

## The file

- It is what Asana serves: gzip, of JSON lines, one record each; one JSON document for an organization.
- It is written beside its destination, as `.NAME.GID.part`, checked (its length and the archive), and renamed. So the
  destination is absent, or whole.
- Broken connections and links that have died are dealt with, at the same byte. After a failure, or when the process was
  killed, the same call goes on where it stopped.
- Only you may read it (mode 600), unless it replaces a file: then it has the permissions of that.
- Asana keeps it for 30 days.

`progress=` is called with the bytes done and the bytes in all (`None` while that is unknown):

```python
import asyncio

from asana_jobs import AsanaClient, ExportGraph


def show(done: int, total: int | None) -> None:
    print(f"{done} of {total or 'unknown'} bytes")


async def main() -> None:
    async with AsanaClient() as asana:
        job = await asana.run(ExportGraph("1207"), timeout=3600)
        print(await asana.download_export(job, "export.json.gz", progress=show))


asyncio.run(main())
```

## The records

`iter_export` unpacks and parses as the bytes come, in a thread; memory does not grow with the file. Leaving the loop
early drops the connection. Where you keep the iterator, open it:

```python
import asyncio
from collections import Counter

from asana_jobs import AsanaClient, ExportGraph


async def main() -> None:
    kinds: Counter[object] = Counter()
    async with AsanaClient() as asana:
        job = await asana.run(ExportGraph("1207"))
        async with asana.iter_export(job) as records:
            async for record in records:
                kinds[record["resource_type"]] += 1
    print(kinds)


asyncio.run(main())
```

With `pip install 'asana-jobs[speed]'` orjson parses them, three to five times as fast.

## What it guards against

The token is never sent to the host of a file. Links are followed to https only, never to this machine or into a private
network, and through at most five redirects. A record has at most 32 Mi characters; a file may be of any length. A page
of a proxy or a login that comes in place of the file is an error, and is thrown away.

In the reference: `asana_jobs.AsanaClient.export_graph`, `asana_jobs.AsanaClient.export_resource`,
`asana_jobs.AsanaClient.export_organization`, `asana_jobs.AsanaClient.download_export`,
`asana_jobs.AsanaClient.iter_export`, `asana_jobs.errors.DownloadError`, `asana_jobs.sync.export`.
"""
