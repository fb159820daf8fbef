"""``asana-jobs template``, and dates and roles by name wherever operations are typed or read from a file."""

from __future__ import annotations

import json
import shlex
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest
from command_line import LocalAsana, end_of, local_asana, run_here, start_child

from asana_jobs.testing import Latency


DATES = [
    {"gid": "1", "name": "Start Date", "description": "Choose a start date."},
    {"gid": "5", "name": "Launch"},
]
WHAT_TO_WRITE = (
    'asana-jobs instantiate-project 1204 --name NAME --date "Start Date=YYYY-MM-DD" '
    '--date "Launch=YYYY-MM-DD" --role "Designer=me"'
)
START = "/project_templates/1204/instantiateProject"


@pytest.fixture(scope="module")
def asana() -> Generator[LocalAsana, None, None]:
    """A local Asana that knows two templates and nothing else."""
    with local_asana(strict=True) as running:
        running.do(
            lambda simulator: simulator.add_project_template(
                "1204", name="Go\x1b[31m live", requested_dates=DATES, requested_roles={"Designer": "6"}
            )
        )
        running.do(lambda simulator: simulator.add_object("task_template", "1205", name="Bug"))
        yield running


def run(asana: LocalAsana, *words: str) -> Any:
    """Run a command against a local Asana."""
    return run_here(*words, variables=asana.variables)


def test_a_table_lists_what_a_project_template_asks_for(asana: LocalAsana) -> None:
    """With what to type, and nothing that drives the terminal."""
    ended = run(asana, "template", "1204", "--output", "table")

    assert ended.status == 0
    assert [line.split(maxsplit=1) for line in ended.stdout.splitlines()] == [
        ["name", "Go\N{REPLACEMENT CHARACTER}[31m live"],
        ["project", "template  1204"],
        ["team", "Simulated Team"],
        ["date", "Start Date (gid 1): Choose a start date."],
        ["date", "Launch (gid 5)"],
        ["role", "Designer (gid 6)"],
        [
            "write",
            WHAT_TO_WRITE,
        ],
    ]


def test_json_holds_the_whole_template(asana: LocalAsana) -> None:
    """In one event, which says of which kind it is."""
    ended = run(asana, "template", "1204")

    (event,) = ended.events
    assert (event["event"], event["gid"], event["kind"]) == ("template", "1204", "project_template")
    assert event["template"]["requested_dates"] == DATES
    assert event["template"]["html_description"]


@pytest.mark.parametrize("words", [["1205"], ["1205", "--kind", "task"]])
def test_a_task_template_asks_for_nothing(asana: LocalAsana, words: list[str]) -> None:
    """Which is found out, or said."""
    ended = run(asana, "template", *words, "--output", "table")

    assert ended.status == 0
    assert "nothing: a task has the dates and people of its template" in ended.stdout
    assert "asana-jobs instantiate-task 1205" in ended.stdout


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (["9"], 6, "there is no project template and no task template 9, or this token does not see it"),
        (["1205", "--kind", "project"], 6, "project_template_gid: Unknown object: 1205"),
        (["1204", "--kind", "task"], 6, "task_template_gid: Unknown object: 1204"),
        (["x"], 2, "a gid is a string of digits such as 1203"),
        (["1204", "--kind", "portfolio"], 2, "portfolio"),
    ],
)
def test_what_is_no_template(asana: LocalAsana, words: list[str], status: int, said: str) -> None:
    """Is said in one line, with what to do in another."""
    ended = run(asana, "template", *words)

    assert (ended.status, ended.stdout) == (status, "")
    assert said in ended.stderr
    assert len(ended.stderr.splitlines()) == 2


@pytest.mark.parametrize("command", ["instantiate-project", "start instantiate-project"])
def test_dates_and_roles_by_name(asana: LocalAsana, command: str) -> None:
    """The names are looked up, and gids are sent."""
    typed = f'{command} 1204 --name Q3 --date "Launch=2027-01-04" --date 1=2027-01-01 --role Designer=4711'

    ended = run(asana, *shlex.split(typed))

    assert ended.status == 0
    assert asana.posts()[-1] == (
        START,
        {
            "name": "Q3",
            "requested_dates": [{"gid": "5", "value": "2027-01-04"}, {"gid": "1", "value": "2027-01-01"}],
            "requested_roles": [{"gid": "6", "value": "4711"}],
        },
    )


@pytest.mark.parametrize(
    ("options", "status", "said"),
    [
        (
            "--date Lunch=2027-01-04",
            2,
            "template 1204 asks for no date 'Lunch': it asks for 'Start Date' (1), 'Launch' (5)",
        ),
        ("--role Boss=me", 2, "template 1204 asks for no role 'Boss': it asks for 'Designer' (6)"),
        ("--date Launch", 2, """write --date "Launch=2027-01-04", not 'Launch'"""),
        ("--date Launch=", 2, """write --date "Launch=2027-01-04", not 'Launch='"""),
        ("--date =2027-01-04", 2, "write --date"),
        ("--date Launch=soon", 2, "a date must be a date or 'YYYY-MM-DD', not 'soon'"),
        ("--role Designer", 2, """write --role "Designer=me", not 'Designer'"""),
        ("--role X=me --role X=7", 2, "--role gives 'X' twice: me and 7"),
        ("--date Launch=2027-01-04 --date 5=2027-01-05", 2, "'Launch' and '5' are the same date"),
    ],
)
def test_mistakes_are_said_with_what_to_write(
    asana: LocalAsana, options: str, status: int, said: str
) -> None:
    """In one line, and nothing is started."""
    before = len(asana.posts())

    ended = run(asana, "instantiate-project", "1204", "--name", "Q3", *shlex.split(options))

    assert (ended.status, len(asana.posts())) == (status, before)
    assert said in ended.stderr.splitlines()[0]


def test_a_template_that_is_gone_is_an_error_as_any(asana: LocalAsana) -> None:
    """Nothing was started."""
    ended = run(asana, *shlex.split("instantiate-project 9 --name Q3 --date Launch=2027-01-04"))

    assert ended.status == 6
    assert "project_template_gid: Unknown object: 9" in ended.stderr


def test_a_signal_while_the_template_is_read_says_nothing_of_a_start() -> None:
    """Nothing can be running."""
    with local_asana() as asana:
        asana.do(lambda simulator: simulator.fail_next(Latency(60), times=None))
        child = start_child(
            *shlex.split("instantiate-project 1204 --name Q3 --date Launch=2027-01-04"), asana=asana
        )
        asana.wait_for_a_request()
        child.terminate()
        ended = end_of(child)

    assert ended.status == 130
    assert "may be running" not in ended.stderr


@pytest.mark.parametrize(
    "content",
    [
        "Kind;GID;Name;Requested_Dates.Launch;requested_roles.Designer\ninstantiate-project;1204;Q3;2027-01-04;'4711\n",
        json.dumps(
            {
                "kind": "instantiate_project",
                "gid": "1204",
                "name": "Q3",
                "requested_dates": {"Launch": "2027-01-04"},
                "requested_roles": [{"name": "Designer", "value": "4711"}],
            }
        ),
    ],
    ids=["csv", "json"],
)
def test_a_file_may_name_dates_and_roles(tmp_path: Path, asana: LocalAsana, content: str) -> None:
    """A column is named after the date; a resumed run starts nothing twice."""
    (tmp_path / "launches.csv").write_text(content)
    ledger = str(tmp_path / "launches.ledger")
    before = len(asana.posts())

    ended = run(asana, "run", str(tmp_path / "launches.csv"), "--ledger", ledger)
    again = run(asana, "resume", ledger)

    assert (ended.status, again.status) == (0, 0)
    assert len(asana.posts()) == before + 1
    assert asana.posts()[-1][1] == {
        "name": "Q3",
        "requested_dates": [{"gid": "5", "value": "2027-01-04"}],
        "requested_roles": [{"gid": "6", "value": "4711"}],
    }


def test_a_name_that_is_none_in_a_file(tmp_path: Path, asana: LocalAsana) -> None:
    """It is one operation that was not started, and its line in the ledger is none."""
    (tmp_path / "launches.csv").write_text(
        "kind,gid,name,requested_dates.lunch\ninstantiate-project,1204,Q3,2027-01-04\n"
    )

    ended = run(asana, "run", str(tmp_path / "launches.csv"), "--ledger", str(tmp_path / "a.ledger"))

    (outcome,) = [event for event in ended.events if event["event"] == "outcome"]
    assert outcome["state"] == "refused"
    assert "asks for no date 'lunch'" in outcome["error"]["message"]
