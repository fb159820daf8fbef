"""The same calls without asyncio: for scripts, Celery tasks and Django views.

```python
from asana_jobs import DuplicateProject, sync


job = sync.run(DuplicateProject("1203", name="Q3 launch"))
print(job.status, job.expect_result().name)

job = sync.wait_for_job("1204", timeout=300)
print(job.gid, job.status)

for outcome in sync.run_all(DuplicateProject("1203", name=f"Q3 launch {n}") for n in range(5)):
    print(outcome.job or outcome.error)
```

They take what the calls of `asana_jobs.AsanaClient` take, raise what these raise, and *token* and *base_url* as
`AsanaClient` does. With `ledger=` a run can be killed and started again (`asana_jobs.guides.bulk`). `export` starts an
export, waits for it and writes its file:

```python
from asana_jobs import ExportGraph, sync


print(sync.export(ExportGraph("1207"), "export.json.gz"))
```

Any number of threads may call them. They share one event loop in a thread of its own, and on it one client, with one
budget and what it has learned, for each token and address. All of it is made at the first call, made anew after a
fork, and closed at exit. Ctrl-C, or whatever a signal raises in the thread that waits, ends a call in order: nothing
more is started, and a POST that is under way is answered first; a second one does not wait for that.

Inside of a running event loop, as in a notebook, each would block it, and raises `RuntimeError`: use
`asana_jobs.AsanaClient` there.
"""

from __future__ import annotations

import asyncio
import atexit
import os
from collections.abc import (
    AsyncIterator,
    Callable,
    Coroutine,
    Generator,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
)
from concurrent.futures import Future
from contextvars import copy_context
from functools import partial
from pathlib import Path
from queue import SimpleQueue
from threading import Lock, Thread, current_thread
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast

from asana_jobs import AsanaClient, Job, Ledger, Outcome, PollPolicy
from asana_jobs.models import R
from asana_jobs.operations import Operation
from asana_jobs.policies import Duration
from asana_jobs.subjects import JobLike
from asana_jobs.tokens import TokenProvider, check_token, find_token


if TYPE_CHECKING:
    from tenacity.wait import wait_base

T = TypeVar("T")
Token = str | TokenProvider | None
#: What the loop asks of a thread that waits for it: to call something, or, with ``None``, to wait no longer.
Turns = SimpleQueue[Callable[[], None] | None]
_END: Final = object()


def wait_for_job(
    job: Job[R] | str | Mapping[str, Any],
    *,
    timeout: Duration | None = None,
    poll: PollPolicy | wait_base | None = None,
    token: Token = None,
    base_url: str | None = None,
) -> Job[R]:
    """Wait until a job has succeeded or failed, and return it; see `AsanaClient.wait_for_job`."""

    async def wait(client: AsanaClient) -> Job[R]:
        return await client.wait_for_job(job, timeout=timeout, poll=poll)

    return _background().do(token, base_url, wait)


def run(
    operation: Operation[R],
    *,
    timeout: Duration | None = None,
    token: Token = None,
    base_url: str | None = None,
) -> Job[R]:
    """Start the job of *operation*, wait for it, and return it succeeded; see `AsanaClient.run`."""
    return _background().do(token, base_url, lambda client: client.run(operation, timeout=timeout))


def export(
    what: Operation[R] | JobLike,
    destination: str | os.PathLike[str],
    *,
    progress: Callable[[int, int | None], object] | None = None,
    timeout: Duration | None = None,
    token: Token = None,
    base_url: str | None = None,
) -> Path:
    """Start an export such as ``ExportGraph("1203")``, or take the job of one; wait, and write its file.

    See `AsanaClient.download_export`. *progress* is called in the thread of the shared loop.
    """

    async def fetch(client: AsanaClient) -> Path:
        if isinstance(what, Operation):
            job: Job[Any] = await client.run(what, timeout=timeout)
        else:
            job = (await client.wait_for_job(what, timeout=timeout)).raise_for_status()
        return await client.download_export(job, destination, progress=progress)

    return _background().do(token, base_url, fetch)


def run_all(
    operations: Iterable[Operation[R] | tuple[str, Operation[R]]],
    *,
    ledger: Ledger | None = None,
    timeout: Duration | None = None,
    retry_unknown: bool = False,
    retry_failed: bool = False,
    token: Token = None,
    base_url: str | None = None,
) -> Generator[Outcome[R], None, None]:
    """Start many jobs, a few at a time, and yield their outcomes as they come; see `AsanaClient.run_all`.

    A list is read on the shared loop; a generator, or what else is iterated (a query set), only in your thread, while it
    waits for an outcome. Leaving the loop ends the run: nothing more is started, and POSTs under way are answered.
    """
    background, turns = _background(), Turns()
    whole = isinstance(operations, Sequence | Mapping) or not isinstance(
        operations, Iterable
    )  # if wrong, it says so
    given = cast("Any", operations)
    if not whole:
        given = _pull(iter(given), turns)

    async def begin(client: AsanaClient) -> AsyncIterator[Outcome[R]]:
        return client.run_all(
            given, ledger=ledger, timeout=timeout, retry_unknown=retry_unknown, retry_failed=retry_failed
        )

    return _outcomes(background, background.do(token, base_url, begin), turns)


def _outcomes(background: _Background, outcomes: Any, turns: Turns) -> Generator[Any, None, None]:
    try:
        while (outcome := background.wait_for(partial(anext, outcomes, None), turns)) is not None:
            yield outcome
    finally:
        if background.alive:
            background.wait_for(outcomes.aclose, Turns())


async def _pull(operations: Iterator[T], turns: Turns) -> AsyncIterator[T]:
    """Have the thread that waits iterate *operations*, one at a time."""
    while True:
        answer = Future[Any]()
        turns.put(partial(_answer, answer, operations))
        if (operation := await asyncio.wrap_future(answer)) is _END:
            return
        yield operation


def _answer(answer: Future[Any], operations: Iterator[object]) -> None:
    if answer.set_running_or_notify_cancel():
        try:
            answer.set_result(next(operations, _END))
        except Exception as error:  # noqa: BLE001  # the run ends with it, and raises it in this thread
            answer.set_exception(error)


class _Background:
    """An event loop in a thread of its own, and its clients."""

    def __init__(self) -> None:
        self._clients = dict[object, AsanaClient]()
        self._process = os.getpid()
        started = Future[tuple[asyncio.AbstractEventLoop, asyncio.Event]]()
        self._thread = Thread(target=self._serve, args=(started,), name="asana-jobs-sync", daemon=True)
        self._thread.start()
        self._loop, self._stop = started.result()

    def _serve(self, started: Future[tuple[asyncio.AbstractEventLoop, asyncio.Event]]) -> None:
        async def serve() -> None:
            stop = asyncio.Event()
            started.set_result((asyncio.get_running_loop(), stop))
            await stop.wait()
            async with asyncio.TaskGroup() as closing:
                for client in self._clients.values():
                    closing.create_task(client.close(), name="asana_jobs close")

        with asyncio.Runner() as runner:
            runner.run(serve())

    @property
    def alive(self) -> bool:
        """Whether its loop runs: not after exit, and not in a process that was forked from the one it was made in."""
        return self._process == os.getpid() and self._thread.is_alive()

    def close(self) -> None:
        """Close the clients, and end the thread."""
        if self.alive:
            self._loop.call_soon_threadsafe(self._stop.set)
            self._thread.join()

    def do(
        self, token: Token, base_url: str | None, work: Callable[[AsanaClient], Coroutine[Any, Any, T]]
    ) -> T:
        """Do *work* on the loop with the client of *token* for *base_url*."""
        token = find_token()[0] if token is None else check_token(token) if isinstance(token, str) else token
        key = (token, base_url or os.environ.get("ASANA_BASE_URL"))

        async def with_client() -> T:
            client = self._clients.get(key)
            if client is None:
                client = self._clients[key] = AsanaClient(token, base_url=base_url)
            return await work(client)

        return self.wait_for(with_client, Turns())

    def wait_for(self, work: Callable[[], Coroutine[Any, Any, T]], turns: Turns) -> T:
        """Do *work* on the loop; meanwhile do in this thread what is asked of it by *turns*."""
        if not self.alive:
            raise RuntimeError("what was begun before a fork cannot go on in the child: begin it there")
        context, tasks = copy_context(), list[asyncio.Task[T]]()
        name = f"asana_jobs call from {current_thread().name}"

        def start() -> None:
            tasks.append(self._loop.create_task(work(), name=name, context=context))
            tasks[0].add_done_callback(lambda _: turns.put(None))

        def cancel() -> None:
            if not any(task.cancel() for task in tasks):
                turns.put(None)

        try:
            self._loop.call_soon_threadsafe(start)
            while (turn := turns.get()) is not None:
                turn()
        except BaseException:  # raised by a signal in this thread
            self._loop.call_soon_threadsafe(cancel)
            while turns.get() is not None:
                pass
            raise
        return tasks[0].result()


_lock = Lock()
_present: _Background | None = None
_of_parents: Final = list[_Background]()


def _background() -> _Background:
    global _present  # noqa: PLW0603  # one per process
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        pass
    else:
        raise RuntimeError(
            "asana_jobs.sync would block the event loop that runs in this thread: "
            "await the call of the same name of an AsanaClient instead"
        )
    with _lock:
        if _present is None:
            _present = _Background()
        return _present


def _forget() -> None:
    """Leave what the parent uses alone: finalizers would close sockets that both processes have."""
    global _lock, _present  # a thread of the parent's may have held the lock
    if _present is not None:
        _of_parents.append(_present)
    _lock, _present = Lock(), None


@atexit.register
def close() -> None:
    """End what is under way with `ClientClosedError`, and close the clients and the loop; a later call makes new ones."""
    global _present
    with _lock:
        ended, _present = _present, None
    if ended is not None:
        ended.close()


os.register_at_fork(after_in_child=_forget)
