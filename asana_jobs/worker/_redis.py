"""The connection to Redis: the one room that knows its client library, and what its errors mean."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha1
from importlib.resources import files
from typing import Any, Final, cast
from urllib.parse import urlsplit

from redis.asyncio import Redis, RedisCluster
from redis.asyncio.retry import Retry
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
    TryAgainError,
)
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from asana_jobs.worker.errors import QueueError


#: Seconds that Redis may take to answer, or to take a connection.
ANSWER_TIMEOUT: Final = 2.0
#: The mark of a cluster's URL: ``redis+cluster://``. Keys that are used together have one tag, so one node.
CLUSTER_SCHEME: Final = "+cluster://"

Value = str | bytes | int | float


class AwayError(Exception):
    """Redis is not there at the moment, or cannot write; it may come back."""


class Script:
    """A Lua script that lies beside this module."""

    def __init__(self, name: str) -> None:
        self.text = files("asana_jobs.worker").joinpath(f"{name}.lua").read_text("utf-8")
        self.sha = sha1(self.text.encode(), usedforsecurity=False).hexdigest()


class Store:
    """One Redis, by its URL. Connections are made when they are needed."""

    def __init__(self, url: str) -> None:
        self.address = address_of(url)
        try:
            self._redis: Any = cast("Any", RedisCluster if CLUSTER_SCHEME in url else Redis).from_url(
                url.replace(CLUSTER_SCHEME, "://", 1),
                socket_timeout=ANSWER_TIMEOUT,
                socket_connect_timeout=ANSWER_TIMEOUT,
                retry=Retry(NoBackoff(), 0),
                decode_responses=True,
            )
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

    async def __call__(self, command: str, *arguments: Value) -> Any:
        """Send one command.

        Raises:
            AwayError: Redis may answer later.
            QueueError: it will not, the message says why.
        """
        try:
            return await self._redis.execute_command(command, *arguments)
        except NoScriptError:
            raise
        except (AuthenticationError, AuthorizationError, NoPermissionError) as error:
            raise QueueError(
                f"Redis at {self.address} refused the user or the password of its URL: {error}"
            ) from None
        except OutOfMemoryError as error:
            raise AwayError(
                f"Redis at {self.address} is full (its maxmemory is reached): {error}; give it more memory"
            ) from error
        except (RedisConnectionError, RedisTimeoutError, RedisClusterException, OSError) as error:
            raise AwayError(f"Redis at {self.address} cannot be reached: {error}") from error
        except (BusyLoadingError, ReadOnlyError, TryAgainError) as error:
            raise AwayError(f"Redis at {self.address} cannot be written to at the moment: {error}") from error
        except RedisError as error:
            if str(error).startswith(("MISCONF", "OOM", "CLUSTERDOWN", "MASTERDOWN", "NOREPLICAS")):
                raise AwayError(f"Redis at {self.address} cannot be written to: {error}") from error
            if str(error).startswith(("NOAUTH", "WRONGPASS", "NOPERM")):
                raise QueueError(f"Redis at {self.address} wants a password: {error}") from None
            raise QueueError(f"Redis at {self.address} refused a command: {error}") from error

    async def close(self) -> None:
        """Let go of the connections."""
        await self._redis.aclose()


def address_of(url: str) -> str:
    """Return where a URL points to, without its password."""
    parts = urlsplit(url)
    try:
        port = parts.port
    except ValueError:
        raise ValueError("the Redis URL's port is not a number") from None
    return f"{parts.hostname or parts.path or 'localhost'}{f':{port}' if port else ''}"
