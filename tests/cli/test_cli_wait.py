"""``asana-jobs wait``: gids in, events out."""

from __future__ import annotations

import json
from collections.abc import Generator
from pathlib import Path

import pytest
from command_line import LocalAsana, end_of, local_asana, run_child, run_here, start_child

from asana_jobs.testing import Reset


@pytest.fixture
def asana() -> Generator[LocalAsana, None, None]:
    """A local Asana."""
    with local_asana() as running:
        yield running


def test_gids_from_standard_input(asana: LocalAsana) -> None:
    """Gids that are piped in, one to a line, are all waited for."""
    ended = run_child("wait", "-", "--output", "jsonl", asana=asana, stdin="1\n2\n")

    assert {event["gid"] for event in ended.events if event["event"] == "job"} == {"1", "2"}


def test_standard_output_holds_nothing_but_events(asana: LocalAsana) -> None:
    """Every line of standard output is an event of version 1, even when there is trouble to tell of."""
    asana.do(lambda simulator: simulator.fail_next(503))

    ended = run_here("wait", "1", "2", asana=asana)

    assert {event["v"] for event in ended.events} == {1}


def test_the_last_line_is_the_summary(asana: LocalAsana) -> None:
    """The last line counts how the jobs ended."""
    asana.add_job("9", ["in_progress", "failed"])

    summary = run_here("wait", "1", "2", "9", asana=asana).summary

    assert summary.items() >= {
        "event": "summary", "total": 3, "succeeded": 2, "failed": 1, "unfinished": 0, "exit_status": 1,
    }.items()  # fmt: skip


def test_states_in_between_are_events(asana: LocalAsana) -> None:
    """Each state of a job is one event, in order."""
    asana.add_job("9", ["not_started", "in_progress", "succeeded"])

    events = run_here("wait", "9", asana=asana).events

    assert [event["status"] for event in events[:-1]] == ["not_started", "in_progress", "succeeded"]


def test_events_name_what_the_job_makes(asana: LocalAsana) -> None:
    """A job's event carries the gid, the type and the name of its result."""
    asana.add_job("9", ["succeeded"], new_project={"gid": "77", "name": "Q3 launch"})

    events = run_here("wait", "9", asana=asana).events

    assert events[0]["result"] == {"gid": "77", "resource_type": "project", "name": "Q3 launch"}


def test_events_do_not_hold_download_links(asana: LocalAsana) -> None:
    """The signed link of an export stays out of what may end in a log."""
    asana.add_job("9", ["succeeded"], kind="export_graph")

    assert "download_url" not in run_here("wait", "9", asana=asana).stdout


def test_the_first_look_is_not_wasted(asana: LocalAsana) -> None:
    """A job that has finished already costs one request."""
    asana.add_job("9", ["succeeded"])

    run_here("wait", "9", asana=asana)

    assert len(asana.simulator.requests) == 1


def test_a_gid_given_twice_is_waited_for_once(asana: LocalAsana) -> None:
    """The same gid twice is one job."""
    assert run_here("wait", "1", "1", asana=asana).summary["total"] == 1


def test_lines_of_another_command_can_be_piped_in(asana: LocalAsana) -> None:
    """The JSON lines that ``start`` wrote are gids enough for ``wait -``."""
    started = run_here("start", "duplicate-task", "5", asana=asana)

    ended = run_here("wait", "-", asana=asana, stdin=started.stdout)

    assert ended.events[0]["gid"] == started.events[0]["gid"]


def test_a_continuation_token_can_be_waited_for(asana: LocalAsana) -> None:
    """The token of a wait that timed out goes on with the same job."""
    asana.add_job("9", [(0.0, "in_progress"), (1.0, "succeeded")])
    timed_out = run_here("wait", "9", "--timeout", "0", asana=asana)
    token = next(event for event in timed_out.events if event["event"] == "timeout")["continuation_token"]

    assert run_here("wait", token, asana=asana).status == 0


def test_comments_and_empty_lines_are_skipped(asana: LocalAsana) -> None:
    """A list of gids may have headings."""
    assert run_here("wait", "-", asana=asana, stdin="# Monday\n\n1, 2\n").summary["total"] == 2


def test_a_bad_line_is_named(asana: LocalAsana) -> None:
    """Text among the gids is refused with the number of its line, and nothing is sent."""
    ended = run_here("wait", "-", asana=asana, stdin="1\nabc\n")

    assert "line 2 of standard input" in ended.stderr
    assert (ended.status, len(asana.simulator.requests)) == (2, 0)


def test_no_gid_at_all_is_wrong_usage() -> None:
    """An empty list of gids is refused: a script that found none should not call it success."""
    assert run_here("wait", "-").status == 2


def test_an_unknown_option_is_not_a_gid() -> None:
    """A misspelt option is called an option."""
    assert "unknown option --timeuot" in run_here("wait", "1", "--timeuot", "5m").stderr


def test_one_bad_job_does_not_end_the_others() -> None:
    """A job that may not be seen is an error of its own; the others are waited for."""
    with local_asana() as asana:
        asana.do(lambda simulator: simulator.fail_next(403, times=None, path="/jobs/403"))
        ended = run_here("wait", "403", "1", asana=asana)

    assert ended.summary.items() >= {"succeeded": 1, "unknown": 1, "exit_status": 4}.items()


def test_trouble_that_passes_does_not_end_a_wait(asana: LocalAsana) -> None:
    """A reset connection and a 503 on the way change nothing about the end."""
    asana.do(lambda simulator: simulator.fail_next(Reset()))
    asana.do(lambda simulator: simulator.fail_next(503))

    assert run_here("wait", "1", asana=asana).status == 0


def test_json_is_one_document(asana: LocalAsana) -> None:
    """``--output json`` writes the summary with each job's last state in it, and nothing else."""
    document = json.loads(run_here("wait", "1", "2", "--output", "json", asana=asana).stdout)

    assert {job["gid"]: job["status"] for job in document["jobs"]} == {"1": "succeeded", "2": "succeeded"}


def test_a_table_lists_every_job(asana: LocalAsana) -> None:
    """``--output table`` has a row for each job, whole names included, wherever it goes."""
    asana.add_job(
        "9", ["succeeded"], new_project={"gid": "77", "name": "A name that is far " + "too long " * 20}
    )

    table = run_here("wait", "9", "8", "--output", "table", asana=asana).stdout

    assert "too long " * 19 in table
    assert len(table.splitlines()) == 4


def test_a_name_cannot_drive_the_terminal(asana: LocalAsana) -> None:
    """Control characters in a project's name are not printed."""
    asana.add_job("9", ["succeeded"], new_project={"gid": "77", "name": "red \x1b[31m\x07"})

    assert "\x1b" not in run_here("wait", "9", "--output", "table", asana=asana).stdout


def test_many_unfinished_gids_are_saved(asana: LocalAsana, tmp_path: Path) -> None:
    """The command that goes on reads a file, when a command with all the gids would fill the screen."""
    gids = [str(number) for number in range(100, 130)]
    for gid in gids:
        asana.add_job(gid, ["in_progress"])

    state = {"XDG_STATE_HOME": str(tmp_path)}
    ended = run_here("wait", *gids, "--timeout", "0", asana=asana, variables=state)

    saved = next((tmp_path / "asana-jobs").iterdir())
    assert ended.summary["resume"] == f"asana-jobs wait - < {saved}"
    assert saved.read_text().split() == gids


def test_a_full_disk_is_one_line(asana: LocalAsana) -> None:
    """Results that cannot be written are trouble told in a line, not a traceback."""
    with Path("/dev/full").open("w") as full:
        child = start_child("wait", "1", asana=asana, stdout=full.fileno())
        ended = end_of(child)

    assert "No space left" in ended.stderr
    assert "Traceback" not in ended.stderr
