"""The token is in no file, stream, log or traceback that the commands leave behind."""

import json
import logging
import os
from pathlib import Path
from unittest.mock import patch

import pytest
from command_line import local_asana, run_here

from asana_jobs.testing import Reset, Status


_PART = "d15t1nct"
_TOKEN = f"1/eyJ0eXAiOiJKV1Qi.{_PART * 20}"


def test_no_token_in_what_a_whole_run_leaves_behind(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    """Commands, a bulk run with a ledger, waits, exports and failures leave no token in any file, stream or log."""
    for name in ("", "asana_jobs", "aiohttp", "asyncio"):
        caplog.set_level(logging.DEBUG, name or None)
    texts = _run_everything(tmp_path)

    left = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert {path.name for path in left} >= {"run.ledger", "export.json.gz", "operations.jsonl"}
    for path in left:
        assert _PART.encode() not in path.read_bytes(), path
    said = capfd.readouterr()
    logged = [f"{record.getMessage()} {vars(record)!r} {record.exc_text}" for record in caplog.records]
    assert len(logged) > 10
    for text in (*texts, said.out, said.err, *logged):
        assert _PART not in text


def _run_everything(folder: Path) -> list[str]:
    """Run the commands in *folder*, some of them into trouble; return what they said."""
    operations = folder / "operations.jsonl"
    lines = [{"kind": "duplicate_project", "gid": "1203", "name": f"Copy {number}"} for number in range(4)]
    operations.write_text("".join(f"{json.dumps(line)}\n" for line in lines), "ascii")
    ledger, export = str(folder / "run.ledger"), str(folder / "export.json.gz")
    texts: list[str] = []
    with local_asana() as asana, patch.object(os, "getcwd", lambda: str(folder)):
        asana.add_job("1203", ["in_progress", "succeeded"])
        asana.add_job("1204", ["in_progress", "failed"])
        variables = {
            "ASANA_BASE_URL": asana.simulator.base_url,
            "ASANA_ACCESS_TOKEN": _TOKEN,
            "ASANA_JOBS_TRACEBACK": "1",
            "XDG_STATE_HOME": str(folder / "state"),
            "HOME": str(folder),
        }

        def run(*arguments: str, **changed: str) -> None:
            ended = run_here(*arguments, variables={**variables, **changed})
            texts.extend((ended.stdout, ended.stderr))

        run("doctor")
        run("get", "1203")
        run("wait", "1203", "1204", "--timeout", "5")
        run("duplicate", "project", "1203", "--name", "Q3")
        run("run", str(operations), "--ledger", ledger)
        run("resume", ledger)
        run("export", "graph", "77", "-o", export)
        asana.do(lambda simulator: simulator.fail_next(Status(403), times=None))
        run("get", "1203")
        run("doctor")
        asana.do(lambda simulator: simulator.fail_next(Reset(), times=None))
        run("duplicate", "project", "1203", "--name", "Q4")
        run("get", "1203", ASANA_ACCESS_TOKEN=f"{_TOKEN} {_TOKEN}")
        run("get", "1203", ASANA_BASE_URL="https://user:pass@asana.example")
        run("wait", "not a gid")
        run("get", "1203", ASANA_ACCESS_TOKEN="", ASANA_ACCESS_TOKEN_FILE=_TOKEN)
    assert not any("this is a bug" in text for text in texts), texts
    return texts
