"""A server for assistants: they start Asana's jobs, each at most once, and wait for them in a handful of calls.

`asana-jobs mcp` speaks the Model Context Protocol on standard input and output (`pip install 'asana-jobs[mcp]'`). In the
configuration of an assistant's program:

```json
{
  "mcpServers": {
    "asana-jobs": {
      "command": "asana-jobs",
      "args": ["mcp"],
      "env": {"ASANA_ACCESS_TOKEN": "..."}
    }
  }
}
```

Without a token it starts all the same, and every tool says what to set. `asana-jobs doctor` checks a token.

| tool | does |
| --- | --- |
| `duplicate_project`, ... | one tool for each of `asana_jobs.operations`, named as its kind, with its arguments and a *key*: starts the job and answers at once |
| `wait_for_job` | waits until the job has finished, for 50 s at most (`--longest-call`): with the end, or with when to call again (*retry_in*), a *continuation_token* and, once enough was learned, the expected end |
| `get_job` | looks once |
| `project_template` | the dates and roles that a project template asks for |
| `list_runs` | what was started, in this conversation and in earlier ones |
| `resolve_unknown` | settles a start whose answer was lost, by what a person has seen in Asana |
| `download_export` | writes the file of an export to a path that is free and ends in `.gz` |

**A key stands for one start.** The same key with the same arguments is answered with the same job, whoever calls, however
often, and also when the server was killed in between; with other arguments it is an error, and nothing is sent. What was
started stands in a ledger, `~/.local/share/asana-jobs/mcp-app.asana.com.ledger` (`XDG_DATA_HOME`) or the file of
`--ledger`; it is an `asana_jobs.Ledger`, and what reads ledgers reads it:

```python
from asana_jobs import Ledger

with Ledger.open("assistant.ledger") as ledger:
    print(ledger.summary())
```

Every server that runs under one account of a machine uses the same ledger. Two people who share the account, as on a build
host or a jump host, share the keys too: what one has started under `q3` is the other's answer to `q3`, and `list_runs` shows
both what was started. Give each of them a ledger of their own: `"args": ["mcp", "--ledger", "kim.ledger"]`.

**Where nobody knows**, because an answer was lost or the server was killed at the wrong moment, the tool says so, and starts
nothing until a person has looked in Asana and `resolve_unknown` is called.

**A client that takes tasks** (the Tasks extension, `io.modelcontextprotocol/tasks`) is given one by `wait_for_job`, and asks
for it itself, as often as the task says, without its assistant. The job is the task: it outlives the server.

What never happens:

- A job is started twice under one key, or again by itself.
- An assistant polls: a wait costs one call a minute, whatever it costs at Asana.
- The token is in an answer, in a message or in the ledger. Answers hold gids and names; the link of an export is not shown.
- A name passes for more than a name: each stands in a field of its own, in one line, with what cannot be seen escaped, and
  is cut at 120 characters.
- A file is replaced, or written under a name that does not end in `.gz`.
- Anything but the protocol is written to standard output. Log lines go to standard error.

Closed or told to stop, the server answers what has left for Asana, writes it down, and ends.

To mount it on something else than stdio, or to give it a client of your own:

```python
from asana_jobs import AsanaClient, RateLimits
from asana_jobs.mcp import make_server

server = make_server(lambda: AsanaClient(limits=RateLimits(share=0.5)), ledger="assistant.ledger", longest_call=25)
```
"""

try:
    from asana_jobs.mcp._server import make_server, serve
except ImportError as _error:
    if (_error.name or "").startswith("asana_jobs"):
        raise  # ours, which no installation brings
    raise ImportError(
        f"asana_jobs.mcp needs more packages ({_error}): pip install 'asana-jobs[mcp]'", name=_error.name
    ) from _error


__all__ = ["make_server", "serve"]
