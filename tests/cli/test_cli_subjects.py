"""Gids on standard input, as programs and people write them."""

from __future__ import annotations

import io
import sys

import pytest

from asana_jobs.cli.errors import UsageError
from asana_jobs.cli.job_arguments import read_job_arguments


@pytest.mark.parametrize(
    "text",
    [
        "1205\n1206\n",
        "1205, 1206",
        "1205;1206\r\n",
        '"1205"\n"1206"\n',
        '["1205","1206"]\n',
        '[\n  "1205",\n  "1206"\n]\n',
        "gid\n1205\n1206\n",
        '"GID"\r\n"1205"\r\n"1206"\r\n',
        '{"gid": "1205"}\n{"data": {"gid": "1206"}}\n',
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_gids_are_read_in_each_form(text: str, encoding: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With quotes and brackets, as jq prints them, under a header, and in a spreadsheet's encoding."""
    _stand_in(monkeypatch, text.encode(encoding))

    assert [subject.gid for subject in read_job_arguments(["-"])] == ["1205", "1206"]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("1205\ngid\n", "line 2 of standard input: a gid is a string of digits"),
        ("name\n1205\n", "line 1 of standard input: a gid is a string of digits"),
        ('["1205", "x"]\n', "line 1 of standard input: a gid is a string of digits"),
        ("1205\n1.20345E+15\n", "line 2 of standard input: a gid is a string of digits"),
        ("gid\n", "give at least one gid"),
    ],
)
def test_what_is_no_gid_is_told_by_line(text: str, told: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another header, or a gid that a spreadsheet has shortened, is refused where it stands."""
    _stand_in(monkeypatch, text.encode())

    with pytest.raises(UsageError, match=told):
        read_job_arguments(["-"])


def _stand_in(monkeypatch: pytest.MonkeyPatch, content: bytes) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content), "utf-8"))
