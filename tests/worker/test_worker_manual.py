"""The page "Running it" of the manual: its files are taken by the programs they are for, and its figures hold."""

import asyncio
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]  # pyright knows its types
from patience import read
from redis_process import RedisProcess, free_port, require_redis

import asana_jobs.worker
from asana_jobs import RateLimits
from asana_jobs.cli.parser import make_app
from asana_jobs.operations import DuplicateProject
from asana_jobs.testing import AsanaSimulator
from asana_jobs.worker import JobQueue, run_worker
from asana_jobs.worker._redis import Store


pytestmark = pytest.mark.looptime(False)  # noqa: FBT003  # its way

MANUAL = asana_jobs.worker.__doc__ or ""


def block(beginning: str) -> str:
    """Return the block of the manual that begins with some word."""
    blocks: list[str] = re.findall(r"```\w+\n(.*?)```", MANUAL, re.DOTALL)
    [found] = [text for text in blocks if text.startswith(beginning)]
    return found


def check_command(words: list[str]) -> None:
    """Have the command line's own parser take a command."""
    assert words[0] == "asana-jobs"
    make_app().parse_args(words[1:], exit_on_error=False, print_error=False)


def test_redis_takes_the_lines_of_its_configuration(tmp_path: Path) -> None:
    """A server started with them writes an append-only file at once, and evicts nothing."""
    (tmp_path / "redis.conf").write_text(block("# Written"), "utf-8")
    port = free_port()
    server = subprocess.Popen(
        [require_redis(), str(tmp_path / "redis.conf"), "--port", str(port), "--dir", str(tmp_path)],
        stdout=subprocess.DEVNULL,
    )
    asked = RedisProcess(tmp_path)
    asked.port = port
    try:
        found = {}
        for name in ("appendonly", "appendfsync", "maxmemory-policy", "save"):
            for _ in range(100):
                try:
                    found[name] = asked.command("CONFIG", "GET", name).split("\r\n")[-2]
                    break
                except ConnectionRefusedError:
                    subprocess.run(["sleep", "0.05"], check=True)
    finally:
        server.kill()
        server.wait()

    assert found == {
        "appendonly": "yes",
        "appendfsync": "always",
        "maxmemory-policy": "noeviction",
        "save": "",
    }


def test_the_compose_file_is_one(tmp_path: Path) -> None:
    """It parses, its command is one of ours, its parts fit together, and its health check tells old from new."""
    found: dict[str, Any] = yaml.safe_load(block("services:"))
    worker, redis = found["services"]["worker"], found["services"]["redis"]
    check_command(worker["command"])

    assert set(found) == {"services", "secrets", "volumes"}
    assert worker["command"][3].startswith("redis://redis:")
    assert worker["environment"]["ASANA_ACCESS_TOKEN_FILE"] == f"/run/secrets/{worker['secrets'][0]}"
    assert set(worker["secrets"]) == set(found["secrets"])
    assert {volume.partition(":")[0] for volume in redis["volumes"]} == {"./redis.conf", *found["volumes"]}
    drain = worker["command"][worker["command"].index("--drain") + 1]
    assert int(worker["stop_grace_period"].rstrip("s")) > int(drain.rstrip("s"))

    kind, test = worker["healthcheck"]["test"]
    health = tmp_path / "health"
    assert kind == "CMD-SHELL"
    test = test.replace("$$", "$").replace("/tmp/health", str(health))  # noqa: S108  # in a container
    outcomes = [subprocess.run(["sh", "-c", test], check=False, stderr=subprocess.DEVNULL).returncode]
    health.touch()
    outcomes += [subprocess.run(["sh", "-c", test], check=False).returncode]
    os.utime(health, (0, 0))
    outcomes += [subprocess.run(["sh", "-c", test], check=False).returncode]
    assert [bool(outcome) for outcome in outcomes] == [True, False, True]


def test_the_unit_is_one(tmp_path: Path) -> None:
    """Its command is one of ours, and systemd finds nothing wrong with it."""
    text = block("[Unit]")
    unit = tmp_path / "asana-jobs.service"
    unit.write_text(text, "utf-8")
    command = re.search(r"^ExecStart=/usr/bin/env (.*)$", text, re.MULTILINE)
    assert command is not None
    check_command(command[1].split())
    program = shutil.which("systemd-analyze")
    if program is None:
        pytest.skip("systemd is not installed")
    found = subprocess.run(
        [program, "verify", "--man=no", "--recursive-errors=no", str(unit)],
        capture_output=True,
        text=True,
        check=False,
    )

    assert "asana-jobs.service" not in found.stdout + found.stderr


async def memory(store: Store) -> int:
    """Return the bytes of all that is in a Redis, without what its connections take."""
    return sum([await store("MEMORY", "USAGE", key) for key in await store("KEYS", "*")])


async def test_the_figures_of_memory_hold(own_redis: RedisProcess) -> None:
    """A wait under way, and one that has ended, take no more of Redis' memory than the manual says."""
    said = re.search(r"less than (\d) kB of memory .* less than (\d) kB for each", MANUAL.replace("\n", " "))
    assert said is not None
    operations = [
        DuplicateProject("1203", name=f"Copy {number}", include=["members", "task_notes"])
        for number in range(50)
    ]
    limits, store = RateLimits(requests_per_minute=60_000, jobs_running=50), Store(own_redis.url)
    async with AsanaSimulator(durations=0.01, limits=None) as simulator, JobQueue(own_redis.url) as queue:
        await queue.enqueue_many(operations)
        under_way = await memory(store) / 50
        worker = asyncio.create_task(
            run_worker(own_redis.url, token="t", base_url=simulator.base_url, limits=limits)
        )
        results = await read(queue, 50, 60)
        worker.cancel()
        await asyncio.wait([worker])
        ended = await memory(store) / 50
    await store.close()

    assert len(results) == 50
    assert 500 < under_way < int(said[1]) * 1000
    assert 500 < ended < int(said[2]) * 1000
