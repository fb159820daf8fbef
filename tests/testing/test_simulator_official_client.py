"""The official `asana` package, a client nobody here wrote, does all its job work against the simulator."""

import asyncio
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from importlib import import_module
from typing import Any, Protocol

import pytest

from asana_jobs.testing import AsanaSimulator, SimulatorLimits


with warnings.catch_warnings():
    # Its own code is not free of them, and it is not ours to mend. It is not typed either.
    warnings.simplefilter("ignore")
    asana: Any = import_module("asana")
    ApiException: Any = import_module("asana.rest").ApiException


class Lent(Protocol):
    """A simulator that runs in a thread of its own, because the official client blocks."""

    def __call__(self, limits: SimulatorLimits | None = None) -> AsanaSimulator:
        """Start one."""
        ...


@pytest.fixture
def lend() -> Iterator[Lent]:
    """Start simulators in real time, each in a thread."""
    stops: list[Callable[[], None]] = []

    def start(limits: SimulatorLimits | None = None) -> AsanaSimulator:
        ready = threading.Event()
        found: list[AsanaSimulator] = []
        loop = asyncio.new_event_loop()
        end = asyncio.Event()

        async def serve() -> None:
            async with AsanaSimulator(durations=0.05, limits=limits) as simulator:
                found.append(simulator)
                ready.set()
                await end.wait()

        def run() -> None:
            loop.run_until_complete(serve())
            loop.close()

        thread = threading.Thread(target=run)
        thread.start()
        assert ready.wait(300)

        def stop() -> None:
            loop.call_soon_threadsafe(end.set)
            thread.join(300)

        stops.append(stop)
        return found[0]

    yield start
    for stop in stops:
        stop()


def official(simulator: AsanaSimulator) -> Any:
    """Return the official client, pointed at the simulator and told not to repeat what fails."""
    configuration = asana.Configuration()
    configuration.access_token = "a-token"
    configuration.host = simulator.base_url
    configuration.retry_strategy = configuration.retry_strategy.new(total=0, raise_on_status=False)
    return asana.ApiClient(configuration)


def body(**fields: object) -> dict[str, Any]:
    """Return a body in the envelope the official client does not add."""
    return {"data": fields}


STARTS: dict[str, Callable[[Any], Any]] = {
    "duplicate_task": lambda c: asana.TasksApi(c).duplicate_task(body(name="n", include="notes"), "11", {}),
    "duplicate_project": lambda c: asana.ProjectsApi(c).duplicate_project("12", {"body": body(name="n")}),
    "duplicate_portfolio": lambda c: asana.PortfoliosApi(c).duplicate_portfolio(
        "13", {"body": body(name="n")}
    ),
    "save_as_template": lambda c: asana.ProjectsApi(c).project_save_as_template(
        body(name="n", public=True, team="9"), "12", {}
    ),
    "instantiate_project": lambda c: asana.ProjectTemplatesApi(c).instantiate_project(
        "14", {"body": body(name="n")}
    ),
    "instantiate_task": lambda c: asana.TaskTemplatesApi(c).instantiate_task("15", {"body": body(name="n")}),
    "rollup_task": lambda c: asana.TasksApi(c).rollup_task("11", {}),
    "rollup_project": lambda c: asana.ProjectsApi(c).rollup_project("12", {}),
    "export_graph": lambda c: asana.ExportsApi(c).create_graph_export(body(parent="12")),
    "export_resource": lambda c: asana.ExportsApi(c).create_resource_export(
        body(workspace="16", export_request_parameters=[{"resource_type": "task"}])
    ),
}


@pytest.mark.parametrize("kind", STARTS)
def test_the_official_client_starts_every_kind_of_job_and_sees_it_succeed(kind: str, lend: Lent) -> None:
    """A job started by the official client is read by it until it has succeeded."""
    client = official(lend())

    job = STARTS[kind](client)
    for _ in range(100):
        if job["status"] == "succeeded":
            break
        time.sleep(0.01)
        job = asana.JobsApi(client).get_job(job["gid"], {})

    assert job["status"] == "succeeded"
    assert job["resource_type"] == "job"


def test_the_official_client_exports_an_organization(lend: Lent) -> None:
    """An organization export started by the official client is read by it until it has finished."""
    client = official(lend())

    export = asana.OrganizationExportsApi(client).create_organization_export(body(organization="17"), {})
    for _ in range(100):
        if export["state"] == "finished":
            break
        time.sleep(0.01)
        export = asana.OrganizationExportsApi(client).get_organization_export(export["gid"], {})

    assert export["state"] == "finished"
    assert export["download_url"].startswith("http://127.0.0.1")


def test_the_official_client_reads_jobs_in_a_batch(lend: Lent) -> None:
    """A batch of the official client holds one result for each of its actions, in order."""
    client = official(lend())

    actions = [{"method": "get", "relative_path": f"/jobs/{gid}"} for gid in (21, 22, 23)]
    results = list(asana.BatchAPIApi(client).create_batch_request(body(actions=actions), {}))

    assert [result["body"]["data"]["gid"] for result in results] == ["21", "22", "23"]


@pytest.mark.parametrize(
    ("path", "status", "message"), [("abc", 400, "Not a recognized ID"), ("1", 404, "Unknown object")]
)
def test_the_official_client_gets_typed_errors(path: str, status: int, message: str, lend: Lent) -> None:
    """A wrong gid and an unknown one are errors of the official client, with Asana's words in them."""
    simulator = lend()
    if status == 404:
        simulator.fail_next(404)
    client = official(simulator)

    with pytest.raises(ApiException) as caught:
        asana.JobsApi(client).get_job(path, {})

    assert caught.value.status == status
    assert status == 404 or message in caught.value.body.decode()


def test_the_official_client_is_told_to_wait(lend: Lent) -> None:
    """Over the minute's quota the official client gets a 429 with Retry-After."""
    client = official(lend(SimulatorLimits(requests_per_minute=3)))

    with pytest.raises(ApiException) as caught:
        for _ in range(5):
            asana.JobsApi(client).get_job("21", {})

    assert caught.value.status == 429
    assert int(caught.value.headers["Retry-After"]) > 0
