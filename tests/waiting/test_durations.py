from __future__ import annotations

import json
from itertools import pairwise
from math import exp, inf, log, nan
from statistics import NormalDist
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asana_jobs._client.waiting.durations import EDGES, ENOUGH, MEMORY, REMEMBERED, Curve, Durations, age_bin


ages = st.floats(0, 100_000, allow_nan=False)
rates = st.lists(st.floats(1e-6, 100), min_size=len(EDGES), max_size=len(EDGES)).map(tuple)
looks = st.lists(st.tuples(st.booleans(), st.sampled_from(["k", "k/7", "*"]), ages, ages), max_size=30)


def learned(notes: list[tuple[bool, str, float, float]]) -> Durations:
    """Return what a list of notes teaches: whether finished, whose, between which ages."""
    durations = Durations()
    for done, name, one, other in notes:
        kind, _, source = name.partition("/")
        durations.observe(
            None if kind == "*" else kind, min(one, other), max(one, other), source or None, finished=done
        )
    return durations


def hazard(durations: Durations, kind: str | None, age: float, source: str | None = None) -> float:
    """Return the completions per second expected of a running job *age* seconds old."""
    return durations.curve(durations.key_for(kind, source)).rates[age_bin(age)]


def taught(length: float, *, jobs: int = 50, kind: str = "k", source: str | None = None) -> Durations:
    """Return what jobs of one *length* teach."""
    durations = Durations()
    for _ in range(jobs):
        durations.observe(kind, 0, length * 0.9, source, finished=False)
        durations.observe(kind, length * 0.9, length * 1.1, source, finished=True)
    return durations


# What is expected before anything was seen.


def test_prior_falls_with_age() -> None:
    """An older job of an unknown kind is less likely to finish in the next second."""
    hazards = [hazard(Durations(), "k", age) for age in (0, 1, 5, 30, 300, 3_000)]
    assert hazards == sorted(hazards, reverse=True)


@pytest.mark.parametrize("kind", ["export_graph", "export_resource"])
def test_exports_are_expected_to_start_slower(kind: str) -> None:
    """A young export is expected to finish far less soon than a young duplication."""
    assert hazard(Durations(), kind, 1) < hazard(Durations(), "duplicate_task", 1) / 10


# What looks teach.


def test_hazard_peaks_where_jobs_finish() -> None:
    """After 50 jobs of 8 seconds, a job is most likely to finish at 8 seconds."""
    durations = taught(8)
    assert hazard(durations, "k", 8) > 10 * hazard(durations, "k", 3)


def test_hazard_is_completions_per_second_watched() -> None:
    """Where 1 of 10 jobs finishes per second, the hazard learned is about 0.1 per second."""
    durations = Durations()
    for _ in range(200):
        durations.observe("k", 20, 29, finished=False)
        durations.observe("k", 29, 29.001, finished=True)
    begin, end = EDGES[age_bin(29)], EDGES[age_bin(29) + 1]
    assert begin < 20 or end > 29
    assert hazard(durations, "k", 29) == pytest.approx(1 / (29 - max(begin, 20)), rel=0.05)


def test_watching_without_completion_lowers_the_hazard() -> None:
    """A kind that was watched for long at an age and never finished there has a lower hazard there."""
    durations = Durations()
    durations.observe("k", 0, 100, finished=False)
    assert hazard(durations, "k", 2) < hazard(Durations(), "k", 2)


def test_survivors_teach_nothing_about_other_ages() -> None:
    """A look between 1 and 2 seconds leaves the hazard at 100 seconds alone."""
    durations = Durations()
    durations.observe("k", 1, 2, finished=False)
    assert hazard(durations, "k", 100) == hazard(Durations(), "k", 100)


def test_wide_interval_is_attributed_to_where_the_kind_finishes() -> None:
    """A completion somewhere within a minute counts at 8 seconds if the kind takes 8 seconds."""
    durations = taught(8)
    before = durations.to_dict()["kinds"]["k"]["events"]
    durations.observe("k", 0, 60, finished=True)
    after = durations.to_dict()["kinds"]["k"]["events"]
    near = age_bin(8)
    assert sum(after[near - 1 : near + 2]) - sum(before[near - 1 : near + 2]) > 0.7


def test_seconds_after_the_likely_end_are_not_counted() -> None:
    """Of a job of 8 seconds found finished after a minute, the last half minute is not counted as watched."""
    durations = taught(8)
    durations.observe("k", 0, 60, finished=True)
    assert durations.to_dict()["kinds"]["k"]["exposure"][age_bin(45)] < 5


@given(looks)
def test_every_completion_counts_once(notes: list[tuple[bool, str, float, float]]) -> None:
    """The completions counted for all kinds together are as many as were noted."""
    counts = learned(notes).to_dict()["kinds"].get("*", {"events": []})
    assert sum(counts["events"]) == pytest.approx(sum(note[0] for note in notes), abs=1e-4)


@given(looks, ages)
def test_hazard_is_always_positive(notes: list[tuple[bool, str, float, float]], age: float) -> None:
    """Whatever was seen, no hazard is zero, so that every job is looked at some day."""
    assert 0 < hazard(learned(notes), "k", age, "7") < inf


@given(st.floats(0, 10_000), st.floats(0, 10_000))
def test_interval_given_backwards_is_harmless(after: float, before: float) -> None:
    """A clock that jumped back makes no hazard negative."""
    durations = Durations()
    durations.observe("k", after, before, finished=True)
    durations.observe("k", after, before, finished=False)
    assert hazard(durations, "k", after) > 0


def test_old_experience_fades() -> None:
    """Jobs that became five times slower are expected at their new duration, however many were fast."""
    durations = taught(4, jobs=3 * MEMORY)
    for _ in range(2 * MEMORY):
        durations.observe("k", 0, 18, finished=False)
        durations.observe("k", 18, 22, finished=True)
    assert hazard(durations, "k", 20) > 3 * hazard(durations, "k", 4)


# Kinds, sources, and jobs whose kind is not known.


def test_kinds_are_learned_apart() -> None:
    """What one kind taught does not move another."""
    assert hazard(taught(8), "other", 8) == hazard(Durations(), "other", 8)


def test_unknown_kind_has_the_hazard_of_all() -> None:
    """A job whose kind is unknown is expected to be like those seen."""
    durations = taught(8)
    assert hazard(durations, None, 8) == hazard(durations, "k", 8)


def test_source_with_enough_data_has_its_own_hazard() -> None:
    """A template that takes 30 seconds is expected there although its kind takes 3."""
    durations = taught(30, jobs=ENOUGH, source="7")
    durations.merge(taught(3, jobs=500))
    assert hazard(durations, "k", 30, "7") > 3 * hazard(durations, "k", 3, "7")


def test_new_source_has_the_hazard_of_its_kind() -> None:
    """A template seen fewer than twenty times is expected to be like its kind."""
    durations = taught(8, jobs=ENOUGH - 1, source="7")
    assert durations.key_for("k", "7") == "k"


def test_sources_are_bounded() -> None:
    """Ten thousand templates do not stay in memory; the kind's own counts do."""
    durations = Durations()
    for source in range(10_000):
        durations.observe("k", 1, 2, str(source), finished=True)
    assert len(durations.to_dict()["kinds"]) == REMEMBERED


def test_forgotten_source_has_the_hazard_of_its_kind() -> None:
    """The name of a source that was forgotten meanwhile still gives its kind's curve."""
    durations = taught(8)
    assert durations.curve("k/gone") == durations.curve("k")


# Jobs of unknown start: ages since they were first asked for.


def sighted(length: float, *, jobs: int = 50, since: float = 0.0) -> Durations:
    """Return what jobs teach that end *length* seconds after somebody first asked for them."""
    durations = Durations()
    for _ in range(jobs):
        durations.observe("k", since, length * 0.9, finished=False, known_start=False, since=since)
        durations.observe("k", length * 0.9, length * 1.1, finished=True, known_start=False, since=since)
    return durations


@pytest.mark.parametrize("kind", ["k", None])
def test_jobs_of_unknown_start_are_learned_apart(kind: str | None) -> None:
    """What is learned by ages since the first sight does not move what is expected by ages since the start."""
    durations = sighted(8)

    assert hazard(durations, kind, 8) == hazard(Durations(), kind, 8)
    assert durations.curve(durations.key_for(kind, known_start=False)).rates[age_bin(8)] == hazard(
        taught(8), kind, 8
    )


def test_jobs_of_known_start_teach_nothing_about_first_sights() -> None:
    """Counts by ages since the first sight hold no job whose start is known."""
    assert {key for key in taught(8).to_dict()["kinds"] if key.startswith("?")} == set()


@pytest.mark.parametrize("kind", ["k", None])
def test_until_enough_were_seen_those_with_a_known_start_are_the_guess(kind: str | None) -> None:
    """A bare gid is expected to be like the jobs of its kind, and like other bare gids once 20 of these have ended."""
    durations = taught(8)
    keys: list[str] = []
    for _ in range(ENOUGH):
        keys.append(durations.key_for(kind, known_start=False))
        durations.observe("k", 1, 3, finished=True, known_start=False)

    assert {*keys} == {durations.key_for(kind)}
    assert durations.key_for(kind, known_start=False) not in keys


def test_those_first_seen_are_ranked_by_their_own_from_the_first_on_where_there_are_no_others() -> None:
    """Where nobody's start is known, one look teaches as much about bare gids as it does about other jobs."""
    durations = sighted(8, jobs=1)

    assert durations.key_for("k", known_start=False) != durations.key_for("k")


def test_exports_of_unknown_start_are_expected_to_be_slow() -> None:
    """A bare gid that turns out to be an export is not expected to end at once."""
    durations = Durations()
    key = durations.key_for("export_graph", known_start=False)

    assert durations.curve(key) == durations.curve("export_graph")


def test_what_ended_before_it_was_watched_is_not_missed() -> None:
    """Seconds before a job was first seen running are not counted: had it ended in them, nobody would have told."""
    durations = sighted(8, since=4.0)

    exposure = durations.to_dict()["kinds"]["?k"]["exposure"]
    assert sum(exposure[: age_bin(4.0)]) == 0
    assert exposure[age_bin(4.0)] == pytest.approx(50 * (EDGES[age_bin(4.0) + 1] - 4.0))


# Survival, which is noted when the bin of age changes.


@given(st.lists(st.floats(0.01, 300), min_size=1, max_size=40))
def test_many_looks_teach_what_few_do(ages_seen: list[float]) -> None:
    """However often a job was looked at meanwhile, it was watched for as many seconds in each bin of age."""
    often, seldom = Durations(), Durations()
    seen = sorted(ages_seen)
    for after, before in pairwise([0.0, *seen]):
        often.observe("k", after, before, finished=False)
    often.observe("k", seen[-1], seen[-1] + 1, finished=True)
    seldom.observe("k", 0.0, seen[-1], finished=False)
    seldom.observe("k", seen[-1], seen[-1] + 1, finished=True)

    for many, few in zip(
        *(each.to_dict()["kinds"]["k"]["exposure"] for each in (often, seldom)), strict=True
    ):
        assert many == pytest.approx(few, abs=1e-4)


def test_looks_within_a_bin_leave_the_curves_alone() -> None:
    """Looks that find a job running draw no curve anew until it is a bin older."""
    durations = Durations()
    durations.observe("k", 0, 60, finished=False)
    begin, end = EDGES[age_bin(60)], EDGES[age_bin(60) + 1]
    before = durations.revision
    for second in range(60, int(end)):
        durations.observe("k", second - 1, second, finished=False)

    assert int(end) - begin > 10
    assert durations.revision == before


def test_a_few_notes_do_not_draw_curves_again_and_again() -> None:
    """In the first minute of a hundred jobs looked at each second, curves are drawn for a bin each, not for a look."""
    durations, drawn = Durations(), 0
    for second in range(1, 61):
        for _ in range(100):
            before = durations.revision
            durations.observe("k", second - 1, second, finished=False)
            drawn += durations.revision > before

    assert drawn < 250


# When jobs end.


@pytest.mark.parametrize("known_start", [True, False])
@pytest.mark.parametrize("share", [0.25, 0.5, 0.9, 0.99])
@pytest.mark.parametrize("age", [0.0, 12.0, 25.0])
def test_the_age_by_which_a_share_has_ended_is_near_the_truth(
    share: float, age: float, known_start: bool
) -> None:
    """Of jobs that were watched closely, the end is said within the width of a bin or so."""
    durations = Durations()
    lengths = [20 * exp(0.5 * NormalDist().inv_cdf((number + 0.5) / 2000)) for number in range(2000)]
    for length in lengths:
        durations.observe("k", 0, length * 0.99, finished=False, known_start=known_start)
        durations.observe("k", length * 0.99, length * 1.01, finished=True, known_start=known_start)
    left = [length for length in lengths if length > age]
    truth = left[min(len(left) - 1, int(share * len(left)))]

    said = durations.end_age("k", share, age=age, known_start=known_start)

    assert said is not None
    assert said > age
    assert truth / 1.25 < said < truth * 1.25


@given(looks, ages, st.floats(0.01, 0.98))
def test_ends_are_said_in_order(
    notes: list[tuple[bool, str, float, float]], age: float, share: float
) -> None:
    """A larger share has ended later, and none of a running job's future is past."""
    durations = learned([*notes, *[(True, "k", 1.0, 2.0)] * 100])
    some, more = (durations.end_age("k", part, age=age) for part in (share, share + 0.01))

    assert some is not None
    assert more is not None
    assert age < some < more


@pytest.mark.parametrize(("share", "needed"), [(0.5, 20), (0.9, 20), (0.99, 100)])
@pytest.mark.parametrize("known_start", [True, False])
def test_too_few_ends_say_nothing(share: float, needed: int, known_start: bool) -> None:
    """When jobs of a kind end is not said before 20 of them were seen to, and of the last hundredth before 100."""
    durations = Durations()
    said: list[float | None] = []
    for _ in range(needed):
        said.append(durations.end_age("k", share, known_start=known_start))
        durations.observe("k", 2, 3, finished=True, known_start=known_start)

    assert {*said} == {None}
    assert durations.end_age("k", share, known_start=known_start) is not None
    assert durations.end_age("other", share, known_start=known_start) is None
    assert durations.end_age(None, share, known_start=known_start) is None


def test_the_end_of_a_source_is_its_own_where_enough_were_seen() -> None:
    """A template that takes 30 seconds ends then, though its kind takes 3; its last hundredth is its kind's too long."""
    durations = taught(30, jobs=ENOUGH, source="7")
    durations.merge(taught(3, jobs=500))

    assert durations.end_age("k", 0.5, source="7") == pytest.approx(30, rel=0.3)
    assert durations.end_age("k", 0.5, source="8") == pytest.approx(3, rel=0.3)
    assert durations.end_age("k", 0.99, source="7") == durations.end_age("k", 0.99)


def test_the_end_of_a_job_of_unknown_start_is_its_kinds_before_enough_were_seen() -> None:
    """Known lengths of its kind say when a bare gid ends, until enough bare gids do."""
    durations = taught(30)

    assert durations.end_age("k", 0.5, known_start=False) == durations.end_age("k", 0.5)

    durations.merge(sighted(8))

    assert durations.end_age("k", 0.5, known_start=False) == pytest.approx(8, rel=0.3)


# Curves.


@given(rates, st.floats(0, 1e4))
def test_age_at_a_risk_has_that_risk(given_rates: tuple[float, ...], risk: float) -> None:
    """The age at which the hazard sums up to something is found."""
    curve = Curve.from_rates(given_rates)

    assert curve.risk(curve.age_at(risk)) == pytest.approx(risk, rel=1e-6, abs=1e-9)


@given(rates, ages, ages)
def test_risk_grows_with_age(given_rates: tuple[float, ...], one: float, other: float) -> None:
    """The risk of having finished never falls as a job ages."""
    curve = Curve.from_rates(given_rates)
    assert curve.risk(min(one, other)) <= curve.risk(max(one, other)) * (1 + 1e-12)


@given(rates, ages, st.floats(0, 50_000), st.floats(1e-3, 1e3))
def test_look_is_worth_its_price_when_it_is_due(
    given_rates: tuple[float, ...], after: float, maximum: float, price: float
) -> None:
    """At the age found for a price, a look is worth that price, or the longest gap is over and it is worth less."""
    curve = Curve.from_rates(given_rates)
    age = curve.age_worth(price, after, after + maximum)
    worth = (curve.risk(age) - curve.risk(after)) * (age - after) / 2
    if age < after + maximum:
        assert worth == pytest.approx(price, rel=1e-3)
    else:
        assert worth <= price * (1 + 1e-3)


def test_due_age_is_exact_where_hardly_any_job_finishes() -> None:
    """A job that has got through its first moments is looked at when the risk run there makes it worth it."""
    curve = Curve.from_rates((1.0, *(1e-15 for _ in EDGES[1:])))
    assert curve.age_worth(10, 0, 1_000) == pytest.approx(20 / EDGES[1])


def test_prior_risk_is_logarithmic() -> None:
    """Unlearned, a job is as likely to finish from 30 to 60 seconds as from 60 to 120, about."""
    curve = Durations().curve("k")
    assert curve.risk(63) - curve.risk(30) == pytest.approx(log(2), rel=0.05)


# Export and import.


@given(looks)
def test_export_round_trips_through_json(notes: list[tuple[bool, str, float, float]]) -> None:
    """What was exported as JSON and imported exports the same again."""
    exported = learned(notes).to_dict()
    assert Durations.from_dict(json.loads(json.dumps(exported))).to_dict() == exported


def test_import_keeps_the_hazards() -> None:
    """A process that imports what another learned expects the same."""
    durations = taught(8, source="7")
    imported = Durations.from_dict(durations.to_dict())
    assert hazard(imported, "k", 8, "7") == pytest.approx(hazard(durations, "k", 8, "7"), rel=1e-4)


def test_an_export_of_an_older_version_is_read() -> None:
    """What a process wrote that did not tell jobs of unknown start apart is about jobs of known start."""
    exported = taught(8, source="7").to_dict()
    assert exported["version"] == 2

    imported = Durations.from_dict(exported | {"version": 1})

    assert imported.to_dict() == exported


def test_jobs_of_unknown_start_are_exported_and_merged() -> None:
    """Counts by ages since the first sight travel with the others."""
    durations = sighted(8)
    durations.merge(Durations.from_dict(json.loads(json.dumps(sighted(8).to_dict()))))

    assert sum(durations.to_dict()["kinds"]["?k"]["events"]) == pytest.approx(100, rel=1e-4)


def test_merge_counts_both() -> None:
    """Two processes' completions add up."""
    durations = taught(8, jobs=10)
    durations.merge(taught(30, jobs=5))
    assert sum(durations.to_dict()["kinds"]["k"]["events"]) == pytest.approx(15, rel=1e-4)


def test_merge_changes_what_is_expected_at_once() -> None:
    """A hazard asked for before a merge does not hide what was merged."""
    durations = taught(30)
    before = hazard(durations, "k", 8)
    durations.merge(taught(8))
    assert hazard(durations, "k", 8) > before


def test_import_does_not_drown_what_is_seen_now() -> None:
    """After an import of a million completions, a few thousand others still change what is expected."""
    exported = taught(60).to_dict()
    for counts in exported["kinds"].values():
        counts.update({part: [value * 20_000 for value in counts[part]] for part in ("events", "exposure")})
    durations = Durations.from_dict(exported)
    for _ in range(2 * MEMORY):
        durations.observe("k", 0, 18, finished=False)
        durations.observe("k", 18, 22, finished=True)
    assert hazard(durations, "k", 20) > 2 * hazard(Durations(), "k", 20)


ZEROS = [0.0] * len(EDGES)


@pytest.mark.parametrize(
    ("data", "says"),
    [
        ([], "durations must be a mapping, not list"),
        ({}, "version None"),
        ({"version": 3, "kinds": {}}, "version 3; this library reads 1 to 2"),
        ({"version": True, "kinds": {}}, "version True"),
        ({"version": 1}, "kinds must be a mapping, not NoneType"),
        ({"version": 1, "kinds": {3: {}}}, "kinds must have names, not 3"),
        ({"version": 1, "kinds": {"k": 3}}, r"kinds\['k'\] must be a mapping, not int"),
        ({"version": 1, "kinds": {"k": {"exposure": ZEROS}}}, r"kinds\['k'\]\.events must be a list of"),
        ({"version": 1, "kinds": {"k": {"events": ZEROS, "exposure": [1.0]}}}, r"exposure must be a list of"),
        ({"version": 1, "kinds": {"k": {"events": [*ZEROS[1:], "1"], "exposure": ZEROS}}}, "not '1'"),
        ({"version": 1, "kinds": {"k": {"events": [*ZEROS[1:], nan], "exposure": ZEROS}}}, "not nan"),
        ({"version": 1, "kinds": {"k": {"events": [*ZEROS[1:], True], "exposure": ZEROS}}}, "not True"),
        (
            {"version": 1, "kinds": {"k": {"events": [*ZEROS[1:], 10**400], "exposure": ZEROS}}},
            "finite numbers",
        ),
        (
            {"version": 1, "kinds": {"k": {"events": ZEROS, "exposure": [*ZEROS[1:], -1]}}},
            "at least 0, not -1",
        ),
    ],
)
def test_damaged_import_says_what_is_wrong(data: Any, says: str) -> None:
    """An import that is not an export is refused, and the message names the place."""
    with pytest.raises(ValueError, match=says):
        Durations.from_dict(data)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@given(json_values | st.fixed_dictionaries({"version": st.sampled_from([1, 2]), "kinds": json_values}))
def test_any_json_is_read_or_refused(data: Any) -> None:
    """No JSON makes an import fail otherwise than with a ValueError."""
    try:
        read = Durations.from_dict(data)
    except ValueError:
        return
    assert hazard(read, "k", 1) > 0


@pytest.mark.parametrize("looks", [1, 10, 100, 1000])
def test_what_was_learned_is_used_within_a_few_per_cent(looks: int) -> None:
    """Hazards in use lag behind what was seen by little, however much that is."""
    learned, in_use = Durations(), 0.0
    for number in range(looks):
        learned.observe("duplicate_task", 0.0, 1 + number % 7, finished=False)
        learned.observe("duplicate_task", 1 + number % 7, 2 + number % 11, finished=True)

        in_use = hazard(learned, "duplicate_task", 3.0)
    exact = hazard(Durations.from_dict(learned.to_dict()), "duplicate_task", 3.0)

    assert in_use == pytest.approx(exact, rel=0.05)


def test_a_change_is_noticed_after_years() -> None:
    """However much was seen before, completions at a new pace are what counts after some thousands of them."""
    learned = Durations()
    for _ in range(20_000):
        learned.observe("duplicate_task", 0.0, 9.0, finished=False)
        learned.observe("duplicate_task", 9.0, 10.0, finished=True)
    slow = hazard(learned, "duplicate_task", 1.0)
    for _ in range(3_000):
        learned.observe("duplicate_task", 0.5, 1.5, finished=True)

    assert hazard(learned, "duplicate_task", 1.0) > 100 * slow


def test_more_kinds_than_there_can_be_count_once() -> None:
    """A completion of a kind beyond the last that is remembered counts once among all kinds, not twice."""
    learned, few = Durations(), Durations()
    for number in range(300):
        learned.observe(f"kind {number}", 1.0, 2.0, finished=True)
        few.observe("kind", 1.0, 2.0, finished=True)

    assert learned.to_dict()["kinds"]["*"] == few.to_dict()["kinds"]["*"]


def test_a_job_that_ended_between_two_looks_was_watched_for_half_of_the_gap() -> None:
    """Within a bin of age nobody knows when it ended, so that half of the seconds between the looks count as watched."""
    learned, at = Durations(), age_bin(1.2)
    learned.observe("k", 1.1, 1.5, finished=True)

    counts = learned.to_dict()["kinds"]["k"]
    assert counts["events"][at] == 1
    assert counts["exposure"][at] == pytest.approx(1.1 - EDGES[at] + (1.5 - 1.1) / 2)


def test_the_source_that_was_not_used_for_longest_is_forgotten() -> None:
    """A source that is seen again stays, though it was the first."""
    learned = Durations()
    for number in range(REMEMBERED - 2):  # the kind and all kinds are remembered too
        learned.observe("kind", 1.0, 2.0, str(number), finished=True)
    for source in ("0", "new"):
        learned.observe("kind", 1.0, 2.0, source, finished=True)

    remembered = set(learned.to_dict()["kinds"])
    assert {"kind/0", "kind/new"} < remembered
    assert "kind/1" not in remembered
