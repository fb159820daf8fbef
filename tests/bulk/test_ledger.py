"""A ledger as its users hold it: opened, asked, closed."""

import sqlite3
import threading
from contextlib import closing
from pathlib import Path

import pytest
from ledger_samples import COPY, RUNNING, WallClock, verdict

from asana_jobs._client.bulk.ledger import Ledger
from asana_jobs._client.bulk.ledger_rows import ClaimVerdict
from asana_jobs.errors import LedgerError
from asana_jobs.operations import ExportGraph


async def test_unfinished_end_is_refused(ledger: Ledger) -> None:
    """A job that still runs cannot be recorded as finished."""
    await ledger.claim("a", COPY)

    with pytest.raises(ValueError, match="77 has not finished"):
        await ledger.finished("a", RUNNING)


async def test_closing_lets_go_of_everything(path: Path, other: Ledger) -> None:
    """Closing a ledger lets others watch what it watched, and makes its open intents unknown."""
    async with Ledger.open(path) as ledger:
        await ledger.claim("a", COPY)
        await ledger.claim("b", COPY)
        await ledger.started("b", RUNNING)

    assert [await verdict(other, "a"), await verdict(other, "b")] == [
        ClaimVerdict.UNKNOWN,
        ClaimVerdict.RESUME,
    ]


async def test_ledger_closed_in_a_coroutine_says_so(path: Path) -> None:
    """A ledger that was closed without blocking the loop is as closed as any, and its thread has ended."""
    before = set(threading.enumerate())
    ledger = Ledger.open(path)
    (thread,) = (each for each in set(threading.enumerate()) - before if "ledger" in each.name)
    await ledger.aclose()
    await ledger.aclose()
    ledger.close()

    with pytest.raises(LedgerError, match="is closed"):
        await ledger.renew()
    thread.join(1)
    assert not thread.is_alive()


async def test_closing_leaves_no_owner_behind(path: Path, wall_clock: WallClock) -> None:
    """A ledger that is opened again and again keeps none of its earlier owners, nor those killed long ago."""
    for _ in range(3):
        async with Ledger.open(path, clock=wall_clock) as ledger:
            await ledger.renew()
    with closing(sqlite3.connect(path)) as reader:
        assert reader.execute("SELECT count(*) FROM owners").fetchone() == (0,)


async def test_a_row_is_found_by_its_key_and_by_its_job(ledger: Ledger) -> None:
    """Who knows a key or a job's gid has the row without reading all of them, and ``None`` is none."""
    await ledger.claim("a", COPY)
    await ledger.claim("b", COPY)
    await ledger.started("b", RUNNING)

    by_key, by_gid = ledger.find(key="b"), ledger.find(gid="77")
    assert by_key is not None
    assert by_key == by_gid
    assert (by_key.key, by_key.gid) == ("b", "77")
    assert ledger.find(key="c") is None
    assert ledger.find(gid="78") is None


async def test_of_rows_that_share_a_job_the_last_is_found(ledger: Ledger) -> None:
    """Exports share a job while it runs: its gid finds the row that was made last."""
    for key in ("a", "b"):
        await ledger.claim(key, ExportGraph("1203"))
        await ledger.started(key, RUNNING)

    found = ledger.find(gid="77")
    assert found is not None
    assert found.key == "b"


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({}, "a key or the gid"),
        ({"key": "a", "gid": "77"}, "a key or the gid"),
        ({"key": ""}, "key must be"),
        ({"gid": "x"}, "job gid must be a string of digits"),
    ],
)
def test_a_row_is_looked_for_by_one_thing(ledger: Ledger, given: dict[str, str], said: str) -> None:
    """Neither, both, and what cannot be a key or a gid are wrong arguments."""
    with pytest.raises(ValueError, match=said):
        ledger.find(**given)


def test_path_is_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A ledger that was opened by a relative path knows where it is."""
    monkeypatch.chdir(tmp_path)

    with Ledger.open("run.ledger") as ledger:
        assert ledger.path == tmp_path / "run.ledger"


async def test_closed_ledger_says_so(path: Path) -> None:
    """A closed ledger may be closed again, and says that it is closed to everything else."""
    ledger = Ledger.open(path)
    ledger.close()
    ledger.close()
    await ledger.aclose()

    with pytest.raises(LedgerError, match="is closed"):
        await ledger.renew()
    with pytest.raises(LedgerError, match="is closed"):
        ledger.summary()
