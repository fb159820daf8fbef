"""The test kit: a local Asana to point any client at, and doubles for tests with no socket at all.

`AsanaSimulator` is that Asana. It speaks real HTTP, and knows all the calls that start jobs, `/jobs/<gid>`, `/batch`,
rate limits, OAuth and the files of exports. It runs in the event loop of a test, or in a terminal for clients in any
language.

## In pytest

The fixtures `asana_simulator` and `asana_client` run one, and a client of it, for each test. They are there once this
package is installed. They need `pip install pytest pytest-asyncio` and two lines of configuration (pytest-asyncio warns
without the second), with quotes in a `pyproject.toml`:

```toml
[tool.pytest.ini_options]
asyncio_mode = "auto"
asyncio_default_fixture_loop_scope = "function"
```

and without them in a `pytest.ini`:

```ini
[pytest]
asyncio_mode = auto
asyncio_default_fixture_loop_scope = function
```

```python
from asana_jobs import AsanaClient
from asana_jobs.testing import AsanaSimulator


async def test_the_copy_is_named(asana_simulator: AsanaSimulator, asana_client: AsanaClient) -> None:
    job = await asana_client.duplicate_project("1203", name="Q3 launch")
    job = await asana_client.wait_for_job(job)
    assert job.succeeded
    assert job.new_project is not None
    assert job.new_project.name == "Q3 launch"
    assert [record.path for record in asana_simulator.requests][0] == "/projects/1203/duplicate"
```

## Without waiting

Jobs take a second or two, as at Asana. With `pip install looptime` and `pytest --looptime` (or the mark `looptime` on a
test) time is virtual: nobody waits for it, while client and simulator still talk over sockets. Eight tests that wait for
a job each take 12 s without it, and 0.3 s with it. What goes into a continuation token is still the time of the wall. A
test that goes on with one hours later hands in a clock whose calendar moves too:
`AsanaClient(clock=FakeClock(), transport=ScriptedTransport("in_progress", "succeeded"))`.

Where time has to be real, let jobs be quick: the mark `asana` takes every argument of `AsanaSimulator` for one test, class
or module, the fixture `asana_simulator_options` sets them for all tests below it, and `asana_client` looks as early as
such jobs end. A job of 5 ms costs some 15 ms.

```python
import pytest

from asana_jobs import AsanaClient, NotFoundError
from asana_jobs.testing import AsanaSimulator


@pytest.fixture
def asana_simulator_options() -> dict[str, object]:  # here, or in a conftest.py
    return {"durations": 0.005}


async def test_a_quick_one(asana_client: AsanaClient) -> None:
    job = await asana_client.duplicate_project("1203", name="Q3 launch")
    assert (await asana_client.wait_for_job(job)).succeeded


@pytest.mark.asana(strict=True)  # knows only what is added
async def test_an_unknown_project(asana_simulator: AsanaSimulator, asana_client: AsanaClient) -> None:
    asana_simulator.add_object("project", "1203", name="Q3")
    with pytest.raises(NotFoundError):
        await asana_client.duplicate_project("1204", name="Q3 launch")
```

## What can go wrong

What else can happen is told to the simulator, and its log says what a client has sent:

| call | makes |
| --- | --- |
| `simulator.add_job("1205", ["in_progress", "failed"])` | a job, with a state for each look |
| `simulator.fail_next(503)` | the next request fails; also with `Reset(effect=True)`, `Truncated()`, `HtmlPage()`, ... |
| `simulator.add_object("project", "1203", name="Q3")` | what a strict simulator knows |
| `AsanaSimulator(limits=SimulatorLimits(requests_per_minute=150))` | a limit, beyond which it answers 429 |
| `simulator.requests`, `simulator.started` | every request, and every job that was started |

```python
import asyncio

import pytest

from asana_jobs import AsanaClient, OutcomeUnknownError
from asana_jobs.testing import AsanaSimulator, Reset


async def test_a_lost_answer_starts_nothing_twice(
    asana_simulator: AsanaSimulator, asana_client: AsanaClient
) -> None:
    asana_simulator.fail_next(Reset(effect=True))  # the job was started, and nobody hears of it
    with pytest.raises(OutcomeUnknownError):
        await asana_client.duplicate_project("1203", name="Q3 launch")
    await asyncio.sleep(0.1)
    assert len(asana_simulator.started) == 1
```

`FakeClock` and `ScriptedTransport` are for tests without a socket.

## In a terminal

`asana-jobs simulate` (`pip install 'asana-jobs[cli]'`) runs the same server, prints the two variables that point a client
at it, and shows its state to a browser:

```console
asana-jobs simulate --port 8123 --duration 30s --failing 0.1
```

## In a compose file

A simulator beside your application, in an image of your own with `asana-jobs[cli]`:

```yaml
services:
  asana:
    image: your/asana-simulator
    command: [asana-jobs, simulate, --host, "0.0.0.0", --port, "8000"]
    healthcheck:
      test: [CMD, python, -c, "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/')"]
      interval: 2s
  app:
    image: your/app
    environment:
      ASANA_BASE_URL: http://asana:8000/api/1.0
      ASANA_ACCESS_TOKEN: any-token-will-do
      # The token crosses the network of the containers in clear.
      ASANA_ALLOW_PLAIN_HTTP: "1"
    depends_on:
      asana:
        condition: service_healthy
```

Files of exports come from a second port of the simulator, under the name by which the client has found it.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any


if TYPE_CHECKING:
    from asana_jobs.testing._fake_clock import FakeClock
    from asana_jobs.testing._scripted_transport import ScriptedTransport
    from asana_jobs.testing.simulator.durations import (
        Duration,
        DurationLike,
        Fixed,
        Lognormal,
        Looks,
        Mixture,
        Stuck,
        Timeline,
    )
    from asana_jobs.testing.simulator.faults import (
        Fault,
        FaultRule,
        HiddenJob,
        HtmlPage,
        Latency,
        NewStatus,
        NotJson,
        Reset,
        SlowDrip,
        Status,
        Truncated,
        UnknownFields,
        WrongContentType,
    )
    from asana_jobs.testing.simulator.jobs import SimulatedJob
    from asana_jobs.testing.simulator.limits import SimulatorLimits
    from asana_jobs.testing.simulator.requests import RequestLog, RequestRecord
    from asana_jobs.testing.simulator.simulator import AsanaSimulator
    from asana_jobs.testing.simulator.state_file import connection_hints, keep, serve

# pytest loads this package in every run for the sake of its plugin: nothing is imported before it is used, and the
# modules where a name is looked for are those quick to import first.
_HOMES = (
    "simulator.durations",
    "simulator.faults",
    "simulator.requests",
    "simulator.limits",
    "simulator.jobs",
    "_fake_clock",
    "_scripted_transport",
    "simulator.simulator",
    "simulator.state_file",
)

__all__ = [
    "AsanaSimulator",
    "Duration",
    "DurationLike",
    "FakeClock",
    "Fault",
    "FaultRule",
    "Fixed",
    "HiddenJob",
    "HtmlPage",
    "Latency",
    "Lognormal",
    "Looks",
    "Mixture",
    "NewStatus",
    "NotJson",
    "RequestLog",
    "RequestRecord",
    "Reset",
    "ScriptedTransport",
    "SimulatedJob",
    "SimulatorLimits",
    "SlowDrip",
    "Status",
    "Stuck",
    "Timeline",
    "Truncated",
    "UnknownFields",
    "WrongContentType",
    "connection_hints",
    "keep",
    "serve",
]


if not TYPE_CHECKING:  # a type checker would take any misspelt name for an object

    def __getattr__(name: str) -> Any:
        for home in _HOMES if name in __all__ else ():
            names = vars(import_module(f"{__name__}.{home}"))
            if name in names:
                globals()[name] = names[name]
                return names[name]
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
