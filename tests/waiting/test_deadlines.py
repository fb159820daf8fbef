"""Deadlines: whose time is over is said in order, and who is gone leaves nothing behind."""

import gc
import random
import weakref
from math import inf

import attrs

from asana_jobs._client.waiting.deadlines import CLOCK_RESOLUTION, Deadlines


@attrs.define(eq=False)
class Waiting:
    """Somebody who waits."""

    name: str = ""


def test_nobody_is_due_at_first() -> None:
    """Without deadlines the next one is never."""
    deadlines: Deadlines[str] = Deadlines()

    assert (deadlines.next, deadlines.take(1e9), len(deadlines.waiting)) == (inf, None, 0)


def test_they_are_due_in_the_order_of_their_moments() -> None:
    """The earliest is taken first, and of equal moments whoever was there first."""
    deadlines: Deadlines[str] = Deadlines()
    for name, moment in (("c", 3.0), ("a", 1.0), ("b1", 2.0), ("b2", 2.0)):
        deadlines.add(name, moment)

    assert deadlines.next == 1.0
    assert [deadlines.take(5.0) for _ in range(5)] == ["a", "b1", "b2", "c", None]


def test_nobody_is_taken_before_his_time() -> None:
    """A deadline is kept until it comes; what a timer rounds is not waited for."""
    deadlines: Deadlines[str] = Deadlines()
    deadlines.add("a", 10.0)

    assert deadlines.take(10.0 - 2 * CLOCK_RESOLUTION) is None
    assert deadlines.take(10.0 - CLOCK_RESOLUTION / 2) == "a"


def test_who_has_left_is_not_due() -> None:
    """A deadline that was given up does not come, and giving it up twice is harmless."""
    deadlines: Deadlines[str] = Deadlines()
    first, _ = deadlines.add("a", 1.0), deadlines.add("b", 2.0)
    deadlines.discard(first)
    deadlines.discard(first)

    assert (deadlines.next, deadlines.take(5.0), deadlines.take(5.0)) == (2.0, "b", None)


def test_who_has_left_is_let_go_at_once() -> None:
    """A wait that ended long before its deadline is not kept until then."""
    deadlines: Deadlines[Waiting] = Deadlines()
    waiting = Waiting()
    ticket, held = deadlines.add(waiting, 1e6), weakref.ref(waiting)
    del waiting
    deadlines.discard(ticket)
    gc.collect()

    assert held() is None


def test_dead_deadlines_do_not_pile_up() -> None:
    """However many come and go, the heap holds at most twice as many as are there, and some."""
    deadlines: Deadlines[int] = Deadlines()
    tickets = [deadlines.add(number, float(number)) for number in range(500)]
    for number in range(20_000):
        deadlines.discard(tickets[number % 500])
        tickets[number % 500] = deadlines.add(number, 1000.0 + number)

        assert len(deadlines.heap) <= 2 * len(deadlines.waiting) + 1

    assert len(deadlines.waiting) == 500


def test_any_coming_and_going_keeps_the_order() -> None:
    """What is taken is in order, and nobody who stayed is missing."""
    source = random.Random(3)  # noqa: S311  # repeatable on purpose
    deadlines: Deadlines[float] = Deadlines()
    stay: dict[int, float] = {}
    for _ in range(2000):
        if stay and source.random() < 0.4:
            ticket = source.choice(list(stay))
            deadlines.discard(ticket)
            del stay[ticket]
        else:
            moment = source.random() * 100
            stay[deadlines.add(moment, moment)] = moment

    taken: list[float] = []
    while (due := deadlines.take(1000.0)) is not None:
        taken.append(due)
    assert taken == sorted(stay.values())
