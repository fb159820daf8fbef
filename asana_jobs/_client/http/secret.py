"""Secrets: text and bytes that do not show themselves, and how they are read from the environment."""

from __future__ import annotations

import os
import re
import string
from collections.abc import Mapping
from functools import lru_cache
from typing import Final, Self, SupportsIndex, overload


#: Characters from which on a token is masked in what servers say: what is shorter is no secret, and is found in any word.
SHORTEST_SECRET: Final = 8
#: Characters of the longest word in a token from which on that alone is masked, too.
SHORTEST_PART: Final = 16
#: Beside line ends, what web pages and editors put around a text, the mark at the start of a file among it.
_BLANKS: Final = string.whitespace + "\N{NO-BREAK SPACE}\N{ZERO WIDTH SPACE}\N{ZERO WIDTH NO-BREAK SPACE}"
_QUOTES: Final = tuple("\"'`\u201c\u201d\u201e\u2018\u2019\u201a\u00ab\u00bb")


class Secret(str):
    """A token, or a header made of one: usable as the string it is, masked wherever it is shown.

    It masks ``repr`` only, since writing it into a header is what it is for; so logs, tracebacks with locals
    and the reprs of whatever holds it show nothing.
    """

    __slots__ = ()

    def __repr__(self) -> str:
        return "'***'"

    def __getitem__(self, place: SupportsIndex | slice) -> Secret:
        # Tracebacks that shorten what they show, as rich's do, show a part of it.
        return Secret(super().__getitem__(place))

    def __copy__(self) -> Secret:
        return self

    def __deepcopy__(self, _: object) -> Secret:
        return self

    def __reduce__(self) -> tuple[object, ...]:
        raise TypeError("a token is not pickled: hand the other process its own")


class Authorization(Secret):
    """The header that a token is sent in.

    Attributes:
        word: The longest word of the token, which no encoding needs to change: where it is, an answer echoes the token.
    """

    __slots__ = ("word",)

    word: bytes

    def __new__(cls, token: str) -> Self:
        """Put *token* behind ``Bearer``."""
        header = super().__new__(cls, f"Bearer {token}")
        header.word = _longest_word(token)
        return header


def _longest_word(token: str) -> bytes:
    return max(re.findall(r"[0-9A-Za-z]+", token), key=len, default=token).encode()


class SecretBytes(bytes):
    """Bytes that do not show themselves, such as a form that holds a secret; see `Secret`."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "b'***'"

    @overload
    def __getitem__(self, place: SupportsIndex) -> int: ...
    @overload
    def __getitem__(self, place: slice) -> SecretBytes: ...
    def __getitem__(self, place: SupportsIndex | slice) -> int | SecretBytes:
        found = super().__getitem__(place)
        return SecretBytes(found) if isinstance(found, bytes) else found

    def __copy__(self) -> SecretBytes:
        return self

    def __deepcopy__(self, _: object) -> SecretBytes:
        return self

    def __reduce__(self) -> tuple[object, ...]:
        raise TypeError("a token is not pickled: hand the other process its own")


def masked(body: bytes, secret: Secret) -> bytes:
    """Return *body* with ``***`` where it echoes a token: as it is, percent-encoded, or as JSON may write it.

    Args:
        body: What a server says.
        secret: The token, or the header that it stands in.
    """
    marks = _marks_of(secret)
    return body if marks is None else marks.sub(b"***", body)


def masked_text(text: str, secret: Secret) -> str:
    """Return *text* with ``***`` where it echoes a token; see `masked`."""
    return masked(text.encode(errors="surrogatepass"), secret).decode(errors="surrogatepass")


@lru_cache(maxsize=16)
def _marks_of(secret: Secret) -> re.Pattern[bytes] | None:
    token = secret.rpartition(" ")[2]
    if len(token) < SHORTEST_SECRET:
        return None
    word = _longest_word(token)
    marks = "".join(
        rf"(?:\\?{re.escape(each)}|(?:%(?:25)*|\\u00)(?i:{ord(each):02x}))" for each in token
    ).encode()
    return re.compile(marks + b"|" + re.escape(word) if len(word) >= SHORTEST_PART else marks)


def stripped(text: str) -> str:
    """Return *text* without the blanks, line ends and byte order mark around it."""
    return text.strip(_BLANKS)


def variable(name: str, environment: Mapping[str, str] | None = None) -> Secret:
    """Return the value of the environment variable *name*, stripped; empty if it is not set."""
    # No frame that may be shown with its locals holds the whole environment.
    return Secret(stripped((os.environ if environment is None else environment).get(name, "")))


def copied_along(text: str) -> str | None:
    """Return words for what was copied along with *text* by mistake, or ``None``."""
    if stripped(text) != text:
        return "blanks or line breaks around it: strip it"
    if text.startswith(_QUOTES) or text.endswith(_QUOTES):
        return "quotation marks around it: write it without them"
    return None


def usable(token: str) -> bool:
    """Return whether *token* can stand in a header: visible ASCII without blanks."""
    return re.fullmatch(r"[\x21-\x7e]+", token) is not None


def without_frames(error: BaseException) -> BaseException:
    """Return *error* without its tracebacks: aiohttp's frames hold the bytes that it sends, the token among them."""
    chain: list[BaseException | None] = [error]
    while chain:
        if (one := chain.pop()) is not None and one.__traceback__ is not None:
            one.__traceback__ = None
            chain += [one.__cause__, one.__context__]
    return error
