"""Moving from the official package, or from a loop of your own.

The official package `asana` covers the whole API; this one starts and watches slow work. Both can be used side by side:
`wait_for_job` takes what the official package returns. Here its client stands beside ours, which is called `client`.

| with `asana` | with `asana_jobs` |
| --- | --- |
| `asana.ProjectsApi(client).duplicate_project(gid, opts={"body": {"data": {"name": "Q3"}}})` | `await client.duplicate_project(gid, name="Q3")` |
| `jobs.get_job(gid, {})` in a loop, with `time.sleep` | `await client.wait_for_job(gid)` |
| `job["new_project"]["gid"]` | `job.expect_result().gid`, for every operation |
| `job["status"] == "failed"` | `job.failed`, or `job.raise_for_status()` |
| `asana.rest.ApiException`, by `.status` | `NotFoundError`, `RateLimitError`, ...: all are an `AsanaJobsError` |
| a POST whose answer was lost: do it again, perhaps twice | `OutcomeUnknownError`: a person decides |
| threads for many jobs | `client.monitor_jobs(gids)`, `client.run_all(operations)` |
| `configuration.access_token = ...` | `AsanaClient(token)`, or `ASANA_ACCESS_TOKEN` |
| `configuration.proxy`, `configuration.ssl_ca_cert` | `HTTPS_PROXY`, `SSL_CERT_FILE` |

Started with the official package, awaited with this one (`pip install asana`):

```python
import os

import asana

from asana_jobs import sync


configuration = asana.Configuration()
configuration.access_token = os.environ["ASANA_ACCESS_TOKEN"]
configuration.host = os.environ.get("ASANA_BASE_URL", "https://app.asana.com/api/1.0")
projects = asana.ProjectsApi(asana.ApiClient(configuration))

started = projects.duplicate_project("1203", {"body": {"data": {"name": "Q3 launch"}}})
job = sync.wait_for_job(started, timeout=300)
print(job.status, job.expect_result())
```

Inside of a coroutine, `await client.wait_for_job(started)` does the same. The official package blocks: call it there in a
thread, `await asyncio.to_thread(projects.duplicate_project, ...)`. It repeats no POST unless you set
`configuration.retry_strategy` so that it does; leave that alone for requests that start jobs.

## From a loop

```text
while True:
    job = jobs.get_job(gid, {})
    if job["status"] in ("succeeded", "failed"):
        break
    time.sleep(2)
```

is `job = await client.wait_for_job(gid)`. What changes:

- A 429, a 503 or a dropped connection does not end the wait.
- The gaps follow the job: short at first, then as long as such jobs usually take.
- A hundred waits share one budget, and what is not a job's gid is a `ValueError` before any request.
- `timeout=300` ends in a `JobTimeoutError` that knows how to go on.

Without asyncio, `asana_jobs.sync` has the same calls, and the command line needs no Python at all.

## When to stay

- You need the rest of the API: stay with the official package for that. `client.request("GET", "/users/me")` sends any
  request under the same token and budget, and returns the answer as it came.
- You wait for one job now and then, and nobody minds some seconds: a loop of five lines with `sleep` will do.

In the reference: `asana_jobs.AsanaClient.request`, `asana_jobs.Job`, `asana_jobs.operations`, `asana_jobs.sync`.
"""
