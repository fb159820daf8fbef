"""OAuth: a token provider that renews access tokens, which live one hour."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, cast
from urllib.parse import urlencode

import attrs
from yarl import URL

from asana_jobs._answers import describe
from asana_jobs._origin import at_asana, check_base_url, find_base_url
from asana_jobs._sansio import Request, Safety
from asana_jobs._secret import Secret, SecretBytes, copied_along
from asana_jobs._transport import AiohttpTransport, Transport
from asana_jobs.errors import RequestTimeoutError, TokenError, TransportError
from asana_jobs.policies import Duration, seconds


TOKEN_PATH: Final = "/-/oauth_token"  # noqa: S105  # a path


def _secret(value: object, what: str) -> Secret:
    if not isinstance(value, str) or not value:
        raise ValueError(f"{what} must be a non-empty string, not {type(value).__name__}")
    secret = Secret(value)
    if around := copied_along(secret):
        raise ValueError(f"{what} has {around}")
    return secret


def _client_secret(value: str) -> Secret:
    return _secret(value, "client_secret")


def _refresh_token(value: str) -> Secret:
    return _secret(value, "refresh_token")


def _origin(value: str | None) -> str | None:
    if value is None:
        return None
    origin = check_base_url(value, "origin")
    if at_asana(URL(origin)) and URL(origin).path != "/":
        raise ValueError(f"origin must be a host alone, such as https://app.asana.com, not {origin}")
    return origin


def _timeout(value: Duration) -> float:
    return seconds(value, "timeout")


@attrs.define
class OAuthRefresh:
    """A token provider for `AsanaClient`: trades a refresh token for access tokens when they are needed.

    Args:
        client_id: The OAuth app's id. ``client_secret``: its secret. ``refresh_token``: the user's.
        on_refresh: Called with the new refresh token when Asana hands one out, so that you can store it.
        origin: The host to ask; by default that of ``ASANA_BASE_URL``, or ``https://app.asana.com``.
        timeout: Seconds (or a `timedelta`) one try may take.

    Raises, when it is asked for a token:
        TokenError: Asana refuses the refresh token, such as ``invalid_grant``: the user must log in again.
        TransportError: no usable answer; a wait outlives that.

    Source: developers.asana.com, OAuth; ``POST /-/oauth_token``, form-encoded, tokens live 3600 s.
    """

    client_id: str
    client_secret: str = attrs.field(repr=False, converter=_client_secret)
    refresh_token: str = attrs.field(repr=False, converter=_refresh_token, on_setattr=attrs.setters.NO_OP)
    on_refresh: Callable[[str], object] | None = attrs.field(default=None, kw_only=True)
    origin: str | None = attrs.field(default=None, kw_only=True, converter=_origin)
    timeout: float = attrs.field(default=30.0, kw_only=True, converter=_timeout)
    transport: Transport | None = attrs.field(default=None, kw_only=True, repr=False)

    async def __call__(self) -> str:
        """Return a fresh access token."""
        base_url = self.origin or str(URL(find_base_url(None)).origin())
        transport = self.transport or AiohttpTransport(base_url, user_agent="asana_jobs")
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
            raise kind(
                f"the token could not be renewed: POST {TOKEN_PATH} was answered {response.status}; try again later",
                method="POST",
                path=TOKEN_PATH,
            )
        return self._read(response.status, _parse(response.json, describe(response)))

    def _read(self, status: int, answer: dict[str, Any]) -> str:
        token = answer.get("access_token")
        if status != 200 or not isinstance(token, str):
            reason = answer.get("error") or f"status {status}"
            detail = f" ({answer['error_description']})" if answer.get("error_description") else ""
            said = f"{reason}{detail}".replace(self.client_secret, "***").replace(self.refresh_token, "***")
            raise TokenError(
                f"Asana does not renew the token of app {self.client_id}: {said:.500}; log in again"
            )
        renewed = answer.get("refresh_token")
        if isinstance(renewed, str) and renewed and renewed != self.refresh_token:
            self.refresh_token = Secret(renewed)
            if self.on_refresh is not None:
                self.on_refresh(renewed)
        return Secret(token)


def _parse(read: Callable[[], Any], body: str) -> dict[str, Any]:
    try:
        answer = read()
    except ValueError:
        answer = None
    if not isinstance(answer, dict):
        raise TransportError(
            f"the token could not be renewed: the answer was not JSON ({body})",
            method="POST",
            path=TOKEN_PATH,
        )
    return cast("dict[str, Any]", answer)
