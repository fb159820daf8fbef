"""From values to JSON as Asana would hold it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import cast

import attrs


def to_json(value: attrs.AttrsInstance, raw: Mapping[str, object]) -> dict[str, object]:
    """Lay the typed fields of *value* over *raw*, which knows more fields but may be older."""
    merged = dict(raw)
    for field in attrs.fields(type(value)):
        if field.name == "raw":
            continue
        current: object = getattr(value, field.name)
        if current is None:
            if merged.get(field.name) is not None:
                merged[field.name] = None
        elif attrs.has(type(current)):
            below = raw.get(field.name)
            known: Mapping[str, object] = (
                cast("Mapping[str, object]", below) if isinstance(below, Mapping) else {}
            )
            merged[field.name] = to_json(cast("attrs.AttrsInstance", current), known)
        elif isinstance(current, datetime):
            merged[field.name] = _timestamp(current)
        else:
            merged[field.name] = str(current) if isinstance(current, str) else current
    return merged


def _timestamp(moment: datetime) -> str:
    """Write a date-time the way Asana does: UTC, milliseconds, a trailing Z."""
    precision = "microseconds" if moment.microsecond % 1000 else "milliseconds"
    text = moment.isoformat(timespec=precision)
    return f"{text[:-6]}Z" if text.endswith("+00:00") else text
