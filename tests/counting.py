"""Durations that count what a decision of the schedule weighs and asks for."""

from asana_jobs._client.waiting.durations import EDGES, Curve, Durations


class CountingCurve(Curve):
    """Counts how many groups are weighed, and for how many it is worked out when they are due."""

    counted = 0

    def worth(self, after: float, age: float) -> float:
        """Count, and return the worth."""
        CountingCurve.counted += 1
        return super().worth(after, age)

    def age_worth(self, price: float, after: float, latest: float) -> float:
        """Count, and return the age."""
        CountingCurve.counted += 1
        return super().age_worth(price, after, latest)


class CountingDurations(Durations):
    """Durations of which nothing is learned, and whose curve counts."""

    flat = CountingCurve.from_rates((0.1,) * len(EDGES))

    asked = 0

    def key_for(self, kind: str | None, source: str | None = None) -> str:
        """Tell all sources apart."""
        return f"{kind}/{source}"

    def curve(self, key: str) -> Curve:
        """Count, and return the same for every key."""
        self.asked += 1
        return self.flat
