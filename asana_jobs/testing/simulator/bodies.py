"""Documents in and out: checks of what a client sends, and the answers and errors it gets."""

import json
import re
from collections.abc import Mapping
from datetime import datetime
from random import Random
from typing import Any, cast
from urllib.parse import parse_qsl

from attrs import define, field, frozen

from asana_jobs.testing.simulator.openapi import REQUEST_SCHEMAS, resolve


HELP = (
    "For more information on API status codes and how to handle them, "
    "read the docs on errors: https://developers.asana.com/docs/errors"
)
MESSAGES = {
    400: "Bad Request",
    401: "Not Authorized",
    402: "This feature is only available to premium users.",
    403: "You do not have access to this job.",
    404: "No matching route for request",
    422: "Unprocessable Entity",
    429: "You've made too many requests and hit a rate limit. Please retry after the given amount of time.",
    451: "Unavailable For Legal Reasons",
    500: "Server Error",
    502: "Bad Gateway",
    503: "Service Unavailable",
    504: "Gateway Timeout",
}
_ANIMALS = ("squid", "otters", "yaks", "herons", "geckos", "moles")
_MOODS = ("sad", "brave", "sleepy", "tiny", "loud", "polite")
_DEEDS = ("snuggle", "whistle", "wander", "juggle", "hum", "tumble")
_WAYS = ("softly", "slowly", "bravely", "twice", "sideways", "gladly")
_FORM = "application/x-www-form-urlencoded"
_TOP_LEVEL = ("data", "options")
_DATE_PATTERN = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_TYPES: dict[str, tuple[type, ...]] = {
    "string": (str,),
    "boolean": (bool,),
    "integer": (int,),
    "array": (list,),
    "object": (dict,),
}


@frozen
class ApiAnswer:
    """One answer of the API: its status, its JSON document and its own headers."""

    status: int
    document: Any
    headers: Mapping[str, str] = field(factory=dict[str, str])
    # The gids of the jobs the request started: one, or in a batch several.
    started: tuple[str, ...] = ()


@define
class ApiError(Exception):
    """Ends the handling of a request with an error answer."""

    status: int
    message: str
    headers: Mapping[str, str] = field(factory=dict[str, str])


def record_of(value: object) -> dict[str, Any]:
    """Return the value if it is a JSON object, an empty one if not."""
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}


def data(document: Any, status: int = 200) -> ApiAnswer:
    """Return an answer in the `data` envelope."""
    return ApiAnswer(status, {"data": document})


def error_document(status: int, message: str | None, random: Random) -> dict[str, Any]:
    """Return the error envelope: message and help, and on a 500 a phrase for the support: `6 sad squid snuggle softly`."""
    error = {"message": MESSAGES.get(status, "Error") if message is None else message, "help": HELP}
    if status == 500:
        words = (random.choice(words) for words in (_MOODS, _ANIMALS, _DEEDS, _WAYS))
        error["phrase"] = " ".join([str(random.randint(2, 42)), *words])
    return {"errors": [error]}


def no_route() -> ApiError:
    """Return the error for an unknown path, or a method the path does not know: 404 for both."""
    return ApiError(404, MESSAGES[404])


def not_recognized(field_name: str, value: object) -> ApiError:
    """Return the error for something that is not a gid where a gid belongs."""
    return ApiError(400, f"{field_name}: Not a recognized ID: {value}")


def unknown_object(name: str, gid: str, status: int = 404) -> ApiError:
    """Return the error for a gid nobody knows: 404 in the path, 400 in a body field."""
    return ApiError(status, f"{name}: Unknown object: {gid}")


def missing_input(field_name: str) -> ApiError:
    """Return the error for a required field that is not there."""
    return ApiError(400, f"{field_name}: Missing input")


@frozen
class Body:
    """A body that was understood: `data`, and the output options that came beside it."""

    data: Mapping[str, Any] = field(factory=dict[str, Any])
    options: Mapping[str, Any] = field(factory=dict[str, Any])


def parse(raw: bytes, content_type: str) -> Any:
    """Return the body as a document: JSON whatever the content type says, or a form; None when empty."""
    if content_type == _FORM:
        pairs = parse_qsl(raw.decode(errors="replace"), keep_blank_values=True)
        options = {name.removeprefix("opt_"): value for name, value in pairs if name.startswith("opt_")}
        fields = {name: value for name, value in pairs if not name.startswith("opt_")}
        return {"data": fields, "options": options} if options else {"data": fields}
    if not raw.strip():
        return None
    try:
        document = json.loads(raw)
    except ValueError:
        raise ApiError(400, "Could not parse request data, invalid JSON") from None
    if not isinstance(document, dict):
        raise ApiError(400, "Request body must be a JSON object with a data field")
    return cast("dict[str, Any]", document)


def open_envelope(document: Any) -> Body:
    """Return the contents of the `data` envelope; nothing but data and options may be beside it."""
    if document is None:
        return Body()
    envelope = record_of(document)
    for name in envelope:
        if name not in _TOP_LEVEL:
            raise ApiError(
                400, f"Unrecognized request field {name}. Allowed top-level request fields: data, options."
            )
    for name in _TOP_LEVEL:
        if name in envelope and not isinstance(envelope[name], dict):
            raise ApiError(400, f"{name}: Value is not an object: {envelope[name]!r}")
    return Body(envelope.get("data", {}), envelope.get("options", {}))


def check(schema_name: str, fields: Mapping[str, Any]) -> None:
    """Refuse `data` that does not follow its schema, with the message the API has for it."""
    _check_object(REQUEST_SCHEMAS[schema_name], fields, "")


def _check_object(schema: Mapping[str, Any], fields: Mapping[str, Any], prefix: str) -> None:
    for name in schema.get("required", ()):
        if fields.get(name) is None:
            raise missing_input(prefix + name)
    properties = cast("dict[str, dict[str, Any]]", schema.get("properties", {}))
    for name, part in properties.items():
        if name in fields:
            _check_value(resolve(part), fields[name], prefix + name)


def _check_value(schema: Mapping[str, Any], value: Any, name: str) -> None:
    if value is None and schema.get("nullable"):
        return
    if "type" not in schema:
        _check_one_of(schema["oneOf"], value, name)
        return
    kind = str(schema["type"])
    # In Python a boolean is an integer, in JSON it is not.
    if not isinstance(value, _TYPES[kind]) or (kind == "integer" and isinstance(value, bool)):
        if "pattern" in schema:
            raise not_recognized(name, value)
        article = "an" if kind[0] in "aio" else "a"
        raise ApiError(400, f"{name}: Value is not {article} {kind}: {value!r}")
    if kind == "string":
        _check_string(schema, cast("str", value), name)
    elif kind == "array":
        _check_array(schema, cast("list[Any]", value), name)
    elif kind == "object":
        _check_object(schema, cast("dict[str, Any]", value), f"{name}.")


def _check_one_of(choices: list[dict[str, Any]], value: Any, name: str) -> None:
    for choice in choices:
        if isinstance(value, _TYPES[str(choice["type"])]):
            _check_value(choice, value, name)
            return
    raise ApiError(400, f"{name}: Value is not a list: {value!r}")


def _check_string(schema: Mapping[str, Any], value: str, name: str) -> None:
    if "pattern" in schema and not re.fullmatch(schema["pattern"].strip("^$"), value, re.ASCII):
        raise not_recognized(name, value)
    if "enum" in schema and value not in schema["enum"]:
        raise ApiError(400, f"{name}: Value is not one of {', '.join(schema['enum'])}: {value}")
    expected = schema.get("format")
    if expected is not None and not _FORMATS[expected](value):
        raise ApiError(400, f"{name}: Not a valid {expected}: {value}")


def _is_date(text: str) -> bool:
    return _DATE_PATTERN.fullmatch(text) is not None and _is_date_time(text)


def _is_date_time(text: str) -> bool:
    try:
        datetime.fromisoformat(text)
    except ValueError:
        return False
    return True


_FORMATS = {"date": _is_date, "date-time": _is_date_time}


def _check_array(schema: Mapping[str, Any], value: list[Any], name: str) -> None:
    if len(value) < schema.get("minItems", 0):
        raise missing_input(name)
    if len(value) > schema.get("maxItems", len(value)):
        raise ApiError(400, f"{name}: At most {schema['maxItems']} are allowed, not {len(value)}")
    item = resolve(schema["items"])
    for index, part in enumerate(value):
        _check_value(item, part, f"{name}[{index}]")


def included(fields: Mapping[str, Any]) -> list[str]:
    """Return the words of `include`, sent as one comma-separated string or as a list."""
    value = fields.get("include", "")
    words = value.split(",") if isinstance(value, str) else value
    return [word.strip() for word in words if word.strip()]


def check_included(fields: Mapping[str, Any], known: tuple[str, ...]) -> None:
    """Refuse words of `include` that the document does not list, as every other enumeration is refused."""
    for word in included(fields):
        if word not in known:
            raise ApiError(400, f"include: Value is not one of {', '.join(known)}: {word}")


def check_schedule_dates(fields: Mapping[str, Any]) -> None:
    """Check the rules of `schedule_dates` that no schema can say."""
    dates = fields.get("schedule_dates")
    if dates is None:
        return
    if "start_on" in dates and "due_on" in dates:
        raise ApiError(400, "schedule_dates: Only one of start_on and due_on is allowed")
    if "start_on" not in dates and "due_on" not in dates:
        raise ApiError(400, "schedule_dates: One of start_on and due_on is required")
    if "task_dates" not in included(fields):
        raise ApiError(400, "schedule_dates: Requires task_dates in include")
