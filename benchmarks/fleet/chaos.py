"""Everything that may happen to a fleet, at random, for as long as is asked for: what was lost, and what started twice.

Workers are killed, stopped and cut off; Redis is slow, is killed and restarted, and is replaced by its replica, which
lacks the last writes. As with Sentinel, only a replica that has heard its master takes over: one that was never in step
is an empty Redis. The simulator enforces 1500 requests in any minute, and counts.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final

from machines import PER_MINUTE, TOKEN, Redis

from asana_jobs.errors import AsanaJobsError
from asana_jobs.operations import DuplicateProject
from asana_jobs.testing import AsanaSimulator, SimulatorLimits
from asana_jobs.worker import JobQueue, PendingWait


#: Seconds between two blows.
PAUSE: Final = (4.0, 10.0)
#: Seconds that the fleet has to end everything when the blows are over.
PATIENCE: Final = 240.0
#: Seconds that a replica may take to be in step with its master.
STEP_PATIENCE: Final = 30.0
#: Seconds of writes that a Redis may lose without ``appendfsync always``: what was put in then may be gone.
LOSABLE: Final = 3.0


class Wire:
    """The way of one worker, or of the producer, to Redis: it may be cut, or slow."""

    def __init__(self, fleet: Fleet) -> None:
        self.fleet = fleet
        self.cut_until = 0.0
        self.server: asyncio.Server | None = None
        self.url = ""
        self._open: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    async def open(self) -> Wire:
        """Listen."""
        self.server = await asyncio.start_server(self._carry, "127.0.0.1", 0)
        self.url = f"redis://127.0.0.1:{self.server.sockets[0].getsockname()[1]}/0"
        return self

    def cut(self, seconds: float) -> None:
        """Reset all connections, and take none for so long."""
        self.cut_until = time.monotonic() + seconds
        for writer in list(self._open):
            writer.transport.abort()

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            if time.monotonic() < self.cut_until:
                raise ConnectionResetError
            there, back = await asyncio.open_connection("127.0.0.1", self.fleet.redis.port)
        except OSError:
            writer.transport.abort()
            return
        self._open |= {writer, back}
        await asyncio.gather(self._pump(reader, back), self._pump(there, writer))
        self._open -= {writer, back}

    async def _pump(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await source.read(65536):
                if self.fleet.delay:
                    await asyncio.sleep(self.fleet.delay)
                sink.write(data)
                await sink.drain()
        sink.transport.abort()


class Fleet:
    """Workers, their Redis with its replica, and what is done to them."""

    def __init__(self, base_url: str, workers: int, seed: int) -> None:
        self.base_url = base_url
        self.chance = random.Random(seed)
        self.delay = 0.0
        self.redis = Redis()
        self.replica = Redis()
        self.moved_at: list[float] = []
        self.blows = Counter[str]()
        self.count = workers
        self.wires: list[Wire] = []
        self.workers: list[subprocess.Popen[bytes]] = []
        self.folders = [self.redis.folder, self.replica.folder]

    async def begin(self) -> None:
        """Start everything."""
        self.redis.start()
        self._follow()
        self.wires = [await Wire(self).open() for _ in range(self.count + 1)]
        self.workers = [self._worker(number) for number in range(self.count)]

    def end(self) -> None:
        """Kill everything."""
        for worker in self.workers:
            worker.kill()
            worker.wait()
        for redis in (self.redis, self.replica):
            redis.kill()
        for folder in self.folders:
            shutil.rmtree(folder, ignore_errors=True)

    def _worker(self, number: int) -> subprocess.Popen[bytes]:
        program = str(Path(__file__).with_name("machines.py"))
        arguments = [
            self.wires[number].url,
            self.base_url,
            "--concurrency",
            "5",
            "--per-minute",
            str(PER_MINUTE),
        ]
        return subprocess.Popen(  # noqa: S603  # ourselves
            [sys.executable, program, *arguments],
            env={**os.environ, "ASANA_ACCESS_TOKEN": TOKEN},
            stderr=subprocess.DEVNULL,
        )

    def _follow(self) -> None:
        self.replica.start()
        self.replica.command(f"REPLICAOF 127.0.0.1 {self.redis.port}")

    async def strike(self) -> None:
        """Do one thing to the fleet."""
        blows: list[Callable[[], Awaitable[object]]] = [
            *(self.kill_worker, self.stop_worker, self.cut_off, self.slow, self.restart, self.fail_over)
        ]
        blow = self.chance.choice(blows)
        self.blows[blow.__name__] += 1
        print(f"  {time.strftime('%H:%M:%S')} {blow.__name__}", flush=True)
        await blow()

    async def kill_worker(self) -> None:
        """Kill a worker, and start another one in its place."""
        number = self.chance.randrange(self.count)
        self.workers[number].kill()
        await asyncio.to_thread(self.workers[number].wait)
        await asyncio.sleep(self.chance.uniform(0, 3))
        self.workers[number] = self._worker(number)

    async def stop_worker(self) -> None:
        """Stop a worker for a while: it does not know how long."""
        worker = self.chance.choice(self.workers)
        worker.send_signal(signal.SIGSTOP)
        await asyncio.sleep(self.chance.choice([1.0, 5.0, 20.0, 60.0]))
        worker.send_signal(signal.SIGCONT)

    async def cut_off(self) -> None:
        """Cut a worker off from Redis, amid whatever it says or hears."""
        self.chance.choice(self.wires).cut(self.chance.choice([0.0, 2.0, 8.0]))

    async def slow(self) -> None:
        """Have Redis answer late."""
        self.delay = self.chance.choice([0.05, 0.2])
        await asyncio.sleep(5)
        self.delay = 0.0

    async def restart(self) -> None:
        """Kill Redis, and start it again on its append-only file."""
        self.redis.kill()
        self.moved_at.append(time.monotonic())
        await asyncio.sleep(self.chance.uniform(0.5, 4))
        self.redis.start()

    async def fail_over(self) -> None:
        """Have the replica take over, which stopped hearing what is written a second before."""
        deadline = time.monotonic() + STEP_PATIENCE
        while "master_link_status:up" not in self.replica.command("INFO replication"):
            if time.monotonic() > deadline:
                raise RuntimeError("the replica does not hear its master")
            await asyncio.sleep(0.2)
        assert self.replica.process is not None  # noqa: S101  # it was started
        self.replica.process.send_signal(signal.SIGSTOP)
        await asyncio.sleep(self.chance.uniform(0.2, 1))
        self.redis.kill()
        self.moved_at.append(time.monotonic())
        self.replica.process.send_signal(signal.SIGCONT)
        await asyncio.sleep(0.2)
        self.replica.command("REPLICAOF NO ONE")
        self.redis, self.replica = self.replica, Redis()
        self.folders.append(self.replica.folder)
        for wire in self.wires:
            wire.cut(0)
        await asyncio.sleep(2)
        self._follow()


class Producer:
    """Puts starts in, reads what became of them, and does what a person would about the unknown ones."""

    def __init__(self, fleet: Fleet, simulator: AsanaSimulator) -> None:
        self.fleet = fleet
        self.simulator = simulator
        self.put_in: dict[str, float] = {}
        self.came = Counter[str]()
        self.unknown: set[str] = set()
        self.seen: dict[str, PendingWait] = {}

    @property
    def started(self) -> Counter[str]:
        """How often each copy was started."""
        return Counter(job.result["name"] for job in self.simulator.started if job.result)

    @property
    def left(self) -> list[str]:
        """What was put in, and has not ended."""
        return [key for key in self.put_in if not self.came[key]]

    async def put(self, key: str) -> None:
        """Put one start in, however often that takes."""
        while True:
            try:
                async with JobQueue(self.fleet.wires[-1].url) as queue:
                    await queue.enqueue(DuplicateProject("1203", name=key), key=key)
                    self.put_in[key] = time.monotonic()
                    return
            except AsanaJobsError:
                await asyncio.sleep(0.3)

    async def look_up(self) -> None:
        """Note what the queue says of what has not ended."""
        async with JobQueue(self.fleet.redis.url) as queue:
            self.seen = {wait.key: wait async for wait in queue.pending() if wait.key in self.left}

    async def produce(self, per_second: float) -> None:
        """Put starts in, one after the other."""
        number = 0
        while True:
            number += 1
            await self.put(f"copy-{number}")
            await asyncio.sleep(1 / per_second)

    async def read(self) -> None:
        """Read results for ever."""
        while True:
            with contextlib.suppress(Exception):
                async with JobQueue(self.fleet.wires[-1].url) as queue:
                    async for result in queue.results():
                        if result.unknown:
                            self.unknown.add(result.key)
                            # A person looks in Asana: what is there is done with.
                            if not self.started[result.key]:
                                await queue.retry_unknown(result.key)
                                continue
                        self.came[result.key] += 1
            await asyncio.sleep(0.3)


async def chaos(options: argparse.Namespace) -> bool:
    """Strike for as long as was asked for, and say what came of it."""
    limits = SimulatorLimits(requests_per_minute=PER_MINUTE)
    seconds = 60 * options.minutes
    async with AsanaSimulator(limits=limits) as simulator:
        fleet = Fleet(simulator.base_url, options.workers, options.seed)
        producer = Producer(fleet, simulator)
        tasks: list[asyncio.Task[None]] = []
        try:
            await fleet.begin()
            tasks = [
                asyncio.create_task(producer.produce(options.starts_per_second)),
                asyncio.create_task(producer.read()),
            ]
            began = time.monotonic()
            while time.monotonic() - began < seconds:
                await asyncio.sleep(fleet.chance.uniform(*PAUSE))
                await fleet.strike()
            tasks[0].cancel()
            print(f"  the blows are over; {len(producer.left)} are left", flush=True)
            # What was told to be in, and is not: Redis lost it together with the last second.
            lost = [
                key
                for key, at in producer.put_in.items()
                if key in producer.left and any(moved - LOSABLE < at <= moved for moved in fleet.moved_at)
            ]
            for key in lost:
                await producer.put(key)
            deadline = time.monotonic() + PATIENCE
            while producer.left and time.monotonic() < deadline:  # noqa: ASYNC110  # others do it
                await asyncio.sleep(0.5)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks or [asyncio.create_task(asyncio.sleep(0))])
            await producer.look_up()
            fleet.end()
        return _told(fleet, producer, simulator, put_again=len(lost))


def _told(fleet: Fleet, producer: Producer, simulator: AsanaSimulator, *, put_again: int) -> bool:
    twice = [name for name, count in producer.started.items() if count > 1]
    print(f"blows: {', '.join(f'{count} {name}' for name, count in fleet.blows.items())}")
    print(
        f"{len(producer.put_in)} starts put in, {producer.came.total()} results of {len(producer.came)} waits"
    )
    print(f"put in in the last seconds of a Redis, and put in again: {put_again}")
    print(f"lost: {len(producer.left)} {' '.join(producer.left[:10])}")
    for key in producer.left[:10]:
        nearest = min((moved - producer.put_in[key] for moved in fleet.moved_at), key=abs, default=0.0)
        print(f"  {key}: a Redis was lost {nearest:+.1f} s from when it was put in; {producer.seen.get(key)}")
    print(f"started twice: {len(twice)} {' '.join(twice[:10])}; unknown for a while: {len(producer.unknown)}")
    print(
        f"busiest minute {simulator.busiest_minute} of {PER_MINUTE}, 429s {simulator.rejected}, most running"
        f" {simulator.peak_jobs_running} of 5"
    )
    return not producer.left and not twice and simulator.busiest_minute <= PER_MINUTE
