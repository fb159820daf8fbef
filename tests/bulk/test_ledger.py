"""A ledger as its users hold it: opened, asked, closed."""

import sqlite3
import threading
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from ledger_samples import COPY, LOST, RUNNING, WallClock, verdict

from asana_jobs._client.bulk.ledger import Ledger
from asana_jobs._client.bulk.ledger_rows import ClaimVerdict, LedgerState, LedgerSummary
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
        ({}, r"find takes a key or the gid of a job: find\(key=key\) or find\(gid=gid\)$"),
        (
            {"key": "a", "gid": "77"},
            r"find takes a key or the gid of a job: find\(key=key\) or find\(gid=gid\)$",
        ),
        ({"key": ""}, "key must be"),
        ({"gid": "x"}, "job gid must be a string of digits"),
    ],
)
def test_a_row_is_looked_for_by_one_thing(ledger: Ledger, given: dict[str, str], said: str) -> None:
    """Neither, both, and what cannot be a key or a gid are wrong arguments."""
    with pytest.raises(ValueError, match=f"^{said}"):
        ledger.find(**given)


async def test_what_are_no_keys_and_no_states_is_refused_in_a_sentence(ledger: Ledger) -> None:
    """A list where one key after the other is meant, and a word that is no state; nothing is settled."""
    keys: Any = ["a", "b"]
    state: Any = "lost"
    await ledger.claim("a", COPY)
    await ledger.unknown("a", LOST)
    with pytest.raises(ValueError, match=r"^accept_unknown takes one key") as several:
        await ledger.accept_unknown(keys)
    with pytest.raises(ValueError, match=r"^key must be"):
        await ledger.accept_unknown("a", "")
    with pytest.raises(ValueError, match=r"^rows takes") as none:
        ledger.rows(LedgerState.UNKNOWN, state)

    assert str(several.value) == (
        "accept_unknown takes one key after the other, not ['a', 'b']: write accept_unknown(*keys)"
    )
    assert str(none.value) == (
        "rows takes states, such as rows(LedgerState.UNKNOWN, LedgerState.FAILED), not 'lost'"
    )
    assert ledger.summary() == LedgerSummary(unknown=1)
    assert await ledger.accept_unknown("nobody's", "a") == 1
    assert [(row.state, row.error, row.error_type) for row in ledger.rows()] == [
        (LedgerState.ACCEPTED, str(LOST), "OutcomeUnknownError")
    ]


def test_a_ledger_is_opened_and_not_made(path: Path) -> None:
    """Who calls the class is told what to write, with the path in it."""
    kind: Any = Ledger
    for given, shown in (([str(path)], f"'{path}'"), ([], "path")):
        with pytest.raises(TypeError) as caught:
            kind(*given)
        assert str(caught.value) == f"a ledger is opened, not made: write Ledger.open({shown})"


async def test_half_a_minute_is_waited_for_a_locked_file(path: Path) -> None:
    """Unless another time is given."""
    asked: list[object] = []
    for opened in (Ledger.open(path), Ledger.open(path, busy_timeout=0.5)):
        with opened as ledger:
            asked.append(
                ledger._thread.read(lambda session: session.execute("PRAGMA busy_timeout").fetchone()[0])  # pyright: ignore[reportPrivateUsage]
            )

    assert asked == [30000, 500]


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
