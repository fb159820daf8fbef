"""How commands travel to Redis: together where they can, each with an answer of its own, and nobody left waiting."""

import asyncio
from collections.abc import AsyncIterator
from time import perf_counter

import pytest
from redis_process import RedisProcess

from asana_jobs.worker import QueueError, _redis
from asana_jobs.worker._redis import AwayError, Script, Store


pytestmark = pytest.mark.looptime(False)  # noqa: FBT003  # its way


@pytest.fixture
async def store(own_redis: RedisProcess) -> AsyncIterator[Store]:
    """The Redis of the test, for one who does not wait for others."""
    store = Store(own_redis.url)
    yield store
    await store.close()


def reads(redis: RedisProcess) -> int:
    """Return how often Redis has read from a socket: one that counts, and is none of ours."""
    lines = redis.command("INFO", "stats").splitlines()
    return int(next(line for line in lines if line.startswith("total_reads_processed:")).partition(":")[2])


async def test_what_is_asked_in_one_turn_is_sent_together(own_redis: RedisProcess, store: Store) -> None:
    """Two hundred commands of as many tasks cost a few packets, and each has its own answer."""
    await store("PING")
    before = reads(own_redis)
    answers = await asyncio.gather(*(store("ECHO", number) for number in range(200)))

    assert [int(answer) for answer in answers] == list(range(200))
    assert reads(own_redis) - before < 20


async def test_commands_are_carried_out_in_their_order(store: Store) -> None:
    """What is asked first is done first."""
    asked = [store("RPUSH", "order", number) for number in range(50)]
    assert await asyncio.gather(*asked) == list(range(1, 51))
    assert await store("LRANGE", "order", 0, -1) == [str(number) for number in range(50)]


async def test_a_worker_gathers_for_a_while(own_redis: RedisProcess) -> None:
    """A store that gathers sends at once after a silence, and then what has come together, a few times a second."""
    store = Store(own_redis.url, gathering=0.2)
    await store("PING")
    await asyncio.sleep(0.25)
    before = reads(own_redis)
    began = perf_counter()
    await store("PING")
    first = perf_counter() - began
    for number in range(20):
        asyncio.get_running_loop().call_later(0.005 * number, asyncio.ensure_future, store("INCR", "count"))
    await asyncio.sleep(0.15)
    await store("PING")
    took = perf_counter() - began
    await store.close()

    assert first < 0.15
    assert took > 0.15
    assert own_redis.command("GET", "count") == "$2\r\n20\r\n"
    assert reads(own_redis) - before < 10  # those of this test too


async def test_an_error_is_of_the_command_that_caused_it(store: Store) -> None:
    """Others that were sent with it are answered, and its message says what Redis said."""
    await store("SET", "text", "some")
    wrong, right = asyncio.ensure_future(store("HGET", "text", "a")), store("GET", "text")

    assert await right == "some"
    with pytest.raises(QueueError, match="WRONGTYPE"):
        await wrong


async def test_scripts_that_redis_has_forgotten_are_sent_again(store: Store) -> None:
    """Among others too: each gets the answer of its own."""
    script = Script("describe")
    await store("SCRIPT", "FLUSH")
    found = await asyncio.gather(
        *(
            store.run(script, ["a", "b", f"record {number}"], 1, 1, str(number), "spec")
            for number in range(20)
        )
    )
    assert found == [[0]] * 20


async def test_who_is_cancelled_takes_nobody_along(store: Store) -> None:
    """One of those that go together gives up: the others are answered, and it sends nothing if it was not sent yet."""
    asked = [asyncio.ensure_future(store("INCR", f"count {number}")) for number in range(10)]
    await asyncio.sleep(0)
    asked[3].cancel()
    answers = await asyncio.gather(*asked, return_exceptions=True)

    assert answers.pop(3).__class__ is asyncio.CancelledError
    assert answers == [1] * 9
    assert await store("GET", "count 3") is None


async def test_all_are_told_that_redis_does_not_answer(
    own_redis: RedisProcess, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A Redis that hangs keeps nobody for longer than one is to wait, however many ask; then it is there again."""
    monkeypatch.setattr(_redis, "ANSWER_TIMEOUT", 0.3)
    store = Store(own_redis.url)
    await store("PING")
    own_redis.freeze()
    began = perf_counter()
    answers = await asyncio.gather(*(store("PING") for _ in range(100)), return_exceptions=True)
    took = perf_counter() - began
    own_redis.thaw()

    assert {type(answer) for answer in answers} == {AwayError}
    assert "cannot be reached: it did not answer within 0.3 s" in str(answers[0])
    assert 0.25 < took < 1.5
    assert len({id(answer) for answer in answers}) == 100
    assert await store("PING") in {True, "PONG"}
    await store.close()


async def test_nobody_is_left_waiting_by_a_store_that_is_closed(own_redis: RedisProcess) -> None:
    """Neither who was to be sent next, nor who awaits an answer; and nothing is sent afterwards."""
    store = Store(own_redis.url, gathering=30)
    await store("PING")
    own_redis.freeze()
    store._send_at = 0.0  # pyright: ignore[reportPrivateUsage]  # as if the time had come
    sent = asyncio.ensure_future(store("SET", "sent", 1))
    await asyncio.sleep(0.05)
    gathered = asyncio.ensure_future(store("SET", "gathered", 1))
    await asyncio.sleep(0.05)
    await store.close()
    answers = await asyncio.gather(sent, gathered, return_exceptions=True)
    own_redis.thaw()

    assert [type(answer) for answer in answers] == [AwayError, AwayError]
    assert own_redis.command("EXISTS", "gathered") == ":0\r\n"
