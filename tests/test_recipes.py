"""The recipes of the manual, run as they stand: in Temporal's own environment, in what Airflow asks of a trigger, in a shell."""

import asyncio
import dataclasses
import importlib.util
import json
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Coroutine
from types import ModuleType
from typing import Any

import attrs
import pytest
import yaml  # type: ignore[import-untyped]  # pyright knows its types
from snippets import simulator_elsewhere, written_in

from asana_jobs import AsanaClient
from asana_jobs.testing import AsanaSimulator


PAGE = "asana_jobs.guides.recipes"
#: What tells the recipes in Python apart: a test of each is below.
MARKS = ("airflow", "temporalio")


def recipe(mark: str) -> dict[str, Any]:
    """Return the names of the recipe in which *mark* is found."""
    [found] = [snippet for snippet in written_in("python", PAGE) if mark in snippet.text]
    names: dict[str, Any] = {"__name__": "recipe"}
    exec(compile(found.text, str(found), "exec"), names)  # noqa: S102  # the manual's own
    return names


@pytest.fixture
async def simulator() -> AsyncIterator[AsanaSimulator]:
    """A local Asana whose jobs take five minutes."""
    async with AsanaSimulator(durations=300.0) as simulator:
        yield simulator


@pytest.fixture(autouse=True)
def _environment(simulator: AsanaSimulator, monkeypatch: pytest.MonkeyPatch) -> None:
    """The variables that a client of the recipes reads."""
    monkeypatch.setenv("ASANA_ACCESS_TOKEN", "test-token")
    monkeypatch.setenv("ASANA_BASE_URL", simulator.base_url)


def test_every_recipe_has_its_test() -> None:
    """Nothing on the page is left out here."""
    pages = [snippet.text for snippet in written_in("python", PAGE)]

    assert [[mark for mark in MARKS if mark in text] for text in pages] == [[mark] for mark in MARKS]
    assert len(written_in("yaml", PAGE)) == 1


# Airflow


@attrs.frozen
class Event:
    """Stands for `airflow.triggers.base.TriggerEvent` where Airflow is not installed: it holds a payload."""

    payload: Any


class Base:
    """Stands for `airflow.triggers.base.BaseTrigger`: what a triggerer calls is `serialize` and `run`."""


@pytest.fixture
async def trigger(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[type[Any]]:
    """The trigger of the manual, on Airflow itself if it is there."""
    if importlib.util.find_spec("airflow") is None:
        base = ModuleType("airflow.triggers.base")
        vars(base).update(BaseTrigger=Base, TriggerEvent=Event)
        for name in ("airflow", "airflow.triggers"):
            monkeypatch.setitem(sys.modules, name, ModuleType(name))
        monkeypatch.setitem(sys.modules, base.__name__, base)
    names = recipe("airflow")
    yield names["AsanaJobTrigger"]
    client: AsanaClient = names["asana"]()
    await client.close()


async def event_of(trigger: Any) -> Any:
    """What a triggerer does: take the one event of a trigger."""
    [payload] = [event.payload async for event in trigger.run()]
    return payload


async def test_a_trigger_fires_once_its_job_has_finished(trigger: type[Any], wired: AsanaClient) -> None:
    """The payload says which job it was and how it ended, as JSON, which Airflow keeps in its database."""
    job = await wired.duplicate_project("1203", name="Q3")

    payload = await event_of(trigger(job.gid))

    assert json.loads(json.dumps(payload)) == {"gid": job.gid, "status": "succeeded"}
    assert (await wired.get_job(job)).succeeded


async def test_a_trigger_goes_on_in_another_process_where_it_was(
    trigger: type[Any], simulator: AsanaSimulator, wired: AsanaClient
) -> None:
    """A triggerer that stops cancels its triggers; another one makes them of what was kept, which is JSON."""
    job = await wired.duplicate_project("1203", name="Q3")
    first = trigger(job.gid)
    task = asyncio.create_task(event_of(first))
    await asyncio.sleep(100)
    task.cancel()
    await asyncio.wait([task])
    path, kept = first.serialize()

    assert path == "recipe.AsanaJobTrigger"
    assert "test-token" not in json.dumps(kept)
    assert json.loads(kept["job"])["looks"] == len(simulator.requests) - 1  # but for the start
    again = trigger(**json.loads(json.dumps(kept)))
    assert await event_of(again) == {"gid": job.gid, "status": "succeeded"}


# Temporal


@pytest.fixture
def activity() -> Callable[[str], Coroutine[Any, Any, str]]:
    """The activity of the manual."""
    pytest.importorskip("temporalio", reason="it is in the extra dev")
    found: Callable[[str], Coroutine[Any, Any, str]] = recipe("temporalio")["wait_for_asana_job"]
    return found


async def test_an_activity_tells_of_each_look_and_returns_how_it_ended(
    activity: Callable[[str], Coroutine[Any, Any, str]], simulator: AsanaSimulator, wired: AsanaClient
) -> None:
    """Its heartbeats are continuation tokens."""
    from temporalio.testing import ActivityEnvironment

    job = await wired.duplicate_project("1203", name="Q3")
    environment, told = ActivityEnvironment(), list[str]()
    environment.on_heartbeat = lambda *details: told.append(details[0])

    assert await environment.run(activity, job.gid) == "succeeded"
    assert len(told) == sum(record.path.endswith(f"/jobs/{job.gid}") for record in simulator.requests)
    assert {json.loads(token)["gid"] for token in told} == {job.gid}


async def test_an_activity_that_is_tried_again_goes_on(
    activity: Callable[[str], Coroutine[Any, Any, str]], simulator: AsanaSimulator, wired: AsanaClient
) -> None:
    """Cancelled, it ends at once; the next attempt begins with the last heartbeat."""
    from temporalio.testing import ActivityEnvironment

    job = await wired.duplicate_project("1203", name="Q3")
    first, told = ActivityEnvironment(), list[str]()
    first.on_heartbeat = lambda *details: told.append(details[0])
    task = asyncio.create_task(first.run(activity, job.gid))
    await asyncio.sleep(100)
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    looks = len(told)

    second = ActivityEnvironment()
    second.info = dataclasses.replace(second.info, attempt=2, heartbeat_details=[told[-1]])
    second.on_heartbeat = lambda *details: told.append(details[0])
    assert await second.run(activity, job.gid) == "succeeded"
    assert json.loads(told[-1])["looks"] == len(told)
    assert len(told) > looks > 5


# CI


def test_the_step_runs() -> None:
    """Six lines of YAML, whose command waits for the job that a variable names."""
    [snippet] = written_in("yaml", PAGE)
    [step] = yaml.safe_load(snippet.text)
    install, wait = step["run"].splitlines()

    assert len(snippet.text.splitlines()) == 6
    assert set(step) == {"name", "env", "run"}
    assert list(step["env"]) == ["ASANA_ACCESS_TOKEN"]
    assert install == "pip install --quiet 'asana-jobs[cli]'"
    with simulator_elsewhere() as environment:
        ended = subprocess.run(
            ["bash", "-e", "-c", wait],
            env={**environment, "JOB": "1205"},
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )
    assert ended.returncode == 0, ended.stderr
    assert '"status":"succeeded"' in ended.stdout
