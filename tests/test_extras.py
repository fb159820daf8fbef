"""What is said where the packages of an extra are missing, each in a process without them."""

import subprocess
import sys

import pytest


#: What each extra brings, besides what it needs itself.
WORKER, CLI, MCP, OTEL, SPEED = (
    ["docket", "redis"],
    ["cyclopts", "rich"],
    ["mcp"],
    ["opentelemetry"],
    ["orjson"],
)


#: Hides packages from imports, and from whoever asks whether they are there.
HIDE = """
import sys
from importlib.machinery import PathFinder
find, missing = PathFinder.find_spec, {missing}
def find_spec(name, path=None, target=None):
    return None if {{name, name.partition(".")[0]}} & missing else find(name, path, target)
PathFinder.find_spec = find_spec
"""


def run_without(missing: list[str], script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run *script* where the packages *missing* cannot be imported."""
    hide = HIDE.format(missing={*missing})
    command = [sys.executable, "-c", hide + script, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


@pytest.mark.parametrize("package", WORKER)
@pytest.mark.parametrize(
    "script",
    [
        "import asana_jobs.worker",
        "from asana_jobs.worker import JobQueue",
        "from asana_jobs.worker.errors import QueueError",
        "from asana_jobs import worker",
    ],
)
def test_the_worker_says_what_to_install(package: str, script: str) -> None:
    """An import of the worker without a package of its extra ends in the command that brings it, and in its cause."""
    said = run_without([package], script).stderr

    assert f"ModuleNotFoundError: No module named '{package}" in said
    assert said.splitlines()[-1].startswith(
        f"ImportError: asana_jobs.worker needs more packages (No module named '{package}"
    )
    assert said.endswith("): pip install 'asana-jobs[worker]'\n")


def test_the_worker_says_so_of_a_package_of_another_version() -> None:
    """What is there but lacks a name is the same trouble, with the same cure."""
    said = run_without(
        [], "import types; sys.modules['docket'] = types.ModuleType('docket'); import asana_jobs.worker"
    )

    assert "ImportError: asana_jobs.worker needs more packages (cannot import name " in said.stderr
    assert said.stderr.endswith("): pip install 'asana-jobs[worker]'\n")


def test_a_mistake_of_our_own_is_not_taken_for_a_missing_package() -> None:
    """No installation helps where a module of the package itself is broken."""
    said = run_without(["asana_jobs.worker._queue"], "import asana_jobs.worker").stderr

    assert said.splitlines()[-1].startswith("ModuleNotFoundError: No module named 'asana_jobs.worker._queue'")


def test_the_command_worker_says_what_to_install() -> None:
    """``asana-jobs worker`` is wrong usage there, in one line."""
    script = "from asana_jobs.__main__ import main; sys.exit(main())"
    ended = run_without(WORKER, script, "worker", "--redis", "redis://localhost")

    assert ended.returncode == 2
    assert "pip install 'asana-jobs[worker]'" in ended.stderr.splitlines()[0]
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize("package", ["mcp", "pydantic"])
def test_the_server_for_assistants_says_what_to_install(package: str) -> None:
    """An import of it without a package of its extra ends in the command that brings it; its command says that in one line."""
    said = run_without([package], "import asana_jobs.mcp").stderr.splitlines()[-1]
    ended = run_without([package], "from asana_jobs.__main__ import main; sys.exit(main())", "mcp")

    assert said.startswith(f"ImportError: asana_jobs.mcp needs more packages (No module named '{package}")
    assert said.endswith("): pip install 'asana-jobs[mcp]'")
    assert (ended.returncode, ended.stdout) == (2, "")
    assert "pip install 'asana-jobs[mcp]'" in ended.stderr.splitlines()[0]
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize("package", CLI)
def test_the_command_line_says_what_to_install(package: str) -> None:
    """``asana-jobs`` without a package of its extra is wrong usage, in one line."""
    ended = run_without([package], "from asana_jobs.__main__ import main; sys.exit(main())", "wait", "1203")

    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr == (
        "asana-jobs: the command line needs two more packages: pip install 'asana-jobs[cli]'\n"
    )


def test_progress_says_what_to_install() -> None:
    """Without rich its import ends in the command that brings it; it needs nothing else of the extra."""
    said = run_without(["rich"], "import asana_jobs.progress").stderr

    assert "ModuleNotFoundError: No module named 'rich" in said
    assert said.splitlines()[-1].startswith("ImportError: asana_jobs.progress needs more packages (No module")
    assert said.endswith("): pip install 'asana-jobs[cli]'\n")
    assert run_without(["cyclopts"], "from asana_jobs.progress import track").stderr == ""


@pytest.mark.parametrize("package", CLI)
def test_the_program_of_the_simulator_says_what_to_do(package: str) -> None:
    """Without a package of the command line it names the command that installs them, and the way that needs none."""
    script = "from asana_jobs.testing.__main__ import main; sys.exit(main())"

    ended = run_without([package], script, "--port", "8123")

    assert (ended.returncode, ended.stdout) == (2, "")
    assert "pip install 'asana-jobs[cli]'" in ended.stderr
    assert "asyncio.run(serve(port=8123))" in ended.stderr


def test_everything_else_works_without_any_extra() -> None:
    """The library and the simulator need none of them."""
    script = (
        "import asyncio\n"
        "from asana_jobs import AsanaClient\n"
        "from asana_jobs.testing import AsanaSimulator\n"
        "async def main():\n"
        "    async with AsanaSimulator(speed=1000) as simulator:\n"
        "        async with AsanaClient('x', base_url=simulator.base_url) as client:\n"
        "            print((await client.wait_for_job(await client.rollup_task('1'))).status)\n"
        "asyncio.run(main())\n"
    )
    ended = run_without([*WORKER, *CLI, *MCP, *OTEL, *SPEED, "pytest"], script)

    assert (ended.stdout, ended.stderr) == ("succeeded\n", "")
