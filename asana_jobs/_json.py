"""JSON by the standard library, as strict as orjson: what one of them reads, so does the other. No I/O."""

from __future__ import annotations

import json
from functools import lru_cache
from math import isfinite
from typing import Any, Final, NoReturn


#: Characters of a word that is worth keeping: names of fields, states, kinds.
LONGEST_WORD: Final = 64


def _refuse(text: str) -> NoReturn:
    raise ValueError(f"{text} is no JSON")


def _number(text: str) -> float:
    number = float(text)
    if not isfinite(number):
        raise ValueError("a number is too large")
    return number


@lru_cache(maxsize=256)
def shared(word: str) -> str:
    """Return the one copy of a *word* that all answers repeat, of `LONGEST_WORD` characters at most."""
    return word


def _object(pairs: list[tuple[str, object]]) -> dict[str, object]:
    # Each document brings its own copies of the names that all of them have: one is kept.
    return {shared(name) if len(name) <= LONGEST_WORD else name: value for name, value in pairs}


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
