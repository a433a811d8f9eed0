"""Questions to metrics: one spelling for one meaning, and what may not be asked."""

from __future__ import annotations

import calendar
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from projects import planned
from test_metrics import ALL, CENTRAL, LOOKS

from examples import examples
from tacit.declare.expression import parse
from tacit.declare.metric import GRAINS
from tacit.engines.reference import evaluate
from tacit.errors import QueryError
from tacit.plan import periods
from tacit.plan.asked import Asked, Wanted, ask, condition, keys
from tacit.values import DAY, HOUR, Type, moment

NOW = moment(datetime(2026, 3, 18, 15, 20, tzinfo=UTC))  # a Wednesday
PLAN = planned(
    ALL + f"by = Metric(measure={LOOKS}, dimensions={{'genre': 'catalogue.genre', 'long': 'seconds > 60'}}, {CENTRAL.replace('[discover]', '[discover, research]')})\n"
)  # fmt: skip


def asked(metric: str, **more: object) -> Asked:
    return ask(PLAN, Wanted(metric, **more), NOW)  # type: ignore[arg-type]


def test_one_question_has_one_spelling() -> None:
    first = asked("turned", by=["item", "genre"], where="genre='a'  and (long)", grain="1d")
    again = asked("turned", by=("genre", "item", "genre"), where="genre = 'a' AND long", grain="1d")
    assert first == again
    assert Asked.from_json(first.to_json()) == first
    later = ask(PLAN, Wanted("turned", grain="1d"), NOW + 3 * HOUR)
    assert later == asked("turned", grain="1d"), "the same all day"
    assert later != ask(PLAN, Wanted("turned", grain="1d"), NOW + DAY)


def test_whole_periods_are_asked() -> None:
    question = asked("seen", grain="1w", since=NOW - 20 * DAY, until=NOW)
    starts = [datetime.fromtimestamp(at / 1e6, UTC) for at in question.periods]
    assert [start.weekday() for start in starts] == [0] * 4
    assert starts[0] == datetime(2026, 2, 23, tzinfo=UTC)
    assert question.until == moment(datetime(2026, 3, 23, tzinfo=UTC))
    usual = asked("seen", grain="1mo")
    assert len(usual.periods) == periods.USUAL["1mo"]
    assert usual.until == moment(datetime(2026, 3, 1, tzinfo=UTC))


@pytest.mark.parametrize(
    ("code", "metric", "more", "hint"),
    [
        ("T890", "sean", {}, "'seen'"),
        ("T890", "zzzz", {}, "use one of"),
        ("T891", "by", {"by": ["gendre"]}, "'genre'"),
        ("T891", "seen", {"by": ["visitor"]}, "dimensions"),
        ("T892", "seen", {"grain": "1y"}, "1h, 1d, 1w, 1mo"),
        ("T892", "titles", {"grain": "1d"}, "leave the grain out"),
        ("T892", "total", {}, "--grain"),
        ("T893", "by", {}, "discover, research"),
        ("T893", "by", {"purpose": "advertise"}, "discover, research"),
        ("T894", "titles", {"since": NOW}, "leave"),
        ("T894", "seen", {"since": NOW, "until": NOW - 1}, "earlier"),
        ("T894", "seen", {"since": 0, "grain": "1h"}, "coarser"),
        ("T895", "by", {"purpose": "discover", "where": "gendre = 'a'"}, "'genre'"),
        ("T895", "by", {"purpose": "discover", "where": "visitor = 'a'"}, "use one of"),
        ("T895", "by", {"purpose": "discover", "where": "genre = "}, "finish"),
        ("T895", "by", {"purpose": "discover", "where": "genre || 'x'"}, "condition"),
        ("T895", "by", {"purpose": "discover", "where": "genre > 3"}, ""),
    ],
)
def test_what_may_not_be_asked(code: str, metric: str, more: dict[str, object], hint: str) -> None:
    with pytest.raises(QueryError) as caught:
        asked(metric, **more)
    assert caught.value.code == code
    assert hint in caught.value.fix


def test_a_question_reaches_rows_by_declared_dimensions_alone() -> None:
    node = PLAN.nodes["turned"]
    question = asked("turned", where="long AND genre <> 'a'", by=["long"], since=10, until=20)
    base = node.spec["conversion"]["base"]
    assert condition(question, node, base) == (
        "seconds > 60 AND catalogue.genre <> 'a' AND at >= 10 AND at < 20"
    )
    assert keys(question, node, base) == [("long", "seconds > 60", Type.BOOL)]


TYPES = {"at": Type.TIME}
MOMENTS = st.integers(moment(datetime(1950, 1, 1)), moment(datetime(2100, 1, 1)))


@settings(max_examples=examples(300), deadline=None)
@given(grain=st.sampled_from(GRAINS), at=MOMENTS, count=st.integers(1, 30), data=st.data())
def test_periods_are_those_of_the_calendar(
    grain: str, at: int, count: int, data: st.DataObject
) -> None:
    """The SQL by which rows find their period agrees with the calendar, before 1970 too."""
    first = periods.floor(grain, at)
    starts = periods.starts(grain, first, periods.step(grain, first, count))
    assert len(starts) == count
    place = data.draw(st.integers(first, periods.step(grain, first, count) - 1))
    found = evaluate(parse(periods.period_sql(grain, "at", starts)).tree, {"at": place}, TYPES)
    assert found == periods.floor(grain, place)
    assert found in starts
    day = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=place)
    truth = {
        "1h": day.replace(minute=0, second=0, microsecond=0),
        "1d": day.replace(hour=0, minute=0, second=0, microsecond=0),
        "1w": (day - timedelta(days=calendar.weekday(day.year, day.month, day.day))).replace(
            hour=0, minute=0, second=0, microsecond=0
        ),
        "1mo": day.replace(day=1, hour=0, minute=0, second=0, microsecond=0),
    }[grain]
    assert found == moment(truth)


@pytest.mark.parametrize(
    "wrong",
    [
        {"by": "genre"},
        {"by": ["item", "genre"]},
        {"by": [1]},
        {"grain": "1y"},
        {"since": None},
        {"until": "2026-01-01"},
        {"since": 1.0},
        {"since": True},
        {"until": 0},
        {"where": 7},
        {"purpose": None},
        {"confidence": 0.5},
    ],
)
def test_what_is_no_question_is_not_read(wrong: dict[str, object]) -> None:
    """A record that says more than a question, or less, may have been another one."""
    written = asked("turned", by=["item", "genre"], where="long", grain="1d").to_json()
    with pytest.raises(ValueError, match="question"):
        Asked.from_json(written | wrong)
    del written["where"]
    with pytest.raises(ValueError, match="question"):
        Asked.from_json(written)
