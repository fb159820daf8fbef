"""What commands learn and the next ones begin with: how long jobs take, and how many requests a minute a token may make.

It is one small file in the user's cache folder: counts of ages per kind of job, without gids or names, and quotas under
hashes of tokens. Only what Asana itself answered is kept. ``ASANA_JOBS_CACHE=off`` keeps and reads nothing.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import TYPE_CHECKING, Any, Final, Self, TypeAlias
from urllib.parse import urlsplit

import attrs

import asana_jobs
from asana_jobs.cli.connection import open_client


if TYPE_CHECKING:
    from asana_jobs import AsanaClient, PollPolicy
    from asana_jobs.cli.options import BudgetOptions
    from asana_jobs.events import Event


ASANA: Final = "https://app.asana.com"
#: Whose answers are worth keeping: those of a simulator are not.
ORIGINS: Final = {ASANA}
_OFF: Final = {"off", "no", "false", "0"}
#: Ends of one kind after which the past counts half, as while a client learns.
_MEMORY: Final = 2000
#: Tokens whose quotas are kept.
_TOKENS: Final = 50

#: Completions and seconds watched in each bin of age, by kind of job, as `Durations.to_dict` has them.
Kinds: TypeAlias = dict[str, dict[str, list[float]]]


@attrs.frozen
class Learned:
    """What is in the file.

    Attributes:
        durations: What `Durations.from_dict` reads.
        quotas: Requests a minute that were found out, by hash of the token.
    """

    durations: Mapping[str, Any] = attrs.field(factory=lambda: {"version": 1, "kinds": {}})
    quotas: Mapping[str, float] = attrs.field(factory=dict[str, float])

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read the file; one that is not there, or not whole, holds nothing."""
        try:
            found = json.loads(path.read_text("ascii"))
            return cls(
                dict(found["durations"]), {str(name): float(it) for name, it in found["quotas"].items()}
            )
        except (OSError, ValueError, TypeError, LookupError, AttributeError, RecursionError):
            return cls()

    def write(self, path: Path) -> None:
        """Write the file, whole or not at all."""
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with NamedTemporaryFile("w", dir=path.parent, delete=False, encoding="ascii") as file:  # mode 600
            json.dump(attrs.asdict(self), file)
        Path(file.name).replace(path)


@asynccontextmanager
async def learning_client(
    budget: BudgetOptions,
    on_event: Callable[[Event], object] | None = None,
    poll: PollPolicy | None = None,
) -> AsyncGenerator[AsanaClient]:
    """Open a client made from the environment that begins with what was learned, and keep what it learns.

    Raises:
        TokenError: there is no token.
        UsageError: the environment or an option is wrong.
    """
    path = _path()
    before = Learned() if path is None else Learned.read(path)
    token = _hash(asana_jobs.tokens.find_token()[0])
    async with open_client(budget, expected=before.quotas.get(token), on_event=on_event, poll=poll) as client:
        durations = client.durations
        with suppress(ValueError):  # damaged, or of a later version: learned anew
            durations.merge(type(durations).from_dict(before.durations))
        at_first = _kinds(durations.to_dict())
        try:
            yield client
        finally:
            if path is not None:
                with suppress(OSError):  # there is no room or no right to keep it
                    _keep(path, client, at_first, token)


def _hash(token: str) -> str:
    return hashlib.sha256(f"asana-jobs quota of {token}".encode()).hexdigest()[:32]


def _path() -> Path | None:
    """Return the file for the API of the environment, or ``None`` if nothing is kept of it."""
    url = urlsplit(os.environ.get("ASANA_BASE_URL", "").strip() or ASANA)
    off = os.environ.get("ASANA_JOBS_CACHE", "").strip().lower() in _OFF
    if off or f"{url.scheme}://{url.netloc}" not in ORIGINS:
        return None
    home = Path(os.environ.get("XDG_CACHE_HOME", "").strip())
    if not home.is_absolute():  # the XDG base directory specification has any other value ignored
        home = Path.home() / ".cache"
    return home / "asana-jobs" / f"{url.netloc.replace(':', '-')}.json"


def _kinds(durations: Mapping[str, Any]) -> Kinds:
    """Return the counts of each kind, without those of single templates and projects, which are named by gids."""
    return {name: counts for name, counts in durations["kinds"].items() if "/" not in name}


def _keep(path: Path, client: AsanaClient, at_first: Kinds, token: str) -> None:
    """Add what was learned since *at_first* to what the file holds by now, other commands' news included."""
    durations = client.durations
    now, quota = _kinds(durations.to_dict()), client.budget.expected
    kept = Learned.read(path)
    quotas = {**kept.quotas, token: quota} if quota is not None else kept.quotas
    if now == at_first and quotas == kept.quotas:
        return
    try:
        total = _kinds(type(durations).from_dict(kept.durations).to_dict())
    except ValueError:
        total = {}
    for name, counts in now.items():
        zeros = [0.0] * len(counts["events"])
        first, known = at_first.get(name, {}), total.get(name, {})
        total[name] = {
            column: [
                round(old + max(0.0, new - begin), 3)
                for old, new, begin in zip(
                    known.get(column, zeros), counts[column], first.get(column, zeros), strict=True
                )
            ]
            for column in ("events", "exposure")
        }
        if sum(total[name]["events"]) > _MEMORY:
            total[name] = {column: [value / 2 for value in it] for column, it in total[name].items()}
    Learned({**durations.to_dict(), "kinds": total}, dict([*quotas.items()][-_TOKENS:])).write(path)
