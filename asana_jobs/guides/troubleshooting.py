"""What does this message mean? The messages of this library, with their cause and what to do.

Everything raised on purpose is an `AsanaJobsError` (`asana_jobs.errors` has the tree), wrong arguments are a `ValueError`
before any request. Every message says what happened to which gid, and `error.advice` what to do next. Dots stand for what
differs. Begin with

```console
$ asana-jobs doctor
```

which says which token is used, through which proxy, and whether Asana answers (`pip install 'asana-jobs[cli]'`).

## Nothing was sent

| message | means | do |
| --- | --- | --- |
| `no access token: set ...` | no variable holds a token | set `ASANA_ACCESS_TOKEN`; in cron, systemd and containers the variables of your shell are not there |
| `is a placeholder: put the token in its place` | the variable holds `$TOKEN`, `<your token>` or the like | put the token there; in CI, check that the job may read the secret |
| `begins with the word Bearer: ...` | the whole header was copied | write the token alone |
| `holds blanks or characters that cannot stand in a header: ...` | a line end or half a token was copied | copy it again |
| `... names ..., which cannot be read: ...` | `ASANA_ACCESS_TOKEN_FILE` names no file that this user can read | check the name and who may read it |
| `... must be https, or http to this machine only: ...` | `ASANA_BASE_URL` is http to another host | https, or for a simulator `ASANA_ALLOW_PLAIN_HTTP=1` |
| `... must be a string of digits, such as '1203', not ...` | a gid came as a number, with a blank, or as a whole link | write gids as strings of digits; a JSON number or a spreadsheet's 1.2E+15 has lost some |
| `... no connection could be made ...` | a `ConnectError`: name, port, proxy or certificate, which stands in brackets | check the network and `ASANA_BASE_URL`; repeating is safe |
| `the certificate of ... is not trusted: ...` | a company's proxy opens https, or the clock is wrong | `SSL_CERT_FILE`: `asana_jobs.guides.proxies` |
| `... does not speak TLS at this port` | https was written where http is meant | check `ASANA_BASE_URL` and `HTTPS_PROXY` |
| `the proxy answered ...` | 407: the proxy wants a password; 403: it does not let you through | write the password into `HTTPS_PROXY`, or add the host to `NO_PROXY` |
| `... names a proxy that speaks SOCKS, ...` | only proxies of http are supported | another proxy, `NO_PROXY`, or a session of your own |
| `this client is closed. ...` | a call after the end of its `async with` | keep the client open for as long as you use it |
| `this budget belongs to another event loop: ...` | a client was used in a second `asyncio.run`, or in another thread | one client for each loop, or `asana_jobs.sync` |
| `no event loop of asyncio is running here: ...` | an async call outside of `async def` | `asyncio.run(main())`, or `asana_jobs.sync` |

## Asana said no

| message | means | do |
| --- | --- | --- |
| `... was answered 401 ...` (`AuthenticationError`) | the token is wrong, expired or revoked | make a new one; for OAuth hand over an `OAuthRefresh` |
| `Asana does not renew the token of app ...` | the user has withdrawn the app, or its secret has changed | let the user log in again |
| `... was answered 403 ...` (`PermissionDeniedError`) | this user may not; a job may be read only by who started it | use the token that started the job, and check the scopes of the app and the sharing of the object |
| `An export is already running in this workspace: ...` | one `export_resource` at a time, whoever started it | wait for that, and start again |
| `... was answered 404 ...` (`NotFoundError`) | no such object, or this user may not see it | check the gid; `no matching route` means that `ASANA_BASE_URL` lacks `/api/1.0` |
| `... was answered 402 ...` (`PaymentRequiredError`) | the plan does not include it | |
| `... was answered 422 ...` (`UnprocessableError`) | a template wants dates or roles | give a value for each, or `is_strict=False` |
| `... asks for no ...: it asks for ...` | `InstantiateProject` with a name that its template does not have | take one of those that are listed: `asana-jobs template GID` |
| `Asana changes its API, and what this client does is affected by ...` | an answer announces a change (`Asana-Change`) | read what it links to; `AsanaClient(enable=[...])` tries it, `disable=[...]` puts it off |
| `... was answered 429 ...` (`RateLimitError`) | more callers use this token than its limit allows, or Asana asks for a longer pause than `RetryPolicy.max_retry_after` | fewer processes, `RateLimits(share=...)`, or `asana_jobs.worker.RedisGate`: `asana_jobs.guides.limits` |
| `... was answered 503 ...` (`ServerError`) | Asana or a gateway failed, in every try | try later; quote the phrase to Asana's support |

## A wait ended

| message | means | do |
| --- | --- | --- |
| `job ... had not finished after ... s (...); it may still finish. ...` | `JobTimeoutError`: you stopped waiting, the job did not stop | wait again, or later with `.continuation_token`; do not start it again |
| `job ... failed: Asana gives no reason...` | `JobFailedError`, from `run`, `raise_for_status()` and `expect_result()` | look at what is half made, remove it, then start again |
| `... there is no result before it has succeeded...` | `NoResultError`: `expect_result()` too early | `await wait_for_job(job)` first |
| `has succeeded, but its answer names nothing that it made: ...` | a roll-up makes nothing; or `opt_fields` without the result | leave `expect_result()` or `opt_fields` out |
| `... no answer within ... s` (`RequestTimeoutError`) | Asana or the network is slow | raise `AsanaClient(timeout=...)` |
| `... with a body that is not JSON ...` | a page of a gateway, a proxy or a login came | look at what stands between you and Asana; waits look past it |
| `... without a 'data' envelope: is base_url Asana's API?` | another server answers | check `ASANA_BASE_URL` |
| `... is not as Asana documents it: ...` | `DecodeError`: the gid or the status of a job cannot be read | report it with the problems it lists |
| `... the answer belongs to another request. ...` | a proxy mixes answers up | waits ask again on new connections; look at that proxy |
| `the client was closed while this call was under way. ...` | `ClientClosedError` | keep the client open; a job goes on without you |

## Nobody knows whether it was started

| message | means | do |
| --- | --- | --- |
| `... may or may not have been started: ... It was not repeated; ...` | `OutcomeUnknownError`: the answer to a starting request was lost | look in Asana for what `.check` says, then start again, or do not: `asana_jobs.guides.bulk` |
| `... may or may not have been started in an earlier run ...` | the same, from the ledger | the same, with `--retry-unknown` or `--accept-unknown` |
| `... was settled by a person who found no job or did not say which: ...` | the row was accepted by hand | another key, if it is to be started all the same |

## Ledgers

| message | means | do |
| --- | --- | --- |
| `key ... stands for another operation in this ledger: ...` | a key was used for something else, or its operation was changed | another key, or another ledger |
| `key ... is given twice in this run: ...` | two operations have one key | a key for each |
| `... is left to ..., which is at work on it. ...` | another process runs this ledger | let it end, then run again |
| `... which is stopped: continue it or end it` | that process was stopped with Ctrl-Z or SIGSTOP | `fg`, or `kill` it |
| `... is another program's SQLite file, not a ledger: ...` | the path names something else | another path; the file was left as it is |
| `... is on a network file system (...), where ...` | locks of two machines do not see each other | a local disk, or `--allow-network-file-system` if only one machine uses it |
| `... was opened by process ..., from which this one was forked: ...` | a ledger crossed a fork | open it in each process |
| `... was deleted or replaced while it was used: ...` | the file under this name is another one now | put the old one back, with the files beside it |
| `... has schema ..., this version of asana-jobs knows ...: ...` | a newer version made it | upgrade asana-jobs |

## Files of exports

| message | means | do |
| --- | --- | --- |
| `... there is no file yet. Wait for it with wait_for_job.` | the export runs | wait first |
| `job ... is no export: it has no file.` | another job's gid; or that of an organization export | the right gid; for an organization the `Job` or a continuation token |
| `... the file is gone (...); Asana keeps it for 30 days. ...` | it is too late | start the export again |
| `what came for the export of job ... is no export: ...` | the page of a proxy or a login came in its place | look at what stands between this machine and the file's server |
| `... is being downloaded to ... already: ...` | another download of this export to this file | wait for it, or another file |
| `... refused to fetch it from ...` | the link leads to plain http, this machine or a private network | is there something between you and Asana that changes answers or names? |
| `... given up at byte ... after ... failures in a row, ...` | the connection broke again and again | call it again: it goes on at that byte |

## Queues

| message | means | do |
| --- | --- | --- |
| `asana_jobs.worker needs more packages (...): ...` | the extra is missing | `pip install 'asana-jobs[worker]'` |
| `Redis at ... is ...: 6.2 or later is needed, or Valkey` | an old server | upgrade it |
| `... is the name of another wait, ...` | `KeyInUseError`: the key was used for another operation | another key |
| `nothing is known of the wait ...: ...` | it was never put in, or ended more than a week ago | check the key |

`asana-jobs queue status` and `asana-jobs queue failed` show what waits and what has failed: `asana_jobs.worker`.

## The command line

| message | means | do |
| --- | --- | --- |
| `... needs two more packages: pip install 'asana-jobs[cli]'` | the extra is missing | install it |
| `this is a bug: ...` | an error that nobody has thought of | run it again with `ASANA_JOBS_TRACEBACK=1`, and report what it prints |

## No message

- **It waits for ever.** A job may take hours. `timeout=` ends a wait, `asana-jobs get GID` looks once, and with
  `AsanaClient(on_event=print)` each look is told (`asana_jobs.events`).
- **`coroutine ... was never awaited`.** A call of the client sends nothing before it is awaited.
- **macOS, Windows.** It is run on Linux only. Nothing is known to fail on macOS. On Windows two downloads of one export to
  one file do not notice each other, and a bulk run that was killed is taken for running for a minute more.
- **Tests are slow.** Jobs of the simulator take a second or two: `asana_jobs.testing` makes that time virtual.
- **`asana-jobs: command not found`.** It is beside the Python it was installed for: `.venv/bin/asana-jobs`, or
  `python -m asana_jobs`.
"""
