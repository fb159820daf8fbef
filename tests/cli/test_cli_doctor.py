"""``asana-jobs doctor``: what it finds."""

from __future__ import annotations

from collections.abc import Generator

import pytest
from command_line import Ended, LocalAsana, local_asana, run_here


@pytest.fixture
def asana() -> Generator[LocalAsana, None, None]:
    """A local Asana whose token belongs to somebody."""
    with local_asana(tokens={"good-token": "Kim"}) as running:
        yield running


def finding(ended: Ended, subject: str) -> str:
    """The verdict and the words about *subject*."""
    found = next(event for event in ended.events if event.get("subject") == subject)
    return f"{found['verdict']}: {found['message']}"


def test_all_is_well(asana: LocalAsana) -> None:
    """With a good token and a server that answers, the status is 0 and nothing is bad."""
    ended = run_here("doctor", asana=asana)

    assert ended.status == 0
    assert {event["verdict"] for event in ended.events[:-1]} == {"good"}


def test_it_names_the_variable_and_not_the_token(asana: LocalAsana) -> None:
    """The variable the token was found in is named; the token is not shown."""
    ended = run_here("doctor", asana=asana)

    assert finding(ended, "token") == "good: from ASANA_ACCESS_TOKEN"
    assert "good-token" not in ended.stdout + ended.stderr


def test_a_second_token_variable_is_odd(asana: LocalAsana) -> None:
    """A variable that is set and not used is pointed out."""
    ended = run_here("doctor", asana=asana, variables={"ASANA_TOKEN": "other"})

    assert finding(ended, "token") == "odd: from ASANA_ACCESS_TOKEN; ASANA_TOKEN is set as well and not used"


def test_it_says_who_the_token_belongs_to(asana: LocalAsana) -> None:
    """The owner of the token is named as ``/users/me`` names them."""
    me = asana.simulator.requests

    ended = run_here("doctor", asana=asana)

    assert "gid" in finding(ended, "user")
    assert {record.path for record in me} == {"/users/me"}


def test_a_wrong_clock_is_odd() -> None:
    """A clock that differs from the server's by a minute is pointed out."""
    with local_asana(clock_skew=60) as asana:
        ended = run_here("doctor", asana=asana)

    assert finding(ended, "clock").startswith("odd: ")
    assert "behind the server's" in finding(ended, "clock")


def test_the_budget_in_force_is_shown(asana: LocalAsana) -> None:
    """The limit that was given is what is shown."""
    ended = run_here("doctor", "--requests-per-minute", "1500", asana=asana)

    assert "requests a minute: 1500" in finding(ended, "budget")


def test_without_a_token_it_is_4() -> None:
    """Without a token there is nothing to connect with: status 4."""
    ended = run_here("doctor")

    assert ended.status == 4
    assert "developer console" in finding(ended, "token")
    assert "AsanaClient" not in ended.stdout


def test_blanks_around_variables_do_no_harm(asana: LocalAsana) -> None:
    """What a file or a script left around the values of the environment is dropped; an empty address is none."""
    pasted = {
        "ASANA_BASE_URL": f"{asana.simulator.base_url} \n",
        "ASANA_ACCESS_TOKEN": "\ufeffgood-token\r\n",
    }
    ended = run_here("doctor", asana=asana, variables=pasted)

    assert ended.status == 0
    assert finding(ended, "address") == f"good: {asana.simulator.base_url}, from ASANA_BASE_URL"


def test_a_token_in_quotes_is_4_and_says_so(asana: LocalAsana) -> None:
    """As a file for ``docker run --env-file`` makes of it; nothing is sent."""
    ended = run_here("doctor", asana=asana, variables={"ASANA_ACCESS_TOKEN": '"good-token"'})

    assert ended.status == 4
    assert "the value of ASANA_ACCESS_TOKEN has quotation marks around it" in finding(ended, "token")
    assert "good-token" not in ended.stdout + ended.stderr
    assert len(asana.simulator.requests) == 0


@pytest.mark.parametrize("command", [["doctor"], ["get", "1203"], ["wait", "1203"]])
def test_an_address_without_its_path_is_2(command: list[str]) -> None:
    """Asana's address without the path of its API is wrong usage, and no gid is blamed."""
    variables = {"ASANA_BASE_URL": "https://app.asana.com", "ASANA_ACCESS_TOKEN": "good-token"}
    ended = run_here(*command, variables=variables)

    assert ended.status == 2
    assert "base_url (of ASANA_BASE_URL) must end with the path of Asana's API" in ended.stderr


def test_a_refused_token_is_4(asana: LocalAsana) -> None:
    """A token that Asana refuses is bad, with status 4."""
    ended = run_here("doctor", asana=asana, variables={"ASANA_ACCESS_TOKEN": "bad-token"})

    assert ended.status == 4
    assert finding(ended, "Asana").startswith("bad: ")
    assert "doctor" not in ended.stdout


def test_what_is_not_asana_is_6() -> None:
    """An address that answers with something else is trouble with the API: status 6."""
    with local_asana() as asana:
        elsewhere = {"ASANA_BASE_URL": f"{asana.simulator.origin}/nothing/here"}
        assert run_here("doctor", asana=asana, variables=elsewhere).status == 6


def test_people_get_a_verdict(asana: LocalAsana) -> None:
    """The table for people ends with what it comes to."""
    assert run_here("doctor", "--output", "table", asana=asana).stdout.endswith("\nAll is well.\n")
