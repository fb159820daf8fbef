"""The keys of operations: which there may be, and which are derived."""

import asyncio
import hashlib
import json
import sqlite3
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path

import pytest
from ledger_samples import COPY, of_the_first_schema, verdict

from asana_jobs._client.bulk.ledger import Ledger
from asana_jobs._client.bulk.ledger_keys import Keys, as_text, canonical
from asana_jobs._client.bulk.ledger_rows import ClaimVerdict
from asana_jobs.operations import DuplicateProject, DuplicateTask


@pytest.mark.parametrize("key", ["", " ", "a\nb", "\ud800", "x" * 501, 7])
async def test_useless_key_is_refused(ledger: Ledger, key: str) -> None:
    """A key that cannot name a row is a ValueError."""
    with pytest.raises(ValueError, match="key must be"):
        await ledger.claim(key, COPY)


async def test_longest_key_is_taken(ledger: Ledger) -> None:
    """A key may have 500 characters."""
    assert await verdict(ledger, "x" * 500) is ClaimVerdict.START


def test_equal_operations_have_different_keys() -> None:
    """Equal operations of one input are told apart by their turn among equals."""
    with Keys() as keys:
        named = [keys.key_of(operation) for operation in (COPY, DuplicateTask("5"), COPY)]

    assert len(set(named)) == 3
    assert named[0].removesuffix("#0") == named[2].removesuffix("#1")


def test_keys_survive_edits_of_the_input() -> None:
    """An operation keeps its key when others are put before it or taken away."""
    with Keys() as before, Keys() as after:
        key = before.key_of(COPY)
        after.key_of(DuplicateTask("5"))

        assert after.key_of(COPY) == key


def test_keys_are_the_same_in_every_version() -> None:
    """The key of a known operation is the one of the first release: or old ledgers would start all again."""
    with Keys() as keys:
        assert keys.key_of(COPY) == "27057af77cfa1940#0"


async def test_keys_of_another_thread() -> None:
    """The keys of one input may be asked for in another thread than the one that began."""
    with Keys() as keys:
        first = keys.key_of(COPY)
        second = await asyncio.to_thread(keys.key_of, COPY)

    assert first.removesuffix("#0") == second.removesuffix("#1")


def test_closed_keys_are_gone() -> None:
    """What was seen of an input is dropped at the end of the block, and may be dropped again."""
    with Keys() as keys:
        keys.key_of(COPY)

    with pytest.raises(sqlite3.ProgrammingError, match="closed"):
        keys.key_of(COPY)
    keys.close()


def first_key(content: Mapping[str, object], turn: int) -> str:
    """The key that the first version derived."""
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return f"{hashlib.sha256(text.encode()).hexdigest()[:16]}#{turn}"


async def test_keys_of_the_first_schema_are_found(path: Path) -> None:
    """Rows whose keys told the order of ``include`` apart are found by the keys of today, each once."""
    spelled = [COPY.to_dict() | {"include": words} for words in (["notes", "members"], ["members", "notes"])]
    keys = [first_key(spelled[0], 0), first_key(spelled[1], 0), first_key(spelled[0], 1)]
    rows = [(key, spelled[number % 2], "succeeded") for number, key in enumerate(keys)]
    of_the_first_schema(path, [*rows, ("mine", spelled[0], "succeeded")])

    operation = DuplicateProject("1203", name="Q3", include=["members", "notes"])
    with Ledger.open(path) as ledger, Keys() as derived:
        verdicts = [(await ledger.claim(derived.key_of(operation), operation)).verdict for _ in range(4)]
        assert (await ledger.claim("mine", operation)).verdict is ClaimVerdict.DONE

    assert verdicts == [*[ClaimVerdict.DONE] * 3, ClaimVerdict.START]


async def test_rows_of_others_do_not_end_the_search_for_keys_of_the_first_schema(path: Path) -> None:
    """A caller's own key, and one whose operation cannot be read, may come before those that are renamed."""
    content = COPY.to_dict() | {"include": ["notes", "members"]}
    old, damaged = first_key(content, 0), first_key({}, 0)
    of_the_first_schema(
        path, [("mine", content, "succeeded"), (damaged, {}, "failed"), (old, content, "succeeded")]
    )
    with closing(sqlite3.connect(path, isolation_level=None)) as vandal:
        broken = "x" * 40
        named = f"{hashlib.sha256(broken.encode()).hexdigest()[:16]}#0"
        vandal.execute("UPDATE operations SET key = ?, content = ? WHERE key = ?", (named, broken, damaged))

    with Ledger.open(path) as ledger, Keys() as keys:
        assert (await ledger.claim(keys.key_of(COPY), COPY)).verdict is ClaimVerdict.DONE


def test_the_text_of_an_operation_is_the_same_wherever_it_is_written() -> None:
    """Names in order and no blanks: keys of ledgers stand on it. Only what has no order at Asana is put into one."""
    copy = DuplicateProject("1203", name="Q3", include=["notes", "members"])
    turned = {"name": "Q3", "kind": "duplicate_project", "gid": "1203", "include": ["members", "notes"]}

    assert as_text(copy) == (
        '{"gid":"1203","include":["notes","members"],"kind":"duplicate_project","name":"Q3"}'
    )
    assert (
        canonical(copy.to_dict())
        == canonical(turned)
        == json.dumps(turned, sort_keys=True, separators=(",", ":"))
    )
    assert canonical({"gid": ["2", "1"]}) != canonical({"gid": ["1", "2"]})
    dates = [{"gid": "2", "value": "a"}, {"value": "b", "gid": "1"}]
    assert canonical({"requested_dates": dates}) == canonical({"requested_dates": dates[::-1]})


def test_what_was_seen_of_an_input_is_kept_without_a_journal() -> None:
    """It is as temporary as the input: nothing waits for a disk."""
    with Keys() as keys:
        seen = keys._seen  # pyright: ignore[reportPrivateUsage]
        settings = [seen.execute(f"PRAGMA {name}").fetchone()[0] for name in ("journal_mode", "synchronous")]
        assert (settings, seen.isolation_level) == (["off", 0], None)
