"""JSON by the standard library, as strict as orjson: what one of them reads, so does the other. No I/O."""

from __future__ import annotations

import json
import re
from math import isfinite
from typing import Any, Final, NoReturn


#: Characters of a word that is worth keeping, such as the name of a field, a state, a kind; and how many are kept.
LONGEST_WORD: Final = 64
MOST_WORDS: Final = 256


def _refuse(text: str) -> NoReturn:
    raise ValueError(f"{text} is no JSON")


def _number(text: str) -> float:
    number = float(text)
    if not isfinite(number):
        raise ValueError("a number is too large")
    return number


class Words(dict[str, str]):
    """One copy of each word that many answers repeat: ``words[word]`` is that copy, or the word itself.

    A server that makes words up fills no memory: when there are `MOST_WORDS` it begins anew.
    """

    __slots__ = ()

    def __missing__(self, word: str) -> str:
        """Keep *word*, if it is not too long."""
        if len(word) <= LONGEST_WORD:
            if len(self) >= MOST_WORDS:
                self.clear()
            self[word] = word
        return word


#: The words of all answers: each document brings its own copies.
WORDS: Final = Words()


def _object(pairs: list[tuple[str, object]]) -> dict[str, object]:
    return {WORDS[name]: value for name, value in pairs}


_DECODER: Final = json.JSONDecoder(parse_constant=_refuse, parse_float=_number, object_pairs_hook=_object)


#: Anything that a backslash begins in a string; a pair of surrogates is one character.
_ESCAPE: Final = re.compile(
    rb"\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|\\u[dD][89a-fA-F][0-9a-fA-F]{2}|\\.",
    re.DOTALL,
)
_HALF_A_PAIR: Final = 6


def with_whole_characters(body: bytes) -> bytes:
    """Put U+FFFD for half an emoji: a surrogate without the other one is valid JSON, but no file or terminal takes it."""

    def whole(found: re.Match[bytes]) -> bytes:
        return rb"\ufffd" if len(found[0]) == _HALF_A_PAIR else found[0]

    return _ESCAPE.sub(whole, body)


def parse(body: bytes) -> Any:
    """Parse JSON in UTF-8.

    Raises:
        ValueError: it is none, or holds half of a surrogate pair; see `with_whole_characters`.
        RecursionError: it is nested too deeply.
    """
    found = _DECODER.decode(body.decode())
    if b"\\ud" in body.lower():
        json.dumps(found, ensure_ascii=False).encode()
    return found
