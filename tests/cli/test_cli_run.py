"""``asana-jobs run`` and ``resume``: many operations in, each started once."""

from __future__ import annotations

import json
import signal
import subprocess
from collections import Counter
from collections.abc import Callable, Generator
from pathlib import Path

import pytest
from command_line import LocalAsana, end_of, local_asana, run_child, run_here, start_child

from asana_jobs.testing import Fixed, Reset


@pytest.fixture(scope="module")
def running() -> Generator[LocalAsana, None, None]:
    """One local Asana for all tests that do nothing to it."""
    with local_asana() as asana:
        yield asana


@pytest.fixture(scope="module")
def slow() -> Generator[LocalAsana, None, None]:
    """One whose jobs take long enough to interrupt a run between them."""
    with local_asana(durations=0.3) as asana:
        yield asana


def lines_of(*names: str, **more: object) -> str:
    """The duplication of a project for each name, in JSON lines."""
    operations = [{"kind": "duplicate_project", "gid": "1203", "name": name, **more} for name in names]
    return "".join(f"{json.dumps(operation)}\n" for operation in operations)


def names_of(count: int, prefix: str) -> list[str]:
    """Names that no other test uses."""
    return [f"{prefix} {number}" for number in range(count)]


def times_started(asana: LocalAsana, prefix: str) -> Counter[str]:
    """How often each operation of a test was started, as the server saw it."""
    made = [job.result.get("name", "") for job in asana.simulator.started]
    return Counter(name for name in made if name.startswith(prefix))


@pytest.fixture
def file(tmp_path: Path) -> Callable[[str], str]:
    """Writes a file of operations."""

    def write(text: str, name: str = "operations") -> str:
        (tmp_path / name).write_text(text, encoding="utf-8")
        return str(tmp_path / name)

    return write


def test_every_operation_is_an_outcome(running: LocalAsana, file: Callable[[str], str]) -> None:
    """A run writes one event per operation, and a summary with the ledger's counts."""
    ended = run_child("run", file(lines_of("A1", "A2", "A3")), asana=running)

    assert (ended.status, [event["event"] for event in ended.events]) == (0, ["outcome"] * 3 + ["summary"])
    assert ended.summary["ledger"]["succeeded"] == 3


def test_a_run_again_does_nothing_twice(running: LocalAsana, file: Callable[[str], str]) -> None:
    """The same file on the same ledger reports the same outcomes and sends no second POST."""
    path = file(lines_of("B1", "B2"))
    run_here("run", path, asana=running)

    again = run_here("run", path, asana=running)

    assert times_started(running, "B") == {"B1": 1, "B2": 1}
    assert [event["from_ledger"] for event in again.events[:-1]] == [True, True]


def test_the_ledger_is_beside_the_file(running: LocalAsana, file: Callable[[str], str]) -> None:
    """Without ``--ledger`` the ledger is beside the file, and standard error says where."""
    path = file(lines_of("C"))

    ended = run_here("run", path, asana=running)

    assert Path(f"{path}.ledger").exists()
    assert f"The ledger is {path}.ledger\n" in ended.stderr


def test_csv(running: LocalAsana, file: Callable[[str], str]) -> None:
    """A table is read like JSON lines: words in quotes, nested names with dots, and empty cells left out."""
    before = len(running.posts())
    table = (
        "key;kind;gid;name;include;schedule_dates.start_on;team\n"
        '1;duplicate-project;1203;"Q3; launch";"task_dates,members";2027-01-04;\n'
        "2;rollup-task;7\n"
    )

    ended = run_here("run", file(table), asana=running)

    assert ended.status == 0
    assert sorted(running.posts()[before:], key=str) == [
        (
            "/projects/1203/duplicate",
            {
                "name": "Q3; launch",
                "include": "task_dates,members",
                "schedule_dates": {"should_skip_weekends": False, "start_on": "2027-01-04"},
            },
        ),
        ("/tasks/7/rollup", None),
    ]


def test_standard_input(running: LocalAsana, tmp_path: Path) -> None:
    """``-`` reads operations from standard input, and needs a ledger to be named."""
    ledger = str(tmp_path / "a.ledger")

    ended = run_here("run", "-", "--ledger", ledger, asana=running, stdin=lines_of("D"))

    assert (ended.status, run_here("run", "-", stdin=lines_of("D")).status) == (0, 2)


def test_all_bad_lines_are_told_before_anything_is_started(
    running: LocalAsana, file: Callable[[str], str]
) -> None:
    """Each wrong line is named by its number, the status is 2, and no request was sent."""
    before = len(running.simulator.requests)
    text = lines_of("good") + '{"kind": "dance"}\n\n[1]\n{"kind": "rollup_task", "gid": "x"}\n{"kind": \n'

    ended = run_here("run", file(text), asana=running)

    told = [line.split(":")[0].rpartition(" ")[2] for line in ended.stderr.splitlines() if ", line " in line]
    assert (ended.status, told) == (2, ["2", "4", "5", "6"])
    assert len(running.simulator.requests) == before


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "holds no operation"),
        ("name\nQ3\n", "neither JSON lines nor CSV"),
        ("kind,gid,name\nduplicate_project,1203,Q3,launch\n", "line 2: 4 cells"),
        ("kind,gid,name\n\nduplicate_project,1203,\n", "line 3: duplicate_project needs 'name'"),
        ('kind,gid,name\nrollup_task,1203\nrollup_task,1203,"a\nb', "line 3: not CSV"),
        ("kind,gid,public\nsave_project_as_template,1,perhaps\n", "public must be true or false"),
        ("kind,kind,gid\n", "named twice"),
        ("kind,gid,schedule_dates,schedule_dates.start_on\n", "named twice"),
        ("kind,gid,name,schedule_dates\nduplicate_project,1,Q3,soon\n", "line 2: schedule_dates must be"),
        (lines_of("A", "B", key="same"), "line 2: key 'same' was used in line 1"),
        (lines_of("A", key=""), "key must be"),
        ("SQLite format 3\x00", "asana-jobs resume"),
        ('["a"]', "not an object"),
    ],
)
def test_what_is_no_list_of_operations(file: Callable[[str], str], text: str, reason: str) -> None:
    """A file that cannot be run is refused with the reason and the status of wrong usage."""
    ended = run_here("run", file(text))

    assert ended.status == 2
    assert reason in ended.stderr


def test_text_in_another_encoding_is_named_by_its_line(tmp_path: Path) -> None:
    """A file that a spreadsheet saved in its country's encoding is refused at the line."""
    (tmp_path / "file").write_bytes(b"kind,gid,name\nduplicate_project,1203,F\xfcr\n")

    assert "line 2: not UTF-8" in run_here("run", str(tmp_path / "file")).stderr


def test_a_missing_file_is_wrong_usage() -> None:
    """A file that is not there is told in a line."""
    ended = run_here("run", "/nowhere/operations.jsonl")

    assert (ended.status, "No such file" in ended.stderr) == (2, True)


def test_an_unwritable_ledger_is_2(running: LocalAsana, file: Callable[[str], str]) -> None:
    """A ledger that cannot be made is told in a line before anything is sent."""
    before = len(running.simulator.requests)

    ended = run_child("run", file(lines_of("E")), "--ledger", "/nowhere/a.ledger", asana=running)

    assert (ended.status, "Traceback" in ended.stderr, "/nowhere" in ended.stderr) == (2, False, True)
    assert len(running.simulator.requests) == before


def test_a_file_of_another_kind_is_no_ledger(running: LocalAsana, file: Callable[[str], str]) -> None:
    """A file that is not a ledger is left alone by ``resume``."""
    assert run_here("resume", file("something else entirely" * 100), asana=running).status == 2


def test_a_file_of_one_byte_is_no_ledger(running: LocalAsana, file: Callable[[str], str]) -> None:
    """``resume`` says of the shortest file that it is no ledger, and leaves it alone."""
    name = file("x")
    ended = run_here("resume", name, asana=running)

    assert (ended.status, "is not a ledger" in ended.stderr, Path(name).read_bytes()) == (2, True, b"x")


def test_no_ledger_to_resume() -> None:
    """A ledger that does not exist is not made by ``resume``."""
    ended = run_here("resume", "/nowhere/a.ledger")

    assert (ended.status, "there is no ledger" in ended.stderr) == (2, True)


def test_a_failed_job_is_1(file: Callable[[str], str]) -> None:
    """A run with a failed job exits with 1, and its event says where the half-made copy is."""
    with local_asana(durations=["in_progress", "failed"]) as asana:
        ended = run_here("run", file(lines_of("A")), asana=asana)

    assert (ended.status, ended.events[0]["state"], ended.events[0]["error"]["error"]) == (
        1, "failed", "JobFailedError",
    )  # fmt: skip


def test_a_timeout_is_3_and_resume_goes_on(file: Callable[[str], str]) -> None:
    """Jobs that outlast ``--timeout`` make the status 3; the command that is printed watches them to their ends."""
    with local_asana(durations=1.0) as asana:
        timed_out = run_here("run", file(lines_of("A")), "--timeout", "100ms", asana=asana)
        resumed = run_here(*timed_out.summary["resume"].split()[1:], asana=asana)

    assert (timed_out.status, timed_out.events[0]["state"], timed_out.summary["unfinished"]) == (
        3,
        "timed out",
        1,
    )
    assert (resumed.status, len(asana.posts())) == (0, 1)


def test_a_wrong_token_is_4(file: Callable[[str], str]) -> None:
    """A token that Asana refuses ends a run before anything is started."""
    with local_asana(tokens=["another"]) as asana:
        ended = run_here("run", file(lines_of("A", "B")), asana=asana)

    assert (ended.status, len(asana.posts())) == (4, 0)


def test_a_token_that_expires_ends_the_run(file: Callable[[str], str]) -> None:
    """When the token is refused half-way, the run ends with 4 instead of asking for each operation."""
    with local_asana() as asana:
        asana.do(lambda simulator: simulator.fail_next(401, times=None, path="/projects/*"))
        ended = run_here("run", file(lines_of(*names_of(30, "A"))), asana=asana)

    assert ended.status == 4
    assert len(asana.posts()) <= 10


def test_no_network_is_6(file: Callable[[str], str], monkeypatch: pytest.MonkeyPatch) -> None:
    """An address where nothing listens ends a run with 6, instead of being waited for."""
    monkeypatch.setattr("asana_jobs.cli.connection._ATTEMPTS", 1)
    nowhere = {"ASANA_BASE_URL": "http://127.0.0.1:9/api/1.0", "ASANA_ACCESS_TOKEN": "good-token"}

    assert run_here("run", file(lines_of("A")), variables=nowhere).status == 6


def test_a_refusal_is_6_and_the_rest_goes_on(file: Callable[[str], str]) -> None:
    """An operation that Asana refuses is an outcome of its own; resume tries it again."""
    with local_asana() as asana:
        asana.do(lambda simulator: simulator.fail_next(400, path="/projects/*"))
        ended = run_here("run", file(lines_of("A", "B")), asana=asana)
        resumed = run_here(*ended.summary["resume"].split()[1:], asana=asana)

    assert (ended.status, ended.summary["refused"], ended.summary["succeeded"]) == (6, 1, 1)
    assert (resumed.status, resumed.summary["succeeded"]) == (0, 2)


@pytest.mark.parametrize(
    ("option", "status", "posts"), [("", 6, 1), ("--accept-unknown", 0, 1), ("--retry-unknown", 0, 2)]
)
def test_an_unknown_start_is_for_a_person(
    file: Callable[[str], str], option: str, status: int, posts: int
) -> None:
    """A start whose answer was lost is reported as unknown, and repeated or settled only if that is said."""
    with local_asana() as asana:
        asana.do(lambda simulator: simulator.fail_next(Reset(effect=True), path="/projects/*"))
        path = file(lines_of("A"))
        lost = run_here("run", path, asana=asana)
        again = run_here("run", path, *option.split(), asana=asana)

    assert (lost.status, lost.summary["unknown"], "--accept-unknown" in lost.stderr) == (6, 1, True)
    assert (again.status, len(asana.posts())) == (status, posts)


def test_retry_and_accept_contradict_each_other() -> None:
    """What is unknown is either started again or left alone."""
    assert run_here("resume", "x", "--retry-unknown", "--accept-unknown").status == 2


def read_outcomes(child: subprocess.Popen[str], count: int) -> str:
    """Read a child's first outcomes."""
    assert child.stdout is not None
    return "".join(child.stdout.readline() for _ in range(count))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_is_5_and_resume_needs_no_file(
    slow: LocalAsana, file: Callable[[str], str], number: signal.Signals
) -> None:
    """A signal ends a run with 5; the command that it prints finishes all of it, each operation started once."""
    prefix = f"K{number}"
    path = file(lines_of(*names_of(9, prefix)))
    child = start_child("run", path, asana=slow)
    first = read_outcomes(child, 2)
    child.send_signal(number)
    ended = end_of(child, first)
    Path(path).unlink()

    resumed = run_here(*ended.summary["resume"].split()[1:], asana=slow)

    assert (ended.status, ended.stderr.endswith(f"{ended.summary['resume']}\n")) == (5, True)
    assert (resumed.status, resumed.summary["succeeded"]) == (0, 9)
    assert set(times_started(slow, prefix).values()) == {1}


def test_a_killed_run_is_resumed(slow: LocalAsana, file: Callable[[str], str]) -> None:
    """After SIGKILL, ``resume`` finishes every operation and starts none twice; what is unknown is said."""
    path = file(lines_of(*names_of(9, "L")))
    child = start_child("run", path, asana=slow)
    read_outcomes(child, 2)
    child.kill()
    end_of(child)

    resumed = run_here("resume", f"{path}.ledger", asana=slow)

    started = times_started(slow, "L")
    assert set(started.values()) == {1}
    assert resumed.summary["succeeded"] + resumed.summary["unknown"] == 9
    assert resumed.status == (6 if resumed.summary["unknown"] else 0)


def test_a_closed_pipe_ends_quietly(slow: LocalAsana, file: Callable[[str], str]) -> None:
    """When the reader of the outcomes goes away, the run ends without a word, and can be gone on with."""
    path = file(lines_of(*names_of(9, "M")))
    with start_child("run", path, "--ledger", f"{path}.l", asana=slow) as child:
        assert child.stdout is not None
        assert child.stderr is not None
        child.stdout.readline()

        child.stdout.close()

        assert (child.wait(300), child.stderr.read()) == (141, "")
    assert run_here("resume", f"{path}.l", asana=slow).summary["ledger"]["succeeded"] == 9


def test_a_ledger_without_a_plan_is_resumed_as_far_as_it_goes(
    slow: LocalAsana, file: Callable[[str], str]
) -> None:
    """A ledger of somebody's own program has no list beside it: what it holds is brought to an end."""
    path = file(lines_of("N"))
    run_here("run", path, "--timeout", "0", asana=slow)
    Path(f"{path}.ledger.jsonl").unlink()

    resumed = run_here("resume", f"{path}.ledger", asana=slow)

    assert (resumed.status, times_started(slow, "N")) == (0, {"N": 1})


def test_what_another_list_left_running_is_finished_too(slow: LocalAsana, file: Callable[..., str]) -> None:
    """A second list on the same ledger also brings to an end what the first has left running."""
    ledger = ("--ledger", file("").removesuffix("operations") + "shared")
    run_here("run", file(lines_of("O1")), *ledger, "--timeout", "0", asana=slow)

    second = run_here("run", file(lines_of("O2")), *ledger, asana=slow)

    assert second.summary.items() >= {"total": 2, "succeeded": 2, "exit_status": 0}.items()


def test_a_list_that_is_its_own_plan_is_left_as_it_is(running: LocalAsana, file: Callable[..., str]) -> None:
    """The file ``x.jsonl`` with the ledger ``x`` is not written over."""
    text = lines_of("P").replace(": ", ":  ")  # as we would not write it
    path = file(text, "x.jsonl")

    ended = run_here("run", path, "--ledger", path.removesuffix(".jsonl"), asana=running)

    assert (ended.status, Path(path).read_text(encoding="utf-8")) == (0, text)


def test_json_is_one_document(running: LocalAsana, file: Callable[[str], str]) -> None:
    """``--output json`` writes the summary with the outcomes in it, and nothing else."""
    document = json.loads(run_here("run", file(lines_of("Q")), "--output", "json", asana=running).stdout)

    assert [outcome["state"] for outcome in document["outcomes"]] == ["succeeded"]


def test_the_table_says_what_went_wrong(file: Callable[[str], str]) -> None:
    """For people, each operation is a line with its result, or with the reason why there is none."""
    with local_asana() as asana:
        asana.do(lambda simulator: simulator.fail_next(400, path="/projects/*"))
        ended = run_here("run", file(lines_of("A", "B")), "--output", "table", asana=asana)

    *lines, summary = ended.stdout.splitlines()
    assert summary.startswith("2 operations: 1 succeeded, 1 refused, ")
    assert sorted(line.split()[0] for line in lines if not line.startswith(" ")) == ["refused", "succeeded"]


def test_what_failed_is_started_again_on_demand(file: Callable[[str], str]) -> None:
    """The summary and the advice name the command that starts failed jobs again, which says that it did."""
    path = file(lines_of("R"))
    with local_asana(durations=Fixed(0.01, outcome="failed")) as asana:
        first = run_here("run", path, asana=asana)
        again = run_here("resume", f"{path}.ledger", asana=asana)
        second = run_here(*first.summary["retry_failed"].split()[1:], asana=asana)
        table = run_here("run", path, "--retry-failed", "--output", "table", asana=asana)

    assert (first.status, first.summary["resume"], first.summary["retried"]) == (1, None, 0)
    assert f"start again with: {first.summary['retry_failed']}" in first.stderr
    assert [event.get("attempt") for event in again.events] == [1, None]
    assert [event.get("attempt") for event in second.events] == [2, None]
    assert second.summary["retried"] == 1
    assert ", attempt 3" in table.stdout
    assert "1 failed, 1 of them at another attempt" in table.stdout
    assert len(asana.simulator.started) == 3
