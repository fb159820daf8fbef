"""Files of operations, as people and their programs write them."""

from __future__ import annotations

import json

import pytest

from asana_jobs import DuplicateProject
from asana_jobs.cli.errors import UsageError
from asana_jobs.cli.operations_file import read_entries


WANTED = DuplicateProject("1203", name="Q3, Lima", include=["members", "task_notes"])
FIELDS = {"kind": "duplicate_project", "gid": "1203", "name": "Q3, Lima", "include": "members,task_notes"}
CSV = 'kind,gid,name,include\nduplicate_project,1203,"Q3, Lima","members,task_notes"\n'


@pytest.mark.parametrize(
    "text",
    [
        CSV,
        CSV.replace("kind,gid,name", "Kind,GID,NAME"),
        CSV.replace("\n", "\r\n"),
        CSV.replace(",1203,", ", 1203, ").replace(",gid,name,", ", gid, name, "),
        CSV.replace("include\n", "include,,\n").replace('notes"\n', 'notes",,\n'),
        CSV.replace('notes"\n', 'notes",,,\n'),
        CSV.replace("members,task_notes", "members; task_notes"),
        CSV.replace("1203", "'1203"),
        CSV.replace("1203", '"=""1203"""'),
        "sep=,\n" + CSV,
        '"sep=;"\r\nKind;Gid;Name;Include\r\nduplicate_project;1203;Q3, Lima;members,task_notes\r\n',
        "sep=|\nkind|gid|name|include\nduplicate_project|1203|Q3, Lima|members,task_notes\n",
        "SEP=\t\nkind\tgid\tname\tinclude\nduplicate_project\t1203\tQ3, Lima\tmembers,task_notes\n",
        json.dumps(FIELDS),
        json.dumps(FIELDS, indent=2),
        json.dumps([FIELDS]),
        json.dumps([FIELDS], indent=2),
        f"\n[\n{json.dumps(FIELDS)},\n]\n",
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_each_way_to_write_it_is_read(text: str, encoding: str) -> None:
    """Spreadsheets and programs of all countries may write the same operation; it is the same."""
    assert [entry.operation for entry in read_entries(text.encode(encoding), "f")] == [WANTED]


def test_objects_follow_each_other(capsys: pytest.CaptureFixture[str]) -> None:
    """What jq prints without -c, one object after the other, is read whole; lines are counted to the one that is wrong."""
    other = {**FIELDS, "gid": "1204"}
    text = "\n".join(json.dumps(fields, indent=2) for fields in (FIELDS, other))
    assert [entry.operation.gid for entry in read_entries(text.encode(), "f")] == ["1203", "1204"]

    with pytest.raises(UsageError, match="1 line is wrong"):
        read_entries(text.replace('"1204"', '"x"').encode(), "f")

    assert capsys.readouterr().err.startswith("f, line 7: gid must be")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (CSV.replace("1203", "1.20345E+15"), "line 2: gid is 1.20345E+15, a number that a spreadsheet made"),
        (
            CSV.replace("1203", '"1,20345E+15"'),
            "line 2: gid is 1,20345E+15, a number that a spreadsheet made",
        ),
        (CSV.replace("1203", "1203.0"), "line 2: gid is 1203.0, a number that a spreadsheet made"),
        (
            CSV.replace("include", "team").replace('"members,task_notes"', "1E+15"),
            "line 2: team is 1E+15, a number",
        ),
        (CSV.replace("name", ""), "line 2: column 3 has no name in the header, but holds 'Q3, Lima'"),
        (CSV.replace('"\n', '",,x\n'), "line 2: 6 cells, but the header has 4"),
        (f"[{json.dumps(FIELDS)},\n7]", "line 2: not an object"),
        (f"[{json.dumps(FIELDS)},\n", "line 2: the array has no end"),
        (f"[{json.dumps(FIELDS)},\n{{", "line 2: not whole JSON: '{'"),
        (f"[{json.dumps(FIELDS)}]\n[]", "line 1: something comes after the array"),
        ('{\n"kind": "duplicate_project"', "line 1: not whole JSON"),
    ],
)
def test_what_cannot_be_meant_is_told_by_line(
    text: str, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A gid that a spreadsheet has shortened, a cell of no column and half a file are refused where they stand."""
    with pytest.raises(UsageError, match="1 line is wrong, nothing was started"):
        read_entries(text.encode(), "f")

    assert told in capsys.readouterr().err
