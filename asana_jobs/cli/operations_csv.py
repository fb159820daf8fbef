"""Operations in a table: a header that names the arguments, an operation to a row."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping
from typing import Final, cast

from asana_jobs.cli.complaint import UsageError


#: Spreadsheets separate cells by what their country does not use in numbers.
_DELIMITERS: Final = ",;\t"
_REQUIRED: Final = ("kind", "gid")
_FLAGS: Final = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
_FLAG_COLUMNS: Final = frozenset({"public", "is_strict", "schedule_dates.should_skip_weekends"})


def csv_rows(text: str, name: str) -> Iterator[tuple[int, Mapping[str, object] | ValueError]]:
    """Yield the line number and the arguments of each row, or what is wrong with it.

    Raises:
        UsageError: the header does not name a kind and a gid.
    """
    lines = text.splitlines(keepends=True)
    start = next((place for place, line in enumerate(lines) if line.strip()), 0)
    header = lines[start] if lines else ""
    delimiter = max(_DELIMITERS, key=header.count)
    rows = csv.reader(io.StringIO("".join(lines[start:]), newline=""), delimiter=delimiter, strict=True)
    columns = [cell.strip() for cell in next(rows, list[str]())]
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
    outer = {column.partition(".")[0] for column in columns if "." in column}
    if len(set(columns)) < len(columns) or outer & set(columns):
        raise UsageError(f"{name}, line 1: a column is named twice")


def _arguments(columns: list[str], cells: list[str]) -> Mapping[str, object] | ValueError:
    if len(cells) > len(columns):
        return ValueError(f"{len(cells)} cells, but the header has {len(columns)}; put quotes round a comma")
    arguments: dict[str, object] = {}
    # A row may be shorter than the header: spreadsheets leave out the empty cells at its end.
    for column, cell in zip(columns, cells, strict=False):
        if not cell.strip():
            continue
        value: object = cell if column == "name" else cell.strip()
        if column in _FLAG_COLUMNS:
            if (flag := _FLAGS.get(cell.strip().lower())) is None:
                return ValueError(f"{column} must be true or false, not {cell!r}")
            value = flag
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
