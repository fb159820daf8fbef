"""From a user's arguments to an `Exchange`: shared by the client and by a wait without one."""

from __future__ import annotations

import platform
import re
from typing import TYPE_CHECKING

from asana_jobs._clock import Clock, SystemClock
from asana_jobs._exchange import Exchange
from asana_jobs._gate import Gate
from asana_jobs._lifetime import Lifetime
from asana_jobs._listeners import find_listeners
from asana_jobs._local_gate import LocalGate
from asana_jobs._tokens import TokenProvider, TokenSource
from asana_jobs._transport import AiohttpTransport, Transport
from asana_jobs._version import __version__
from asana_jobs.policies import Duration, RateLimits, RetryPolicy, seconds


if TYPE_CHECKING:
    import aiohttp

    from asana_jobs._telemetry import OnEvent


def assemble(
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
) -> Exchange:
    """Put together what a client sends its requests through."""
    time = clock or SystemClock()
    budget = gate or LocalGate(limits or RateLimits(), time)
    return Exchange(
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
        telemetry=find_listeners(on_event, clock=time, gate=budget, base_url=base_url),
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
