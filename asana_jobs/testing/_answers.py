"""What the simulator answers, before it is bytes: statuses, documents, error texts."""

from collections.abc import Mapping
from random import Random
from typing import Any, cast

from attrs import field, frozen


HELP = (
    "For more information on API status codes and how to handle them, "
    "read the docs on errors: https://developers.asana.com/docs/errors"
)
RATE_LIMIT_MESSAGE = (
    "You've made too many requests and hit a rate limit. Please retry after the given amount of time."
)
MESSAGES = {
    400: "Bad Request",
    401: "Not Authorized",
    402: "This feature is only available to premium users.",
    403: "You do not have access to this job.",
    404: "No matching route for request",
    422: "Unprocessable Entity",
    429: RATE_LIMIT_MESSAGE,
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


@frozen
class Answer:
    """One answer of the API: its status, its JSON document and its own headers."""

    status: int
    document: Any
    headers: Mapping[str, str] = field(factory=dict[str, str])
    # The gids of the jobs the request started: one, or in a batch several.
    started: tuple[str, ...] = ()


class ApiError(Exception):
    """Ends the handling of a request with an error answer."""

    def __init__(self, status: int, message: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.headers = dict(headers or {})


def record_of(value: object) -> dict[str, Any]:
    """The value if it is a JSON object, an empty one if not."""
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}


def data(document: Any, status: int = 200) -> Answer:
    """An answer in the `data` envelope."""
    return Answer(status, {"data": document})


def phrase(random: Random) -> str:
    """An error phrase such as `6 sad squid snuggle softly`: 500 answers carry one for the support."""
    words = (random.choice(words) for words in (_MOODS, _ANIMALS, _DEEDS, _WAYS))
    return " ".join([str(random.randint(2, 42)), *words])


def error_document(status: int, message: str | None, random: Random) -> dict[str, Any]:
    """The error envelope: message and help, and on a 500 the phrase."""
    error = {"message": MESSAGES.get(status, "Error") if message is None else message, "help": HELP}
    if status == 500:
        error["phrase"] = phrase(random)
    return {"errors": [error]}


def no_route() -> ApiError:
    """Unknown path, or a method the path does not know: the API answers 404 to both."""
    return ApiError(404, MESSAGES[404])


def not_recognized(field_name: str, value: object) -> ApiError:
    """Something that is not a gid stands where a gid belongs."""
    return ApiError(400, f"{field_name}: Not a recognized ID: {value}")


def unknown_object(name: str, gid: str, status: int = 404) -> ApiError:
    """A gid nobody knows: 404 in the path, 400 in a body field."""
    return ApiError(status, f"{name}: Unknown object: {gid}")


def missing_input(field_name: str) -> ApiError:
    """A required field is not there."""
    return ApiError(400, f"{field_name}: Missing input")
