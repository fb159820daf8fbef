"""What commands learn survives them: in one small file, without gids, names and tokens."""

from __future__ import annotations

import json
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest
from command_line import Ended, LocalAsana, local_asana, run_here

from asana_jobs.cli import learned
from asana_jobs.cli.connection import open_client


_TOKEN = "good-token"
_LAUNCHES = "".join(
    f'{{"kind": "duplicate_project", "gid": "12031203", "name": "Launch {n}"}}\n' for n in range(4)
)


@pytest.fixture
def asana(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Generator[LocalAsana, None, None]:
    """A local Asana that is taken for the real one."""
    with local_asana() as running:
        monkeypatch.setattr(learned, "ORIGINS", {running.simulator.origin})
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
        yield running


def duplicate(asana: LocalAsana, tmp_path: Path, ledger: str, **variables: str) -> Ended:
    """Duplicate a project four times."""
    file = tmp_path / "launches.jsonl"
    file.write_text(_LAUNCHES, encoding="utf-8")
    return run_here("run", str(file), "--ledger", str(tmp_path / ledger), asana=asana, variables=variables)


def files(tmp_path: Path) -> list[Path]:
    """What there is in the cache folder."""
    return [*(tmp_path / "cache").glob("asana-jobs/*")]


def quotas(tmp_path: Path) -> dict[str, float]:
    """The quotas in the file."""
    (file,) = files(tmp_path)
    return dict(json.loads(file.read_text())["quotas"])


def ends_of(tmp_path: Path, kind: str = "duplicate_project") -> float:
    """How many ends of a kind are counted in the file."""
    (file,) = files(tmp_path)
    kinds: dict[str, Any] = json.loads(file.read_text())["durations"]["kinds"]
    return float(sum(kinds[kind]["events"]))


def test_what_one_command_learns_the_next_one_adds_to(asana: LocalAsana, tmp_path: Path) -> None:
    """Each end is counted once, however many commands come after it."""
    for times, ledger in enumerate(["a", "b", "c"], 1):
        assert duplicate(asana, tmp_path, ledger).status == 0
        assert ends_of(tmp_path) == pytest.approx(4 * times, abs=0.01)


def test_neither_gids_nor_names_nor_tokens_are_kept(asana: LocalAsana, tmp_path: Path) -> None:
    """The file holds kinds and numbers, and only its user may read it."""
    duplicate(asana, tmp_path, "a")

    (file,) = files(tmp_path)
    text = file.read_text()
    made = [job.gid for job in asana.simulator.started]
    assert [word for word in ["12031203", "Launch", _TOKEN, *made] if word in text] == []
    assert file.stat().st_mode & 0o777 == 0o600


def test_a_command_begins_with_what_was_learned(
    asana: LocalAsana, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The client of the next command has the counts of the one before."""
    duplicate(asana, tmp_path, "a")
    begun: list[dict[str, Any]] = []
    kinds = learned._kinds  # pyright: ignore[reportPrivateUsage]

    def note(durations: dict[str, Any]) -> Any:
        begun.append(kinds(durations))
        return begun[-1]

    monkeypatch.setattr(learned, "_kinds", note)

    run_here("wait", "1", asana=asana)

    assert sum(begun[0]["duplicate_project"]["events"]) == pytest.approx(4, abs=0.01)


def test_what_others_learned_meanwhile_is_kept(
    asana: LocalAsana, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of two commands at the same time the one that ends last adds to what the first has written."""
    duplicate(asana, tmp_path, "a")
    (file,) = files(tmp_path)
    before = file.read_text()
    duplicate(asana, tmp_path, "b")
    meanwhile = file.read_text()
    file.write_text(before)
    keep = learned._keep  # pyright: ignore[reportPrivateUsage]

    def keep_after_another(*arguments: Any) -> None:
        file.write_text(meanwhile)
        keep(*arguments)

    monkeypatch.setattr(learned, "_keep", keep_after_another)
    duplicate(asana, tmp_path, "c")

    assert ends_of(tmp_path) == pytest.approx(12, abs=0.01)


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{",
        "[]",
        '{"durations": {"version": 99, "kinds": {}}, "quotas": {}}',
        '{"durations": {"version": 1, "kinds": {"duplicate_project": {"events": [1], "exposure": []}}}, "quotas": {}}',
    ],
)
def test_a_damaged_file_is_learned_anew(asana: LocalAsana, tmp_path: Path, content: str) -> None:
    """Whatever is in the file, commands work, and what they learn takes its place."""
    duplicate(asana, tmp_path, "a")
    (file,) = files(tmp_path)
    file.write_text(content)

    ended = duplicate(asana, tmp_path, "b")

    assert (ended.status, ended.stderr) == (0, "")
    assert ends_of(tmp_path) == pytest.approx(4, abs=0.01)


def test_the_quota_that_was_found_out_is_kept(
    asana: LocalAsana, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What one command found out of a token's quota, under a hash of it, is where the next one with it begins."""
    expected_of: list[float | None] = []
    found_out = iter([600.0])

    def note(budget: Any, *, expected: float | None, **options: Any) -> Any:
        client = open_client(budget, expected=next(found_out, expected), **options)
        expected_of.append(client.budget.expected)
        return client

    monkeypatch.setattr(learned, "open_client", note)
    for token in ("good-token", "good-token", "another"):
        run_here("wait", "1", asana=asana, variables={"ASANA_ACCESS_TOKEN": token})

    assert expected_of == [600, 600, None]
    assert [*quotas(tmp_path).values()] == [600]
    assert all(token not in files(tmp_path)[0].read_text() for token in ("good-token", "another"))


@pytest.mark.parametrize("word", ["off", "OFF", "0"])
def test_it_can_be_turned_off(asana: LocalAsana, tmp_path: Path, word: str) -> None:
    """With ``ASANA_JOBS_CACHE=off`` nothing is written."""
    assert duplicate(asana, tmp_path, "a", ASANA_JOBS_CACHE=word).status == 0
    assert files(tmp_path) == []


def test_what_a_simulator_teaches_is_not_kept(
    asana: LocalAsana, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Durations of another address than Asana's own are not those of Asana."""
    monkeypatch.undo()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))

    assert duplicate(asana, tmp_path, "a").status == 0
    assert files(tmp_path) == []
    assert {learned.ASANA} == learned.ORIGINS


def test_a_folder_that_cannot_be_written_is_no_trouble(asana: LocalAsana, tmp_path: Path) -> None:
    """Where nothing can be kept, commands end as they would."""
    (tmp_path / "cache").write_text("a file, no folder")

    ended = duplicate(asana, tmp_path, "a")

    assert (ended.status, ended.stderr) == (0, "")
