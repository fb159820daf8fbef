"""From a user's arguments to an `ApiSession`: shared by the client and by a wait without one.

What a client is put together from: what cannot be such a part is a `ValueError` before anything is made.
"""

from __future__ import annotations

import platform
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from asana_jobs import __version__
from asana_jobs._client.clock import Clock, SystemClock
from asana_jobs._client.http.api_session import ApiSession
from asana_jobs._client.http.lifetime import Lifetime
from asana_jobs._client.http.tokens import TokenProvider, TokenSource
from asana_jobs._client.http.transport import AiohttpDownloads, AiohttpTransport, Downloads, Transport
from asana_jobs._client.limits.gate import Gate, LocalGate
from asana_jobs._client.telemetry.listeners import make_telemetry
from asana_jobs._client.waiting.durations import Durations
from asana_jobs.policies import Duration, RateLimits, RetryPolicy, check_policy, seconds


if TYPE_CHECKING:
    import aiohttp

    from asana_jobs._client.telemetry.telemetry import OnEvent


def make_session(
    token: str | TokenProvider | None,
    *,
    base_url: str,
    limits: RateLimits | None = None,
    retry: RetryPolicy | None = None,
    timeout: Duration = 30.0,
    session: aiohttp.ClientSession | None = None,
    allow_middlewares: bool = False,
    transport: Transport | None = None,
    clock: Clock | None = None,
    user_agent: str | None = None,
    gate: Gate | None = None,
    on_event: OnEvent | None = None,
) -> ApiSession:
    """Put together what a client sends its requests through."""
    time = clock or SystemClock()
    budget = gate or LocalGate(limits or RateLimits(), time)
    return ApiSession(
        transport=transport
        or AiohttpTransport(
            base_url,
            user_agent=user_agent_of(user_agent),
            session=session,
            allow_middlewares=allow_middlewares,
        ),
        gate=budget,
        tokens=TokenSource(token),
        retry=retry or RetryPolicy(),
        clock=time,
        lifetime=Lifetime(),
        timeout=_positive(timeout),
        telemetry=make_telemetry(on_event, clock=time, gate=budget, base_url=base_url),
    )


def make_downloads(user_agent: str | None) -> Downloads:
    """Return what a client fetches export files with."""
    return AiohttpDownloads(user_agent=user_agent_of(user_agent))


def user_agent_of(product: str | None) -> str:
    """Return the User-Agent header, with the user's *product* before ours."""
    ours = f"asana_jobs/{__version__} python/{platform.python_version()}"
    if product is None:
        return ours
    given: object = product
    if not isinstance(given, str) or not re.fullmatch(r"[ -~]{1,500}", product):
        raise ValueError(f"user_agent must be 1 to 500 characters of visible ASCII, not {product!r:.60}")
    return f"{product} {ours}"


def _positive(timeout: Duration) -> float:
    value = seconds(timeout, "timeout")
    if value == 0:
        raise ValueError("timeout must be more than 0 seconds: no request is answered in none")
    return value


#: Parts of which there is one class.
_VALUES: Final[Mapping[str, type]] = {
    "limits": RateLimits,
    "retry": RetryPolicy,
    "durations": Durations,
}


def _asked_of(protocol: type) -> tuple[str, ...]:
    return tuple(name for name in vars(protocol) if not name.startswith("_"))


#: Parts that anybody may write: what they are, and what is asked of them.
_SEAMS: Final[Mapping[str, tuple[str, tuple[str, ...]]]] = {
    "transport": ("a Transport", _asked_of(Transport)),
    "clock": ("a Clock", _asked_of(Clock)),
    "gate": ("a Gate", _asked_of(Gate)),
    "session": ("an aiohttp.ClientSession", ("request", "close", "closed", "auth", "trust_env")),
}


def check_client_arguments(**parts: object) -> None:
    """Raise `ValueError` about the first of *parts* that is wrong; ``None`` is always right."""
    if parts.get("session") is not None and parts.get("transport") is not None:
        raise ValueError("give session or transport, not both")
    for name, part in parts.items():
        if part is not None:
            _check(name, part)


def _check(name: str, part: object) -> None:
    # The part is not shown: it may be a token in the wrong place.
    found = f"the class {part.__name__} itself" if isinstance(part, type) else type(part).__name__
    if name == "poll":
        check_policy(part)
        return
    kind = _VALUES.get(name)
    if kind is not None:
        if not isinstance(part, kind):
            raise ValueError(f"{name} must be a {kind.__name__}, not {found}")
        return
    what, asked = _SEAMS[name]
    missing = [each for each in asked if not hasattr(part, each)]
    if missing:
        raise ValueError(f"{name} must be {what}, not {found}, which has no {', '.join(missing)}")
    if isinstance(part, type):
        raise ValueError(f"{name} must be {what}, not {found}")
