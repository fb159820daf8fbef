"""Operations, jobs and errors for tests of the ledger, and a clock whose time of day they set."""

import json
import sqlite3
import sys
import threading
from collections.abc import Mapping, Sequence
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from asana_jobs._client.bulk import ledger_sql
from asana_jobs._client.bulk.ledger import Ledger
from asana_jobs._client.bulk.ledger_rows import ClaimVerdict
from asana_jobs._client.clock import SystemClock
from asana_jobs.errors import BadRequestError, OutcomeUnknownError
from asana_jobs.models import Job, JobStatus, ProjectCompact
from asana_jobs.operations import DuplicateProject


COPY = DuplicateProject("1203", name="Q3", include=["members", "notes"])
RUNNING = Job("77", status=JobStatus.IN_PROGRESS, new_project=ProjectCompact(gid="88", name="Q3"))
ENDED = Job("77", status=JobStatus.SUCCEEDED, new_project=ProjectCompact(gid="88", name="Q3"))
BROKEN = Job("77", status=JobStatus.FAILED)
REFUSAL = BadRequestError("name: Missing input", status=400, method="POST", path="/projects/1203/duplicate")
LOST = OutcomeUnknownError("reset after the request", method="POST", path="/x", operation=COPY)


posix = pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX processes and permissions")


class WallClock(SystemClock):
    """A clock whose time of day is set by the test, and whose thread can be held up while it asks for it."""

    def __init__(self) -> None:
        super().__init__()
        self.time = datetime(2026, 11, 22, tzinfo=UTC)
        self.asked = threading.Event()
        self.may_go_on = threading.Event()
        self.may_go_on.set()

    def now(self) -> datetime:
        """Return the time of day, as soon as it may."""
        self.asked.set()
        assert self.may_go_on.wait(300)
        return self.time

    def pass_time(self, seconds: float) -> None:
        """Move the time of day on."""
        self.time += timedelta(seconds=seconds)

    def hold(self) -> None:
        """Hold up whoever asks for the time from now on."""
        self.asked.clear()
        self.may_go_on.clear()


async def verdict(ledger: Ledger, key: str = "a", *, retry_unknown: bool = False) -> ClaimVerdict:
    """Claim *key* and return what to do with it."""
    return (await ledger.claim(key, COPY, retry_unknown=retry_unknown)).verdict


def of_the_first_schema(path: Path, rows: Sequence[tuple[str, Mapping[str, object], str]]) -> None:
    """Make a ledger as the first version did, of keys, contents and states."""
    with closing(sqlite3.connect(path, isolation_level=None)) as old:
        for statement in ledger_sql.SCHEMA_VERSIONS[0]:
            old.execute(statement)
        old.execute(f"PRAGMA application_id={ledger_sql.APPLICATION}")
        old.execute("PRAGMA user_version=1")
        job = '{"gid": "77", "status": "STATE"}'
        for key, content, state in rows:
            old.execute(
                "INSERT INTO operations (key, content, state, gid, job, attempts, created_at, changed_at) "
                "VALUES (?, ?, ?, '77', ?, 1, '2026-11-22T00:00:00.000+00:00', '2026-11-22T00:00:00.000+00:00')",
                (
                    key,
                    json.dumps(content, sort_keys=True, separators=(",", ":")),
                    state,
                    job.replace("STATE", state),
                ),
            )
