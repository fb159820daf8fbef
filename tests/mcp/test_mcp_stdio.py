"""``asana-jobs mcp`` as an assistant's program starts it: a child process, the official client, a local Asana that counts."""

import gzip
import sys
from pathlib import Path
from typing import Any

import pytest
from assistant import REAL_TIME, child, variables

from asana_jobs import Ledger
from asana_jobs.testing import AsanaSimulator, Reset, SimulatorLimits


pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX processes and signals")


def local_asana(seconds: float) -> AsanaSimulator:
    """A local Asana whose jobs take *seconds*."""
    return AsanaSimulator(durations=seconds, limits=SimulatorLimits.unlimited())


@REAL_TIME
async def test_a_project_is_copied_once_by_an_assistant_that_repeats_itself_and_waits_in_parts(
    tmp_path: Path,
) -> None:
    """The copy is started, the call repeated, the wait cut and gone on with, also in another server: one project exists."""
    async with local_asana(2.0) as simulator:
        environment = variables(simulator, tmp_path)
        async with child(environment, "--longest-call", "1s", log=tmp_path / "log") as assistant:
            first = await assistant.call("duplicate_project", gid="1203", key="q3", name="Q3 launch")
            again = await assistant.call("duplicate_project", gid="1203", key="q3", name="Q3 launch")
            cut = await assistant.call("wait_for_job", job=first["job"])
        async with child(environment, "--longest-call", "5s", log=tmp_path / "log") as assistant:
            end = await assistant.wait(cut["continuation_token"])
            repeated = await assistant.call("duplicate_project", gid="1203", key="q3", name="Q3 launch")

        assert [job["job"] for job in (first, again, cut, end, repeated)] == [first["job"]] * 5
        assert [job["done"] for job in (first, again, cut, end, repeated)] == [
            False,
            False,
            False,
            True,
            True,
        ]
        assert end["makes"] == {"gid": first["makes"]["gid"], "type": "project", "name": "Q3 launch"}
        assert [job.result["name"] for job in simulator.started] == ["Q3 launch"]
        assert [record.path for record in simulator.requests if record.method == "POST"] == [
            "/projects/1203/duplicate"
        ]
    assert (tmp_path / "log").read_text() == ""


@REAL_TIME
async def test_every_tool_is_driven_over_stdio(tmp_path: Path) -> None:
    """Each operation is started and ends, an export is fetched, an unknown start is settled, and all of it is listed."""
    arguments: dict[str, dict[str, Any]] = {
        "duplicate_task": {"name": "T", "include": ["notes"]},
        "duplicate_project": {
            "name": "P",
            "include": ["task_dates"],
            "schedule_dates": {"should_skip_weekends": True, "start_on": "2027-01-04"},
        },
        "duplicate_portfolio": {"name": "F"},
        "save_project_as_template": {"name": "S", "public": False},
        "instantiate_project": {"name": "I", "requested_dates": {"1": "2027-01-04"}},
        "instantiate_task": {},
        "rollup_task": {},
        "rollup_project": {},
        "export_graph": {},
        "export_resource": {"parameters": [{"resource_type": "task", "fields": ["name"]}]},
        "export_organization": {},
    }
    ledger, log = tmp_path / "mine.ledger", tmp_path / "log"
    async with local_asana(0.1) as simulator:
        async with child(variables(simulator, tmp_path), "--ledger", str(ledger), log=log) as assistant:
            offered = [tool.name for tool in (await assistant.client.list_tools()).tools]
            used = {*arguments}
            jobs: dict[str, str] = {}
            for kind, given in arguments.items():
                started = await assistant.call(kind, gid="1203", key=kind, **given)
                jobs[kind] = started["job"]
                assert (await assistant.wait(started["job"]))["status"] == "succeeded", kind
            for kind in ("export_graph", "export_organization"):
                file = tmp_path / f"{kind}.json.gz"
                written = await assistant.call("download_export", job=jobs[kind], file=str(file))
                assert written["bytes"] == file.stat().st_size
                assert gzip.decompress(file.read_bytes())
            assert (await assistant.call("get_job", job=jobs["rollup_task"]))["done"]

            assert (await assistant.call("project_template", gid="1204"))["gid"] == "1204"

            simulator.fail_next(Reset(effect=True), path="/projects/1203/duplicate")
            lost = await assistant.refused("duplicate_project", gid="1203", key="lost", name="Lost")
            assert "Then call resolve_unknown with this key" in lost
            assert [run["key"] for run in (await assistant.call("list_runs", state="unknown"))["runs"]] == [
                "lost"
            ]
            await assistant.call("resolve_unknown", key="lost", decision="it_started")
            runs = await assistant.call("list_runs")
            used |= {
                "wait_for_job",
                "download_export",
                "get_job",
                "project_template",
                "list_runs",
                "resolve_unknown",
            }

        assert {*offered} == used
        assert [run["key"] for run in runs["runs"]] == [*arguments, "lost"]
        assert (runs["counts"]["succeeded"], runs["counts"]["accepted"]) == (11, 1)
        assert len(simulator.started) == 12 - 1  # an organization export is no job
    assert log.read_text() == ""
    with Ledger.open(ledger) as opened:
        assert opened.summary().total == 12


@REAL_TIME
async def test_without_a_token_every_tool_says_what_to_set(tmp_path: Path) -> None:
    """A server that nobody configured is there, lists its tools, and says at each what is missing and where it belongs."""
    environment = {"ASANA_ACCESS_TOKEN": "", "XDG_DATA_HOME": str(tmp_path)}
    async with child(environment, log=tmp_path / "log") as assistant:
        tools = (await assistant.client.list_tools()).tools
        said = await assistant.refused("get_job", job="1205")
        listed = await assistant.refused("list_runs")

    assert len(tools) > 11
    assert said == listed
    assert "no access token: set ASANA_ACCESS_TOKEN" in said
    assert "in the env of its entry in your configuration" in said
    assert "\n" not in said
