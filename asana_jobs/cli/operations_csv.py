"""Operations in a table: a header that names the arguments, an operation to a row."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Mapping
from typing import Final, cast

from asana_jobs.cli.complaint import UsageError
from asana_jobs.cli.plain import shortened


#: Spreadsheets separate cells by what their country does not use in numbers.
_DELIMITERS: Final = ",;\t"
_REQUIRED: Final = ("kind", "gid")
_FLAGS: Final = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
_FLAG_COLUMNS: Final = frozenset({"public", "is_strict", "schedule_dates.should_skip_weekends"})
_GID_COLUMNS: Final = frozenset({"gid", "team", "workspace"})
#: What a spreadsheet writes before the header to say how cells are separated.
_SEPARATOR: Final = re.compile(r'"?sep=([^"\w\r\n ])"?\s*', re.IGNORECASE)
#: A gid that is kept from becoming a number, and one that became one.
_TEXT_GID: Final = re.compile(r"""'(\d+)|="(\d+)\"""")
_NUMBER: Final = re.compile(r"\d+[.,]\d*|\d(?:[.,]\d+)?[eE]\+?\d+")


def csv_rows(text: str, name: str) -> Iterator[tuple[int, Mapping[str, object] | ValueError]]:
    """Yield the line number and the arguments of each row, or what is wrong with it.

    Raises:
        UsageError: the header does not name a kind and a gid.
    """
    lines = text.splitlines(keepends=True)
    start = next((place for place, line in enumerate(lines) if line.strip()), 0)
    header = lines[start] if lines else ""
    if separator := _SEPARATOR.fullmatch(header):
        start += 1
    delimiter = separator[1] if separator else max(_DELIMITERS, key=header.count)
    rows = csv.reader(
        io.StringIO("".join(lines[start:]), newline=""),
        delimiter=delimiter,
        skipinitialspace=True,
        strict=True,
    )
    columns = [cell.strip().lower() for cell in next(rows, list[str]())]
    _check_header(columns, name)
    began = start + rows.line_num + 1
    while True:
        try:
            cells = next(rows)
        except StopIteration:
            return
        except csv.Error as error:
            yield began, ValueError(f"not CSV: {error}")
            return  # where the next row begins, nobody knows
        if any(cell.strip() for cell in cells):
            yield began, _arguments(columns, cells)
        began = start + rows.line_num + 1


def _check_header(columns: list[str], name: str) -> None:
    missing = [column for column in _REQUIRED if column not in columns]
    if missing:
        raise UsageError(
            f"{name} is neither JSON lines nor CSV: its first line must be an object such as "
            f'{{"kind": "duplicate_project", "gid": "1203", "name": "Q3"}}, or a header with kind and gid'
        )
    named = [column for column in columns if column]
    outer = {column.partition(".")[0] for column in named if "." in column}
    if len(set(named)) < len(named) or outer & set(named):
        raise UsageError(f"{name}, line 1: a column is named twice")


def _arguments(columns: list[str], cells: list[str]) -> Mapping[str, object] | ValueError:
    if any(cell.strip() for cell in cells[len(columns) :]):
        return ValueError(f"{len(cells)} cells, but the header has {len(columns)}; put quotes round a comma")
    arguments: dict[str, object] = {}
    # A row may be shorter than the header: spreadsheets leave out the empty cells at its end.
    for number, (column, cell) in enumerate(zip(columns, cells, strict=False), 1):
        if not cell.strip():
            continue
        if not column:
            return ValueError(f"column {number} has no name in the header, but holds {shortened(cell, 40)!r}")
        try:
            value = _value(column, cell)
        except ValueError as error:
            return error
        outer, dot, inner = column.partition(".")
        if dot:
            cast("dict[str, object]", arguments.setdefault(outer, {}))[inner] = value
        else:
            arguments[column] = value
    dates = arguments.get("schedule_dates")
    if isinstance(dates, dict):
        # As the option --skip-weekends does.
        cast("dict[str, object]", dates).setdefault("should_skip_weekends", False)
    return arguments


def _value(column: str, cell: str) -> object:
    word = cell.strip()
    if column == "name":
        return cell
    if column == "include":
        return word.replace(";", ",")
    if column in _FLAG_COLUMNS:
        if (flag := _FLAGS.get(word.lower())) is None:
            raise ValueError(f"{column} must be true or false, not {cell!r}")
        return flag
    if column in _GID_COLUMNS:
        if text := _TEXT_GID.fullmatch(word):
            return text[1] or text[2]
        if _NUMBER.fullmatch(word):
            raise ValueError(
                f"{column} is {word}, a number that a spreadsheet made of a gid: give the column the format Text, "
                "and enter the gid again"
            )
    return word
