"""`AsanaClient`: what every call puts on the wire, whose token it carries, and what it makes of its arguments."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from tenacity import wait_fixed

from asana_jobs import AsanaClient, DuplicateProject, Job, Ledger, RateLimits, RetryPolicy
from asana_jobs.errors import AuthenticationError, TokenError
from asana_jobs.testing import AsanaSimulator
from asana_jobs.testing._fake_clock import FakeClock
from asana_jobs.testing._scripted_transport import ScriptedTransport


Call = Callable[[AsanaClient], Awaitable[Job]]

# what is called, the path, and what is in the data envelope of the body
STARTS: dict[str, tuple[Call, str, dict[str, Any] | None]] = {
    "duplicate_task": (
        lambda client: client.duplicate_task("11", name="Copy", include=["notes", "tags"]),
        "/tasks/11/duplicate",
        {"name": "Copy", "include": "notes,tags"},
    ),
    "duplicate_task, bare": (lambda client: client.duplicate_task("11"), "/tasks/11/duplicate", {}),
    "duplicate_project": (
        lambda client: client.duplicate_project(
            "11",
            name="Copy",
            include="members,task_dates",
            schedule_dates={"due_on": "2030-01-31", "should_skip_weekends": True},
            team="5",
        ),
        "/projects/11/duplicate",
        {
            "name": "Copy",
            "include": "members,task_dates",
            "schedule_dates": {"due_on": "2030-01-31", "should_skip_weekends": True},
            "team": "5",
        },
    ),
    "duplicate_portfolio": (
        lambda client: client.duplicate_portfolio("11", name="Copy", include=["rules"]),
        "/portfolios/11/duplicate",
        {"name": "Copy", "include": "rules"},
    ),
    "save_project_as_template": (
        lambda client: client.save_project_as_template("11", name="Copy", public=True, team="5"),
        "/projects/11/saveAsTemplate",
        {"name": "Copy", "public": True, "team": "5"},
    ),
    "instantiate_project": (
        lambda client: client.instantiate_project(
            "11",
            name="Copy",
            team="5",
            privacy_setting="private",
            is_strict=True,
            requested_dates={"1": "2030-01-31"},
            requested_roles={"2": "77"},
        ),
        "/project_templates/11/instantiateProject",
        {
            "name": "Copy",
            "team": "5",
            "privacy_setting": "private",
            "is_strict": True,
            "requested_dates": [{"gid": "1", "value": "2030-01-31"}],
            "requested_roles": [{"gid": "2", "value": "77"}],
        },
    ),
    "instantiate_task": (
        lambda client: client.instantiate_task("11", name="Copy"),
        "/task_templates/11/instantiateTask",
        {"name": "Copy"},
    ),
    "rollup_task": (lambda client: client.rollup_task("11"), "/tasks/11/rollup", None),
    "rollup_project": (lambda client: client.rollup_project("11"), "/projects/11/rollup", None),
    "export_graph": (lambda client: client.export_graph("11"), "/exports/graph", {"parent": "11"}),
    "export_organization": (
        lambda client: client.export_organization("11"),
        "/organization_exports",
        {"organization": "11"},
    ),
    "export_resource": (
        lambda client: client.export_resource("11", parameters=[{"resource_type": "task"}]),
        "/exports/resource",
        {"workspace": "11", "export_request_parameters": [{"resource_type": "task"}]},
    ),
}


#: Every call that starts a job, with fields of its answer.
WITH_FIELDS: dict[str, Call] = {
    "duplicate_task": lambda client: client.duplicate_task("11", opt_fields=["new_task.name"]),
    "duplicate_project": lambda client: client.duplicate_project(
        "11", name="Copy", opt_fields=["new_project.name"]
    ),
    "duplicate_portfolio": lambda client: client.duplicate_portfolio(
        "11", name="Copy", opt_fields="new_portfolio.name"
    ),
    "save_project_as_template": lambda client: client.save_project_as_template(
        "11", name="Copy", public=True, opt_fields="new_project_template.name"
    ),
    "instantiate_project": lambda client: client.instantiate_project(
        "11", name="Copy", opt_fields="new_project.name"
    ),
    "instantiate_task": lambda client: client.instantiate_task("11", opt_fields="new_task.name"),
    "rollup_task": lambda client: client.rollup_task("11", opt_fields="status"),
    "rollup_project": lambda client: client.rollup_project("11", opt_fields="dates_rollup_progress"),
    "export_graph": lambda client: client.export_graph("11", opt_fields="new_graph_export.created_at"),
    "export_resource": lambda client: client.export_resource(
        "11", parameters=[{"resource_type": "task"}], opt_fields="new_resource_export.created_at"
    ),
    "export_organization": lambda client: client.export_organization("11", opt_fields="created_at"),
    "start": lambda client: client.start(
        DuplicateProject("11", name="Copy"), opt_fields=["new_project.name"]
    ),
}


@pytest.mark.parametrize("call", WITH_FIELDS.values(), ids=WITH_FIELDS)
async def test_starting_calls_ask_for_fields(
    wired: AsanaClient, simulator: AsanaSimulator, call: Call
) -> None:
    """Whatever is asked for, the gid, the type and the status come too: never twice stands on them."""
    job = await call(wired)

    (request,) = simulator.requests
    asked = request.query["opt_fields"].split(",")
    assert len(asked) == len(set(asked))
    assert {"resource_type"} < set(asked)
    assert None not in (job.resource_type, job.resource_subtype, job.status)


async def test_a_ledger_asks_for_fields_as_well(
    wired: AsanaClient, simulator: AsanaSimulator, tmp_path: Path
) -> None:
    """The second call sends nothing, and is given the same job."""
    operation = DuplicateProject("11", name="Copy")
    with Ledger.open(tmp_path / "ledger") as ledger:
        job = await wired.start(operation, ledger=ledger, opt_fields="new_project.name")
        again = await wired.start(operation, ledger=ledger)

    (request,) = simulator.requests
    assert request.query["opt_fields"] == "new_project.name,resource_type,resource_subtype,status"
    assert job.result is not None
    assert (job.result.resource_type, job.result.gid, again) == (None, again.result and again.result.gid, job)


async def test_a_job_that_is_over_at_once_is_not_taken_for_a_whole_one(
    client: AsanaClient, transport: ScriptedTransport
) -> None:
    """A wait by its gid reads what the start was not asked for."""
    transport.play(
        {"gid": "21", "status": "succeeded"},
        {"gid": "21", "status": "succeeded", "new_project": {"gid": "22"}},
    )
    job = await client.duplicate_project("11", name="Copy", opt_fields="status")

    waited = await client.wait_for_job("21")

    assert (job.result, waited.result and waited.result.gid) == (None, "22")
    assert len(transport.requests) == 2


@pytest.mark.parametrize("wrong", [5, ["a b"], {"a": 1}, "a=b", b"status"])
async def test_fields_that_are_none_are_refused_before_anything_starts(
    client: AsanaClient, transport: ScriptedTransport, wrong: Any
) -> None:
    """As they are for every other call."""
    with pytest.raises(ValueError, match="opt_fields must"):
        await client.duplicate_project("11", name="Copy", opt_fields=wrong)
    assert not transport.requests


@pytest.mark.parametrize(("call", "path", "data"), STARTS.values(), ids=STARTS)
async def test_starting_calls_on_the_wire(
    wired: AsanaClient, simulator: AsanaSimulator, call: Call, path: str, data: dict[str, Any] | None
) -> None:
    """Each job-starting call is one POST to its path with its arguments in the data envelope, and gives the job."""
    job = await call(wired)

    (request,) = simulator.requests
    assert (request.method, request.path, request.query, request.status) == ("POST", path, {}, 201)
    assert request.body == (None if data is None else {"data": data})
    # Asana keeps organization exports outside its jobs, and so does the simulator's list of started ones.
    assert job.gid == request.started or path == "/organization_exports"


async def test_reading_on_the_wire(wired: AsanaClient, simulator: AsanaSimulator) -> None:
    """`get_job` is one GET of the job, with the output options that were asked for."""
    simulator.add_job("1203", ["in_progress"])

    job = await wired.get_job("1203", opt_fields=["status", "new_project.name"], opt_pretty=True)

    (request,) = simulator.requests
    assert (request.method, request.path) == ("GET", "/jobs/1203")
    assert request.query == {"opt_fields": "status,new_project.name", "opt_pretty": "true"}
    assert job.status == "in_progress"


async def test_headers_on_the_wire(simulator: AsanaSimulator) -> None:
    """Requests say who sends them and what they take, and carry the token."""
    async with AsanaClient("test-token", base_url=simulator.base_url, user_agent="acme/1.0") as client:
        await client.duplicate_task("11")

    (request,) = simulator.requests
    assert request.headers["accept"] == "application/json"
    assert request.headers["content-type"] == "application/json"
    assert request.headers["user-agent"].startswith("acme/1.0 asana_jobs/")
    assert len(simulator.requests.where(token="test-token")) == 1


async def test_start_takes_an_operation(wired: AsanaClient, simulator: AsanaSimulator) -> None:
    """`start` sends an operation value as its call would."""
    job = await wired.start(DuplicateProject("11", name="Copy"))

    assert simulator.requests[0].body == {"data": {"name": "Copy"}}
    assert job.gid == simulator.started[0].gid


async def test_start_takes_nothing_else(client: AsanaClient) -> None:
    """What is no operation is a ValueError."""
    with pytest.raises(ValueError, match=r"operation must be one of asana_jobs\.operations"):
        await client.start({"kind": "duplicate_task"})  # type: ignore[arg-type]


async def test_from_start_to_end(wired: AsanaClient, simulator: AsanaSimulator) -> None:
    """A started job is watched to its end, and its result is named from the start."""
    started = await wired.duplicate_project("11", name="Q3 launch")

    finished = await wired.wait_for_job(started, timeout=60)

    assert started.result is not None
    assert finished.succeeded
    assert finished.result is not None
    assert finished.result.gid == started.result.gid


# Raw requests.


async def test_request_gives_the_raw_answer(wired: AsanaClient, simulator: AsanaSimulator) -> None:
    """`request` returns status, headers in lower case and the body, whatever it is."""
    simulator.add_job("1203", ["in_progress"])

    response = await wired.request("get", "/jobs/1203", params={"opt_pretty": True})

    assert response.status == 200
    assert response.headers["content-type"].startswith("application/json")
    assert response.json()["data"]["gid"] == "1203"
    assert simulator.requests[0].query == {"opt_pretty": "true"}


async def test_request_sends_a_body(wired: AsanaClient, simulator: AsanaSimulator) -> None:
    """`request` sends json as it is, envelope included."""
    await wired.request("POST", "/tasks/11/duplicate", json={"data": {"name": "Copy"}})

    assert simulator.requests[0].body == {"data": {"name": "Copy"}}


@pytest.mark.parametrize(
    "path",
    [
        "",
        "users/me",
        "//evil.example",
        "/a/../b",
        "/..",
        "/a?b=c",
        "/a#b",
        "/a b",
        "/ä",
        "https://evil.example/",
        "/a\n",
    ],
)
async def test_request_stays_below_the_base_url(
    client: AsanaClient, transport: ScriptedTransport, path: str
) -> None:
    """A path that could leave the base URL is a ValueError, so that the token goes nowhere else."""
    with pytest.raises(ValueError, match="path"):
        await client.request("GET", path)

    assert transport.requests == []


async def test_request_takes_known_methods(client: AsanaClient) -> None:
    """An unknown method is a ValueError."""
    with pytest.raises(ValueError, match="method must be GET"):
        await client.request("FETCH", "/users/me")


async def test_redirects_are_not_followed(simulator: AsanaSimulator) -> None:
    """A redirect is an error, not a way to carry the token elsewhere."""
    seen: list[str] = []

    async def redirect(request: web.BaseRequest) -> web.Response:
        seen.append(request.path)
        return web.Response(status=302, headers={"Location": simulator.base_url + "/jobs/1"})

    server = await asyncio.get_running_loop().create_server(web.Server(redirect), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server, AsanaClient("test-token", base_url=f"http://127.0.0.1:{port}") as client:
        with pytest.raises(Exception, match="302"):
            await client.get_job("1203")

    assert seen == ["/jobs/1203"]
    assert len(simulator.requests) == 0


# gids and fields


@pytest.mark.parametrize("gid", ["", "abc", "12 ", "1/2", "-1", "१२", "1" * 100, None, 1203])
async def test_a_gid_that_is_none(client: AsanaClient, transport: ScriptedTransport, gid: str) -> None:
    """What is no gid is a ValueError before any request."""
    with pytest.raises(ValueError, match="gid"):
        await client.get_job(gid)

    assert transport.requests == []


# tokens


class Provider:
    """A token provider that counts how often it is asked."""

    def __init__(self, *tokens: str) -> None:
        self.tokens = list(tokens)
        self.asked = 0

    async def __call__(self) -> str:
        """Give the next token; the last one again and again."""
        self.asked += 1
        await asyncio.sleep(0.1)
        return self.tokens.pop(0) if len(self.tokens) > 1 else self.tokens[0]


async def test_a_provider_is_asked_at_first_use() -> None:
    """A provider is asked when the first request goes out, and not again while its token is good."""
    provider = Provider("one")
    async with AsanaSimulator() as simulator, AsanaClient(provider, base_url=simulator.base_url) as client:
        assert provider.asked == 0
        await client.get_job("1")
        await client.get_job("2")

    assert provider.asked == 1


async def test_a_401_renews_the_token_once() -> None:
    """After a 401 the provider is asked once, and the call repeated once with the new token."""
    async with AsanaSimulator(tokens=["new"]) as simulator:
        provider = Provider("old", "new")
        async with AsanaClient(provider, base_url=simulator.base_url) as client:
            job = await client.get_job("1203")

    assert job.gid == "1203"
    assert provider.asked == 2
    assert [request.status for request in simulator.requests] == [401, 200]


async def test_a_second_401_is_raised() -> None:
    """A token that is refused fresh from the provider is an AuthenticationError."""
    async with AsanaSimulator(tokens=["none of these"]) as simulator:
        provider = Provider("old", "new")
        async with AsanaClient(provider, base_url=simulator.base_url) as client:
            with pytest.raises(AuthenticationError):
                await client.get_job("1203")

    assert provider.asked == 2
    assert len(simulator.requests) == 2


async def test_many_401s_renew_the_token_once() -> None:
    """Requests that are refused together renew the token together."""
    async with AsanaSimulator(tokens=["old", "new"]) as simulator:
        provider = Provider("old", "new")
        async with AsanaClient(provider, base_url=simulator.base_url, limits=RateLimits.paid()) as client:
            await client.get_job("1")
            simulator.expire_token("old")
            await asyncio.gather(*(client.get_job(str(gid)) for gid in range(2, 22)))

    assert provider.asked == 2


async def test_a_wait_outlives_its_token() -> None:
    """A token that expires in the middle of a wait is renewed without the wait noticing."""
    async with AsanaSimulator(tokens=["old", "new"]) as simulator:
        simulator.add_job("1203", [(0, "in_progress"), (60, "succeeded")])
        provider = Provider("old", "new")
        async with AsanaClient(provider, base_url=simulator.base_url) as client:
            waiter = client.wait_for_job("1203", poll=wait_fixed(5))
            await anext(waiter)
            simulator.expire_token("old")

            assert (await waiter).succeeded

    assert provider.asked == 2


async def test_a_post_is_repeated_after_a_401() -> None:
    """A 401 is certain to have started nothing: the POST is sent again with the new token, and starts one job."""
    async with (
        AsanaSimulator(tokens=["new"]) as simulator,
        AsanaClient(Provider("old", "new"), base_url=simulator.base_url) as client,
    ):
        await client.duplicate_project("11", name="Copy")

    assert len(simulator.started) == 1


async def test_a_fixed_token_is_not_renewed() -> None:
    """A 401 to a fixed token is raised at once."""
    async with (
        AsanaSimulator(tokens=["good"]) as simulator,
        AsanaClient("bad", base_url=simulator.base_url) as client,
    ):
        with pytest.raises(AuthenticationError):
            await client.get_job("1203")

    assert len(simulator.requests) == 1


@pytest.mark.parametrize("answer", ["", "two words", None, 7, "line\nbreak"])
async def test_a_provider_that_gives_no_token(client: AsanaClient, answer: Any) -> None:
    """What cannot be a token is a TokenError that does not show it."""

    async def provider() -> str:
        return answer  # type: ignore[no-any-return]

    sibling = client.with_token(provider)

    with pytest.raises(TokenError, match="what the token provider returned") as caught:
        await sibling.get_job("1203")

    assert "two words" not in str(caught.value)


async def test_an_error_of_a_provider_is_raised(client: AsanaClient) -> None:
    """What a provider raises comes out of the call, as it is."""

    async def provider() -> str:
        raise LookupError("the vault is sealed")

    with pytest.raises(LookupError, match="the vault is sealed"):
        await client.with_token(provider).get_job("1203")


async def test_a_timeout_of_a_provider_is_no_deadline(client: AsanaClient) -> None:
    """A TimeoutError of a provider is not taken for the deadline of a wait."""

    async def provider() -> str:
        raise TimeoutError("the vault does not answer")

    with pytest.raises(TimeoutError, match="the vault does not answer"):
        await client.with_token(provider).wait_for_job("1203", timeout=60)


# the environment


@pytest.mark.parametrize("name", ["ASANA_ACCESS_TOKEN", "ASANA_PAT", "ASANA_TOKEN"])
async def test_the_token_comes_from_the_environment(
    monkeypatch: pytest.MonkeyPatch, transport: ScriptedTransport, name: str
) -> None:
    """Without an argument the token is read from the environment."""
    monkeypatch.setenv(name, "from-the-environment")
    transport.play("succeeded")

    async with AsanaClient(transport=transport) as client:
        await client.get_job("1203")

    assert str(transport.requests[0].authorization) == "Bearer from-the-environment"


async def test_the_token_comes_from_a_file(
    monkeypatch: pytest.MonkeyPatch, transport: ScriptedTransport, tmp_path: Path
) -> None:
    """Without an argument the token is read from the file that the environment names."""
    path = tmp_path / "token"
    path.write_text("from-a-file\n")
    monkeypatch.setenv("ASANA_ACCESS_TOKEN_FILE", str(path))
    transport.play("succeeded")

    async with AsanaClient(transport=transport) as client:
        await client.get_job("1203")

    assert str(transport.requests[0].authorization) == "Bearer from-a-file"


def test_no_token_is_an_error_at_once() -> None:
    """Without a token anywhere there is no client, and the message says where one is looked for."""
    with pytest.raises(TokenError, match="no access token: set ASANA_ACCESS_TOKEN, ASANA_PAT, ASANA_TOKEN"):
        AsanaClient()


def test_the_base_url_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """ASANA_BASE_URL is the base URL unless one is given."""
    assert AsanaClient("test-token").base_url == "https://app.asana.com/api/1.0"
    monkeypatch.setenv("ASANA_BASE_URL", "https://asana.example/api/1.0/")

    assert AsanaClient("test-token").base_url == "https://asana.example/api/1.0"
    assert AsanaClient("test-token", base_url="https://other.example").base_url == "https://other.example"


@pytest.mark.parametrize(
    "base_url",
    [
        "http://asana.example",
        "ftp://asana.example",
        "asana.example",
        "https://",
        "https://user:secret@asana.example",
        "https://asana.example/?q=1",
        "https://asana.example/#top",
        "http://127.0.0.1.evil.example",
        "http://localhost@evil.example",
    ],
)
def test_a_base_url_that_is_refused(base_url: str) -> None:
    """A token is not sent in clear to another machine, nor to what is no plain base URL."""
    with pytest.raises(ValueError, match="base_url"):
        AsanaClient("test-token", base_url=base_url)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]"])
def test_plain_http_to_this_machine(host: str) -> None:
    """Plain http is fine on loopback."""
    assert AsanaClient("test-token", base_url=f"http://{host}:8080").base_url == f"http://{host}:8080"


# the client itself


def test_repr() -> None:
    """The repr tells where requests go."""
    assert repr(AsanaClient("test-token")) == "<AsanaClient https://app.asana.com/api/1.0 open>"


async def test_the_timeout_is_that_of_each_request(clock: FakeClock) -> None:
    """Each try of a call may take the client's timeout."""
    transport = ScriptedTransport("succeeded", clock=clock, latency=100)
    async with AsanaClient(
        "test-token",
        transport=transport,
        clock=clock,
        timeout=timedelta(seconds=7),
        retry=RetryPolicy(attempts=2, jitter=0),
    ) as client:
        with pytest.raises(TimeoutError):
            await client.get_job("1203")

    assert [request.timeout for request in transport.requests] == [7, 7]
    assert clock.sleeps == [7, 0.5, 7]
