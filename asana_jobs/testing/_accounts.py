"""Tokens and the users behind them."""

from collections.abc import Iterable, Mapping
from typing import Any, cast

from attrs import define, field

from asana_jobs.testing._answers import MESSAGES, ApiError
from asana_jobs.testing._requests import token_label
from asana_jobs.testing._time import SimulatorTime


WORKSPACE = {"gid": "1199000000000001", "resource_type": "workspace", "name": "Simulated Workspace"}
_FIRST_USER = 1198000000000001


def _as_users(tokens: Iterable[str] | Mapping[str, str] | None) -> dict[str, str] | None:
    if tokens is None:
        return None
    if isinstance(tokens, Mapping):
        return dict(cast("Mapping[str, str]", tokens))
    if isinstance(tokens, str | bytes) or not isinstance(tokens, Iterable):
        raise ValueError("tokens must be a list of the good tokens, not one: write tokens=[token]")
    return {token: _user_name(token) for token in tokens}


def _user_name(token: str) -> str:
    # Users are shown in logs and saved to files: tokens are not.
    return f"user-{token_label(token)}"


@define
class Accounts:
    """Which tokens are good, and whose they are.

    Attributes:
        known: tokens (access and refresh) and their users' names; None when any token is good
            and every token is a user of its own.
    """

    known: dict[str, str] | None = field(converter=_as_users)
    time: SimulatorTime
    _issued: dict[str, tuple[str, float]] = field(factory=dict[str, tuple[str, float]])
    _expired: set[str] = field(factory=set[str])
    _users: dict[str, dict[str, Any]] = field(factory=dict[str, dict[str, Any]])

    def user_of(self, token: str | None) -> str:
        """The user a token acts as; 401 when there is no token, or a bad or expired one."""
        user = None if token is None or token in self._expired else self._lookup(token)
        if user is None:
            raise ApiError(401, MESSAGES[401])
        return user

    def _lookup(self, token: str) -> str | None:
        if token in self._issued:
            user, expiry = self._issued[token]
            return user if self.time.elapsed() < expiry else None
        return _user_name(token) if self.known is None else self.known.get(token)

    def owner(self, token: str) -> str:
        """The user a token belongs to, good or not."""
        return self._lookup(token) or _user_name(token)

    def expire(self, token: str) -> None:
        """Make a token bad from now on."""
        self._expired.add(token)

    def issue(self, refresh_token: str, seconds: float) -> str | None:
        """A new access token for the owner of a refresh token; None when that is not good."""
        user = None if refresh_token in self._expired else self._lookup(refresh_token)
        if user is None:
            return None
        token = f"simulated-access-token-{len(self._issued) + 1}"
        self._issued[token] = (user, self.time.elapsed() + seconds)
        return token

    def profile(self, user: str) -> dict[str, Any]:
        """The user object of a user."""
        if user not in self._users:
            number = len(self._users)
            self._users[user] = {
                "gid": str(_FIRST_USER + number),
                "resource_type": "user",
                "name": f"Simulated User {number + 1}",
                "email": f"user{number + 1}@example.com",
                "workspaces": [dict(WORKSPACE)],
            }
        return self._users[user]
