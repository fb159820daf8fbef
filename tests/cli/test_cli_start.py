"""The commands that start jobs: options in, one POST out."""

from __future__ import annotations

import json
import shlex
from collections.abc import Generator
from pathlib import Path
from typing import Any, cast, get_args

import pytest
from command_line import LocalAsana, end_of, local_asana, run_child, run_here, start_child

from asana_jobs.cli.commands.start import Kind
from asana_jobs.operations import OPERATIONS
from asana_jobs.testing import Latency, Reset


def words(line: str) -> list[str]:
    """What a shell would make of *line*."""
    return line.split()


def _name(value: object) -> str:
    return " ".join(cast("list[str]", value)[:2]) if isinstance(value, list) else ""


@pytest.fixture(scope="module")
def running() -> Generator[LocalAsana, None, None]:
    """One local Asana for all: these tests look at the last POST only."""
    with local_asana() as asana:
        yield asana


@pytest.fixture
def asana() -> Generator[LocalAsana, None, None]:
    """A local Asana of its own."""
    with local_asana() as running:
        yield running


@pytest.mark.parametrize(
    ("typed", "path", "body"),
    [
        (
            ["duplicate-task", "5", "--name", "Copy", "--include", "notes,subtasks"],
            "/tasks/5/duplicate",
            {"name": "Copy", "include": "notes,subtasks"},
        ),
        (
            words("duplicate-project 5 --name Q3 --team 7 --include task_dates --start-on 2027-01-04"),
            "/projects/5/duplicate",
            {
                "name": "Q3",
                "include": "task_dates",
                "team": "7",
                "schedule_dates": {"should_skip_weekends": False, "start_on": "2027-01-04"},
            },
        ),
        (["duplicate-portfolio", "5", "--name", "2027"], "/portfolios/5/duplicate", {"name": "2027"}),
        (
            ["save-project-as-template", "5", "--name", "Launch", "--team", "7", "--public"],
            "/projects/5/saveAsTemplate",
            {"name": "Launch", "team": "7", "public": True},
        ),
        (["instantiate-task", "5", "--name", "Kim"], "/task_templates/5/instantiateTask", {"name": "Kim"}),
        (
            words("instantiate-project 5 --name Q3 --strict --date 1=2027-01-04 --role 8=me --role 9=12"),
            "/project_templates/5/instantiateProject",
            {
                "name": "Q3",
                "is_strict": True,
                "requested_dates": [{"gid": "1", "value": "2027-01-04"}],
                "requested_roles": [{"gid": "8", "value": "me"}, {"gid": "9", "value": "12"}],
            },
        ),
        (["rollup-task", "5"], "/tasks/5/rollup", None),
        (["rollup-project", "5"], "/projects/5/rollup", None),
        (["start", "export-graph", "5"], "/exports/graph", {"parent": "5"}),
        (
            ["start", "export-resource", "5", "--parameters", '[{"resource_type": "task"}]'],
            "/exports/resource",
            {"workspace": "5", "export_request_parameters": [{"resource_type": "task"}]},
        ),
        (["start", "duplicate-project", "5", "--name", "Q3"], "/projects/5/duplicate", {"name": "Q3"}),
        (["start", "export-organization", "5"], "/organization_exports", {"organization": "5"}),
    ],
    ids=_name,
)
def test_a_command_sends_its_request(running: LocalAsana, typed: list[str], path: str, body: Any) -> None:
    """Each command sends the one POST that its options describe."""
    before = len(running.posts())

    ended = run_here(*typed, asana=running)

    assert ended.status == 0
    assert running.posts()[before:] == [(path, body)]


@pytest.mark.parametrize(
    ("typed", "reason"),
    [
        (["duplicate-project", "5"], "--name"),
        (["duplicate-project", "abc", "--name", "Q3"], "string of digits"),
        (["start", "duplicate-project", "5"], "needs --name"),
        (["start", "duplicate-task", "5", "--team", "7"], "takes no --team"),
        (["start", "make-coffee", "5"], "make-coffee"),
        (["start", "export-resource", "5", "--parameters", "{"], "--parameters is not JSON"),
        (["duplicate-project", "5", "--name", "Q3", "--due-on", "2027-03-31"], "task_dates"),
        (
            ["instantiate-project", "5", "--name", "Q3", "--date", "tomorrow"],
            'write --date "Launch=2027-01-04", not ',
        ),
    ],
    ids=_name,
)
def test_wrong_arguments_are_refused(typed: list[str], reason: str) -> None:
    """What cannot be asked of Asana is wrong usage, said before a token is looked for."""
    ended = run_here(*typed)

    assert ended.status == 2
    assert reason in ended.stderr


def test_a_mistyped_word_is_sent_and_told_of(asana: LocalAsana) -> None:
    """A word that Asana does not document is sent, since it adds some, and the nearest one is named."""
    ended = run_child("duplicate-task", "5", "--name", "x", "--include", "subtask", asana=asana)

    assert ended.status == 0
    assert (
        "is no word that Asana documents for duplicate_task, and may be ignored: is 'subtasks' meant?"
        in ended.stderr
    )
    assert asana.posts() == [("/tasks/5/duplicate", {"name": "x", "include": "subtask"})]


def test_without_wait_it_does_not_wait(asana: LocalAsana) -> None:
    """A start exits with 0 as soon as Asana has answered, and prints how to wait."""
    ended = run_here("rollup-task", "5", asana=asana)

    assert (ended.status, len(asana.simulator.requests)) == (0, 1)
    assert ended.summary["resume"] == f"asana-jobs wait {ended.events[0]['gid']}"


def test_with_wait_it_ends_with_the_job(asana: LocalAsana) -> None:
    """``--wait`` shows every state, the last one included."""
    events = run_here("duplicate-task", "5", "--wait", asana=asana).events

    assert [event.get("status") for event in events[:-1]] == ["in_progress", "succeeded"]


def test_every_operation_can_be_started() -> None:
    """``start`` offers every operation there is, under its name."""
    assert {kind.replace("-", "_") for kind in get_args(Kind)} == set(OPERATIONS)


def test_an_organization_export_is_waited_for_by_the_command_that_is_printed() -> None:
    """Its gid alone names no job, so the command says what it is; so does the next one, when time runs out."""
    with local_asana(durations=["in_progress", "in_progress", "succeeded"]) as asana:
        started = run_here("start", "export-organization", "5", asana=asana)
        stopped = run_here(*shlex.split(started.summary["resume"])[1:], "--timeout", "0", asana=asana)
        ended = run_here(*shlex.split(stopped.summary["resume"])[1:], asana=asana)

    assert (started.status, stopped.status, ended.status) == (0, 3, 0)
    assert started.summary["resume"] == stopped.summary["resume"]
    assert ended.events[-2]["status"] == "succeeded"


def test_an_organization_export_can_be_piped_into_wait(asana: LocalAsana) -> None:
    """What ``start`` writes is enough for ``wait -``, and so is Asana's own answer."""
    events = run_here("start", "export-organization", "5", "--output", "jsonl", asana=asana).stdout
    gid = json.loads(events.splitlines()[0])["gid"]
    answer = json.dumps({"data": {"gid": gid, "resource_type": "organization_export", "state": "started"}})

    piped = [run_child("wait", "-", asana=asana, stdin=text) for text in (events, answer)]

    assert [(ended.status, ended.summary["succeeded"]) for ended in piped] == [(0, 1)] * 2


def test_with_wait_an_organization_export_ends_as_well(asana: LocalAsana) -> None:
    """``--wait`` looks at the export's own path."""
    ended = run_here("start", "export-organization", "5", "--wait", asana=asana)

    assert (ended.status, ended.events[-2]["status"]) == (0, "succeeded")
    assert len(asana.simulator.requests.where(path="/jobs/*")) == 0


def test_a_lost_answer_is_not_asked_for_again(asana: LocalAsana) -> None:
    """When the answer to a start is lost, nothing is repeated, and the advice says where to look."""
    asana.do(lambda simulator: simulator.fail_next(Reset(effect=True)))

    ended = run_here("duplicate-task", "5", asana=asana)

    assert (ended.status, len(asana.posts())) == (6, 1)
    assert "Look in Asana" in ended.stderr


def test_ctrl_c_during_a_start_warns(asana: LocalAsana) -> None:
    """Ctrl-C while Asana is asked to start a job says that the job may be running."""
    import signal

    asana.do(lambda simulator: simulator.fail_next(Latency(after=30)))
    child = start_child("duplicate-task", "5", asana=asana)
    asana.wait_for_a_request()

    child.send_signal(signal.SIGINT)
    ended = end_of(child)

    assert ended.status == 130
    assert "it may be running" in ended.stderr


def test_half_an_emoji_is_wrong_usage(asana: LocalAsana) -> None:
    """A name that holds one, or bytes that are no text, is refused before anything is sent."""
    before = len(asana.posts())
    for name in ("Launch \ud83d", "caf\udce9"):
        ended = run_here("start", "duplicate-project", "77", "--name", name, asana=asana)
        assert (ended.status, len(asana.posts())) == (2, before)
        assert "name must be whole characters" in ended.stderr


def test_half_an_emoji_in_a_file_is_wrong_usage(asana: LocalAsana, tmp_path: Path) -> None:
    """The line is named, and nothing of the file is started."""
    path, before = tmp_path / "copies.jsonl", len(asana.posts())
    path.write_text('{"kind": "duplicate_project", "gid": "77", "name": "Launch \\ud83d"}\n')

    ended = run_here("run", str(path), asana=asana)

    assert (ended.status, len(asana.posts())) == (2, before)
    assert "name must be whole characters" in ended.stderr


@pytest.mark.parametrize(
    ("typed", "advice"),
    [
        (
            "duplicate-project 5 --name Q3 --include notes --include members",
            "give all words at once, separated by commas: --include notes,members",
        ),
        (
            "export-graph 5",
            "asana-jobs export graph 5 -o FILE, or asana-jobs start export-graph 5 to start it only",
        ),
        (
            "export-organization",
            "asana-jobs export organization GID -o FILE, or asana-jobs start export-organization GID to start it only",
        ),
        ("export-portfolio 5", "see asana-jobs --help"),
    ],
)
def test_a_mistake_that_is_often_made_has_an_advice_of_its_own(typed: str, advice: str) -> None:
    """What to type instead is there to be copied."""
    ended = run_here(*words(typed))

    assert ended.status == 2
    assert ended.stderr.splitlines()[1] == f"  what to do: {advice}"


@pytest.mark.parametrize(
    ("words", "wrong", "write"),
    [
        (["duplicate-project", "1"], "duplicate-project needs --name", 'write --name "Q3 launch"'),
        (["duplicate-project", "1", "--name"], "--name needs a value", 'write --name "Q3 launch"'),
        (["duplicate-project", "1", "--nam", "x"], "did you mean --name instead of --nam?", "write --name"),
        (["duplicate-project", "--name", "x"], "needs GID", "write asana-jobs duplicate-project GID --name NAME"),
        (["rollup-task"], "rollup-task needs GID", "write asana-jobs rollup-task GID"),
        (["duplicate-task", "1", "--name", "Q3", "launch"], "'launch'", "put quotes round a value with blanks"),
        (["duplicate-task", "1", "--share", "half"], "--share", "write --share 0.25"),
        (["duplicate-project", "1", "--name", "x", "--skip-weekends"], "give one of --start-on and --due-on", "see"),
        (["start", "duplicate-project", "1"], "needs --name", "see asana-jobs duplicate-project --help"),
        (["start", "duplicate-task", "1", "--team", "2"], "takes no --team; it takes --name, --include", "see"),
        (["start", "rollup-task", "1", "--date", "x=2027-01-04"], "rollup-task takes no --date", "see"),
        (["start", "save-project-as-template", "1", "--name", "x"], "needs --public or --no-public", "see"),
        (["start", "instantiate-project", "1", "--name", "x", "--start-on", "2027-01-04"], "it takes --name", "see"),
        (["export", "graph", "1"], "export needs --output-file", "write --output-file launch.jsonl.gz"),
        (["queue", "status"], "queue needs --redis", "write --redis redis://localhost:6379/0"),
        (["run"], "run needs FILE", "write asana-jobs run FILE"),
    ],
    ids=_name,
)  # fmt: skip
def test_a_missing_or_misspelt_option_says_what_to_write(words: list[str], wrong: str, write: str) -> None:
    """A wrong command line is told in the words of the command line, and so is what to type instead."""
    ended = run_here(*words)

    said, advice = ended.stderr.splitlines()
    assert (ended.status, ended.stdout) == (2, "")
    assert wrong in said
    assert write in advice
