"""``asana-jobs doctor``: look at one thing after the other, and write each finding down."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import TYPE_CHECKING, Literal, NamedTuple

import asana_jobs
from asana_jobs.cli.connection import open_client
from asana_jobs.cli.errors import ExitStatus, message_of, status_of, worst_status
from asana_jobs.cli.events import event
from asana_jobs.cli.options import DEFAULT_BUDGET, BudgetOptions, Output
from asana_jobs.cli.program import run_async
from asana_jobs.cli.terminal import format_duration


if TYPE_CHECKING:
    from asana_jobs import AsanaClient, AsanaJobsError, RateLimits, Response
    from asana_jobs.cli.events import Event


def doctor(*, output: Output = "auto", budget: BudgetOptions = DEFAULT_BUDGET) -> ExitStatus:
    """Check the token, the connection and the budget.

    It reads who the token belongs to, three times, and changes nothing. The token itself is never shown.

    For example:

      asana-jobs doctor
      ASANA_BASE_URL=http://127.0.0.1:8123/api/1.0 asana-jobs doctor
    """

    async def examine() -> ExitStatus:
        from asana_jobs.cli.report import Report

        report = Report("findings", output)
        try:
            async for finding in _findings(budget):
                report.tell(finding)
        except asana_jobs.AsanaJobsError as error:
            report.statuses.add(status_of(error))
            report.tell(_broken(error))
        return report.end(worst_status(report.statuses))

    return run_async(examine)


_REQUESTS = 3
#: Seconds by which clocks may differ before it is worth a word: expiry dates and `Retry-After` dates go wrong.
_SKEW = 5.0
_UNSURE = 1.0
_REFUSED = "the token is wrong, expired or revoked: make a new one in Asana's developer console"


async def _findings(budget: BudgetOptions) -> AsyncIterator[Event]:
    yield _versions()
    client = open_client(budget)
    yield _token()
    async with client:
        for finding in _settings(client, budget.limits()):
            yield finding
        answers = [await _ask(client) for _ in range(_REQUESTS)]
    for finding in _judge_answers(answers):
        yield finding


def _finding(
    subject: str, verdict: Literal["good", "odd", "bad"], message: str, advice: str | None = None
) -> Event:
    """Return one thing that was looked at."""
    return event("finding", subject=subject, verdict=verdict, message=message, advice=advice)


def _versions() -> Event:
    from importlib.metadata import version

    parts = [f"asana-jobs {asana_jobs.__version__}", f"Python {platform.python_version()}"]
    parts += [f"{name} {version(name)}" for name in ("aiohttp", "attrs", "cattrs", "tenacity")]
    return _finding("versions", "good", ", ".join([*parts, platform.platform(terse=True)]))


def _token() -> Event:
    tokens = asana_jobs.tokens
    found = [
        name
        for name in (*tokens.TOKEN_VARIABLES, tokens.TOKEN_FILE_VARIABLE)
        if os.environ.get(name, "").strip()
    ]
    if len(found) > 1:
        others = ", ".join(found[1:])
        return _finding("token", "odd", f"from {found[0]}; {others} is set as well and not used")
    return _finding("token", "good", f"from {found[0]}")


def _settings(client: AsanaClient, limits: RateLimits) -> Iterator[Event]:
    source = "from ASANA_BASE_URL" if os.environ.get("ASANA_BASE_URL", "").strip() else "the default"
    yield _finding("address", "good", f"{client.base_url}, {source}")
    if client.base_url.startswith("https:"):
        yield _finding("proxy", "good", _proxy(client))
        yield _finding("trust", "good", _certificates())
    quota = limits.requests_per_minute
    pace = "found out as it goes" if quota is None else f"{quota * limits.share:g}"
    yield _finding(
        "budget",
        "good",
        f"requests a minute: {pace}; at once: {limits.reads_in_flight} reads, {limits.writes_in_flight} writes, "
        f"{limits.jobs_running} running jobs" + (f"; {limits.share:.0%} of it" if limits.share < 1 else ""),
    )


def _proxy(client: AsanaClient) -> str:
    names = ("https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY")
    source = next((name for name in names if os.environ.get(name, "").strip()), None)
    if client.proxy is not None:
        return f"{client.proxy}, from {source}"
    return "none" if source is None else f"none, since NO_PROXY names this host; {source} is set"


def _certificates() -> str:
    import ssl

    names = ("SSL_CERT_FILE", "SSL_CERT_DIR")
    found = [f"{value}, from {name}" for name in names if (value := os.environ.get(name, "").strip())]
    defaults = ssl.get_default_verify_paths()
    return (
        "; ".join(found) or f"certificates of {defaults.cafile or defaults.capath or 'nobody'}, the default"
    )


class _TimedResponse(NamedTuple):
    response: Response
    seconds: float
    clock: float


async def _ask(client: AsanaClient) -> _TimedResponse:
    began = time.monotonic()
    response = await client.request("GET", "/users/me")
    seconds = time.monotonic() - began
    return _TimedResponse(response, seconds, time.time() - seconds / 2)


def _judge_answers(answers: Sequence[_TimedResponse]) -> Iterator[Event]:
    from statistics import median

    yield _owner(answers[0].response)
    first, *later = [answer.seconds * 1000 for answer in answers]
    yield _finding(
        "latency", "good", f"{median(later):.0f} ms; the first, with its connection, {first:.0f} ms"
    )
    yield _skew(answers)


def _owner(response: Response) -> Event:
    try:
        user = response.json()["data"]
        mail = f" <{user['email']}>" if user.get("email") else ""
        return _finding("user", "good", f"{user['name']}{mail}, gid {user['gid']}")
    except (ValueError, KeyError, TypeError, AttributeError):
        return _finding(
            "user", "odd", "Asana answered, but not with a user", "is ASANA_BASE_URL the API's address?"
        )


def _skew(answers: Sequence[_TimedResponse]) -> Event:
    from email.utils import parsedate_to_datetime
    from statistics import median

    try:
        theirs = [parsedate_to_datetime(answer.response.headers["date"]).timestamp() for answer in answers]
    except (KeyError, ValueError):
        return _finding("clock", "odd", "the answer has no date to compare with")
    # The header is cut to whole seconds: on average the server's clock is half a second further.
    skew = median(answer.clock - date - 0.5 for answer, date in zip(answers, theirs, strict=True))
    if abs(skew) < _UNSURE:
        return _finding("clock", "good", "agrees with the server's within a second")
    side = "ahead of" if skew > 0 else "behind"
    words = f"{format_duration(abs(skew))} {side} the server's"
    if abs(skew) < _SKEW:
        return _finding("clock", "good", words)
    return _finding("clock", "odd", words, "set this machine's clock: dates in answers are misread otherwise")


def _broken(error: AsanaJobsError) -> Event:
    subject = "token" if isinstance(error, asana_jobs.errors.TokenError) else "Asana"
    # What it advises by itself is to call this command.
    advice = _REFUSED if isinstance(error, asana_jobs.AuthenticationError) else error.advice
    return _finding(subject, "bad", message_of(error), advice)
