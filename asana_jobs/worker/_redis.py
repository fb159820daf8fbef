"""The connection to Redis: the one room that knows its client library, and what its errors mean."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager
from hashlib import sha1
from importlib.resources import files
from typing import Any, Final, TypeVar, cast
from urllib.parse import parse_qsl, unquote, urlsplit

import hiredis
from redis.asyncio import Redis, RedisCluster
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel
from redis.backoff import NoBackoff
from redis.exceptions import (
    AuthenticationError,
    AuthorizationError,
    BusyLoadingError,
    NoPermissionError,
    NoScriptError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisClusterException,
    RedisError,
    ResponseError,
    TryAgainError,
)
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from asana_jobs.worker.errors import QueueError


#: Seconds that Redis may take to answer, or to take a connection.
ANSWER_TIMEOUT: Final = 2.0
#: Connections of one store; who wants one more waits until one is free.
MOST_CONNECTIONS: Final = 64
#: Seconds for which a worker gathers the commands of its steps, to send them together: each takes its client library
#: 0.13 ms of a processor alone, and 0.03 ms among ten.
GATHERING_SECONDS: Final = 0.01
#: So many are sent at once.
MOST_GATHERED: Final = 20
#: The mark of a cluster's URL: ``redis+cluster://``. Keys that are used together have one tag, so one node.
CLUSTER_SCHEME: Final = "+cluster://"
#: The mark of a URL of sentinels: ``redis+sentinel://host:port,host:port/name-of-the-master/0``.
SENTINEL_SCHEME: Final = "+sentinel://"
SENTINEL_PORT: Final = 26379
#: Seconds that a replica may take to have what must not be lost.
REPLICA_SECONDS: Final = 1.0
#: Seconds between two attempts to write down what must not be lost.
REWRITE_SECONDS: Final = 0.5
#: The oldest version that has the commands we use.
OLDEST_VERSION: Final = (6, 2)

Value = str | bytes | int | float
Command = tuple[Value, ...]
T = TypeVar("T")
_log = logging.getLogger("asana_jobs")


class AwayError(Exception):
    """Redis is not there at the moment, or cannot write; it may come back."""


#: What the client library raises, of its own and of the network's.
_FAULTS: Final = (RedisError, RedisClusterException, OSError)
#: Errors of the client library, by their class or by how they begin, and what they mean.
_MEANINGS: Final[
    tuple[tuple[tuple[type[Exception], ...], tuple[str, ...], type[AwayError | QueueError], str], ...]
] = (
    (
        (AuthenticationError, AuthorizationError, NoPermissionError),
        (),
        QueueError,
        "refused the user or the password of its URL",
    ),
    ((), ("NOAUTH", "WRONGPASS", "NOPERM"), QueueError, "wants a password"),
    ((OutOfMemoryError,), ("OOM",), AwayError, "is full (its maxmemory is reached; give it more memory)"),
    (
        (BusyLoadingError, ReadOnlyError, TryAgainError),
        ("BUSY ", "MISCONF", "CLUSTERDOWN", "MASTERDOWN", "NOREPLICAS", "READONLY", "LOADING"),
        AwayError,
        "cannot be written to at the moment",
    ),
    (
        (RedisConnectionError, RedisTimeoutError, RedisClusterException, OSError),
        (),
        AwayError,
        "cannot be reached",
    ),
)


async def surely(write: Callable[[], Awaitable[T]]) -> T:
    """Write down what must not be lost, and try for as long as Redis is away; return what is answered."""
    while True:
        try:
            return await write()
        except AwayError:
            await asyncio.sleep(REWRITE_SECONDS)


class Script:
    """A Lua script that lies beside this module.

    Args:
        names: The names of its files, without their ending; the last one is the script.
        numbers: What it knows by name.
    """

    def __init__(self, *names: str, numbers: Mapping[str, float] | None = None) -> None:
        folder = files("asana_jobs.worker")
        text = "".join(folder.joinpath(f"{name}.lua").read_text("utf-8") for name in names)
        self.text: str = (
            "".join(f"local {known} = {value!r}\n" for known, value in (numbers or {}).items()) + text
        )
        self.sha: str = sha1(self.text.encode(), usedforsecurity=False).hexdigest()


class _PackedInC:
    """Has a connection's commands packed in C, as its answers are read: in Python that takes four times as long."""

    def pack_command(self, *command: Value) -> list[bytes]:
        return [hiredis.pack_command(command)]  # type: ignore[arg-type]  # it takes floats too

    def pack_commands(self, commands: Iterable[Sequence[Value]]) -> list[bytes]:
        return [hiredis.pack_command(tuple(command)) for command in commands]  # type: ignore[arg-type]  # floats too


class Store:
    """One Redis, by its URL. Connections are made when they are needed.

    Commands of one turn of the event loop are sent together, in their order; after an error of the connection each may
    have been carried out.

    Args:
        url: Where it is.
        gathering: Seconds from one sending to the next, for many who do not mind to wait for so long. Nobody waits
            after a time without any.
    """

    def __init__(self, url: str, *, gathering: float = 0.0) -> None:
        self.address: str = address_of(url)
        self._gathering = gathering
        self._gathered: list[tuple[Command, asyncio.Future[Any]]] = []
        self._send_at = 0.0
        self._timer: asyncio.TimerHandle
        self._sending: set[asyncio.Task[None]] = set()
        self._room = asyncio.Semaphore(MOST_CONNECTIONS)
        self.replicas: int = 0
        self.cluster: bool = CLUSTER_SCHEME in url
        self._sentinel: Any = None
        # The client library's limit for an answer costs a task and a timer for each: one server has one for all that is sent
        # together. Elsewhere others may have to be asked first, each for so long.
        self._limit: float | None = None
        options: dict[str, Any] = {"retry": Retry(NoBackoff(), 0), "decode_responses": True}
        bounds = {"socket_timeout": ANSWER_TIMEOUT, "socket_connect_timeout": ANSWER_TIMEOUT}
        try:
            if SENTINEL_SCHEME in url:
                self._sentinel, master, more = _sentinel(url)
                self._redis: Any = self._sentinel.master_for(master, **{**options, **bounds, **more})
            elif self.cluster:
                redis: Any = RedisCluster
                self._redis = redis.from_url(url.replace(CLUSTER_SCHEME, "://", 1), **options, **bounds)
            else:
                redis = Redis
                self._redis, self._limit = redis.from_url(url, **options, socket_timeout=None), ANSWER_TIMEOUT
                pool = self._redis.connection_pool
                pool.connection_class = type("Connection", (_PackedInC, pool.connection_class), {})
        except ValueError as error:
            raise ValueError(f"not a Redis URL such as redis://localhost:6379/0: {error}") from None

    def __repr__(self) -> str:
        return f"<Store {self.address}>"

    async def run(self, script: Script, keys: Sequence[str], *arguments: Value) -> Any:
        """Run *script*, sending its text only where it is not known."""
        try:
            return await self("EVALSHA", script.sha, len(keys), *keys, *arguments)
        except NoScriptError:
            return await self("EVAL", script.text, len(keys), *keys, *arguments)

    async def run_replicated(self, script: Script, keys: Sequence[str], *arguments: Value) -> Any:
        """Run *script*, and wait for a replica to have what it wrote, where there are any."""
        if not self.replicas or self.cluster:
            return await self.run(script, keys, *arguments)
        commands = [
            ("EVAL", script.text, len(keys), *keys, *arguments),
            ("WAIT", 1, int(1000 * REPLICA_SECONDS)),
        ]
        found, have_it = await self._exchange(commands, takes=REPLICA_SECONDS)
        if isinstance(found, Exception):
            raise found
        if have_it == 0:
            _log.warning(
                "no replica of Redis at %s had the last write within %g s: lost now, what was just started might be"
                " started again",
                self.address,
                REPLICA_SECONDS,
            )
        return found

    async def __call__(self, command: str, *arguments: Value) -> Any:
        """Send one command, with those of others.

        Raises:
            AwayError: Redis may answer later.
            QueueError: it will not, the message says why.
        """
        if self.cluster:
            return await self.alone(command, *arguments)
        return await self._gather(command, *arguments)

    async def alone(self, command: str, *arguments: Value, takes: float = 0.0) -> Any:
        """Send one command on a connection of its own, such as one that *takes* some seconds."""
        [found] = await self._exchange([(command, *arguments)], takes=takes)
        if isinstance(found, Exception):
            raise found
        return found

    def _gather(self, *command: Value) -> asyncio.Future[Any]:
        """Have a command sent with others; return what will hold its answer."""
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Any] = loop.create_future()
        self._gathered.append((command, answer))
        if len(self._gathered) == 1:
            self._timer = loop.call_at(self._send_at, self._send)
        elif len(self._gathered) == MOST_GATHERED and self._send_at > loop.time():
            self._timer.cancel()
            self._send()
        return answer

    def _send(self) -> None:
        gathered, self._gathered = self._gathered, []
        self._send_at = asyncio.get_running_loop().time() + self._gathering
        # Who was cancelled meanwhile wants nothing any more.
        together = [(command, answer) for command, answer in gathered if not answer.done()]
        if together:
            task = asyncio.create_task(self._send_together(together), name="asana_jobs commands to Redis")
            self._sending.add(task)
            task.add_done_callback(self._sending.discard)

    async def _send_together(self, together: Sequence[tuple[Command, asyncio.Future[Any]]]) -> None:
        try:
            found = await self._exchange([command for command, _ in together])
        except asyncio.CancelledError:
            self._abandon(together)
            raise
        for (_, answer), told in zip(together, found, strict=True):
            if answer.done():
                continue
            if isinstance(told, Exception):
                answer.set_exception(told)
            else:
                answer.set_result(told)

    def _abandon(self, together: Sequence[tuple[Command, asyncio.Future[Any]]]) -> None:
        for _, answer in together:
            if not answer.done():
                answer.set_exception(AwayError(f"the connection to Redis at {self.address} was closed"))

    async def _exchange(self, commands: Sequence[Command], *, takes: float = 0.0) -> list[Any]:
        """Send commands together, which take some seconds; return the answer to each, or the error in its place."""
        found: list[Any]
        try:
            with _heeding_cancellation():
                async with self._room, asyncio.timeout(self._limit and self._limit + takes):
                    if self.cluster:
                        found = [await self._redis.execute_command(*command) for command in commands]
                    else:
                        found = await self._over_one_connection(commands)
        except Exception as error:  # noqa: BLE001  # whatever it is, nobody is left waiting
            found = [error] * len(commands)
        return [self._translated(told) if isinstance(told, Exception) else told for told in found]

    async def _over_one_connection(self, commands: Sequence[Command]) -> list[Any]:
        # The client library's own ways for this, one command and many, take a processor twice as long. Its connection
        # closes itself if it is left before the last answer.
        pool, found = self._redis.connection_pool, list[Any]()
        connection = await pool.get_connection()
        try:
            await connection.send_packed_command(connection.pack_commands(commands))
            for name, *_ in commands:
                try:
                    told = await connection.read_response()
                except ResponseError as error:
                    found.append(error)
                else:
                    read = self._redis.response_callbacks.get(name)
                    found.append(told if read is None else read(told))
        finally:
            await pool.release(connection)
        return found

    def _translated(self, error: Exception) -> Exception:
        """Return what an error of the client library means, and any other one as it is."""
        if isinstance(error, NoScriptError) or not isinstance(error, _FAULTS):
            return error
        meaning = self._meaning_of(error)
        meaning.__cause__ = error
        return meaning

    def _meaning_of(self, error: Exception) -> AwayError | QueueError:
        """Return what a fault of the client library means: Redis may answer later, or will not."""
        told = str(error) or f"it did not answer within {ANSWER_TIMEOUT:g} s"
        for kinds, beginnings, meaning, what in _MEANINGS:
            if isinstance(error, kinds) or (beginnings and str(error).startswith(beginnings)):
                return meaning(f"Redis at {self.address} {what}: {told}")
        return QueueError(f"Redis at {self.address} refused a command: {told}")

    async def info(self, section: str) -> dict[str, str]:
        """Return what Redis says of itself under *section*; nothing where that may not be asked."""
        try:
            found = await self("INFO", section)
        except QueueError:
            return {}
        if isinstance(found, dict):  # the client library has read it; a cluster's, of one node or of each
            told = cast("dict[str, Any]", found)
            first = next(iter(told.values()), None)
            return cast(
                "dict[str, str]", first if isinstance(first, dict) and ":" in next(iter(told)) else told
            )
        lines = (line.partition(":") for line in str(found).splitlines() if ":" in line)
        return {name: value for name, _, value in lines}

    async def count_replicas(self) -> None:
        """See how many replicas there are, for `run_replicated`."""
        self.replicas = int((await self.info("replication")).get("connected_slaves", 0))

    async def check(self, *, allow_eviction: bool = False, warn: bool = True) -> None:
        """Look whether Redis can be trusted with a queue, and warn of what may be lost.

        Args:
            allow_eviction: Take one that throws keys away when its memory is full.
            warn: Warn, as workers do; those who put in and read come and go.

        Raises:
            QueueError: it cannot.
            AwayError: it is not there.
        """
        told = {**await self.info("server"), **await self.info("memory"), **await self.info("persistence")}
        version = str(told.get("redis_version", ""))
        parts = [int(part) for part in version.split(".")[:2] if part.isdigit()]
        if parts and tuple(parts) < OLDEST_VERSION:
            raise QueueError(f"Redis at {self.address} is {version}: 6.2 or later is needed, or Valkey")
        policy = str(told.get("maxmemory_policy", "noeviction"))
        if policy != "noeviction" and int(told.get("maxmemory", 0)) > 0:
            what = (
                f"Redis at {self.address} throws keys away when its memory is full (maxmemory-policy {policy}): waits"
                " would be lost without a word"
            )
            if not allow_eviction:
                raise QueueError(
                    f"{what}. Set maxmemory-policy noeviction, use a Redis that is no cache, or say allow_eviction=True"
                )
            if warn:
                _log.warning("%s", what)
        if warn and str(told.get("aof_enabled", "1")) == "0":
            _log.warning(
                "Redis at %s keeps no append-only file: a restart loses waits, and what was started may be started"
                " again; set appendonly yes",
                self.address,
            )

    async def close(self) -> None:
        """Let go of the connections."""
        gathered, self._gathered = self._gathered, []
        self._abandon(gathered)
        sending = list(self._sending)
        for task in sending:
            task.cancel()
        if sending:
            await asyncio.wait(sending)
        await self._redis.aclose()
        for daemon in () if self._sentinel is None else self._sentinel.sentinels:
            await daemon.aclose()


@contextmanager
def _heeding_cancellation() -> Generator[None, None, None]:
    """End in a cancellation that the client library swallows: it sends with Python 3.11's ``asyncio.wait_for``, which does.

    The command may have been carried out, as with any that is cancelled.
    """
    task = asyncio.current_task()
    before = 0 if task is None else task.cancelling()
    try:
        yield
    finally:
        if task is not None and task.cancelling() > before:
            raise asyncio.CancelledError


def _sentinel(url: str) -> tuple[Any, str, dict[str, Any]]:
    """Read a URL of sentinels: who they are, the name of the master, and how to talk to it."""
    parts = urlsplit(url)
    login, _, hosts = parts.netloc.rpartition("@")
    name, _, db = parts.path.strip("/").partition("/")
    if not name:
        raise ValueError(
            "sentinels are asked for a master by its name, as in redis+sentinel://localhost:26379/mymaster"
        )
    known = dict(parse_qsl(parts.query))
    secret = {key: known[f"sentinel_{key}"] for key in ("username", "password") if f"sentinel_{key}" in known}
    user, _, password = login.partition(":")
    options: dict[str, Any] = {"db": int(db or 0)}
    options.update({"username": unquote(user)} if user else {})
    options.update({"password": unquote(password)} if password else {})
    if parts.scheme.startswith("rediss"):
        options["ssl"] = secret["ssl"] = True  # type: ignore[assignment]
    members = [urlsplit(f"//{member}") for member in hosts.split(",")]
    daemons = [(member.hostname or "localhost", member.port or SENTINEL_PORT) for member in members]
    bounds = {"socket_timeout": ANSWER_TIMEOUT, "socket_connect_timeout": ANSWER_TIMEOUT}
    sentinel = cast("Any", Sentinel)(daemons, sentinel_kwargs={**bounds, **secret})
    return sentinel, name, options


def address_of(url: str) -> str:
    """Return where a URL points to, without its password."""
    parts = urlsplit(url)
    if SENTINEL_SCHEME in url:
        return f"{parts.netloc.rpartition('@')[2]}{parts.path}"
    try:
        port = parts.port
    except ValueError:
        raise ValueError("the Redis URL's port is not a number") from None
    return f"{parts.hostname or parts.path or 'localhost'}{f':{port}' if port else ''}"
