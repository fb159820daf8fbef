# ruff: noqa: ASYNC240  # nobody else is on these loops
"""A whole run, with a worker, and all that it leaves behind: no token on any disk, in any store, log, span or crash."""

import asyncio
import json
import logging
import os
import pickle
import subprocess
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import pytest
from opentelemetry import metrics, trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from patience import until
from redis_process import RedisProcess
from token_traces import PART, TOKEN, shown

from asana_jobs import AsanaClient, DuplicateProject, ExportGraph, Ledger, RateLimits
from asana_jobs.testing import AsanaSimulator, Reset, SlowDrip, Status
from asana_jobs.worker import JobQueue, RedisGate, Result, run_worker


class Telemetry:
    """What an application that has set OpenTelemetry up exports."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._spans, self._metrics = InMemorySpanExporter(), InMemoryMetricReader()
        tracers = TracerProvider(shutdown_on_exit=False)
        tracers.add_span_processor(SimpleSpanProcessor(self._spans))
        meters = MeterProvider([self._metrics], shutdown_on_exit=False)
        monkeypatch.setattr(trace, "get_tracer_provider", lambda: tracers)
        monkeypatch.setattr(metrics, "get_meter_provider", lambda: meters)

    def texts(self) -> list[str]:
        """Every span, with its events, and every metric, as they are sent."""
        data = self._metrics.get_metrics_data()
        assert data is not None
        return [*(span.to_json() for span in self._spans.get_finished_spans()), data.to_json()]


@asynccontextmanager
async def overhearing(port: int) -> AsyncGenerator[bytearray, None]:
    """Write down every word that anybody says to a Redis, in the calls of scripts too."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"MONITOR\r\n")
    assert await reader.readline() == b"+OK\r\n"
    heard = bytearray()

    async def listen() -> None:
        while words := await reader.read(65536):
            heard.extend(words)

    listening = asyncio.ensure_future(listen())
    try:
        yield heard
        await asyncio.sleep(0.05)  # what was said last is on its way
    finally:
        listening.cancel()
        await asyncio.wait([listening])
        writer.close()


async def run_in_bulk(client: AsanaClient, folder: Path) -> list[str]:
    """Start, watch, fail, resume and download; return how everything shows that came of it."""
    operations = [DuplicateProject("1203", name=f"Copy {number}") for number in range(6)]
    async with Ledger.open(folder / "run.ledger") as ledger:
        outcomes = [outcome async for outcome in client.run_all(operations, ledger=ledger)]
        rows = list(ledger.export())
    waiter = client.wait_for_job(await client.start(ExportGraph("77")))
    monitor = client.monitor_jobs([outcome.job for outcome in outcomes if outcome.job is not None])
    await client.download_export(await waiter, folder / "export.gz")
    async with monitor:
        jobs = [job async for job in monitor]
    check = await client.check_job(jobs[0].gid)
    errors = [outcome.error for outcome in outcomes if outcome.error is not None]
    assert len(errors) >= 2
    values = (*outcomes, rows, waiter, waiter.statistics, client, client.budget, monitor, check, *operations)
    texts = [repr(value) for value in values] + [shown(error) for error in errors]
    texts += [repr(pickle.dumps(value)) for value in (*outcomes, *jobs, *operations, check)]
    return [*texts, waiter.continuation_token(), json.dumps(client.durations.to_dict())]


async def cut_off(client: AsanaClient, simulator: AsanaSimulator, folder: Path) -> list[str]:
    """Break a download off, so that what is needed to go on with it stays on the disk."""
    job = simulator.add_job("1299", ["succeeded"], kind="export_graph", lines=50_000)
    simulator.fail_next(SlowDrip(0.02, piece=65536), path="*/download/*")
    downloading = asyncio.ensure_future(client.download_export(job.gid, folder / "cut.gz"))
    await until(lambda: any(file.stat().st_size > 1000 for file in folder.glob("*cut.gz*")))
    downloading.cancel()
    (ended,) = await asyncio.gather(downloading, return_exceptions=True)
    assert isinstance(ended, asyncio.CancelledError)
    return [shown(ended)]


async def work_for_others(url: str, simulator: AsanaSimulator) -> list[str]:
    """Have a worker start and watch jobs of a queue, one of which cannot be watched."""
    simulator.fail_next(Status(403), path="/jobs/1298", times=None)
    worker = asyncio.ensure_future(
        run_worker(url, token=TOKEN, base_url=simulator.base_url, limits=RateLimits.paid())
    )
    results: list[Result] = []
    async with JobQueue(url) as queue, asyncio.timeout(20):
        for operation in (DuplicateProject("1203", name="By a worker"), ExportGraph("78")):
            await queue.enqueue(operation)
        await queue.watch("1298")
        async for result in queue.results():
            results.append(result)
            if len(results) == 3:
                break
    worker.cancel()
    await asyncio.wait([worker])
    errors = [result.error for result in results if result.error is not None]
    assert len(errors) == 1
    return [*map(repr, results), *map(shown, errors), *(repr(pickle.dumps(result)) for result in results)]


#: A program with a bug, whose traceback is as talkative as a crash reporter's: it shows the locals of each frame.
BUGGY: Final = """
import sys, traceback
from rich.console import Console
from rich.traceback import Traceback
from asana_jobs._client.http import transport as _transport
from asana_jobs.cli.program import run

async def send(self, request):
    raise RuntimeError(f"{request!r} {request.authorization!r}")

def dump(error):
    shown = Traceback.from_exception(type(error), error, error.__traceback__, show_locals=True, locals_max_length=1000)
    Console(stderr=True, width=300).print(shown)

_transport.AiohttpTransport.send = send
traceback.print_exception = dump
sys.exit(run(sys.argv[1:]))
"""


async def crash(simulator: AsanaSimulator, *program: str) -> list[str]:
    """Run the command line into a bug, or into trouble; return all that it says, with its traceback."""
    child = await asyncio.create_subprocess_exec(
        sys.executable,
        *(*program, "get", "1297"),
        env={
            **os.environ,
            "ASANA_ACCESS_TOKEN": TOKEN,
            "ASANA_BASE_URL": simulator.base_url,
            "ASANA_JOBS_TRACEBACK": "1",
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    said = [words.decode() for words in await child.communicate()]
    assert child.returncode
    assert "Traceback" in said[1]
    return said


@pytest.mark.long
@pytest.mark.looptime(False)  # noqa: FBT003  # processes of others take real time
async def test_in_a_whole_run(
    tmp_path: Path,
    own_redis: RedisProcess,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Whatever a run leaves to whomever, on the disk, in Redis, in logs, spans, metrics and crashes: no token."""
    for name in ("", "asana_jobs", "aiohttp", "asyncio", "docket"):
        caplog.set_level(logging.DEBUG, name or None)
    telemetry = Telemetry(monkeypatch)
    events: list[object] = []
    folder = tmp_path / "run"
    folder.mkdir()
    async with AsanaSimulator(durations=0.1) as simulator, overhearing(own_redis.port) as heard:
        for fault in (Status(500), Reset(), Status(400)):
            simulator.fail_next(fault, path="*/duplicate")
        paid = RateLimits.paid()
        async with AsanaClient(
            TOKEN, base_url=simulator.base_url, limits=paid, on_event=events.append
        ) as client:
            texts = await run_in_bulk(client, folder)
            texts += await cut_off(client, simulator, folder)
        async with RedisGate(own_redis.url, token=TOKEN, limits=paid) as gate:
            async with AsanaClient(TOKEN, base_url=simulator.base_url, gate=gate) as client:
                texts.append(repr(await client.get_job("1296")))
            texts += [repr(gate), repr(gate.snapshot())]
        texts += await work_for_others(own_redis.url, simulator)
        simulator.fail_next(Status(403), path="/jobs/1297", times=None)
        crashes = (crash(simulator, "-c", BUGGY), crash(simulator, "-m", "asana_jobs"))
        bug, trouble = await asyncio.gather(*crashes)
        assert "this is a bug" in bug[1]
        assert "authorization = '***'" in bug[1]
        texts += [*bug, *trouble]
        # Of a request, the simulator keeps all but the header that the token belongs into.
        texts += [repr(record) for record in (*simulator.requests, *simulator.downloads)]
    own_redis.stop()

    texts += telemetry.texts() + [repr(event) for event in events]
    texts += [f"{record.getMessage()} {vars(record)!r} {record.exc_text}" for record in caplog.records]
    assert len(heard) > 10_000
    assert PART.encode() not in heard
    for text in texts:
        assert PART not in text
    files = [file for file in tmp_path.rglob("*") if file.is_file()]
    left = {file.name for file in files}
    assert left >= {"run.ledger", "export.gz", ".cut.gz.1299.part", ".cut.gz.1299.part.json"}
    assert any(name.startswith("appendonly") for name in left)
    for file in files:
        assert PART.encode() not in file.read_bytes(), file
