"""Attacks on the ledger's file: flipped bits on every page, odd cells in every column, found or harmless.

Whatever is done to a ledger of finished operations, none of them is to be started again, and nothing but a
`LedgerError` is to be raised. The test suite flips a few bits of each page; for more::

    python tests/campaign/test_ledger_corruption.py 400      # bits of each page; prints what it saw
"""

import asyncio
import os
import random
import sqlite3
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from re import finditer

import pytest

from asana_jobs import DuplicateProject, Job, Ledger
from asana_jobs._client.bulk.ledger_rows import ClaimVerdict, LedgerState
from asana_jobs.errors import LedgerError, OutcomeUnknownError
from asana_jobs.models import ProjectCompact
from asana_jobs.parameters import is_key


FLIPS = int(os.environ.get("ASANA_JOBS_FLIPS", "8"))
COPIES = [DuplicateProject("1203", name=f"Copy {number}", include=["members"]) for number in range(24)]
PAGE = 4096


async def fill(path: Path) -> None:
    """Make a ledger of which nothing is to be started again: finished, failed, running, unknown, accepted."""
    async with Ledger.open(path) as ledger:
        for number, copy in enumerate(COPIES):
            key = f"copy {number}"
            await ledger.claim(key, copy)
            job = Job(
                str(7000 + number), status="in_progress", new_project=ProjectCompact(gid="88", name="Q3")
            )
            if number % 4 == 3:
                error = OutcomeUnknownError("lost", method="POST", path="/x", operation=copy)
                await ledger.unknown(key, error)
                continue
            await ledger.started(key, job, "token")
            if number % 4 < 2:
                status = "succeeded" if number % 4 else "failed"
                await ledger.finished(key, Job(job.gid, status=status, new_project=job.new_project))
        await ledger.accept_unknown("copy 3")
        await ledger.claim("intent", COPIES[0])
        row = next(row for row in ledger.rows(LedgerState.INTENT))
        assert row.holder is not None
    # An owner that still holds something, as after a kill.
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute(
            "INSERT INTO owners VALUES ('0123456789abcdef', 'elsewhere', 'elsewhere', 4711, '1', 9e9)"
        )
        connection.execute(
            "UPDATE operations SET state = 'intent', owner = '0123456789abcdef' WHERE key = 'intent'"
        )


async def use(path: Path) -> str:
    """Do everything that a run does with a ledger; return how it was refused, or ``""``. Nothing may be started."""
    try:
        async with Ledger.open(path) as ledger:
            refusals: set[str] = set()
            for number, copy in enumerate([*COPIES, COPIES[0]]):
                key = f"copy {number}" if number < len(COPIES) else "intent"
                try:
                    claim = await ledger.claim(key, copy)
                except LedgerError as error:
                    refusals.add(str(error))
                else:
                    assert claim.verdict is not ClaimVerdict.START, key
            for tell in (
                ledger.summary,
                lambda: list(ledger.export()),
                lambda: [row.operation for row in ledger.rows()],
            ):
                try:
                    tell()
                except LedgerError as error:
                    refusals.add(str(error))
            return min(refusals, default="")
    except LedgerError as error:
        return str(error)


def flipped(whole: bytes, dice: random.Random, flips: int) -> Iterator[tuple[int, bytes]]:
    """Yield the position of one bit and the file with it flipped, some bits of each page, all of the header's bytes."""
    for page in range(len(whole) // PAGE):
        places = [page * PAGE + dice.randrange(PAGE) for _ in range(flips)]
        for place in [*range(100), *places] if page == 0 else places:
            changed = bytearray(whole)
            changed[place] ^= 1 << dice.randrange(8)
            yield place, bytes(changed)


ODD: list[object] = [
    None, "", " ", "x", "intent ", "REFUSED", "\0", "a\0b", "\ud7ff", "{", "[]", "{}", "null", "[[]]", "9" * 5000,
    '{"gid": 7}', '{"gid": "5"}', "[" * 100_000, 0, -1, 1, 2**62, -(2**62), 0.5, float("inf"), -float("inf"), 1e300,
    b"", b"\xff\xfe", b"intent", b"1", "2026-11-22", "2026-11-22T00:00:00", "0001-01-01T00:00:00+23:59",
]  # fmt: skip


NO_TEXT = "text\nthat is no UTF-8"


def odd_cells(path: Path) -> Iterator[tuple[str, str, object]]:
    """Yield every column with every odd value."""
    with closing(sqlite3.connect(path)) as connection:
        columns = [
            (table, record[1])
            for table in ("operations", "owners")
            for record in connection.execute(f"PRAGMA table_info({table})")
        ]
    for table, column in columns:
        for value in [*ODD, NO_TEXT]:
            as_text = value if isinstance(value, str | bytes) else str(value)  # as the column stores numbers
            if not (
                column in {"key", "earlier_key"} and is_key(as_text)
            ):  # that is an operation under another key
                yield table, column, value


def write_cell(path: Path, table: str, column: str, value: object) -> bool:
    """Write one value into a column of some rows; whether the table takes it."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        written = "CAST(x'fffe41' AS TEXT)" if value == NO_TEXT else "?"
        values = () if written != "?" else (value,)
        where = "rowid % 5 = 1 AND rowid < 2" if table == "operations" else "1"
        try:
            statement = f"UPDATE {table} SET {column} = {written} WHERE {where}"  # noqa: S608  # no user's text
            changed = connection.execute(statement, values).rowcount
        except sqlite3.IntegrityError:
            return False
    return changed > 0


def clear(path: Path) -> None:
    """Remove a ledger and what lies beside it."""
    for left in path.parent.glob(f"{path.name}*"):
        left.unlink()


async def flip_bits(folder: Path, flips: int, seed: int) -> Counter[str]:
    """Flip bits, one at a time, and use what is left."""
    path, seen = folder / "run.ledger", Counter[str]()
    await fill(path)
    whole = path.read_bytes()
    for place, content in flipped(whole, random.Random(seed), flips):  # noqa: S311  # repeatable on purpose
        attacked = folder / f"{place}.ledger"
        attacked.write_bytes(content)
        seen["refused" if await use(attacked) else "harmless"] += 1
        clear(attacked)
    return seen


async def write_cells(folder: Path, every: int = 1) -> Counter[str]:
    """Write odd cells, one at a time, of which each *every*-th is tried, and use what is left."""
    path, seen = folder / "run.ledger", Counter[str]()
    await fill(path)
    whole = path.read_bytes()
    attacked = folder / "odd.ledger"
    for table, column, value in list(odd_cells(path))[::every]:
        attacked.write_bytes(whole)
        if write_cell(attacked, table, column, value):
            seen["refused" if await use(attacked) else "harmless"] += 1
        clear(attacked)
    return seen


@pytest.mark.looptime(False)  # noqa: FBT003  # looptime's own way to say it
@pytest.mark.timeout(60 + 20 * FLIPS)
async def test_flipped_bits(tmp_path: Path) -> None:
    """A flipped bit anywhere is found or harmless: no operation is started again, and no foreign error is raised."""
    seen = await flip_bits(tmp_path, FLIPS, seed=7)

    assert seen["refused"] > 40  # the rest is in parts of pages that nothing uses, or in the texts of errors


@pytest.mark.looptime(False)  # noqa: FBT003  # looptime's own way to say it
async def test_flipped_bits_of_keys_and_states(tmp_path: Path) -> None:
    """A flipped bit in any copy of a key or a state, in the table or in an index, is found when the ledger is opened."""
    path = tmp_path / "run.ledger"
    await fill(path)
    whole = path.read_bytes()
    places = [
        found.start() + 1
        for text in (b"copy 5", b"copy 17", b"copy 2", b"accepted")
        for found in finditer(text, whole)
    ]
    assert len(places) > 12
    for place in places:
        changed = bytearray(whole)
        changed[place] ^= 4
        attacked = tmp_path / f"{place}.ledger"
        attacked.write_bytes(changed)

        with pytest.raises(LedgerError, match="is damaged"):
            Ledger.open(attacked)


@pytest.mark.looptime(False)  # noqa: FBT003  # looptime's own way to say it
@pytest.mark.timeout(180)
async def test_odd_cells(tmp_path: Path) -> None:
    """An odd cell in any column is found or harmless: no operation is started again, and no foreign error is raised."""
    seen = await write_cells(tmp_path, every=7)

    assert seen["refused"] > 40


async def _main(flips: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        seed = random.SystemRandom().randrange(2**30)
        print("bits", dict(await flip_bits(Path(folder), flips, seed)), flush=True)  # noqa: T201
    with tempfile.TemporaryDirectory() as folder:
        print("cells", dict(await write_cells(Path(folder))))  # noqa: T201


if __name__ == "__main__":
    asyncio.run(_main(int(sys.argv[1])))
