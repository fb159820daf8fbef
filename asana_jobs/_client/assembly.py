"""The way from a user's arguments to an `ApiSession`, shared by the client and by a wait without one.

An argument that cannot be what it stands for is a `ValueError` before anything is made.
"""

from __future__ import annotations

import logging
import platform
import re
from typing import TYPE_CHECKING, Final

from yarl import URL

from asana_jobs import __version__
from asana_jobs._client.clock import Clock, SystemClock
from asana_jobs._client.http.api_changes import change_headers
from asana_jobs._client.http.api_session import ApiSession
from asana_jobs._client.http.destinations import Destinations
from asana_jobs._client.http.lifetime import Lifetime
from asana_jobs._client.http.network import Network, find_network
from asana_jobs._client.http.origin import crosses_in_clear, find_base_url
from asana_jobs._client.http.tokens import TokenProvider, TokenSource
from asana_jobs._client.http.transport import AiohttpDownloads, AiohttpTransport, Downloads, Transport
from asana_jobs._client.limits.gate import Gate, LocalGate
from asana_jobs._client.telemetry.listeners import make_telemetry
from asana_jobs.policies import Duration, PollPolicy, RateLimits, RetryPolicy, seconds


if TYPE_CHECKING:
    import aiohttp

    from asana_jobs._client.telemetry.telemetry import OnEvent


SESSION_MEMBERS: Final = ("request", "close", "closed", "auth", "trust_env")
TRANSPORT_MEMBERS: Final = ("send", "close")
CLOCK_MEMBERS: Final = ("monotonic", "now", "random", "sleep", "timeout", "call_later")
GATE_MEMBERS: Final = ("acquire", "snapshot")

_log = logging.getLogger("asana_jobs")


def make_session(
    token: str | TokenProvider | None,
    *,
    base_url: str,
    network: Network | None = None,
    limits: RateLimits | None = None,
    retry: RetryPolicy | None = None,
    poll: PollPolicy | None = None,
    timeout: Duration = 30.0,
    session: aiohttp.ClientSession | None = None,
    allow_middlewares: bool = False,
    transport: Transport | None = None,
    clock: Clock | None = None,
    user_agent: str | None = None,
    gate: Gate | None = None,
    on_event: OnEvent | None = None,
    enable: object = (),
    disable: object = (),
) -> ApiSession:
    """Put together the session through which a client sends its requests.

    *base_url* and *network* are what `find_way` returns; everything else is as for `AsanaClient`.

    Raises:
        TokenError: there is no token, or it cannot be one.
        ValueError: an argument is wrong.
    """
    check_instance("limits", limits, RateLimits)
    check_instance("retry", retry, RetryPolicy)
    if session is not None and transport is not None:
        raise ValueError("give session or transport, not both")
    _check_part("session", session, "an aiohttp.ClientSession", SESSION_MEMBERS)
    _check_part("transport", transport, "a Transport", TRANSPORT_MEMBERS)
    _check_part("clock", clock, "a Clock", CLOCK_MEMBERS)
    _check_part("gate", gate, "a Gate", GATE_MEMBERS)
    if transport is None and crosses_in_clear(URL(base_url)):
        _log.warning("the token is sent to %s in clear, since plain http is allowed", base_url)
    headers = change_headers(enable, disable)
    time = clock or SystemClock()
    budget = gate or LocalGate(limits or RateLimits(), time)
    return ApiSession(
        transport=transport
        or AiohttpTransport(
            base_url,
            user_agent=user_agent_of(user_agent),
            session=session,
            allow_middlewares=allow_middlewares,
            network=network,
        ),
        gate=budget,
        tokens=TokenSource(token),
        retry=retry or RetryPolicy(),
        clock=time,
        lifetime=Lifetime(),
        timeout=_positive(timeout),
        first_contact=(poll or PollPolicy()).first_contact,
        telemetry=make_telemetry(on_event, clock=time, gate=budget, base_url=base_url),
        headers=headers,
    )


def find_way(
    base_url: str | None,
    *,
    proxy: str | None = None,
    allow_plain_http: bool = False,
    session: aiohttp.ClientSession | None = None,
    transport: Transport | None = None,
) -> tuple[str, Network]:
    """Return where the API is, and the way there; the arguments are as for `AsanaClient`.

    A *session* has a way of its own, as has a *transport*; but files are fetched without that.

    Raises:
        ValueError: a token must not be sent there, or there is no such way.
    """
    if proxy and session is not None:
        raise ValueError("give proxy or session: write session=aiohttp.ClientSession(proxy=...)")
    if proxy and transport is not None:
        raise ValueError("give proxy or transport: a transport has a proxy of its own")
    network = find_network(proxy, allow_plain_http=allow_plain_http)
    if session is not None:
        network = Network(plain_http=network.plain_http)
    base_url = find_base_url(base_url, plain_http=network.plain_http)
    if proxy and URL(base_url).scheme == "http":
        raise ValueError(
            f"only https goes through a proxy: leave proxy out to reach {base_url}, or write https://"
        )
    return base_url, network


def make_downloads(
    user_agent: str | None, base_url: str, network: Network, session: aiohttp.ClientSession | None = None
) -> Downloads:
    """Return what a client of *base_url* fetches export files with."""
    return AiohttpDownloads(
        user_agent=user_agent_of(user_agent),
        destinations=Destinations.of(base_url),
        network=network,
        session=session,
    )


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


#: What is meant by a bare number.
_INSTEAD: Final = {"limits": "RateLimits(requests_per_minute=1500)", "retry": "RetryPolicy(attempts=3)"}


def check_instance(name: str, value: object, kind: type) -> None:
    """Raise `ValueError` if the argument *name* is given and is no *kind*."""
    if value is not None and not isinstance(value, kind):
        instead = f": write {name}={_INSTEAD[name]}" if name in _INSTEAD else ""
        raise ValueError(f"{name} must be a {kind.__name__}, not {_kind_of(value)}{instead}")


def _check_part(name: str, value: object, what: str, members: tuple[str, ...]) -> None:
    """Raise `ValueError` if the argument *name*, which anybody may write, is given and lacks one of its *members*."""
    if value is None:
        return
    missing = [member for member in members if not hasattr(value, member)]
    if missing:
        raise ValueError(f"{name} must be {what}, not {_kind_of(value)}, which has no {', '.join(missing)}")
    if isinstance(value, type):
        raise ValueError(f"{name} must be {what}, not {_kind_of(value)}")


def _kind_of(value: object) -> str:
    # The value is not shown: it may be a token in the wrong place.
    return f"the class {value.__name__} itself" if isinstance(value, type) else type(value).__name__
