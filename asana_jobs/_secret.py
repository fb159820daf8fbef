"""A string that does not show itself."""

from __future__ import annotations

import re


class Secret(str):
    """A token or a header made of one: usable as the string it is, masked wherever it is shown.

    It masks ``repr`` only, since writing it into a header is what it is for; so logs, tracebacks with locals
    and the reprs of whatever holds it show nothing.
    """

    __slots__ = ()

    def __repr__(self) -> str:
        return "'***'"

    def __reduce__(self) -> tuple[object, ...]:
        raise TypeError("a token is not pickled: hand the other process its own")


class SecretBytes(bytes):
    """The same for bytes, such as a form that holds a secret."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "b'***'"


def usable(token: str) -> bool:
    """Whether *token* can stand in a header: visible ASCII without blanks."""
    return re.fullmatch(r"[\x21-\x7e]+", token) is not None
