"""Where the access token comes from, and how it is renewed."""

from __future__ import annotations

import asyncio
import copy
import re
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Final, TypeAlias

from asana_jobs._secret import Secret, copied_along, stripped, usable, variable
from asana_jobs.errors import TokenError


#: An async callable that returns a token. It is asked at first use, and again when Asana refuses the token.
TokenProvider: TypeAlias = Callable[[], Awaitable[str]]

#: Where a token is looked for, in this order; then ASANA_ACCESS_TOKEN_FILE names a file that holds one.
TOKEN_VARIABLES: Final = ("ASANA_ACCESS_TOKEN", "ASANA_PAT", "ASANA_TOKEN")
#: The variable that names a file with a token in it, for secrets that are mounted.
TOKEN_FILE_VARIABLE: Final = "ASANA_ACCESS_TOKEN_FILE"  # noqa: S105  # a variable's name

_NOWHERE: Final = f"no access token: set {', '.join(TOKEN_VARIABLES)} or {TOKEN_FILE_VARIABLE}"
#: What stands where a token was to be put: ``$TOKEN``, ``${{ secrets.TOKEN }}``, ``%TOKEN%``, ``<your token>``.
_PLACEHOLDER: Final = re.compile(r"\$\w+|\$?\{.*\}|\$\(.*\)|%\w+%|<.*>")
_ASSIGNMENT: Final = re.compile(rf"(?:export\s+)?(?P<name>{'|'.join(TOKEN_VARIABLES)})\s*=")
_SCHEME: Final = re.compile(r"(?:authorization\s*:\s*)?bearer(?:[\s:]|$)", re.IGNORECASE)
_MADE: Final = "A personal access token is made in Asana's developer console"


def find_token(environment: Mapping[str, str] | None = None) -> tuple[Secret, str]:
    """Return the token that *environment* (by default the process') holds, and the variable it was found in.

    Raises:
        TokenError: there is none, or it cannot be one.
    """
    found = _look_up(environment)
    if found is None:
        raise TokenError(f"{_NOWHERE}. {_MADE}.")
    return found


def _look_up(environment: Mapping[str, str] | None) -> tuple[Secret, str] | None:
    for name in TOKEN_VARIABLES:
        if token := variable(name, environment):
            return check_token(token, f"the value of {name}"), name
    if path := variable(TOKEN_FILE_VARIABLE, environment):
        if around := copied_along(path):
            raise TokenError(f"the value of {TOKEN_FILE_VARIABLE} has {around}")
        try:
            token = Secret(stripped(Path(path).read_text("utf-8")))
        except (OSError, UnicodeDecodeError) as error:
            # What is no absolute path may be the token itself, put there by mistake: it is not shown.
            name = f"{str(path)!r}" if Path(path).is_absolute() else "a file (not an absolute path)"
            raise TokenError(
                f"{TOKEN_FILE_VARIABLE} names {name}, which cannot be read: {_reason(error)}"
            ) from None
        return check_token(
            token, f"the content of the file that {TOKEN_FILE_VARIABLE} names"
        ), TOKEN_FILE_VARIABLE
    return None


def _reason(error: OSError | UnicodeDecodeError) -> str:
    return (error.strerror or type(error).__name__) if isinstance(error, OSError) else "it is not UTF-8 text"


def check_token(token: object, what: str = "the token") -> Secret:
    """Return *token* masked, or raise `TokenError` if it cannot be one. The message never shows it."""
    if not isinstance(token, str):
        raise TokenError(f"{what} must be a string, not {type(token).__name__}")
    token = Secret(token)
    if problem := _problem(token):
        raise TokenError(f"{what} {problem}")
    return token


def _problem(token: Secret) -> str | None:
    """Return why *token* cannot be one, in words that do not show it."""
    around, assigned = copied_along(token), _ASSIGNMENT.match(token)
    problems = (
        (not stripped(token), "is empty"),
        (around, f"has {around}"),
        (_PLACEHOLDER.fullmatch(token), "is a placeholder: put the token in its place"),
        (assigned, f"begins with {assigned and assigned['name']}=: write only what is behind it"),
        (
            _SCHEME.match(token),
            "begins with the word Bearer: leave it out, it is added when the token is sent",
        ),
        (len(token.splitlines()) > 1, "holds more than one line: a token is one"),
        (not usable(token), "holds blanks or characters that cannot stand in a header: was it copied whole?"),
    )
    return next((words for wrong, words in problems if wrong), None)


class TokenSource:
    """One token, fixed or renewed by a provider; any number of callers renew it once."""

    def __init__(self, token: str | TokenProvider | None) -> None:
        self._provider = token if callable(token) else None
        #: The header in force. Every renewal makes a new object, even if the token is the same again, so that
        #: a refusal of an older one is told apart.
        self._header: Secret | None = None
        self._renewing: asyncio.Lock | None = None
        self._renewals = 0
        self._failure: BaseException | None = None
        if token is None:
            found = _look_up(None)
            if found is None:
                raise TokenError(f"{_NOWHERE}, or hand one over: AsanaClient(token). {_MADE}.")
            self._header = _header(found[0])
        elif not callable(token):
            self._header = _header(check_token(token))

    def __repr__(self) -> str:
        return "<TokenSource from a provider>" if self._provider else "<TokenSource fixed>"

    @property
    def renewable(self) -> bool:
        """Whether a refused token can be replaced."""
        return self._provider is not None

    def in_force(self, refused: Secret | None) -> Secret | None:
        """Return the header to send if it is there: *refused* is the one Asana answered 401 to, if it did."""
        return None if refused is not None and refused is self._header and self._provider else self._header

    async def authorization(self, refused: Secret | None = None) -> Secret:
        """Return the header to send. *refused* is the header Asana answered 401 to, if it did."""
        header = self.in_force(refused)
        if header is not None:
            return header
        if self._renewing is None:
            self._renewing = asyncio.Lock()
        renewals = self._renewals
        async with self._renewing:
            if self._renewals == renewals:
                await self._renew()
            elif self._failure is not None:
                raise copy.copy(self._failure)  # it failed for everybody who waited for it
        assert self._header is not None  # noqa: S101  # renewed, or an error
        return self._header

    async def _renew(self) -> None:
        assert self._provider is not None  # noqa: S101  # a fixed token is there from the start
        self._failure = None
        try:
            self._header = _header(check_token(await self._provider(), "what the token provider returned"))
        except Exception as error:
            self._failure = error
            self._renewals += 1
            raise
        # Not if whoever renews is cancelled: the next in line does it.
        self._renewals += 1


def _header(token: Secret) -> Secret:
    return Secret(f"Bearer {token}")
