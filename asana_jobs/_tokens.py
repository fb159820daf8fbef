"""Where the access token comes from, and how it is renewed."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Final, TypeAlias

from asana_jobs._secret import Secret, usable
from asana_jobs.errors import TokenError


#: An async callable that returns a token. It is asked at first use, and again when Asana refuses the token.
TokenProvider: TypeAlias = Callable[[], Awaitable[str]]

#: Where a token is looked for, in this order; then ASANA_ACCESS_TOKEN_FILE names a file that holds one.
TOKEN_VARIABLES: Final = ("ASANA_ACCESS_TOKEN", "ASANA_PAT", "ASANA_TOKEN")
TOKEN_FILE_VARIABLE: Final = "ASANA_ACCESS_TOKEN_FILE"  # noqa: S105  # a variable's name


def find_token(environment: Mapping[str, str] | None = None) -> tuple[Secret, str]:
    """Return the token the environment holds, and the name of the variable it was found in.

    Raises:
        TokenError: there is none, or it cannot be one.
    """
    variables = os.environ if environment is None else environment
    for name in TOKEN_VARIABLES:
        if token := variables.get(name, "").strip():
            return check_token(token, f"the value of {name}"), name
    if path := variables.get(TOKEN_FILE_VARIABLE):
        try:
            token = Path(path).read_text("utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise TokenError(f"{TOKEN_FILE_VARIABLE} names {path!r}, which cannot be read: {error}") from None
        return check_token(token, f"the content of {path!r}"), TOKEN_FILE_VARIABLE
    raise TokenError(
        f"no access token: set {', '.join(TOKEN_VARIABLES)} or {TOKEN_FILE_VARIABLE}, or hand one to AsanaClient(token)"
    )


def check_token(token: object, what: str = "the token") -> Secret:
    """Return *token* masked, or raise `TokenError` if it cannot be one. The message never shows it."""
    if not isinstance(token, str):
        raise TokenError(f"{what} must be a string, not {type(token).__name__}")
    if not token:
        raise TokenError(f"{what} is empty")
    if not usable(token):
        raise TokenError(
            f"{what} holds blanks or characters that cannot stand in a header: was it copied whole?"
        )
    return Secret(token)


class TokenSource:
    """One token, fixed or renewed by a provider; any number of callers renew it once."""

    def __init__(self, token: str | TokenProvider | None) -> None:
        self._provider = token if callable(token) else None
        self._token: Secret | None = None
        self._renewing: asyncio.Lock | None = None
        if token is None:
            self._token, _ = find_token()
        elif not callable(token):
            self._token = check_token(token)

    def __repr__(self) -> str:
        return "<TokenSource from a provider>" if self._provider else "<TokenSource fixed>"

    @property
    def renewable(self) -> bool:
        """Whether a refused token can be replaced."""
        return self._provider is not None

    async def authorization(self, refused: Secret | None = None) -> Secret:
        """Return the header to send. *refused* is the header Asana answered 401 to, if it did."""
        if self._token is not None and (refused is None or self._header() != refused):
            return self._header()
        if self._provider is None:
            return self._header()
        if self._renewing is None:
            self._renewing = asyncio.Lock()
        async with self._renewing:
            if self._token is None or (refused is not None and self._header() == refused):
                self._token = check_token(await self._provider(), "what the token provider returned")
            return self._header()

    def _header(self) -> Secret:
        return Secret(f"Bearer {self._token}")
