"""TEMPORARY: lets aioresponses 0.7.9 work with aiohttp 3.14. Delete this file once `NEEDED` is false.

aiohttp 3.14 gave `ClientResponse` a required argument, and made reading a body ask the parser; aioresponses does
neither. The check below is made on the signatures, so that a fixed aioresponses is used as it is.
"""

import inspect
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest.mock import Mock, patch

import aiohttp
from aioresponses import aioresponses, core


NEEDED = "stream_writer" in inspect.signature(
    aiohttp.ClientResponse.__init__
).parameters and "stream_writer" not in inspect.getsource(core)


class _Response(aiohttp.ClientResponse):
    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **{"stream_writer": Mock(output_size=0)} | options)


def _reader_with_parser(*arguments: Any, **options: Any) -> Any:
    reader: Any = _make_reader(*arguments, **options)
    # A body over 64 kB pauses and resumes the protocol, which then asks its parser for more.
    reader._protocol._parser = Mock(feed_data=Mock(return_value=((), False, b"")))
    return reader


_make_reader: Any = vars(core)["stream_reader_factory"]


@contextmanager
def mocked() -> Generator[Any]:
    """Play a server on whatever aiohttp session is used inside the block."""
    with ExitStack() as stack:
        if NEEDED:
            stack.enter_context(patch.object(core, "ClientResponse", _Response))
            stack.enter_context(patch.object(core, "stream_reader_factory", _reader_with_parser))
        yield stack.enter_context(aioresponses())
