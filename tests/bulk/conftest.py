"""Ledgers of one file: on this machine, and on another one."""

from collections.abc import Iterator
from pathlib import Path

import attrs
import pytest
from ledger_samples import WallClock

from asana_jobs._client.bulk import ledger_store
from asana_jobs._client.bulk.ledger import Ledger
from asana_jobs._client.bulk.ledger_owner import Owner, this_process


@pytest.fixture
def wall_clock() -> WallClock:
    """The time of day of all ledgers of a test."""
    return WallClock()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the ledger is."""
    return tmp_path / "run.ledger"


@pytest.fixture
def ledger(path: Path, wall_clock: WallClock) -> Iterator[Ledger]:
    """An open ledger."""
    with Ledger.open(path, clock=wall_clock) as ledger:
        yield ledger


@pytest.fixture
def neighbour(path: Path, wall_clock: WallClock) -> Iterator[Ledger]:
    """Another living user of the same file on this machine."""
    with Ledger.open(path, clock=wall_clock) as ledger:
        yield ledger


@pytest.fixture
def other(path: Path, wall_clock: WallClock, monkeypatch: pytest.MonkeyPatch) -> Iterator[Ledger]:
    """A user of the same file on another machine, which sees leases and no processes."""

    def elsewhere() -> Owner:
        return attrs.evolve(this_process(), host="elsewhere", machine="elsewhere")

    with monkeypatch.context() as patched:
        patched.setattr(ledger_store, "this_process", elsewhere)
        ledger = Ledger.open(path, clock=wall_clock)
    with ledger:
        yield ledger
