"""Changes of Asana's API: asked for, put off, and announced by answers."""

import logging
from typing import Any

import aiohttp
import pytest
from multidict import CIMultiDict

from asana_jobs import AsanaClient
from asana_jobs._client.http.api_changes import ApiChange, change_headers, read_changes
from asana_jobs._client.http.protocol import read_job
from asana_jobs.events import ChangeAnnounced, Event
from asana_jobs.testing import AsanaSimulator
from asana_jobs.testing._scripted_transport import ScriptedTransport


#: As it was seen in September 2026: one header, and one of its notices affects the caller.
LIVE = (
    "name=new_user_task_lists;info=https://forum.asana.com/t/1, name=teamless_projects;info=https://forum.asana.com/t/2"
    ";affected=true, name=goal_sals_api;info=https://forum.asana.com/t/3"
)
TEAMLESS = ("teamless_projects", "https://forum.asana.com/t/2")


def announced(events: list[Event]) -> list[tuple[str, str]]:
    """Return what was told of changes."""
    return [(event.name, event.info) for event in events if isinstance(event, ChangeAnnounced)]


def warned(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return the warnings about changes."""
    return [
        record.getMessage() for record in caplog.records if "Asana changes its API" in record.getMessage()
    ]


@pytest.mark.parametrize(
    ("value", "changes"),
    [
        (
            LIVE,
            [
                ApiChange("new_user_task_lists", "https://forum.asana.com/t/1"),
                ApiChange(*TEAMLESS, affected=True),
                ApiChange("goal_sals_api", "https://forum.asana.com/t/3"),
            ],
        ),
        ("name=a;affected=true", [ApiChange("a", "", affected=True)]),
        ("NAME = a ; Affected = TRUE", [ApiChange("a", "", affected=True)]),
        ("name=a;info=https://x/?b=c;affected=false", [ApiChange("a", "https://x/?b=c")]),
        ("affected=true;info=https://x", []),
        ("", []),
        (",;=,;;,name", []),
        ("name=a\u202e\x1b;affected=true", [ApiChange(r"a\u202e\x1b", "", affected=True)]),
        (f"name={'a' * 5000};info={'b' * 5000}", [ApiChange("a" * 200, "b" * 200)]),
    ],
)
def test_what_a_header_says(value: str, changes: list[ApiChange]) -> None:
    """Whatever it looks like, it is one line and short."""
    assert list(read_changes({"asana-change": value})) == changes


def test_a_header_that_is_there_twice() -> None:
    """Asana's page says that it may be."""
    headers = CIMultiDict([("Asana-Change", "name=a"), ("Asana-Change", "name=b")])

    assert [change.name for change in read_changes(headers)] == ["a", "b"]


async def test_a_change_that_affects_the_caller_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    """One warning and one event a name and client, whichever request met it: a call, a start or a look."""
    events: list[Event] = []
    async with (
        AsanaSimulator(headers={"Asana-Change": LIVE}, durations=0.05) as simulator,
        AsanaClient("test-token", base_url=simulator.base_url, on_event=events.append) as client,
    ):
        with caplog.at_level(logging.WARNING, "asana_jobs"):
            await client.wait_for_job("1203")
            await client.get_job("1204")
            await client.rollup_task("1205")
            assert announced(events) == [TEAMLESS]
            async with client.with_token("other-token") as sibling:
                await sibling.get_job("1204")

    assert announced(events) == [TEAMLESS, TEAMLESS]
    assert warned(caplog)[0] == (
        "Asana changes its API, and what this client does is affected by teamless_projects "
        "(https://forum.asana.com/t/2): AsanaClient(enable=['teamless_projects']) tries the new behaviour, disable keeps "
        "the old one for as long as Asana does"
    )
    assert len(warned(caplog)) == 2


async def test_a_change_that_affects_others_is_not_told(caplog: pytest.LogCaptureFixture) -> None:
    """Most notices are not about the caller."""
    async with (
        AsanaSimulator(headers={"Asana-Change": "name=a;info=https://x"}) as simulator,
        AsanaClient("test-token", base_url=simulator.base_url) as client,
    ):
        await client.get_job("1204")

    assert warned(caplog) == []


async def test_an_error_announces_as_well(caplog: pytest.LogCaptureFixture) -> None:
    """A refusal may be the change itself."""
    async with (
        AsanaSimulator(strict=True, headers={"Asana-Change": LIVE}) as simulator,
        AsanaClient("test-token", base_url=simulator.base_url) as client,
    ):
        with pytest.raises(Exception, match="Unknown object"):
            await client.get_job("1204")

    assert len(warned(caplog)) == 1


async def test_a_token_that_is_echoed_is_masked(
    client: AsanaClient, transport: ScriptedTransport, caplog: pytest.LogCaptureFixture
) -> None:
    """A proxy that debugs may put anything into a header."""
    answer = await ScriptedTransport("succeeded").send(read_job("1203"))
    answer.headers = {"asana-change": "name=test-token;info=test-token;affected=true"}
    transport.play(lambda _: answer)

    await client.get_job("1203")

    assert len(warned(caplog)) == 1
    assert "test-token" not in warned(caplog)[0]


async def test_names_without_an_end_fill_nothing(
    client: AsanaClient, transport: ScriptedTransport, caplog: pytest.LogCaptureFixture
) -> None:
    """A hundred are told of."""
    answer = await ScriptedTransport("succeeded").send(read_job("1203"))
    answer.headers = {"asana-change": ",".join(f"name=a{number};affected=true" for number in range(500))}
    transport.play(lambda _: answer)

    await client.get_job("1203")

    assert len(warned(caplog)) == 100


# --- Asking for changes


async def test_changes_are_asked_for_and_put_off_by_every_request(simulator: AsanaSimulator) -> None:
    """Calls, starts and looks, those of a sibling too; the token's own requests and downloads have no part in it."""
    async with (
        AsanaClient(
            "test-token",
            base_url=simulator.base_url,
            enable=["teamless_projects", "goal_sals_api"],
            disable=("new_memberships",),
        ) as client,
        client.with_token("other-token") as sibling,
    ):
        await client.get_job("1203")
        await client.rollup_task("1204")
        await client.check_job("1205")
        await sibling.get_job("1203")

    for request in simulator.requests:
        assert request.headers["asana-enable"] == "teamless_projects,goal_sals_api"
        assert request.headers["asana-disable"] == "new_memberships"
    assert len(simulator.requests) == 4


async def test_without_them_there_is_no_header(wired: AsanaClient, simulator: AsanaSimulator) -> None:
    """What nobody asked for is not sent."""
    await wired.get_job("1203")

    assert not {"asana-enable", "asana-disable"} & set(simulator.requests[0].headers)


async def test_a_handed_in_transport_is_told(transport: ScriptedTransport) -> None:
    """It finds them on the request."""
    transport.play("succeeded")
    async with AsanaClient("test-token", transport=transport, enable=["a"]) as client:
        await client.get_job("1203")

    assert transport.requests[0].headers == {"Asana-Enable": "a"}


async def test_a_handed_in_session_sends_them(simulator: AsanaSimulator) -> None:
    """Beside its own headers."""
    async with (
        aiohttp.ClientSession(headers={"X-Mine": "1"}) as session,
        AsanaClient("test-token", base_url=simulator.base_url, session=session, enable=["a"]) as client,
    ):
        await client.get_job("1203")

    sent = simulator.requests[0].headers
    assert (sent["asana-enable"], sent["x-mine"]) == ("a", "1")


@pytest.mark.parametrize(
    ("enable", "disable", "said"),
    [
        ("teamless_projects", (), r"enable must be .*: write enable=\['teamless_projects'\]"),
        ((), "a", r"disable must be .*: write disable=\['a'\]"),
        (None, (), r"enable must be a list of names of changes, not None: write enable=\[\.\.\.\]"),
        (5, (), r"enable must be a list of names of changes, not 5: write enable=\[.*\]"),
        (
            (),
            {"a": True},
            r"disable must be a list of names of changes, not \{'a': True\}: write disable=\['teamless_projects'\]",
        ),
        (["a,b"], (), "enable must hold names of changes such as 'teamless_projects', not 'a,b'"),
        ((), ["x" * 200], f"disable must hold names of changes such as 'teamless_projects', not '{'x' * 59}"),
        (["a\r\nX: 1"], (), "enable must hold names"),
        ([""], (), "enable must hold names"),
        ([b"a"], (), "enable must hold names"),
        (["a b"], (), "enable must hold names"),
        (["\u00e9"], (), "enable must hold names"),
        (["a" * 101], (), "enable must hold names"),
        (["a"], ["b", "a"], "'a' is in enable and in disable: give it to one of them"),
    ],
)
def test_what_are_no_names_of_changes(enable: Any, disable: Any, said: str) -> None:
    """It is refused when the client is made."""
    with pytest.raises(ValueError, match=f"^{said}{'' if said.endswith(' names') else '$'}"):
        AsanaClient("test-token", enable=enable, disable=disable)


def test_a_name_is_sent_once() -> None:
    """However often it is given, in the order of the first time."""
    assert change_headers(["b", "a", "b"], iter(["c"])) == {"Asana-Enable": "b,a", "Asana-Disable": "c"}
    assert change_headers((), []) == {}
