"""The input of a run: operations from any iterable, pulled one at a time, each under its key."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Iterable, Iterator, Mapping
from typing import Any, TypeAlias, cast

import attrs

from asana_jobs._gids import check_many
from asana_jobs._ledger import Keys
from asana_jobs.models import R_co
from asana_jobs.operations import Operation


#: What ``run_all`` takes: operations, or pairs of a key and an operation; from a list, a generator, or an async one.
Operations: TypeAlias = (
    Iterable[Operation[R_co] | tuple[str, Operation[R_co]]]
    | AsyncIterable[Operation[R_co] | tuple[str, Operation[R_co]]]
)


@attrs.frozen
class Item:
    """One item of the input.

    Attributes:
        key: The caller's, or one that is derived.
        operation: What the caller gave, which may be none.
        problem: What is wrong with it, if anything is.
        derived_key: What names it in a ledger if the caller does not.
    """

    key: str
    operation: Operation
    problem: Exception | None = None
    derived_key: str | None = None


def check_operations(operations: object) -> Operations:
    """Return what can be iterated for operations, or raise a `ValueError` that shows what to write."""
    what = "run_all takes an iterable of operations"
    if isinstance(operations, Operation):
        raise ValueError(
            f"{what}, not one operation: write run_all([operation]), or run(operation), which returns its job"
        )
    if isinstance(operations, Mapping):
        instead = _unmapped(cast("Mapping[object, object]", operations))
        raise ValueError(f"{what}, or of pairs of a key and an operation, not a mapping: write {instead}")
    if _is_pair(operations):
        raise ValueError(f"{what}, not one pair of a key and an operation: write run_all([(key, operation)])")
    if isinstance(operations, AsyncIterable):
        return cast("Operations", operations)
    return cast("Operations", check_many(operations, what, write="run_all([{}])", name="operation"))


def _unmapped(operations: Mapping[object, object]) -> str:
    if "kind" in operations:
        return "run_all([operation_from_dict(data)])"
    return "run_all(operations.items())"


def _is_pair(operations: object) -> bool:
    if not isinstance(operations, tuple):
        return False
    items = cast("tuple[object, ...]", operations)
    return len(items) == 2 and isinstance(items[1], Operation) and not isinstance(items[0], Operation | tuple)


class Source:
    """Pulls items from the input of a run.

    Args:
        operations: What the user handed in.
        derive_keys: Whether items without a key are named by their content, as a ledger needs it, or else by
            their position.
    """

    def __init__(self, operations: Operations, *, derive_keys: bool) -> None:
        self._operations: Operations | None = operations
        self._iterator: Iterator[Any] | AsyncIterator[Any] = iter(())
        self._keys = Keys() if derive_keys else None
        self._position = 0
        self._error: Exception | None = None

    async def next(self) -> Item | None:
        """Return the next item, or ``None`` when there is none."""
        try:
            if self._operations is not None:
                operations, self._operations = self._operations, None
                self._iterator = (
                    aiter(operations) if isinstance(operations, AsyncIterable) else iter(operations)
                )
            if isinstance(self._iterator, AsyncIterator):
                item = await anext(self._iterator)
            else:
                item = next(self._iterator)
        except (StopIteration, StopAsyncIteration):
            return None
        except Exception as error:  # noqa: BLE001  # raised again when what is running has ended
            self._error = error
            return None
        self._position += 1
        return self._read(item)

    def raise_error(self) -> None:
        """Raise what the user's iterable raised, if it did."""
        if self._error is not None:
            raise self._error

    async def close(self) -> None:
        """Close an async generator that was not read to its end."""
        if self._keys is not None:
            self._keys.close()
        iterator, self._iterator = self._iterator, iter(())
        close = getattr(iterator, "aclose", None)
        if close is not None:
            await close()

    def _read(self, item: object) -> Item:
        key, derived, given, operation = str(self._position - 1), None, None, item
        try:
            if isinstance(item, tuple) and len(cast("tuple[object, ...]", item)) == 2:
                given, operation = cast("tuple[object, object]", item)
            if not isinstance(operation, Operation):
                raise ValueError(  # noqa: TRY301
                    f"item {self._position - 1} must be an operation such as DuplicateProject, or a pair of a key "
                    f"and an operation, not {item!r:.100}"
                )
            if self._keys is not None:
                key = derived = self._keys.key_of(cast("Operation", operation))
            if given is not None:
                key = str(given)  # row numbers make good keys
        except Exception as error:  # noqa: BLE001  # one bad item does not end a run
            return Item(key, cast("Operation", operation), error)
        return Item(key, cast("Operation", operation), derived_key=derived)
