"""JSON by the standard library, as strict as orjson: what one of them reads, so does the other. No I/O."""

from __future__ import annotations

import json
import sys
from math import isfinite
from typing import Any, Final, NoReturn


def _refuse(text: str) -> NoReturn:
    raise ValueError(f"{text} is no JSON")


def _number(text: str) -> float:
    number = float(text)
    if not isfinite(number):
        raise ValueError("a number is too large")
    return number


def _object(pairs: list[tuple[str, object]]) -> dict[str, object]:
    # Each document brings its own copies of the names that all of them have: one is kept.
    return {sys.intern(name): value for name, value in pairs}


_DECODER: Final = json.JSONDecoder(parse_constant=_refuse, parse_float=_number, object_pairs_hook=_object)


def parse(body: bytes) -> Any:
    """Parse JSON in UTF-8.

    Raises:
        ValueError: it is none, or holds half of a surrogate pair, which no file or terminal could take.
        RecursionError: it is nested too deeply.
    """
    found = _DECODER.decode(body.decode())
    if b"\\ud" in body.lower():
        json.dumps(found, ensure_ascii=False).encode()
    return found
