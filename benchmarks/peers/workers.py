"""Client processes that take turns: each holds one peer, on the same core, and waits until it is told to work."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager, suppress
from multiprocessing import get_context
from multiprocessing.connection import Connection
from traceback import format_exc
from typing import Concatenate, ParamSpec, TypeVar

from adapters import Peer, make_peer
from processes import CLIENT_CORE, settle


P = ParamSpec("P")
T = TypeVar("T")


class Worker:
    """A process with one peer that is set up, seen from outside."""

    def __init__(self, name: str, connection: Connection) -> None:
        self.name = name
        self._connection = connection

    def do(self, turn: Callable[Concatenate[Peer, P], Awaitable[T]], *args: P.args, **kwargs: P.kwargs) -> T:
        """Have the process do *turn*, a function of a module, with its peer; return what it returns."""
        try:
            self._connection.send((turn, args, kwargs))
            failed, result = self._connection.recv()
        except (EOFError, ConnectionError):
            raise RuntimeError(f"the process of {self.name} has ended; its traceback is above") from None
        if failed:
            raise RuntimeError(f"{self.name} failed:\n{result}")
        return result  # type: ignore[no-any-return]  # it came through a pipe


@contextmanager
def worker(name: str, base_url: str, gap: float = 1.0) -> Generator[Worker]:
    """Start a process for the peer *name*, whose waits look every *gap* seconds; end it at the end."""
    ours, theirs = get_context("spawn").Pipe()
    arguments = (theirs, name, base_url, gap)
    process = get_context("spawn").Process(target=_work, args=arguments, daemon=True)
    process.start()
    theirs.close()
    try:
        yield Worker(name, ours)
    finally:
        ours.close()
        process.join(5)
        process.kill()
        process.join()


def _work(parent: Connection, name: str, base_url: str, gap: float) -> None:
    settle(CLIENT_CORE)

    async def main() -> None:
        peer = make_peer(name)
        await peer.setup(base_url, gap)
        try:
            await _turns(parent, peer)
        finally:
            await peer.close()

    asyncio.run(main())


async def _turns(parent: Connection, peer: Peer) -> None:
    while True:
        try:
            turn, args, kwargs = parent.recv()  # the loop stands still meanwhile: others have their turn
        except EOFError:
            return
        try:
            result = (False, await turn(peer, *args, **kwargs))
        except Exception:  # noqa: BLE001  # raised again in the parent
            result = (True, format_exc())
        with suppress(BrokenPipeError):  # nobody wants to know any more
            parent.send(result)
