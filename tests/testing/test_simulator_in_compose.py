"""The compose file of the page about testing: it is one, and its commands work between two machines."""

import json
import os
import re
import socket
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]  # pyright knows its types

import asana_jobs.testing


pytestmark = pytest.mark.looptime(False)  # noqa: FBT003  # its way

[BLOCK] = re.findall(r"```yaml\n(.*?)```", asana_jobs.testing.__doc__ or "", re.DOTALL)
FILE: dict[str, Any] = yaml.safe_load(BLOCK)
SIMULATOR, APP = FILE["services"]["asana"], FILE["services"]["app"]


def own_address() -> str:
    """Return an address of this machine by which others find it; of a machine without one, the test says so."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asked:
        try:
            asked.connect(("192.0.2.1", 9))  # nothing is sent; the address is one for documents
        except OSError:
            pytest.skip("this machine has no address but its own for itself")
        address: str = asked.getsockname()[0]
    if address.startswith("127."):
        pytest.skip("this machine has no address but its own for itself")
    return address


@contextmanager
def running_simulator() -> Generator[int, None, None]:
    """Run the command of the service, on a free port, and give that."""
    words: list[str] = SIMULATOR["command"]
    assert words[0] == "asana-jobs"
    port = words.index("--port") + 1
    command = [sys.executable, "-m", "asana_jobs", *words[1:port], "0", *words[port + 1 :], "--speed", "20"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as simulator:
        assert simulator.stdout is not None
        announced = json.loads(simulator.stdout.readline())
        try:
            yield int(announced["origin"].rpartition(":")[2])
        finally:
            simulator.terminate()
        assert simulator.wait(300) == 0


def run_app(
    host: str, port: int, folder: Path, *words: str, **without: str
) -> subprocess.CompletedProcess[str]:
    """Run a command with the environment of the application, at another address."""
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("ASANA_")},
        **APP["environment"],
        "ASANA_BASE_URL": APP["environment"]["ASANA_BASE_URL"].replace("//asana:8000/", f"//{host}:{port}/"),
        **without,
    }
    return subprocess.run(
        [sys.executable, "-m", "asana_jobs", *words],
        env=environment,
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


def test_its_parts_fit_together() -> None:
    """The application is sent to the service's name and port, and waits until that is well."""
    port = SIMULATOR["command"][SIMULATOR["command"].index("--port") + 1]

    assert set(FILE["services"]) == {"asana", "app"}
    assert APP["environment"]["ASANA_BASE_URL"] == f"http://asana:{port}/api/1.0"
    assert APP["environment"]["ASANA_ALLOW_PLAIN_HTTP"] == "1"
    assert APP["depends_on"] == {"asana": {"condition": "service_healthy"}}
    assert f"http://127.0.0.1:{port}/" in SIMULATOR["healthcheck"]["test"][-1]


def test_an_application_elsewhere_reaches_it(tmp_path: Path) -> None:
    """By an address that is not for this machine alone: jobs, the health check, and files of exports."""
    address = own_address()
    with running_simulator() as port:
        kind, python, *words = SIMULATOR["healthcheck"]["test"]
        health = [word.replace(":8000", f":{port}") for word in words]
        assert (kind, python) == ("CMD", "python")
        assert subprocess.run([sys.executable, *health], check=False).returncode == 0

        waited = run_app(address, port, tmp_path, "duplicate-project", "1203", "--name", "Q3", "--wait")
        assert (waited.returncode, "succeeded" in waited.stdout) == (0, True), waited.stderr

        exported = run_app(address, port, tmp_path, "export", "graph", "1207", "-o", "export.json.gz")
        assert exported.returncode == 0, exported.stderr
        assert (tmp_path / "export.json.gz").stat().st_size > 100


def test_without_leave_no_token_crosses_the_network(tmp_path: Path) -> None:
    """What the variable is for: without it, the address is refused, and the message names the variable."""
    refused = run_app("192.0.2.1", 8000, tmp_path, "get", "5", ASANA_ALLOW_PLAIN_HTTP="0")

    assert refused.returncode == 2
    assert "ASANA_ALLOW_PLAIN_HTTP=1" in refused.stderr
