"""What people write first and cannot work: an error that says what to write instead, and fools nobody else."""

import asyncio
import contextlib
import copy
import inspect
import re
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from typing import Any, cast
from unittest.mock import MagicMock, create_autospec

import pytest

from asana_jobs import (
    AsanaClient,
    DuplicateProject,
    DuplicateTask,
    Job,
    JobMonitor,
    JobWaiter,
    Ledger,
    wait_for_job,
)
from asana_jobs.testing import AsanaSimulator, ScriptedTransport
from asana_jobs.worker import JobQueue, RedisGate


Things = dict[str, Any]


@pytest.fixture
def things(client: AsanaClient) -> Iterator[Things]:
    """Everything a client hands out that is used with ``await`` or ``async``, and the client."""
    waiter = client.wait_for_job("1203")
    yield {
        "client": client,
        "waiter": waiter,
        "monitor": client.monitor_jobs(["1205"]),
        "run": client.run_all([DuplicateTask("12")]),
        "records": client.iter_export("1203"),
    }
    waiter.close()


def _with(thing: Any) -> None:
    with thing:
        pass


def _for(thing: Any) -> None:
    for _ in thing:
        pass


async def _async_with(thing: Any) -> None:
    async with thing:
        pass


async def _await(thing: Any) -> None:
    await thing


ENTERED = {
    "client": "a client is opened with `async with AsanaClient() as asana`, inside of `async def`",
    "waiter": "a wait is no context manager: `job = await waiter`",
    "monitor": "a monitor is opened with `async with asana.monitor_jobs([...]) as monitor`, inside of `async def`",
    "run": "a run is opened with `async with asana.run_all(...) as outcomes`, inside of `async def`",
    "records": "records are opened with `async with asana.iter_export(job) as records`",
}


@pytest.mark.parametrize(("name", "advice"), ENTERED.items())
def test_with_says_async_with(name: str, advice: str, things: Things) -> None:
    """A block without ``async`` says which block to write."""
    with pytest.raises(TypeError) as caught:
        _with(things[name])

    assert str(caught.value) == advice


ITERATED = {
    "waiter": "a wait is iterated with `async for job in waiter`, or awaited: `job = await waiter`",
    "monitor": "a monitor is iterated with `async for job in monitor`",
    "run": "a run is iterated with `async for outcome in asana.run_all(...)`",
    "records": "records are iterated with `async for record in asana.iter_export(job)`",
}
WAYS_TO_ITERATE: dict[str, Callable[[Any], object]] = {
    "for": _for,
    "list": list,
    "sorted": sorted,
    "star": lambda thing: [*thing],
    "in": lambda thing: "x" in thing,
    "index": lambda thing: thing[0],
    "key": lambda thing: thing["status"],
}


@pytest.mark.parametrize("way", WAYS_TO_ITERATE.values(), ids=WAYS_TO_ITERATE)
@pytest.mark.parametrize(("name", "advice"), ITERATED.items())
def test_for_says_async_for(name: str, advice: str, way: Callable[[Any], object], things: Things) -> None:
    """A loop without ``async``, and whatever loops, says which loop to write."""
    with pytest.raises(TypeError) as caught:
        way(things[name])

    assert str(caught.value) == advice


AWAITED = {
    "monitor": "a monitor is not awaited: open it with `async with asana.monitor_jobs([...]) as monitor`, and write "
    "`async for job in monitor`",
    "run": "a run is not awaited but iterated: `async for outcome in asana.run_all(...)`; run(operation) is awaited",
    "records": "records are not awaited but iterated: `async for record in asana.iter_export(job)`",
}


@pytest.mark.parametrize(("name", "advice"), AWAITED.items())
async def test_await_says_async_for(name: str, advice: str, things: Things) -> None:
    """Awaiting what is a stream says how to read it, alone and with others."""
    with pytest.raises(TypeError) as caught:
        await _await(things[name])
    with pytest.raises(TypeError, match=re.escape(advice)):
        await asyncio.gather(things[name])

    assert str(caught.value) == advice


async def test_a_wait_is_not_entered(things: Things) -> None:
    """``async with`` of a wait says to await it."""
    with pytest.raises(TypeError, match=r"^a wait is no context manager: `job = await waiter`$"):
        await _async_with(things["waiter"])


@pytest.mark.parametrize("attribute", ["status", "gid", "result", "done", "raise_for_status", "new_project"])
def test_what_a_job_has_is_not_had_before_it_is_awaited(attribute: str, things: Things) -> None:
    """Reading the job's attributes off the wait or the monitor says to await it, or to iterate."""
    with pytest.raises(AttributeError) as of_waiter:
        getattr(things["waiter"], attribute)
    with pytest.raises(AttributeError, match=r"iterate it, `async for job in monitor`$"):
        getattr(things["monitor"], attribute)

    assert str(of_waiter.value) == (
        f"'JobWaiter' object has no attribute '{attribute}': await it first, `job = await waiter`, or iterate it, "
        f"`async for job in waiter`"
    )
    assert not hasattr(things["waiter"], attribute)
    assert getattr(things["monitor"], attribute, "nothing") == "nothing"


@pytest.mark.parametrize("attribute", ["job", "error", "succeeded", "raise_for_error", "key"])
def test_what_an_outcome_has_is_not_had_by_its_run(attribute: str, things: Things) -> None:
    """Reading an outcome's attributes off the run says to iterate it."""
    with pytest.raises(
        AttributeError,
        match=re.escape(f"'Run' object has no attribute '{attribute}': iterate it, {'`async for outcome'}"),
    ):
        getattr(things["run"], attribute)


def test_a_misspelt_attribute_is_reported_as_ever(things: Things) -> None:
    """What nobody has is Python's own error."""
    with pytest.raises(AttributeError, match=r"'JobWaiter' object has no attribute 'statuss'$"):
        _ = things["waiter"].statuss


def test_nobody_takes_them_for_what_they_are_not(things: Things) -> None:
    """Abstract classes, ``hasattr`` and `inspect` find what is there, and nothing of what only says what to write."""
    for thing in things.values():
        kind = cast("type[object]", type(thing))
        assert not isinstance(thing, AbstractContextManager | Iterable | Sequence)
        assert not hasattr(thing, "__enter__")
        assert not hasattr(thing, "__exit__")
        assert not hasattr(thing, "__iter__")
        assert not hasattr(kind, "__getitem__")
        assert not hasattr(thing, "__getitem__")
        assert repr(thing)
        assert inspect.getmembers(kind)
        assert inspect.getdoc(kind)
    assert not isinstance(things["waiter"], AbstractAsyncContextManager)
    assert not hasattr(things["waiter"], "__aenter__")
    assert isinstance(things["waiter"], Coroutine)
    assert not isinstance(things["client"], Awaitable)
    assert isinstance(things["client"], AbstractAsyncContextManager)


def test_doubles_are_made_of_them(things: Things) -> None:
    """Mocks with their specification have what they have, and no attribute of a job."""
    kinds: list[type[Any]] = [type(things[name]) for name in ("client", "waiter", "monitor", "run")]
    for kind in kinds:
        double = create_autospec(kind, instance=True)
        assert not hasattr(MagicMock(spec=kind), "__exit__")
        with pytest.raises(AttributeError):
            _ = double.new_portfolio


def test_an_exit_stack_refuses_them(things: Things) -> None:
    """`contextlib.ExitStack` says what it says of everything that is no context manager."""
    for thing in things.values():
        with contextlib.ExitStack() as stack, pytest.raises(TypeError, match="context manager protocol"):
            stack.enter_context(thing)


async def test_a_copy_of_a_wait_goes_on(client: AsanaClient, transport: ScriptedTransport) -> None:
    """Copying asks for attributes that are not there, and gets a wait."""
    transport.play("succeeded")
    waiter = client.wait_for_job("1203")

    again = copy.copy(waiter)

    assert (await again).gid == (await waiter).gid == "1203"


MADE: list[tuple[Callable[..., object], tuple[object, ...], str]] = [
    (Ledger, ("x.ledger",), "a ledger is opened, not made: write Ledger.open('x.ledger')"),
    (Ledger, (), "a ledger is opened, not made: write Ledger.open(path)"),
    (Ledger, ("x.ledger", 5), "a ledger is opened, not made: write Ledger.open('x.ledger')"),
    (JobWaiter, ("1203",), "do not make a JobWaiter: write asana.wait_for_job('1203')"),
    (JobWaiter, (Job("1203"),), "do not make a JobWaiter: write asana.wait_for_job(Job(gid='1203'))"),
    (JobMonitor, (), "do not make a JobMonitor: write asana.monitor_jobs([...])"),
    (JobMonitor, (["1203"],), "do not make a JobMonitor: write asana.monitor_jobs([...])"),
]


@pytest.mark.parametrize(("kind", "arguments", "advice"), MADE)
def test_what_is_handed_out_is_not_made(
    kind: Callable[..., object], arguments: tuple[object, ...], advice: str
) -> None:
    """What a call returns says so when somebody makes it, and leaves no file and no warning behind."""
    with pytest.raises(TypeError) as caught:
        kind(*arguments)

    assert str(caught.value) == advice


@pytest.mark.parametrize(
    ("thing", "advice"),
    [
        (AsanaSimulator(), "a simulator is opened with `async with AsanaSimulator() as simulator`"),
        (JobQueue("redis://127.0.0.1:1/0"), "a queue is opened with `async with JobQueue(url) as queue`"),
        (
            RedisGate("redis://127.0.0.1:1/0", token="t"),
            "a gate is opened with `async with RedisGate(url, token=",
        ),
    ],
    ids=lambda value: "" if isinstance(value, str) else type(value).__name__,
)
def test_the_test_kit_and_the_worker_say_async_with_too(thing: object, advice: str) -> None:
    """A simulator, a queue and a shared gate say which block to write."""
    with pytest.raises((TypeError, AttributeError), match=re.escape(advice)):
        _with(thing)

    assert not hasattr(thing, "__enter__")
    assert not isinstance(thing, AbstractContextManager)


# No loop of asyncio: a plain function, or another library's loop.


def _drive(coroutine: Coroutine[Any, Any, object]) -> None:
    """Run a coroutine as trio would: without asyncio."""
    try:
        coroutine.send(None)
    finally:
        coroutine.close()


async def _open() -> None:
    async with AsanaClient("token"):
        pass


async def _read() -> None:
    await AsanaClient("token").get_job("1203")


async def _start() -> None:
    await AsanaClient("token").rollup_task("1203")


async def _run() -> None:
    await AsanaClient("token").run(DuplicateTask("12"))


async def _run_all() -> None:
    async for _ in AsanaClient("token").run_all([DuplicateTask("12")]):
        pass


async def _watch() -> None:
    async with AsanaClient("token").monitor_jobs(["1203"]):
        pass


async def _wait() -> None:
    await AsanaClient("token").wait_for_job("1203")


async def _see() -> None:
    async for _ in AsanaClient("token").wait_for_job("1203"):
        pass


async def _wait_alone() -> None:
    await wait_for_job("1203", token="token")


async def _download() -> None:
    await AsanaClient("token").download_export("1203", "/nowhere/at/all")


async def _records() -> None:
    async for _ in AsanaClient("token").iter_export("1203"):
        pass


@pytest.mark.parametrize(
    "use", [_open, _read, _start, _run, _run_all, _watch, _wait, _see, _wait_alone, _download, _records]
)
def test_without_a_loop_of_asyncio_every_call_says_how_to_have_one(
    use: Callable[[], Coroutine[Any, Any, object]],
) -> None:
    """Under trio, or without any loop, the first step says to use ``asyncio.run``; no coroutine is left over."""
    with pytest.raises(
        RuntimeError, match=r"^no event loop of asyncio is running here: .*`asyncio\.run\(main\(\)\)`"
    ):
        _drive(use())


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (
            {"limits": 150},
            r"^limits must be a RateLimits, not int: write limits=RateLimits\(requests_per_minute=",
        ),
        ({"retry": 3}, r"^retry must be a RetryPolicy, not int: write retry=RetryPolicy\(attempts=3\)$"),
        (
            {"timeout": "30s"},
            r"^timeout must be seconds or a timedelta, such as 300 or timedelta\(minutes=5\), not '30s'$",
        ),
        ({"on_event": asyncio.sleep}, r"not the coroutine function sleep, which nobody would await$"),
    ],
)
def test_what_is_meant_by_a_wrong_argument_is_said(wrong: dict[str, Any], said: str) -> None:
    """A number where a policy is meant, text where seconds are, and a coroutine function: the message says what to write."""
    with pytest.raises(ValueError, match=said):
        AsanaClient("token", **wrong)


def test_a_link_where_a_gid_is_meant_is_known_for_one() -> None:
    """Most gids are copied from links."""
    with pytest.raises(
        ValueError, match=r"not 'https://app\.asana\.com/0/1203/list': in a link it is one of the numbers$"
    ):
        DuplicateProject("https://app.asana.com/0/1203/list", name="Q3 launch")


async def test_a_gid_where_an_operation_is_meant_is_told_from_one(client: AsanaClient) -> None:
    """`run` takes what is to be done, and not what it is to be done to."""
    with pytest.raises(
        ValueError, match=r"not '1203': say what to do with it, such as DuplicateProject\('1203', name="
    ):
        await client.run(cast("Any", "1203"))
