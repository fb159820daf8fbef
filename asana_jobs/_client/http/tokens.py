"""Access tokens: where they are found, which one is in force, and how OAuth renews them.

`find_token` and `check_token` read one, `TokenSource` holds that of a client, and `OAuthRefresh` is a provider of new ones.
"""

from __future__ import annotations

import asyncio
import copy
import re
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, Final, TypeAlias, cast
from urllib.parse import urlencode

import attrs
from yarl import URL

from asana_jobs._client.http.network import find_network, plain_http_allowed
from asana_jobs._client.http.origin import at_asana, check_base_url, find_base_url
from asana_jobs._client.http.protocol import Request, Safety, describe, error_about
from asana_jobs._client.http.secret import (
    Authorization,
    Secret,
    SecretBytes,
    copied_along,
    masked_text,
    stripped,
    usable,
    variable,
)
from asana_jobs._client.http.transport import AiohttpTransport, Transport
from asana_jobs.errors import RequestTimeoutError, TokenError, TransportError

# `Duration` stands in the signature that attrs makes of a converter.
from asana_jobs.policies import Duration, check_span, in_seconds  # noqa: F401  # pyright: ignore[reportUnusedImport]


#: An async callable that returns a token. It is asked at first use, and again when Asana refuses the token.
TokenProvider: TypeAlias = Callable[[], Awaitable[str]]

#: Where a token is looked for, in this order; then ASANA_ACCESS_TOKEN_FILE names a file that holds one.
TOKEN_VARIABLES: Final = ("ASANA_ACCESS_TOKEN", "ASANA_PAT", "ASANA_TOKEN")
#: The variable that names a file with a token in it, for secrets that are mounted.
TOKEN_FILE_VARIABLE: Final = "ASANA_ACCESS_TOKEN_FILE"  # noqa: S105  # a variable's name

#: Where OAuth renews tokens.
TOKEN_PATH: Final = "/-/oauth_token"  # noqa: S105  # a path

_NOWHERE: Final = f"no access token: set {', '.join(TOKEN_VARIABLES)} or {TOKEN_FILE_VARIABLE}"
#: Placeholders, left where a token was to be put: ``$TOKEN``, ``${{ secrets.TOKEN }}``, ``%TOKEN%``, ``<your token>``,
#: ``YOUR_ACCESS_TOKEN``, ``xxxxxxxx``, ``...``, the variable's own name.
_PLACEHOLDER: Final = re.compile(
    rf"\$\w+|\$?\{{.*\}}|\$\(.*\)|%\w+%|<.*>|(?i:my|your)[-_.][-\w. ]*(?i:token|pat|here)|(?i:x){{3,}}|\.{{3,}}|\u2026|{'|'.join(TOKEN_VARIABLES)}"
)
_ASSIGNMENT: Final = re.compile(rf"(?:export\s+)?(?P<name>{'|'.join(TOKEN_VARIABLES)})\s*=")
_SCHEME: Final = re.compile(r"(?:authorization\s*:\s*)?bearer(?:[\s:]|$)", re.IGNORECASE)
_MADE: Final = "A personal access token is made in Asana's developer console; asana-jobs simulate needs none"


def find_token(environment: Mapping[str, str] | None = None, *, otherwise: str = "") -> tuple[Secret, str]:
    """Return the token, and the name of the variable it was found in.

    Args:
        environment: Where to look, by default in that of the process.
        otherwise: What to do instead of setting a variable, as the message says it if there is none.

    Raises:
        TokenError: there is none, or it cannot be one.
    """
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
            reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
            raise TokenError(f"{TOKEN_FILE_VARIABLE} names {name}, which cannot be read: {reason}") from None
        what = f"the content of the file that {TOKEN_FILE_VARIABLE} names"
        return check_token(token, what), TOKEN_FILE_VARIABLE
    raise TokenError(f"{_NOWHERE}{otherwise}. {_MADE}.")


def check_token(token: object, what: str = "the token") -> Secret:
    """Return *token* masked.

    Args:
        token: What is said to be one.
        what: Its name in the message, which never shows it.

    Raises:
        TokenError: it cannot be one.
    """
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
    """One token, fixed or renewed by a provider; any number of callers renew it once.

    Args:
        token: The token, or what provides one; ``None`` looks into the environment.

    Raises:
        TokenError: there is none, or it cannot be one.
    """

    def __init__(self, token: str | TokenProvider | None) -> None:
        #: What sources of the same token have in common: the token, or its provider.
        self.owner: object = token
        self._provider = token if callable(token) else None
        #: The header in force, if there is one yet. Every renewal makes a new object, even if the token is the same
        #: again, so that a refusal of an older one is told apart.
        self.header: Authorization | None = None
        self._renewing: asyncio.Lock | None = None
        self._renewals = 0
        self._failure: BaseException | None = None
        if token is None:
            token, _ = find_token(otherwise=", or hand one over: AsanaClient(token)")
        if not callable(token):
            self.owner = token = check_token(token)
            self.header = Authorization(token)

    def __repr__(self) -> str:
        return "<TokenSource from a provider>" if self._provider else "<TokenSource fixed>"

    @property
    def renewable(self) -> bool:
        """Whether a refused token can be replaced."""
        return self._provider is not None

    async def authorization(self, refused: Authorization | None = None) -> Authorization:
        """Return the header to send, after a renewal if it is *refused*: the one that Asana answered 401 to."""
        if self.header is not None and not (self.renewable and self.header is refused):
            return self.header
        if self._renewing is None:
            self._renewing = asyncio.Lock()
        renewals = self._renewals
        async with self._renewing:
            if self._renewals == renewals:
                await self._renew()
            elif self._failure is not None:
                raise copy.copy(self._failure)  # it failed for everybody who waited for it
        assert self.header is not None  # noqa: S101  # renewed, or an error
        return self.header

    async def _renew(self) -> None:
        assert self._provider is not None  # noqa: S101  # a fixed token is there from the start
        self._failure = None
        try:
            self.header = Authorization(
                check_token(await self._provider(), "what the token provider returned")
            )
        except Exception as error:
            self._failure = error
            self._renewals += 1
            raise
        # Not if whoever renews is cancelled: the next in line does it.
        self._renewals += 1


def _secret(value: str) -> str:
    return Secret(value) if value and isinstance(cast("object", value), str) else value


def _check_secret(_: object, attribute: attrs.Attribute[Any], value: object) -> None:
    if not isinstance(value, str) or not value:
        raise ValueError(f"{attribute.name} must be a non-empty string, not {type(value).__name__}")
    if around := copied_along(value):
        raise ValueError(f"{attribute.name} has {around}")


def _origin(value: str | None) -> str | None:
    if value is None:
        return None
    origin = check_base_url(value, "origin", plain_http=plain_http_allowed())
    if at_asana(URL(origin)) and URL(origin).path != "/":
        raise ValueError(f"origin must be a host alone, such as https://app.asana.com, not {origin}")
    return origin


@attrs.define
class OAuthRefresh:
    """A token provider for `AsanaClient`: trades a refresh token for access tokens when they are needed.

    Args:
        client_id: The OAuth app's id.
        client_secret: The OAuth app's secret.
        refresh_token: The user's refresh token.
        on_refresh: Called with the new refresh token when Asana hands one out, so that you can store it.
        origin: The host to ask; by default that of ``ASANA_BASE_URL``, or ``https://app.asana.com``.
        timeout: Seconds (or a `timedelta`) one try may take.
        transport: What to send with instead of a connection of its own, for tests.
        proxy: As for `AsanaClient`.

    Raises, when it is asked for a token:
        TokenError: Asana refuses the refresh token, such as ``invalid_grant``: the user must log in again.
        TransportError: no usable answer; a wait outlives that.

    Source: developers.asana.com, OAuth; ``POST /-/oauth_token``, form-encoded, tokens live 3600 s.
    """

    client_id: str
    client_secret: str = attrs.field(repr=False, converter=_secret, validator=_check_secret)
    refresh_token: str = attrs.field(
        repr=False, converter=_secret, validator=_check_secret, on_setattr=attrs.setters.NO_OP
    )
    on_refresh: Callable[[str], object] | None = attrs.field(default=None, kw_only=True)
    origin: str | None = attrs.field(default=None, kw_only=True, converter=_origin)
    timeout: float = attrs.field(default=30.0, kw_only=True, converter=in_seconds, validator=check_span)
    transport: Transport | None = attrs.field(default=None, kw_only=True, repr=False)
    proxy: str | None = attrs.field(default=None, kw_only=True, repr=False)

    async def __call__(self) -> str:
        """Return a fresh access token."""
        network = find_network(self.proxy)
        base_url = self.origin or str(URL(find_base_url(None, plain_http=network.plain_http)).origin())
        transport = self.transport or AiohttpTransport(base_url, user_agent="asana_jobs", network=network)
        form = {
            "grant_type": "refresh_token",
            "client_id": self.client_id,
            "client_secret": self.client_secret,
            "refresh_token": self.refresh_token,
        }
        request = Request(
            method="POST",
            path=TOKEN_PATH,
            body=SecretBytes(urlencode(form).encode()),
            content_type="application/x-www-form-urlencoded",
            safety=Safety.IDEMPOTENT,
            timeout=self.timeout,
        )
        try:
            response = await transport.send(request)
        finally:
            if self.transport is None:
                await transport.close()
        if response.status == 429 or response.status >= 500:
            kind = RequestTimeoutError if response.status == 504 else TransportError
            what = f"POST {TOKEN_PATH} was answered {response.status}; try again later"
            raise error_about(kind, request, f"the token could not be renewed: {what}")
        try:
            answer = response.json()
        except ValueError:
            answer = None
        if not isinstance(answer, dict):
            what = f"the answer was not JSON ({self._masked(describe(response))})"
            raise error_about(TransportError, request, f"the token could not be renewed: {what}")
        return self._read(response.status, cast("dict[str, Any]", answer))

    def _masked(self, text: str) -> str:
        return masked_text(masked_text(text, Secret(self.client_secret)), Secret(self.refresh_token))

    def _read(self, status: int, answer: dict[str, Any]) -> str:
        token = answer.get("access_token")
        if status != 200 or not isinstance(token, str):
            reason = answer.get("error") or f"status {status}"
            detail = f" ({answer['error_description']})" if answer.get("error_description") else ""
            said = self._masked(f"{reason}{detail}")
            raise TokenError(
                f"Asana does not renew the token of app {self.client_id}: {said:.500}; log in again"
            )
        renewed = answer.get("refresh_token")
        if isinstance(renewed, str) and renewed and renewed != self.refresh_token:
            self.refresh_token = Secret(renewed)
            if self.on_refresh is not None:
                self.on_refresh(renewed)
        return Secret(token)
