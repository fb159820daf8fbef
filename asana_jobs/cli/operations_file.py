"""The operations of a file, JSON or CSV: every line is checked before anything is started.

A copy of them is kept beside the ledger of a run, so that the ledger is enough to go on with.
"""

from __future__ import annotations

import codecs
import csv
import io
import json
import os
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final, TextIO, cast

import attrs

import asana_jobs
from asana_jobs.cli.errors import UsageError, say
from asana_jobs.cli.terminal import sanitize, shorten
from asana_jobs.parameters import check_key


if TYPE_CHECKING:
    from asana_jobs.operations import Operation


#: Spreadsheets separate cells by what their country does not use in numbers.
_DELIMITERS: Final = ",;\t"
_REQUIRED: Final = ("kind", "gid")
_FLAGS: Final = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
_FLAG_COLUMNS: Final = frozenset({"public", "is_strict", "schedule_dates.should_skip_weekends"})
_GID_COLUMNS: Final = frozenset({"gid", "team", "workspace"})
#: Columns such as ``requested_dates.Launch``: what follows the dot is a name or gid of the template's, as it is written.
_NAMED_COLUMNS: Final = ("requested_dates", "requested_roles")
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
    columns = [_column(cell) for cell in next(rows, list[str]())]
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


def _column(cell: str) -> str:
    """Return the name of a column, in which only what a person has named keeps its capitals."""
    outer, dot, inner = cell.strip().partition(".")
    outer = outer.lower()
    return f"{outer}{dot}{inner.strip() if outer in _NAMED_COLUMNS else inner.lower()}"


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
            return ValueError(f"column {number} has no name in the header, but holds {shorten(cell, 40)!r}")
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
    if column in _GID_COLUMNS or column.startswith("requested_roles."):
        if text := _TEXT_GID.fullmatch(word):
            return text[1] or text[2]
        if _NUMBER.fullmatch(word):
            raise ValueError(
                f"{column} is {word}, a number that a spreadsheet made of a gid: give the column the format Text, "
                "and enter the gid again"
            )
    return word


STANDARD_INPUT: Final = "-"
_SEPARATORS: Final = re.compile(r"[\s,]*")
#: How an SQLite file begins, as a ledger is.
_LEDGER_BEGINS: Final = b"SQLite format 3\x00"


@attrs.frozen
class FileEntry:
    """One operation of a file, with its key if the file gives it one."""

    key: str | None
    operation: Operation

    @property
    def item(self) -> Operation | tuple[str, Operation]:
        """The operation as a bulk run takes it."""
        return self.operation if self.key is None else (self.key, self.operation)

    def to_line(self) -> str:
        """Write it as a line that `read_entries` reads."""
        fields = self.operation.to_dict()
        if self.key is not None:
            fields = {"key": self.key, **fields}
        return json.dumps(fields, ensure_ascii=True) + "\n"


def read_file(name: str) -> list[FileEntry]:
    """Return the operations of the file *name*; ``-`` is standard input.

    Raises:
        UsageError: it cannot be read, holds no operation, or a line is wrong; all wrong lines have been told.
    """
    if name == STANDARD_INPUT:
        return read_entries(standard_input().buffer.read(), "standard input")
    try:
        content = Path(name).read_bytes()
    except OSError as error:
        raise UsageError(f"{name} cannot be read: {error.strerror or error}") from None
    if content.startswith(_LEDGER_BEGINS):
        raise UsageError(f"{name} is a ledger, not a list of operations: asana-jobs resume {name}")
    return read_entries(content, name)


def standard_input() -> TextIO:
    """Return standard input, or raise `UsageError` if there is none."""
    if sys.stdin is None or sys.stdin.closed:
        raise UsageError("- was given, but there is no standard input")
    return sys.stdin


def encoding_of(content: bytes) -> str:
    """Return how *content*, a file of text, is to be decoded: as UTF-8, or as the UTF-16 that some spreadsheets write."""
    return "utf-16" if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) else "utf-8-sig"


def read_entries(content: bytes, name: str) -> list[FileEntry]:
    """Return the operations of *content*, or say which lines are wrong and raise `UsageError`."""
    try:
        text = content.decode(encoding_of(content))
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise UsageError(f"{name}, line {line}: not UTF-8 text; save the file as UTF-8") from None
    if text.lstrip().startswith(("{", "[")):
        rows = json_rows(text)
    else:
        rows = csv_rows(text, name) if text.strip() else iter(())
    entries: list[FileEntry] = []
    lines: dict[str, int] = {}
    problems = 0
    for number, fields in rows:
        try:
            if isinstance(fields, ValueError):
                raise fields
            entries.append(_read_entry(number, dict(fields), lines))
        except ValueError as error:
            problems += 1
            say(f"{sanitize(name)}, line {number}: {sanitize(error)}\n")
    if problems:
        wrong = "1 line is" if problems == 1 else f"{problems} lines are"
        raise UsageError(f"{name}: {wrong} wrong, nothing was started")
    if not entries:
        raise UsageError(f"{name} holds no operation")
    return entries


def json_rows(text: str) -> Iterator[tuple[int, Mapping[str, object] | ValueError]]:
    """Yield the line of each object, and the object, or what is wrong with it.

    An object stands on a line of its own, or in one array, or is spread over lines as programs print it for people.
    """
    start = len(text) - len(text.lstrip())
    if text[start] == "[":
        yield from _json_values(text, start + 1, end="]")
        return
    if text.split(maxsplit=1)[0] == "{":
        yield from _json_values(text, start, end="")
        return
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            yield number, _json_object(line)


def _json_values(text: str, at: int, end: str) -> Iterator[tuple[int, Mapping[str, object] | ValueError]]:
    """Yield what stands one after the other from *at*, up to *end*, after which nothing may come."""
    decode = json.JSONDecoder().raw_decode
    number, counted = 1, 0
    while True:
        at = cast("re.Match[str]", _SEPARATORS.match(text, at)).end()
        number, counted = number + text.count("\n", counted, at), at
        if text[at : at + 1] == end:
            if text[at + 1 :].strip():
                yield (
                    number,
                    ValueError("something comes after the array; write one array, or one object to a line"),
                )
            return
        try:
            found, at = cast("tuple[object, int]", decode(text, at))
        except (ValueError, RecursionError):
            rest = text[at:].partition("\n")[0]
            yield (
                number,
                ValueError(f"not whole JSON: {shorten(rest, 40)!r}" if rest else "the array has no end"),
            )
            return  # where the next object begins, nobody knows
        yield number, _as_object(found, text[counted:at])


def _json_object(line: str) -> Mapping[str, object] | ValueError:
    try:
        found: object = json.loads(line)
    except (ValueError, RecursionError):
        return ValueError(f"not whole JSON: {shorten(line, 40)!r}; write one object to a line")
    return _as_object(found, line)


def _as_object(found: object, line: str) -> Mapping[str, object] | ValueError:
    if not isinstance(found, dict):
        return ValueError(f'not an object such as {{"kind": ..., "gid": ...}}: {shorten(line, 40)!r}')
    return cast("Mapping[str, object]", found)


def _read_entry(number: int, fields: dict[str, object], lines: dict[str, int]) -> FileEntry:
    """Return the operation of line *number*; *lines* are those in which the keys so far were used."""
    key, kind = fields.pop("key", None), fields.get("kind")
    if key is not None:
        key = check_key(str(key) if isinstance(key, int) and not isinstance(key, bool) else key)
        if lines.setdefault(key, number) != number:
            raise ValueError(f"key {key!r} was used in line {lines[key]}: each operation needs its own")
    if isinstance(kind, str):
        fields["kind"] = kind.strip().replace("-", "_")  # as the commands spell it
    return FileEntry(key, asana_jobs.operations.operation_from_dict(fields))


_SUFFIX: Final = ".jsonl"


def saved_operations_path(ledger: Path) -> Path:
    """Return where the plan of *ledger* is."""
    return ledger.with_name(ledger.name + _SUFFIX)


def save_operations(ledger: Path, entries: Sequence[FileEntry]) -> None:
    """Write the operations down, whole or not at all, and on the disk before this returns.

    Raises:
        UsageError: it cannot be written.
    """
    path = saved_operations_path(ledger)
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        try:
            draft.unlink(missing_ok=True)
            with draft.open("x", encoding="ascii") as file:  # not through a link that somebody laid there
                file.writelines(entry.to_line() for entry in entries)
                file.flush()
                os.fsync(file.fileno())
            draft.replace(path)
        finally:
            draft.unlink(missing_ok=True)
        _sync_folder(path.parent)
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror or error}") from error


def _sync_folder(folder: Path) -> None:
    if os.name == "nt":
        return  # folders cannot be opened there, and renaming is as durable as it gets
    opened = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)


def load_operations(ledger: Path) -> list[FileEntry] | None:
    """Return what `save_operations` wrote for *ledger*, or ``None`` if there is nothing.

    Raises:
        UsageError: it cannot be read, or was changed into something else.
    """
    path = saved_operations_path(ledger)
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror or error}") from error
    return read_entries(content, str(path))
