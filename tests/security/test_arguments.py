"""Nothing that is handed in leaves the path it belongs to, or becomes a header of its own."""

import json
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from asana_jobs import AsanaClient, wait_for_job
from asana_jobs.errors import AsanaJobsError
from asana_jobs.operations import OPERATIONS, operation_from_dict
from asana_jobs.testing._fake_clock import FakeClock
from asana_jobs.testing._scripted_transport import ScriptedTransport


Call = Callable[[AsanaClient, Any], Coroutine[Any, Any, object]]

NASTY = (
    *(
        "",
        " ",
        ".",
        "..",
        "../x",
        "1203/../x",
        "1203%2f..",
        "1203?opt_fields=x",
        "1203#x",
        "1203;x",
        "1203 ",
        "\t1203",
    ),
    *(
        "1203\r\nX-Evil: 1",
        "1203\n",
        "1203\x00",
        "\x00",
        "\u0661\u0662",
        "\uff11\uff12",
        "²",
        "१२",
        "1203\u200b",
    ),
    *("\ud800", "-1", "+1", "1e3", "1_000", "0x12", "1.5", "9" * 65, "9" * 10_000, "a" * 10_000, "me"),
)
NOT_TEXT = (1203, 0, 1.5, True, b"1203", ["1203"], object())


async def _wait(client: AsanaClient, job: Any) -> object:
    return await client.wait_for_job(job, timeout=1)


async def _monitor(client: AsanaClient, gid: Any) -> object:
    async with client.monitor_jobs([gid], timeout=1) as monitor:
        return [job async for job in monitor]


# Every public argument that ends up in a path.
GIDS: dict[str, Call] = {
    "wait_for_job": _wait,
    "monitor_jobs": _monitor,
    "get_job": lambda client, gid: client.get_job(gid),
    "check_job": lambda client, gid: client.check_job(gid),
    "duplicate_task": lambda client, gid: client.duplicate_task(gid),
    "duplicate_project": lambda client, gid: client.duplicate_project(gid, name="x"),
    "duplicate_portfolio": lambda client, gid: client.duplicate_portfolio(gid, name="x"),
    "save_project_as_template": lambda client, gid: client.save_project_as_template(gid, name="x", public=True),
    "instantiate_project": lambda client, gid: client.instantiate_project(gid, name="x"),
    "instantiate_task": lambda client, gid: client.instantiate_task(gid),
    "rollup_task": lambda client, gid: client.rollup_task(gid),
    "rollup_project": lambda client, gid: client.rollup_project(gid),
    "export_graph": lambda client, gid: client.export_graph(gid),
    "export_organization": lambda client, gid: client.export_organization(gid),
    "export_resource": lambda client, gid: client.export_resource(gid, parameters=[{"resource_type": "task"}]),
    "team": lambda client, gid: client.duplicate_project("1", name="x", team=gid),
    "requested_dates": lambda client, gid: client.instantiate_project("1", name="x", requested_dates=[{"gid": gid, "value": "2026-01-01"}]),
    "download_export": lambda client, gid: client.download_export(gid, "/nowhere/at/all"),
    "mapping": lambda client, gid: _wait(client, {"gid": gid, "status": "in_progress"}),
    "token": lambda client, gid: _wait(client, json.dumps({"v": 1, "gid": gid})),
    "request": lambda client, gid: client.request("GET", f"/jobs/{gid}"),
}  # fmt: skip


@pytest.mark.parametrize("call", GIDS.values(), ids=GIDS)
async def test_what_is_no_gid_is_refused_before_a_request(
    call: Call, client: AsanaClient, transport: ScriptedTransport
) -> None:
    """Paths, headers, blanks, foreign digits and ten kilobytes are a ValueError, and nothing is sent."""
    transport.play("succeeded")
    through_json = call in (GIDS["token"], GIDS["request"])
    for gid in (*NASTY, *(() if through_json else NOT_TEXT)):
        if call is GIDS["request"] and gid in {"-1", "1.5", "1e3", "1_000", "0x12", "me", "9" * 65}:
            continue  # a path may hold these
        with pytest.raises(ValueError):
            await call(client, gid)

    assert transport.requests == []


PATHS = (
    "users/me",
    "//evil.example/x",
    "/../x",
    "/a/./b",
    "/a//b",
    "/a/",
    "/a?b",
    "/a#b",
    "/a%2e%2e",
    "/a\\b",
    "/a b",
)
MORE_PATHS = (
    "/a\r\nX: 1",
    "/a\x00",
    "/é",
    "/a\u2215b",
    f"/{'a' * 10_000}",
    "",
    "https://evil.example/x",
    "/a:b",
    "/@x",
    "/a;b",
)


@pytest.mark.parametrize("path", [*PATHS, *MORE_PATHS, None, 5, b"/a"], ids=lambda path: f"{path!r:.30}")
async def test_no_path_leaves_the_base_url(
    path: Any, client: AsanaClient, transport: ScriptedTransport
) -> None:
    """What could reach another route or host, or split the request, is refused."""
    with pytest.raises(ValueError, match="path must be"):
        await client.request("GET", path)

    assert transport.requests == []


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.dictionaries(st.text(), st.text() | st.integers() | st.floats() | st.booleans(), max_size=4), st.text()
)
async def test_no_query_splits_a_request(params: dict[str, Any], fields: str) -> None:
    """Whatever is put into a query comes out encoded: visible ASCII, and no more parts than were given."""
    transport = ScriptedTransport("succeeded")
    async with AsanaClient("token", transport=transport, clock=FakeClock()) as client:
        for call in (client.request("GET", "/x", params=params), client.get_job("1203", opt_fields=fields)):
            try:
                await call
            except ValueError:
                continue
    for request in transport.requests:
        assert request.target.isascii()
        assert request.target.isprintable()
        assert " " not in request.target
        assert request.target.count("?") <= 1
        assert request.query.count("&") == max(0, len(params) - 1) or request.path != "/x"
        assert "#" not in request.target


@pytest.mark.parametrize("value", ["\r\n", "a\nb", "a\x00", "é", "", "a" * 10_000, "\x7f", "\u2028", 5, b"a"])
def test_a_user_agent_that_could_be_more_than_one_header_is_refused(value: Any) -> None:
    """Only a line of visible ASCII of sensible length is one."""
    with pytest.raises(ValueError, match="user_agent must be 1 to 500 characters of visible ASCII"):
        AsanaClient("token", user_agent=value)


MOMENTS = st.one_of(
    st.none(),
    st.datetimes().map(lambda moment: f"{moment.isoformat()}+00:00"),
    st.sampled_from(["9999-12-31T23:59:59-23:59", "1970-01-01T00:00:00+23:59", "0001-01-01T00:00:00+00:00"]),
    st.text(max_size=30),
)
COUNTS = st.integers(-1, 10**10) | st.floats() | st.none()
TEXTS = st.none() | st.text(max_size=20) | st.sampled_from(["succeeded", "../x", "duplicate_project", "\r\n"])
TOKENS = st.fixed_dictionaries(
    {
        "v": st.sampled_from([1, 1, 1, 1, 2, "1", None]),
        "gid": st.sampled_from(["1203", "1203", "1203", "../1", 5]),
    },
    optional={
        "collection": st.sampled_from(["jobs", "organization_exports", "../users", "jobs/1/x"]),
        **dict.fromkeys(("kind", "source", "status"), TEXTS),
        **dict.fromkeys(("looks", "not_found"), COUNTS),
        **dict.fromkeys(("started_at", "looked_at", "trouble_since"), MOMENTS),
    },
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(TOKENS)
async def test_a_strangers_continuation_token_looks_at_a_job_or_is_refused(fields: dict[str, Any]) -> None:
    """Whatever stands in a token, it is a ValueError, or a wait that asks for this job and nothing else."""
    transport = ScriptedTransport("in_progress", "succeeded")
    refusals: list[ValueError] = []
    async with AsanaClient("token", transport=transport, clock=FakeClock()) as client:
        for call in (_wait, GIDS["check_job"]):
            try:
                await call(client, json.dumps(fields))
            except AsanaJobsError:
                continue
            except ValueError as error:
                refusals.append(error)
    assert not [error for error in refusals if isinstance(error, UnicodeError)]
    for request in transport.requests:
        assert request.path in {"/jobs/1203", "/organization_exports/1203"}


@pytest.mark.parametrize(
    "token",
    ["{" * 100_000, '{"v":1,"gid":' + "9" * 5000 + "}", '{"v":1,"gid":"1","looks":' + "9" * 5000 + "}"],
)
def test_a_token_that_is_made_to_hurt_is_refused(token: str) -> None:
    """Nesting and numbers that parsers choke on are a ValueError."""
    with pytest.raises(ValueError):
        wait_for_job(token, token="token")


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.sampled_from(sorted(OPERATIONS)),
    st.text(),
    st.sampled_from(["name", "team", "include", "workspace", "path", "route"]),
    st.text(),
)
def test_an_operation_from_a_file_stays_on_its_route(kind: str, gid: str, field: str, value: str) -> None:
    """An operation read from other people's JSON has a path of its kind's, with digits in it, or is refused."""
    try:
        operation = operation_from_dict({"kind": kind, "gid": gid, "name": "x", field: value})
    except ValueError:
        return
    assert operation.path == type(operation).route.format(gid=operation.gid)
    assert operation.gid.isdigit()
    assert operation.gid.isascii()
