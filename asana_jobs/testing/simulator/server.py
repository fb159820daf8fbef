"""One listening origin: starts in the running loop, and leaves nothing behind when it stops."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, Final, TypeAlias

from aiohttp import web
from attrs import define, field


RequestHandler: TypeAlias = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]
# How long a stopping server waits for handlers before it cancels them: they may be asleep for hours.
_CLOSE_TIMEOUT = 0.001
# A transport closes its socket one turn of the loop after it was told to, an accepted connection
# becomes a transport after two.
_TURNS = 3

#: Addresses that stand for all of a machine's, and by which it finds itself.
_LOOPBACKS: Final = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104  # nothing is bound here


@define
class SocketServer:
    """An HTTP server on one address.

    Attributes:
        host: the address to listen on, such as 127.0.0.1.
        port: the port; 0 takes a free one, which stands here once the server has started.
    """

    handler: RequestHandler
    host: str
    port: int
    _runner: web.ServerRunner | None = None
    _connections: web.Server | None = None
    _listener: asyncio.Server | None = None
    _reopening: asyncio.Task[None] | None = None
    _answering: "set[asyncio.Task[Any]]" = field(factory=set["asyncio.Task[Any]"])

    @property
    def origin(self) -> str:
        """`http://host:port`; where it listens on all addresses, that of this machine for itself."""
        return self.origin_for(_LOOPBACKS.get(self.host, self.host))

    def origin_for(self, client_host: str) -> str:
        """Return the origin for a client that has found this machine under some name or address."""
        host = client_host if self.host in _LOOPBACKS else self.host
        return f"http://[{host}]:{self.port}" if ":" in host else f"http://{host}:{self.port}"

    @property
    def listening(self) -> bool:
        """Whether connections are accepted."""
        return self._listener is not None

    async def start(self) -> None:
        """Listen."""
        logger = logging.getLogger("asana_jobs.testing")
        self._connections = web.Server(self._answer, access_log=None, logger=logger)
        self._runner = web.ServerRunner(self._connections, shutdown_timeout=_CLOSE_TIMEOUT)
        await self._runner.setup()
        await self._listen(self._connections)

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        # What was asked for is done although the client hangs up meanwhile, as Asana would. aiohttp forgets such
        # a request, so it is on us to end it.
        task = request.task
        self._answering.add(task)
        try:
            return await self.handler(request)
        except ConnectionResetError:
            return web.Response()  # never sent: its reader has gone, as readers do
        finally:
            self._answering.discard(task)

    async def _listen(self, connections: web.Server) -> None:
        loop = asyncio.get_running_loop()
        self._listener = await loop.create_server(connections, self.host, self.port, reuse_address=True)
        self.port = int(self._listener.sockets[0].getsockname()[1])

    async def refuse(self, seconds: float) -> None:
        """Refuse connections for so many seconds, and drop the open ones."""
        if self._listener is None or self._connections is None:
            return
        await self._stop_listening(self._listener)
        _drop(self._connections)
        self._reopening = asyncio.create_task(
            self._reopen(self._connections, seconds), name="asana_jobs simulator's next opening"
        )

    async def _reopen(self, connections: web.Server, seconds: float) -> None:
        await asyncio.sleep(seconds)
        await self._listen(connections)

    async def _stop_listening(self, listener: asyncio.Server) -> None:
        # A connection that is accepted while its server closes breaks in asyncio (3.11) and leaks its
        # socket: stop accepting first, let those that came in arrive, and close then.
        loop = asyncio.get_running_loop()
        for listening in listener.sockets:
            with suppress(NotImplementedError, RuntimeError):
                loop.remove_reader(listening.fileno())
        await _take_turns()
        listener.close()
        self._listener = None

    async def stop(self) -> None:
        """Stop listening, end what is being answered, and close every connection."""
        if self._reopening is not None:
            self._reopening.cancel()
            await asyncio.gather(self._reopening, return_exceptions=True)
            self._reopening = None
        if self._listener is not None:
            await self._stop_listening(self._listener)
        if self._runner is None or self._connections is None:
            return
        connections = [connection.transport for connection in self._connections.connections]
        await self._runner.cleanup()
        for transport in connections:
            # Closed politely, a connection whose client does not read would stay open for ever.
            if transport is not None:
                transport.abort()
        self._runner = self._connections = None
        await _take_turns()
        await self._end_answers()

    async def _end_answers(self) -> None:
        """End the requests that are still being answered, though nobody listens any more."""
        answering = [*self._answering]
        for task in answering:
            task.cancel()
        await asyncio.gather(*answering, return_exceptions=True)


def _drop(connections: web.Server) -> None:
    for connection in connections.connections:
        if connection.transport is not None:
            connection.transport.abort()


async def _take_turns() -> None:
    for _ in range(_TURNS):
        await asyncio.sleep(0)
