import ast
import json
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import aiohttp
import pytest
from simulator_session import bare_session

import asana_jobs.testing
from asana_jobs.testing import AsanaSimulator


# pytest finds fixtures among a module's names.
session = bare_session


HOME = Path(asana_jobs.testing.__file__).parent
# The doubles of the client's own seams live here too, but are no part of the simulator.
DOUBLES = {"_fake_clock.py", "_scripted_transport.py"}
ROUTES = {
    "/batch": "post",
    "/exports/graph": "post",
    "/exports/resource": "post",
    "/jobs/{job_gid}": "get",
    "/organization_exports": "post",
    "/organization_exports/{organization_export_gid}": "get",
    "/portfolios/{portfolio_gid}/duplicate": "post",
    "/project_templates/{project_template_gid}": "get",
    "/project_templates/{project_template_gid}/instantiateProject": "post",
    "/projects/{project_gid}/duplicate": "post",
    "/projects/{project_gid}/rollup": "post",
    "/projects/{project_gid}/saveAsTemplate": "post",
    "/task_templates/{task_template_gid}": "get",
    "/task_templates/{task_template_gid}/instantiateTask": "post",
    "/tasks/{task_gid}/duplicate": "post",
    "/tasks/{task_gid}/rollup": "post",
    "/users/me": "get",
}


async def test_openapi_document(simulator: AsanaSimulator, session: aiohttp.ClientSession) -> None:
    """The simulator describes every call it answers, at the address it listens on."""
    async with session.get(f"{simulator.origin}/openapi.json") as response:
        document = await response.json()

    assert document["servers"] == [{"url": simulator.base_url}]
    assert {path: next(iter(methods)) for path, methods in document["paths"].items()} == ROUTES
    references = set(re.findall(r'"#/components/schemas/(\w+)"', json.dumps(document)))
    assert references == set(document["components"]["schemas"]) - {"JobBase"}


async def test_described_calls_are_answered(
    simulator: AsanaSimulator, session: aiohttp.ClientSession
) -> None:
    """No described call is an unknown route."""
    for path, method in ROUTES.items():
        url = simulator.base_url + re.sub(r"\{\w+\}", "1", path)
        async with session.request(method, url) as response:
            assert response.status in {200, 201, 400}, path


async def test_status_page(simulator: AsanaSimulator, session: aiohttp.ClientSession) -> None:
    """A person with a browser sees jobs and requests, escaped."""
    simulator.add_job("1203", ["<b>odd</b>"])
    async with session.get(f"{simulator.base_url}/jobs/1203"):
        pass
    async with session.get(f"{simulator.origin}/") as response:
        page = await response.text()

    assert response.content_type == "text/html"
    assert "1203" in page
    assert "&lt;b&gt;odd&lt;/b&gt;" in page
    assert "<b>" not in page


async def test_status_page_has_a_log_and_fits_small_windows(
    simulator: AsanaSimulator, session: aiohttp.ClientSession
) -> None:
    """The page lists requests with the time of day and what they met, and does not load itself anew."""
    simulator.fail_next(503)
    async with session.get(f"{simulator.base_url}/jobs/1203"):
        pass
    async with session.post(f"{simulator.base_url}/tasks/7/rollup") as response:
        job = (await response.json())["data"]["gid"]
    async with session.get(f"{simulator.origin}/") as response:
        page = await response.text()

    rows = [re.findall(r"<td>(.*?)</td>", row) for row in re.findall(r"<tr>(.*?)</tr>", page)]
    log = [row for row in rows if len(row) == 7]
    assert [row[1:4] for row in log] == [["POST", "/tasks/7/rollup", "201"], ["GET", "/jobs/1203", "503"]]
    assert (log[0][5], "503" in log[1][6]) == (job, True)
    assert all(re.fullmatch(r"\d\d:\d\d:\d\d", row[0]) for row in log)
    assert 'http-equiv="refresh"' not in page
    assert 'name="viewport"' in page


def test_the_simulator_judges_independently() -> None:
    """No module of the simulator imports anything of the client."""
    allowed = ("asana_jobs.testing", "asana_jobs.testing.")
    for module in HOME.rglob("*.py"):
        if module.name in DOUBLES:
            continue
        tree = ast.parse(module.read_text(encoding="utf-8"))
        names = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module}
        names |= {name.name for node in ast.walk(tree) if isinstance(node, ast.Import) for name in node.names}
        ours = {name for name in names if name.split(".")[0] == "asana_jobs"}
        # The exceptions: the fixture that gives a user a client, and the door to the command line.
        expected = {"plugin.py": {"asana_jobs"}, "__main__.py": {"asana_jobs.__main__"}}
        foreign = {name for name in ours if not name.startswith(allowed)}
        assert foreign <= expected.get(module.name, set()), module.name


def test_names_of_the_package() -> None:
    """Every public name can be imported, and an unknown one is an AttributeError."""
    for name in asana_jobs.testing.__all__:
        assert getattr(asana_jobs.testing, name) is not None
    with pytest.raises(AttributeError, match="no_such_name"):
        getattr(asana_jobs.testing, "no_such_name")  # noqa: B009 - type checkers know it is not there


def call(base_url: str, path: str, method: str = "GET") -> Any:
    """Call a simulator in another process."""
    request = Request(base_url + path, method=method, headers={"Authorization": "Bearer x"})  # noqa: S310 - loopback
    with urlopen(request, timeout=300) as response:  # noqa: S310 - loopback
        return json.load(response)["data"]


def run_in_terminal(*options: str) -> tuple[subprocess.Popen[str], str, str]:
    """The simulator as a program: its process, what it printed, and its base URL."""
    process = subprocess.Popen(
        [sys.executable, "-X", "dev", "-m", "asana_jobs.testing", "--output", "table", *options],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    printed = ""
    while "Ctrl-C" not in printed:
        line = process.stdout.readline()
        assert line, "the simulator ended"
        printed += line
    base_url = re.search(r"ASANA_BASE_URL=(\S+)", printed)
    assert base_url is not None
    return process, printed, base_url[1]


def end(process: subprocess.Popen[str], number: signal.Signals = signal.SIGINT) -> int:
    """Press Ctrl-C, or send another signal; the exit status."""
    process.send_signal(number)
    process.communicate(timeout=300)
    return process.returncode


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_terminal_keeps_its_jobs(tmp_path: Path, number: signal.Signals) -> None:
    """The program says how to reach it, and with a state file its jobs survive the signal that ends it."""
    state = tmp_path / "state.json"
    process, printed, base_url = run_in_terminal("--state", str(state), "--speed", "1000")
    try:
        job = call(base_url, "/tasks/1/rollup", "POST")
    finally:
        status = end(process, number)
    assert status == 0
    assert "export ASANA_ACCESS_TOKEN=" in printed

    process, _, base_url = run_in_terminal("--state", str(state), "--strict")
    try:
        assert call(base_url, f"/jobs/{job['gid']}")["status"] == "succeeded"
    finally:
        status = end(process)
    assert status == 0
