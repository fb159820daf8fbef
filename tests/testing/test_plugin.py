"""The fixtures that a user's tests get from the package, and the mark that sets their simulator."""

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import pytest

from asana_jobs import AsanaClient, DuplicateProject, PollPolicy, RateLimits
from asana_jobs.errors import NotFoundError
from asana_jobs.testing import AsanaSimulator, SimulatorLimits, Stuck


def run_pytest(
    folder: Path, tests: str, *options: str, mode: str = "auto"
) -> subprocess.CompletedProcess[str]:
    """Run a user's *tests* in a process of their own."""
    (folder / "test_users.py").write_text(tests)
    (folder / "pytest.ini").write_text(
        f"[pytest]\nasyncio_mode = {mode}\nfilterwarnings = error\naddopts = --strict-markers --strict-config\n"
        "asyncio_default_fixture_loop_scope = function\nasyncio_default_test_loop_scope = function\n"
    )
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:randomly", "-p", "no:xdist", *options]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


async def seconds_of(client: AsanaClient, jobs: int) -> list[float]:
    """How many seconds of the loop's time each of some jobs costs that is started and waited for."""
    loop = asyncio.get_running_loop()
    took: list[float] = []
    for number in range(jobs):
        began = loop.time()
        assert (await client.run(DuplicateProject("1203", name=f"Copy {number}"))).succeeded
        took.append(loop.time() - began)
    return took


# how long a job takes


@pytest.mark.asana(durations=0.005)
async def test_jobs_of_milliseconds_cost_milliseconds(asana_client: AsanaClient) -> None:
    """A job that takes 5 ms is seen to have finished some milliseconds later, the fiftieth like the first."""
    took = await seconds_of(asana_client, 50)

    assert max(took) < 0.03
    assert sum(took) / 50 < 0.015


@pytest.mark.asana(speed=300)
async def test_speed_is_the_clients_too(asana_client: AsanaClient) -> None:
    """Jobs three hundred times as fast are waited for in hundredths of a second."""
    assert max(await seconds_of(asana_client, 20)) < 0.05


@pytest.mark.looptime(False)  # noqa: FBT003 - as looptime wants it
@pytest.mark.asana(durations=0.005)
async def test_jobs_of_milliseconds_cost_no_more_on_a_real_clock(asana_client: AsanaClient) -> None:
    """Where time is real, the work of client and simulator is all that is added."""
    assert min(await seconds_of(asana_client, 10)) < 0.1


@pytest.mark.asana(durations=0.005)
async def test_many_are_not_held_back_by_a_quota_that_is_not_there(
    asana_simulator: AsanaSimulator, asana_client: AsanaClient
) -> None:
    """Hundreds of requests to a simulator without a quota pass without a pause."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    operations = [DuplicateProject("1203", name=f"Copy {number}") for number in range(300)]

    assert [outcome.succeeded async for outcome in asana_client.run_all(operations)] == [True] * 300
    assert loop.time() - began < 5
    assert asana_simulator.rejected == 0


async def test_jobs_that_take_their_time_are_looked_at_as_ever(asana_client: AsanaClient) -> None:
    """By default the client has the schedule it has in production."""
    assert asana_client._poll == PollPolicy()  # pyright: ignore[reportPrivateUsage]


@pytest.mark.asana(durations={"duplicate_project": 0.005, "default": 10.0})
async def test_slow_jobs_beside_quick_ones_are_not_asked_for_all_the_time(
    asana_simulator: AsanaSimulator, asana_client: AsanaClient
) -> None:
    """One quick kind makes nobody look at a job of ten seconds a thousand times."""
    assert (await asana_client.run(DuplicateProject("1203", name="Copy"))).succeeded
    before = len(asana_simulator.requests)

    assert (await asana_client.wait_for_job(await asana_client.rollup_project("1203"))).succeeded
    assert len(asana_simulator.requests) - before < 400


@pytest.mark.asana(speed=100)
async def test_scripted_looks_follow_each_other_at_that_speed(
    asana_simulator: AsanaSimulator, asana_client: AsanaClient
) -> None:
    """States by the number of looks cost no more than the looks."""
    asana_simulator.add_job("1205", ["not_started", "in_progress", "in_progress", "succeeded"])
    loop = asyncio.get_running_loop()
    began = loop.time()

    assert (await asana_client.wait_for_job("1205")).succeeded
    assert loop.time() - began < 0.1


# the mark


@pytest.mark.asana(limits=SimulatorLimits(requests_per_minute=150), durations=0.005)
async def test_a_quota_of_the_simulator_is_found_out_as_in_production(asana_client: AsanaClient) -> None:
    """A simulator with a quota is met with the limits that a client has by default."""
    assert asana_client._limits == RateLimits()  # pyright: ignore[reportPrivateUsage]


@pytest.mark.asana(strict=True)
async def test_a_strict_simulator_knows_only_what_was_added(
    asana_simulator: AsanaSimulator, asana_client: AsanaClient
) -> None:
    """The mark reaches the simulator."""
    asana_simulator.add_job("1205", ["succeeded"])

    assert (await asana_client.wait_for_job("1205")).succeeded
    with pytest.raises(NotFoundError):
        await asana_client.get_job("1206")


@pytest.mark.asana(tokens={"hers": "her", "his": "him"})
async def test_the_client_has_a_good_token(asana_client: AsanaClient) -> None:
    """Where not every token is good, the client has the first of those that are."""
    assert (await asana_client.get_job("1205")).gid == "1205"


@pytest.mark.asana(speed=7, export_lines=3, durations=Stuck())
class TestMarksOfClasses:
    """Marks add up, from the module's to the test's."""

    @pytest.mark.asana(speed=9)
    async def test_a_tests_mark_wins(self, asana_simulator: AsanaSimulator) -> None:
        """What a test says itself counts, and what it does not mention is its class's."""
        domain = asana_simulator.domain

        assert (domain.speed, domain.export_lines, domain.durations) == (9, 3, {"default": Stuck()})

    @pytest.mark.asana(durations=0.005, speed=1)
    @pytest.mark.parametrize("asana_simulator_options", [{"strict": True, "durations": 60.0}])
    async def test_a_mark_wins_over_the_fixture(
        self, asana_simulator: AsanaSimulator, asana_client: AsanaClient
    ) -> None:
        """The options of a conftest are there as well, and give way."""
        assert asana_simulator.domain.strict
        asana_simulator.add_object("project", "1203")
        assert max(await seconds_of(asana_client, 1)) < 0.03


OVERRIDDEN = """
import pytest

@pytest.fixture
def asana_simulator_options():
    return {"durations": 0.005, "strict": True}

async def test_strict(asana_simulator, asana_client):
    assert asana_simulator.domain.strict

@pytest.mark.asana(strict=False)
async def test_not_strict(asana_client):
    job = await asana_client.wait_for_job(await asana_client.duplicate_project("1203", name="Q3"))
    assert job.succeeded
"""


def test_a_users_fixture_sets_the_simulator(tmp_path: Path) -> None:
    """A fixture of that name in a conftest or a module is used, and the mark is no unknown one."""
    done = run_pytest(tmp_path, OVERRIDDEN)

    assert "2 passed" in done.stdout, done.stdout + done.stderr


WRONG = {
    "duration=0.005": "AsanaSimulator has no argument 'duration'. The mark asana and the fixture "
    "asana_simulator_options take its arguments: strict, host, port, seed, durations, ",
    "0.005": "The mark asana takes keywords, such as durations=0.005, not 0.005",
    "speed=0": "speed must be above 0, not 0",
    "durations={'copy': 1}": "Unknown kind of job 'copy'",
}


def test_a_wrong_mark_is_said_to_be_that(tmp_path: Path) -> None:
    """A guess that is wrong fails the test before it runs, and says what to write."""
    tests = [
        f"@pytest.mark.asana({mark})\nasync def test_{number}(asana_client): pass\n"
        for number, mark in enumerate(WRONG)
    ]
    done = run_pytest(tmp_path, "import pytest\n" + "".join(tests), "--tb=short")

    assert "4 errors" in done.stdout, done.stdout + done.stderr
    assert [complaint for complaint in WRONG.values() if complaint not in done.stdout] == []


def test_the_mark_is_listed(tmp_path: Path) -> None:
    """`pytest --markers` tells of it."""
    done = run_pytest(tmp_path, "", "--markers")

    assert "@pytest.mark.asana(durations=..., speed=..., strict=..., ...)" in done.stdout


# the plugin


def test_plugin_imports_nothing_heavy() -> None:
    """The plugin, which loads in every pytest run, leaves the simulator and its server alone."""
    code = (
        "import sys, asana_jobs; before = set(sys.modules); import asana_jobs.testing.plugin; "
        "print(sorted(name for name in set(sys.modules) - before if name.startswith(('asana', 'aiohttp', 'attr'))))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "['asana_jobs.testing', 'asana_jobs.testing.plugin']"


@pytest.mark.parametrize("mode", ["strict", "auto"])
def test_fixtures(tmp_path: Path, mode: str) -> None:
    """The fixtures work in both modes of pytest-asyncio, with virtual time too."""
    mark = "@pytest.mark.asyncio\n" if mode == "strict" else ""
    tests = (
        "import aiohttp, asyncio, pytest\n\n\n"
        f"{mark}async def test_a_job(asana_simulator):\n"
        "    headers = {'Authorization': 'Bearer x'}\n"
        "    url = asana_simulator.base_url + '/jobs/1'\n"
        "    async with aiohttp.ClientSession(headers=headers) as session:\n"
        "        async with session.get(url) as response:\n"
        "            assert (await response.json())['data']['status'] == 'in_progress'\n"
        "        await asyncio.sleep(60)\n"
        "        async with session.get(url) as response:\n"
        "            assert (await response.json())['data']['status'] == 'succeeded'\n"
    )
    done = run_pytest(tmp_path, tests, "--looptime", mode=mode)

    assert "1 passed" in done.stdout, done.stdout + done.stderr


def test_plugin_without_pytest_asyncio(tmp_path: Path) -> None:
    """Where pytest-asyncio is missing the plugin still loads, and other tests run."""
    (tmp_path / "pytest_asyncio.py").write_text("raise ImportError('not installed')\n")
    (tmp_path / "test_others.py").write_text("def test_one():\n    pass\n")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "asana_jobs.testing.plugin", str(tmp_path)]
    python_path = f"{tmp_path}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"
    environment = {**os.environ, "PYTHONPATH": python_path, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)

    assert "1 passed" in done.stdout, done.stdout + done.stderr
