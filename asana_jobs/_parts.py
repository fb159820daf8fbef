"""What a client is put together from: what cannot be such a part is a `ValueError` before anything is made."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from asana_jobs._clock import Clock
from asana_jobs._durations import Durations
from asana_jobs._gate import Gate
from asana_jobs._transport import Transport
from asana_jobs.policies import RateLimits, RetryPolicy, check_policy


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


def check_parts(**parts: object) -> None:
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
