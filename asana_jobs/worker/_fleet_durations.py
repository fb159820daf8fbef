"""What the workers learn of how long jobs take, added up in Redis."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, cast

import attrs

from asana_jobs import AsanaClient
from asana_jobs.worker._store import Store


#: Numbers smaller than this are not worth a request.
LEAST: Final = 1e-4

Numbers = dict[str, float]


@attrs.define(eq=False)
class FleetDurations:
    """Adds what this process has seen to what the fleet has seen, and takes over the rest."""

    store: Store
    key: str
    client: AsanaClient
    _ours: Numbers = attrs.field(factory=dict[str, float], init=False)
    _theirs: Numbers = attrs.field(factory=dict[str, float], init=False)

    async def exchange(self) -> None:
        """Tell what is new here, and learn what is new elsewhere."""
        durations = self.client.durations
        ours = _flatten(durations.to_dict())
        for name, more in _difference(ours, self._ours).items():
            await self.store("HINCRBYFLOAT", self.key, name, more)
            self._theirs[name] = self._theirs.get(name, 0.0) + more
        self._ours = ours
        told = cast("dict[str, Any]", await self.store("HGETALL", self.key))
        theirs = {name: float(value) for name, value in told.items()}
        news = _difference(theirs, self._theirs)
        self._theirs = theirs
        if news:
            durations.merge(type(durations).from_dict(_unflatten(news, durations.to_dict())))
            self._ours = _flatten(durations.to_dict())


def _flatten(durations: Mapping[str, Any]) -> Numbers:
    """Return the counts under names such as ``duplicate_project|events|7``."""
    return {
        f"{kind}|{part}|{at}": value
        for kind, counts in durations["kinds"].items()
        for part, values in counts.items()
        for at, value in enumerate(values)
        if value
    }


def _difference(now: Numbers, before: Numbers) -> Numbers:
    # Counts that were halved, to forget the distant past, are less than before: nothing to tell.
    return {name: more for name, value in now.items() if (more := value - before.get(name, 0.0)) > LEAST}


def _unflatten(numbers: Numbers, like: Mapping[str, Any]) -> dict[str, Any]:
    kinds: dict[str, dict[str, list[float]]] = {}
    bins = 30
    for name, value in numbers.items():
        kind, part, at = name.rsplit("|", 2)
        counts = kinds.setdefault(kind, {"events": [0.0] * bins, "exposure": [0.0] * bins})
        if part in counts and at.isdigit() and int(at) < bins:
            counts[part][int(at)] = value
    return {"version": like["version"], "kinds": kinds}
