"""Advice for those who use a thing as what it is not, such as a client in ``with`` instead of ``async with``."""

from __future__ import annotations

from typing import Never


class MisuseError(TypeError, AttributeError):
    """Something was used as what it is not: a `TypeError` for whoever wrote it, while `hasattr` is ``False``."""


class Instead:
    """Stands for a method that a class has not, and says what to write instead when Python looks for it.

    To `hasattr` it is not there, and abstract classes want its companion as well (``__exit__``), so that nobody takes
    the class for what it is not.
    """

    def __init__(self, message: str) -> None:
        self._message = message

    def __get__(self, instance: object, owner: type | None = None) -> Never:
        raise MisuseError(self._message)


def no_attribute(thing: object, name: str, of: type, advice: str) -> AttributeError:
    """Return the error about the *name* that *thing* has not; with *advice* if what it stands for, an *of*, has it.

    It knows nothing of *thing* but its class: while a copy is being made, there is no more.
    """
    message = f"{type(thing).__name__!r} object has no attribute {name!r}"
    if not name.startswith("_") and hasattr(of, name):
        message += f": {advice}"
    return AttributeError(message, name=name, obj=thing)
